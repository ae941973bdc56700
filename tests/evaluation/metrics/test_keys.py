"""Pitch classes and keys of sounds whose answer is known."""

import numpy as np
import pytest

from accompgen_hf.evaluation.metrics.beats import track_beats
from accompgen_hf.evaluation.metrics.keys import Key, best_tonic, chroma, detect_key, key_correlations, score_key
from accompgen_hf.songs.song import HELD_OUT_SEED, compose_song, synthesize_song

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


@pytest.fixture(scope="module")
def songs():
    return [synthesize_song(compose_song(HELD_OUT_SEED + seed, duration_s=20.0), RATE) for seed in range(6)]


def clicks(duration_s: float, period_s: float) -> np.ndarray:
    audio = np.zeros(round(duration_s * RATE), dtype=np.float32)
    audio[:: round(period_s * RATE)] = 0.9
    return audio


def test_key_scores_are_mirexs():
    truth = Key(0, "major")
    cases = {(0, "major"): 1.0, (7, "major"): 0.5, (5, "major"): 0.5, (9, "minor"): 0.3, (0, "minor"): 0.2}
    for key, expected in {**cases, (1, "major"): 0.0, (7, "minor"): 0.0}.items():
        assert score_key(Key(*key), truth)["mirex"] == expected
    assert score_key(Key(9, "minor"), truth) == {"exact": 0.0, "relative": 1.0, "mirex": 0.3}
    assert score_key(Key(0, "major"), Key(9, "minor"))["relative"] == 1
    assert score_key(None, truth)["mirex"] == 0


def test_the_key_of_silence_and_clicks_is_none():
    assert detect_key(np.zeros(RATE * 3), RATE) is None
    assert detect_key(clicks(3.0, 0.5), RATE) is None
    assert len(track_beats(np.zeros(RATE * 3), RATE).times) == 0
    assert track_beats(clicks(1.0, 0.5), RATE).tempo_bpm == 0
