"""Scores of single parts against a song's annotation: do the drums keep its beat, does the bass play its roots."""

from typing import Any

import numpy as np

from accompgen_hf.accompgen.harmony_accompgen import CHORD_HOP_S, band_chroma
from accompgen_hf.accompgen.rhythm_accompgen import track_beats
from accompgen_hf.evaluation.metrics.beats import score_beats
from accompgen_hf.evaluation.metrics.embedder_interface import check_mono

_BASS_HZ, _WINDOW_S = (40.0, 250.0), 0.4
_EDGE_S = 0.2  # around a change of chords the window hears both
_TONE = 0.2  # norm of the chroma of a frame in which a tone sounds; noise and silence stay below 0.1


def bass_root_rate(bass: np.ndarray, sampling_rate: int, chords: Any) -> float | None:
    """Share of the time in which the strongest pitch class of the bass is the true chord's root.

    Args:
        bass (`np.ndarray` of shape `(num_samples,)`): The bass alone, mono.
        sampling_rate (`int`): Rate in Hz.
        chords (sequence): `(start_s, end_s, root, quality)`, as a song's annotation has them.

    Returns:
        `float` in [0, 1] over the time in which the bass sounds, without 0.2 s around changes of chords; a bass that
        plays fifths and passing notes as well stays below 1. `None` if it never sounds while there is a chord.

    Raises:
        ValueError: If `bass` is not mono, or holds NaN or infinity.
    """
    energy = band_chroma(check_mono(bass, "`bass`"), sampling_rate, _BASS_HZ, _WINDOW_S)  # (num_frames, 12)
    times = np.arange(len(energy)) * CHORD_HOP_S
    is_heard = np.linalg.norm(energy, axis=1) > _TONE
    hits = counted = 0
    for start_s, end_s, root, _ in chords:
        frames = is_heard & (times >= start_s + _EDGE_S) & (times < end_s - _EDGE_S)
        hits += int((energy[frames].argmax(axis=1) == root % 12).sum())
        counted += int(frames.sum())
    return hits / counted if counted else None


def drum_beat_f1(drums: np.ndarray, sampling_rate: int, beat_times: np.ndarray) -> float | None:
    """F measure, within 70 ms, of the beats that are heard in the drums alone; `None` without true beats.

    Args:
        drums (`np.ndarray` of shape `(num_samples,)`): The drums alone, mono.
        sampling_rate (`int`): Rate in Hz.
        beat_times (`np.ndarray`): True beats in seconds.

    Raises:
        ValueError: If `drums` is not mono, or holds NaN or infinity.
    """
    return score_beats(track_beats(check_mono(drums, "`drums`"), sampling_rate).times, beat_times)
