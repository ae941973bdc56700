"""Vocals of the second condition: simulated on procedural songs, separated where there is a separator."""

import numpy as np
import pytest

from accompgen_hf.data.sources import Track
from accompgen_hf.evaluation.protocol.excerpts import write_windows
from accompgen_hf.evaluation.protocol.separated_vocals import describe_separation, simulate_separation, write_separated

RATE = 24_000


def tone(frequency: float, scale: float = 0.3) -> np.ndarray:
    return (scale * np.sin(2 * np.pi * frequency * np.arange(RATE) / RATE)).astype(np.float32)


class HalvesTheBand:
    def describe(self):
        return {"separator": "halves"}

    def separate(self, mix, sampling_rate):
        return np.repeat(mix * 0.5, 2, axis=0), np.repeat(mix * 0.5, 2, axis=0), sampling_rate


def test_the_bleed_is_twenty_decibels_down_and_has_no_highs():
    for frequency, expected_db in ((300, -20), (10_000, -45)):
        bleed = simulate_separation(np.zeros(RATE, np.float32), tone(frequency), RATE)
        level_db = 20 * np.log10(np.std(bleed) / np.std(tone(frequency)))
        assert level_db == pytest.approx(expected_db, abs=0.1) if expected_db == -20 else level_db < expected_db
    vocals = tone(500)
    assert np.array_equal(simulate_separation(vocals, np.zeros(RATE, np.float32), RATE), vocals)


def test_without_a_separator_only_procedural_songs_have_the_condition():
    assert describe_separation(None, "musdb18") is None
    assert describe_separation(None, "songs")["separator"] == "simulated"
    assert describe_separation(HalvesTheBand(), "musdb18") == {"separator": "halves"}


def test_a_separator_hears_the_mix_and_another_one_needs_another_folder(tmp_path):
    track = Track("a", "CC0-1.0", lambda: (tone(500), tone(200), RATE))
    folder = write_windows([track], tmp_path, window_s=1.0)
    write_separated(folder, HalvesTheBand(), {"separator": "halves"})
    separated = folder.load(folder.windows[0], "separated")
    assert np.abs(separated - 0.5 * (tone(500) + tone(200))).max() < 1e-5
    with pytest.raises(ValueError, match=r"`separate`: .* holds vocals of another separator"):
        write_separated(folder, None, {"separator": "simulated"})
