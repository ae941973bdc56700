"""Scores of chords."""

import numpy as np
import pytest

from accompgen_hf.accompgen.harmony_accompgen import ChordSpan
from accompgen_hf.evaluation.metrics.chords import chord_tone_energy, score_chords, share_of_chord_tones


def test_chord_scores_weigh_time_and_leave_out_other_qualities():
    truth = [(0.0, 2.0, 0, "maj7"), (2.0, 3.0, 9, "m7b5"), (3.0, 4.0, 9, "min7")]
    assert score_chords([ChordSpan(0.0, 1.0, 0), ChordSpan(1.0, 4.0, 21)], truth) == pytest.approx(2 / 3)
    assert score_chords([ChordSpan(0.0, 4.0, 24)], truth) == 0
    assert score_chords([ChordSpan(0.0, 4.0, 0)], [(0.0, 4.0, 0, "dim")]) is None
    assert score_chords([ChordSpan(0.0, 4.0, 0)], []) is None


def test_energy_lies_on_the_tones_that_are_played():
    rate, chords = 24_000, [(0.0, 2.0, 0, "maj"), (2.0, 4.0, 9, "min7")]
    time = np.arange(4 * rate) / rate
    pitches = np.where(time < 2, 60, 57)  # C, then A
    audio = sum(np.sin(2 * np.pi * 440 * 2 ** ((pitches + interval - 69) / 12) * time) for interval in (0, 7))
    assert chord_tone_energy(audio, rate, chords) > 0.95
    moved = [(start, end, root + 1, quality) for start, end, root, quality in chords]
    assert chord_tone_energy(audio, rate, moved) < 0.05
    noise = np.random.default_rng(0).standard_normal(len(time))
    shares = [chord_tone_energy(noise, rate, [(0.0, 4.0, root, "maj")]) for root in range(12)]
    assert np.mean(shares) == pytest.approx(3 / 12)
    assert chord_tone_energy(np.zeros(len(time)), rate, chords) is None
    assert chord_tone_energy(audio, rate, []) is None


def test_chord_tones_are_root_third_and_fifth():
    pitches = np.array([60.0, 64.2, 66.9, 63.0, 62.0, np.nan, 60.0, 60.0])  # 20 ms each
    c_major, c_minor, none = 0, 12, 24
    assert share_of_chord_tones(pitches, 0.02, np.array([c_major] * 3)) == pytest.approx(5 / 7)
    assert share_of_chord_tones(pitches, 0.02, np.array([c_minor] * 3)) == pytest.approx(5 / 7)
    assert share_of_chord_tones(pitches, 0.02, np.array([none] * 3)) == 0
    assert share_of_chord_tones(np.full(5, np.nan), 0.02, np.array([c_major])) == 0
