"""Pitch classes, chords and keys of sounds whose answer is known."""

import numpy as np
import pytest

from accompgen_hf.accompgen.harmony_accompgen import (
    BandChroma,
    KeyChroma,
    band_chroma,
    chroma,
    detect_chords,
    detect_key,
    key_correlations,
)

RATE = 16_000


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


def test_chroma_finds_the_pitch_classes_of_a_chord():
    energies = chroma(triad((60, 64, 67), 1.0), RATE).mean(axis=1)
    assert set(np.argsort(energies)[-3:]) == {0, 4, 7}


def test_silence_fits_no_key():
    assert np.all(key_correlations(chroma(np.zeros(RATE), RATE).mean(axis=1), "minor") == 0)
    assert detect_key(np.zeros(RATE * 3), RATE) is None
    assert [span.label for span in detect_chords(np.zeros(RATE), RATE)] == ["N"]


def test_clicks_have_no_key():
    clicks = np.zeros(3 * RATE)
    clicks[:: RATE // 2] = 0.9
    assert detect_key(clicks, RATE) is None


def test_stereo_is_refused():
    with pytest.raises(ValueError, match="`audio` must be mono"):
        chroma(np.zeros((2, RATE)), RATE)


def test_unknown_mode_is_named():
    with pytest.raises(ValueError, match="`mode` must be one of"):
        key_correlations(np.ones(12), "dorian")


def test_chroma_of_chunks_is_the_bits_of_the_whole():
    audio = 0.1 * np.random.default_rng(1).normal(size=65 * RATE).astype(np.float32)
    in_band, in_key = BandChroma(RATE, (130.0, 1050.0), 0.5), KeyChroma(RATE)
    for start in range(0, len(audio), 100_001):
        in_band.push(audio[start : start + 100_001])
        in_key.push(audio[start : start + 100_001])
    np.testing.assert_array_equal(in_band.finish(), band_chroma(audio, RATE, (130.0, 1050.0), 0.5))
    np.testing.assert_array_equal(in_key.finish(), chroma(audio, RATE))
