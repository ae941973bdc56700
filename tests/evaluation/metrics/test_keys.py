"""Pitch classes and keys of sounds whose answer is known."""

import numpy as np
import pytest

from accompgen_hf.evaluation.metrics.keys import best_tonic, chroma, key_correlations

RATE = 24_000


def tones(midi_pitches, duration_s=1.0):
    time = np.arange(int(RATE * duration_s)) / RATE
    return sum(np.sin(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * time) for pitch in midi_pitches)


def test_chroma_finds_the_pitch_classes_of_a_chord():
    energies = chroma(tones([60, 64, 67]), RATE).mean(axis=1)
    assert set(np.argsort(energies)[-3:]) == {0, 4, 7}


def test_a_cadence_in_every_major_key_is_heard_in_that_key():
    for tonic in range(12):
        chords = [(0, 4, 7), (5, 9, 12), (7, 11, 14), (0, 4, 7)]
        audio = np.concatenate([tones([48 + tonic + step for step in chord]) for chord in chords])
        assert best_tonic(audio, RATE, "major") == tonic


def test_silence_fits_no_key():
    assert np.all(key_correlations(chroma(np.zeros(RATE), RATE).mean(axis=1), "minor") == 0)


def test_chroma_refuses_stereo():
    with pytest.raises(ValueError, match="`audio` must be mono"):
        chroma(np.zeros((2, RATE)), RATE)


def test_unknown_mode_is_named():
    with pytest.raises(ValueError, match="`mode` must be one of"):
        key_correlations(np.ones(12), "dorian")
