"""Chords of sounds whose answer is known, and their scores."""

import numpy as np
import pytest

from accompgen_hf.evaluation.metrics.chords import ChordSpan, band_chroma, detect_chords, score_chords
from accompgen_hf.songs.song import HELD_OUT_SEED, compose_song, synthesize_song

RATE = 16_000


@pytest.fixture(scope="module")
def songs():
    return [synthesize_song(compose_song(HELD_OUT_SEED + seed, duration_s=20.0), RATE) for seed in range(6)]


def triad(pitches: tuple[int, ...], duration_s: float) -> np.ndarray:
    times = np.arange(round(duration_s * RATE)) / RATE
    return 0.1 * sum(np.sin(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * times) for pitch in pitches)


def test_chords_of_sines_are_heard_with_their_times():
    audio = np.concatenate([triad((48, 64, 67), 2.0), np.zeros(RATE), triad((45, 64, 69, 72), 2.0)])
    spans = detect_chords(audio, RATE)
    assert [span.label for span in spans] == ["C:maj", "N", "A:min"]
    assert spans[0].start_s == 0
    assert spans[-1].end_s == 5.0
    assert spans[1].start_s == pytest.approx(2.0, abs=0.3)
    assert np.linalg.norm(band_chroma(audio, RATE, (130, 1050), 0.5), axis=1)[10] > 0.3


def test_chord_scores_weigh_time_and_leave_out_other_qualities():
    truth = [(0.0, 2.0, 0, "maj7"), (2.0, 3.0, 9, "m7b5"), (3.0, 4.0, 9, "min7")]
    assert score_chords([ChordSpan(0.0, 1.0, 0), ChordSpan(1.0, 4.0, 21)], truth) == pytest.approx(2 / 3)
    assert score_chords([ChordSpan(0.0, 4.0, 24)], truth) == 0
    assert score_chords([ChordSpan(0.0, 4.0, 0)], [(0.0, 4.0, 0, "dim")]) is None
    assert score_chords([ChordSpan(0.0, 4.0, 0)], []) is None
