"""Scores of keys, and the tonic of a known mode."""

import numpy as np

from accompgen_hf.accompgen.harmony_accompgen import Key
from accompgen_hf.evaluation.metrics.keys import best_tonic, score_key

RATE = 24_000


def tones(midi_pitches, duration_s=1.0):
    time = np.arange(int(RATE * duration_s)) / RATE
    return sum(np.sin(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * time) for pitch in midi_pitches)


def test_a_cadence_in_every_major_key_is_heard_in_that_key():
    for tonic in range(12):
        chords = [(0, 4, 7), (5, 9, 12), (7, 11, 14), (0, 4, 7)]
        audio = np.concatenate([tones([48 + tonic + step for step in chord]) for chord in chords])
        assert best_tonic(audio, RATE, "major") == tonic


def test_key_scores_are_mirexs():
    truth = Key(0, "major")
    cases = {(0, "major"): 1.0, (7, "major"): 0.5, (5, "major"): 0.5, (9, "minor"): 0.3, (0, "minor"): 0.2}
    for key, expected in {**cases, (1, "major"): 0.0, (7, "minor"): 0.0}.items():
        assert score_key(Key(*key), truth)["mirex"] == expected
    assert score_key(Key(9, "minor"), truth) == {"exact": 0.0, "relative": 1.0, "mirex": 0.3}
    assert score_key(Key(0, "major"), Key(9, "minor"))["relative"] == 1
    assert score_key(None, truth)["mirex"] == 0
