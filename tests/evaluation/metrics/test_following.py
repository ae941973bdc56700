"""Rotation of pitch classes, folded tempi, and recordings in another key or at another speed."""

import numpy as np
import pytest

from accompgen_hf.evaluation.metrics.following import chroma_rotation, shift_recording, tempo_error
from accompgen_hf.songs.song import compose_song, synthesize_song

RATE = 24_000


def melody(steps: tuple[int, ...], seconds: float = 0.5) -> np.ndarray:
    """Tones of five partials, one after the other."""
    time = np.arange(round(seconds * RATE)) / RATE
    fundamentals = [220 * 2 ** (step / 12) for step in steps]
    return np.concatenate([sum(np.sin(2 * np.pi * f * k * time) / k for k in range(1, 6)) for f in fundamentals]) * 0.2


@pytest.mark.parametrize("semitones", [3, -4, 0])
def test_the_rotation_of_a_transposed_song_is_the_transposition(semitones):
    annotation = compose_song(5, duration_s=6.0)
    before = synthesize_song(annotation, RATE).instrumental
    after = synthesize_song(annotation.transposed(semitones), RATE).instrumental
    assert chroma_rotation(before, after, RATE) == semitones % 12


def test_rotation_compares_instant_by_instant():
    # The same pitch classes in another order are the same distribution, but no rotation by 0.
    assert chroma_rotation(melody((0, 4, 0, 4)), melody((4, 8, 4, 8)), RATE) == 4
    assert chroma_rotation(melody((0, 4, 7)), melody((4, 7, 0)), RATE) != 0


def test_rotation_refuses_sides_of_different_length():
    with pytest.raises(ValueError, match=r"samples"):
        chroma_rotation(melody((0,)), melody((0, 4)), RATE)


def test_tempi_an_octave_apart_are_the_same():
    for heard in (60.0, 120.0, 240.0):
        assert tempo_error(heard, 120.0) == pytest.approx(0.0)
    assert tempo_error(132.0, 120.0) == pytest.approx(0.1)
    assert tempo_error(63.0, 120.0) == pytest.approx(0.05)
    assert tempo_error(0.0, 120.0) is None
    with pytest.raises(ValueError, match="`asked_bpm` must be positive, got 0"):
        tempo_error(100.0, 0)


def peak_hz(audio: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio))))
    return float(np.fft.rfftfreq(len(audio), 1 / RATE)[spectrum.argmax()])


def test_a_shifted_recording_has_its_key_and_its_length():
    pytest.importorskip("av")
    tone = melody((0,), 2.0)
    higher = shift_recording(tone, RATE, semitones=3)
    assert higher.shape == tone.shape
    assert peak_hz(higher) == pytest.approx(220 * 2 ** (3 / 12), rel=0.01)
    faster = shift_recording(tone, RATE, speed=1.1)
    assert len(faster) == round(len(tone) / 1.1)
    assert peak_hz(faster) == pytest.approx(220, rel=0.01)
    assert np.abs(faster[-2000:]).max() > 0.05  # nothing is lost at the end
    with pytest.raises(ValueError, match=r"`speed` in \[0.5, 2\], got 0.0 and 3"):
        shift_recording(tone, RATE, speed=3)
