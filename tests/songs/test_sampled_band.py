"""Sampled instruments: notes sound where they are written, players differ, what is missing is named."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from accompgen_hf.songs.band import DRUMMER, perform
from accompgen_hf.songs.mastering import loudness_lufs
from accompgen_hf.songs.song import compose_song, generate_song, synthesize_song
from accompgen_hf.songs.soundfont import (
    DEFAULT_SOUNDFONT,
)

SAMPLING_RATE = 24000
needs_soundfont = pytest.mark.skipif(
    importlib.util.find_spec("tinysoundfont") is None or not Path(DEFAULT_SOUNDFONT).is_file(),
    reason="needs tinysoundfont and FluidR3 GM (Debian: fluid-soundfont-gm)",
)


def test_every_note_says_who_plays_it_and_how_hard():
    notes = perform(compose_song(3))
    assert {note.layer for note in notes} >= {DRUMMER, 0, 1}
    assert all((note.layer == DRUMMER) == (note.instrument == "drum") for note in notes)
    assert all(0.2 < note.velocity < 1.2 for note in notes)


@needs_soundfont
def test_the_same_seed_gives_the_same_bytes_whatever_was_played_before():
    first = generate_song(3, duration_s=2.0, renderer="soundfont")
    generate_song(4, duration_s=2.0, renderer="soundfont")
    again = generate_song(3, duration_s=2.0, renderer="soundfont")
    assert first.instrumental.tobytes() == again.instrumental.tobytes()


@needs_soundfont
@pytest.mark.parametrize(("duration_s", "sampling_rate"), [(1.234567, 16000), (1.0, 44100), (0.04, 24000)])
def test_sampled_bands_have_exactly_the_asked_number_of_samples(duration_s, sampling_rate):
    song = generate_song(5, duration_s=duration_s, sampling_rate=sampling_rate, renderer="soundfont", with_parts=True)
    for wave in (song.instrumental, *song.parts.values()):
        assert wave.shape == (round(duration_s * sampling_rate),)
        assert wave.dtype == np.float32
        assert np.isfinite(wave).all()


@needs_soundfont
def test_sampled_bands_are_loud_enough_and_never_clip():
    for seed in range(4):
        song = generate_song(seed, duration_s=4.0, renderer="soundfont")
        assert np.abs(song.instrumental).max() <= 0.98
        assert -22.0 < loudness_lufs(song.instrumental, SAMPLING_RATE) < -13.0


@needs_soundfont
def test_the_voice_is_the_same_whoever_accompanies_it():
    annotation = compose_song(2, duration_s=2.0)
    sampled = synthesize_song(annotation, renderer="soundfont")
    assert np.array_equal(sampled.vocals, synthesize_song(annotation).vocals)
    assert not np.array_equal(sampled.instrumental, synthesize_song(annotation).instrumental)


def test_unknown_renderers_and_idle_banks_are_named():
    with pytest.raises(ValueError, match="`renderer` must be one of numpy, soundfont, mixed, got 'midi'"):
        generate_song(0, duration_s=1.0, renderer="midi")
    with pytest.raises(ValueError, match=r'`soundfont` a\.sf2 is not used by `renderer="numpy"`'):
        generate_song(0, duration_s=1.0, soundfont="a.sf2")
