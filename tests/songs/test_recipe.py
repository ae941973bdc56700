"""Recipes of songs: the plain one is what it always was, others are described by all that decides about them."""

import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest

from accompgen_hf.songs import song
from accompgen_hf.songs.recipe import PLAIN_SONGS, STUDIO_SONGS, SongRecipe
from accompgen_hf.songs.soundfont import soundfont_sha256


def test_the_plain_recipe_makes_plain_songs():
    made = PLAIN_SONGS.generate(4, duration_s=1.0)
    expected = song.generate_song(4, duration_s=1.0)
    assert made.annotation == expected.annotation
    assert np.array_equal(made.instrumental, expected.instrumental)
    assert PLAIN_SONGS.describe() == {"composition": "plain", "singers": "vowels", "renderer": "numpy"}


def test_a_recipe_composes_as_it_says():
    recipe = SongRecipe(composition="lead_sheets", singers="words")
    annotation = recipe.compose(4, duration_s=2.0)
    assert annotation.singer.words_voice is not None
    assert annotation.singer.rubato > 0.0
    assert annotation.duration_s == 2.0


def test_a_bank_counts_by_its_content(tmp_path):
    for name in ("a.sf2", "b.sf2"):
        (tmp_path / name).write_bytes(b"the same bank")
    first, second = (SongRecipe(renderer="mixed", soundfont=tmp_path / name).describe() for name in ("a.sf2", "b.sf2"))
    assert first == second
    assert first["soundfont_sha256"] == soundfont_sha256(tmp_path / "a.sf2")
    (tmp_path / "b.sf2").write_bytes(b"another")
    assert SongRecipe(renderer="mixed", soundfont=tmp_path / "b.sf2").describe() != first
    with pytest.raises(ValueError, match=r"`soundfont` .*c.sf2 is not a file"):
        SongRecipe(renderer="soundfont", soundfont=tmp_path / "c.sf2").describe()


def test_half_of_the_mixed_songs_are_played_by_sampled_instruments(monkeypatch):
    assert SongRecipe("lead_sheets", "mixed", "mixed") == STUDIO_SONGS
    silence = np.zeros(4800, np.float32)
    monkeypatch.setattr(song, "render_sampled_band", lambda *arguments: (silence + 1.0, {}))
    monkeypatch.setattr(song, "render_band", lambda *arguments: silence)
    monkeypatch.setattr(song, "render_vocals", lambda *arguments: silence)
    annotation = PLAIN_SONGS.compose(0, duration_s=0.2)
    annotations = [replace(annotation, seed=seed) for seed in range(40)]
    is_sampled = [song.synthesize_song(each, renderer="mixed").instrumental.any() for each in annotations]
    assert 10 < sum(is_sampled) < 30
    assert is_sampled == [song.synthesize_song(each, renderer="mixed").instrumental.any() for each in annotations]


def test_what_a_recipe_needs_is_asked_for_at_once(monkeypatch):
    PLAIN_SONGS.require()
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ImportError, match="Singers of words need the program flite"):
        SongRecipe(singers="mixed").require()
    monkeypatch.setitem(sys.modules, "tinysoundfont", None)
    with pytest.raises(ImportError, match="pip install --no-deps tinysoundfont"):
        SongRecipe(renderer="mixed").require()
