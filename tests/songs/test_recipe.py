"""Recipes of songs: the plain one is what it always was, others are described by all that decides about them."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from accompgen_hf.songs.recipe import PLAIN_SONGS, STUDIO_SONGS, SongRecipe
from accompgen_hf.songs.song import generate_song, synthesize_song
from accompgen_hf.songs.soundfont import DEFAULT_SOUNDFONT, soundfont_sha256

needs_soundfont = pytest.mark.skipif(
    importlib.util.find_spec("tinysoundfont") is None or not Path(DEFAULT_SOUNDFONT).is_file(),
    reason="needs tinysoundfont and FluidR3 GM (Debian: fluid-soundfont-gm)",
)


def test_the_plain_recipe_makes_plain_songs():
    song = PLAIN_SONGS.generate(4, duration_s=1.0)
    expected = generate_song(4, duration_s=1.0)
    assert song.annotation == expected.annotation
    assert np.array_equal(song.instrumental, expected.instrumental)
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


@needs_soundfont
def test_mixed_songs_are_played_by_one_of_the_two_renderers():
    assert SongRecipe("lead_sheets", "mixed", "mixed") == STUDIO_SONGS
    is_sampled = []
    for seed in range(8):
        annotation = PLAIN_SONGS.compose(seed, duration_s=0.2)
        mixed = synthesize_song(annotation, renderer="mixed").instrumental
        by_numpy = synthesize_song(annotation, renderer="numpy").instrumental
        sampled = synthesize_song(annotation, renderer="soundfont").instrumental
        is_sampled.append(np.array_equal(mixed, sampled))
        assert np.array_equal(mixed, by_numpy) or is_sampled[-1]
    assert 0 < sum(is_sampled) < 8
