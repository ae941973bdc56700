"""The band's parts: together they are the band, and each is what its name says."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from accompgen_hf.songs.band import PARTS
from accompgen_hf.songs.mastering import gain_of_parts
from accompgen_hf.songs.song import compose_song, generate_song, synthesize_song
from accompgen_hf.songs.soundfont import DEFAULT_SOUNDFONT

SAMPLING_RATE = 24000
needs_soundfont = pytest.mark.skipif(
    importlib.util.find_spec("tinysoundfont") is None or not Path(DEFAULT_SOUNDFONT).is_file(),
    reason="needs tinysoundfont and FluidR3 GM (Debian: fluid-soundfont-gm)",
)
renderers = pytest.mark.parametrize("renderer", ["numpy", pytest.param("soundfont", marks=needs_soundfont)])


def power(wave: np.ndarray, low_hz: float, high_hz: float) -> float:
    spectrum = np.abs(np.fft.rfft(wave)) ** 2
    frequencies = np.fft.rfftfreq(len(wave), 1.0 / SAMPLING_RATE)
    return float(spectrum[(frequencies >= low_hz) & (frequencies < high_hz)].sum())


@renderers
@pytest.mark.parametrize("seed", [3, 13, 100])
def test_parts_add_up_to_the_band(renderer, seed):
    song = generate_song(seed, duration_s=3.0, renderer=renderer, with_parts=True)
    assert tuple(song.parts) == PARTS == ("drums", "bass", "other")
    for part in song.parts.values():
        assert part.shape == song.instrumental.shape
        assert part.dtype == np.float32
        assert part.any()
    np.testing.assert_allclose(sum(song.parts.values()), song.instrumental, rtol=0, atol=2e-6)


@renderers
def test_asking_for_parts_does_not_change_the_band(renderer):
    alone = generate_song(7, duration_s=2.0, renderer=renderer)
    assert alone.parts is None
    with_parts = generate_song(7, duration_s=2.0, renderer=renderer, with_parts=True)
    assert np.array_equal(alone.instrumental, with_parts.instrumental)


@renderers
def test_the_bass_is_the_lowest_part_and_the_drums_are_the_brightest(renderer):
    song = generate_song(100, duration_s=5.0, renderer=renderer, with_parts=True)
    depth = {name: power(part, 30.0, 250.0) / power(part, 250.0, 12000.0) for name, part in song.parts.items()}
    assert depth["bass"] > 3.0 * depth["other"]
    brilliance = {name: power(part, 5000.0, 12000.0) / power(part, 30.0, 5000.0) for name, part in song.parts.items()}
    assert brilliance["drums"] > 3.0 * max(brilliance["bass"], brilliance["other"])


def test_a_distorted_guitar_belongs_to_other():
    annotation = next(a for a in map(compose_song, range(100)) if a.style == "rock_band")
    song = synthesize_song(annotation.window(annotation.start_s, 2.0), with_parts=True)
    np.testing.assert_allclose(sum(song.parts.values()), song.instrumental, rtol=0, atol=2e-6)
    assert np.sqrt(np.mean(song.parts["other"] ** 2)) > 0.02


def test_the_gain_of_mastering_is_given_to_every_part():
    mix = np.array([0.0, 0.5, -1.0, 0.25], np.float32)
    mastered = np.array([0.0, 1.0, -0.9, 0.5], np.float32)  # twice as loud, one peak rounded off
    parts = gain_of_parts(mix, mastered, {"drums": np.array([0.1, 0.2, -0.5, 0.25], np.float32)})
    np.testing.assert_allclose(parts["drums"], [0.2, 0.4, -0.45, 0.5], rtol=1e-6)
