"""Scores of chords: those that `harmony_accompgen` hears, the energy on the tones of the true ones, and sung tones."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from accompgen_hf.accompgen.harmony_accompgen import CHORD_HOP_S, NO_CHORD, PITCH_CLASS_NAMES, ChordSpan, chroma
from accompgen_hf.accompgen.likely_chords_accompgen import chord_tones
from accompgen_hf.accompgen.optional_accompgen import import_optional
from accompgen_hf.songs.theory import CHORD_INTERVALS

# Qualities as the songs write them -> mir_eval's words.
_QUALITIES = {"m7b5": "hdim7"}


def score_chords(heard: Sequence[ChordSpan], truth: Sequence[Any]) -> float | None:
    """Share of time in which the heard chord is the true one, major or minor triad (mir_eval's `majmin`).

    Args:
        heard (sequence of [`ChordSpan`]): Result of [`detect_chords`].
        truth (sequence): `(start_s, end_s, root, quality)`, as a song's annotation has them.

    Returns:
        `float` in [0, 1]; time whose true chord is neither major nor minor (diminished, suspended) does not count.
        `None` if no time counts.
    """
    mir_eval_chord = import_optional("mir_eval.chord", "Scoring chords", "mir_eval")
    true_intervals = np.array([[chord[0], chord[1]] for chord in truth], dtype=np.float64).reshape(-1, 2)
    true_labels = [f"{PITCH_CLASS_NAMES[chord[2] % 12]}:{_QUALITIES.get(chord[3], chord[3])}" for chord in truth]
    if not true_labels or not heard:
        return None
    intervals, labels = mir_eval_chord.util.adjust_intervals(
        np.array([[span.start_s, span.end_s] for span in heard]),
        [span.label for span in heard],
        true_intervals.min(),
        true_intervals.max(),
        mir_eval_chord.NO_CHORD,
        mir_eval_chord.NO_CHORD,
    )
    intervals, true_labels, labels = mir_eval_chord.util.merge_labeled_intervals(
        true_intervals, true_labels, intervals, labels
    )
    durations = mir_eval_chord.util.intervals_to_durations(intervals)
    hits = mir_eval_chord.majmin(true_labels, labels)
    counts = (hits >= 0) * durations
    return float((hits * counts).sum() / counts.sum()) if counts.sum() > 0 else None


def chord_tone_energy(audio: np.ndarray, sampling_rate: int, truth: Sequence[Any]) -> float | None:
    """Share of the energy of all pitch classes that lies on the tones of the chord that should sound then.

    It needs no guess at a chord, so it also tells a band that hits half of the tones from one that hits none. Frames
    in which something sounds count alike, and the least of the twelve counts as nothing.

    Args:
        audio (`np.ndarray` of shape `(num_samples,)`): Mono audio.
        sampling_rate (`int`): Rate in Hz.
        truth (sequence): `(start_s, end_s, root, quality)`, as a song's annotation has them.

    Returns:
        `float` in [0, 1], three or four twelfths for noise; `None` if nothing sounds while there is a chord.
    """
    energy = chroma(audio, sampling_rate).T  # (num_frames, 12)
    if not len(energy):
        return None
    middles = (np.arange(len(energy)) + 0.5) * (len(audio) / sampling_rate / len(energy))
    on_tones = total = 0.0
    for start_s, end_s, root, quality in truth:
        sounding = energy[(middles >= start_s) & (middles < end_s)]
        tones = [(root + interval) % 12 for interval in CHORD_INTERVALS[quality]]
        on_tones += float(sounding[:, tones].sum())
        total += float(sounding.sum())
    return on_tones / total if total > 0 else None


def share_of_chord_tones(pitches: np.ndarray, pitch_hop_s: float, path: np.ndarray) -> float:
    """Share of the sung time whose pitch class is root, third or fifth of the chord of its instant; 0 if nobody sings.

    Args:
        pitches (`np.ndarray` of shape `(num_pitches,)`): Sung pitches as MIDI numbers, NaN where nothing is sung.
        pitch_hop_s (`float`): Seconds from one to the next.
        path (`np.ndarray` of shape `(num_chord_frames,)`): Result of `chord_path` of a band.
    """
    frames = np.flatnonzero(np.isfinite(pitches))
    if not len(frames):
        return 0.0
    chords = path[np.minimum(np.rint(frames * pitch_hop_s / CHORD_HOP_S).astype(int), len(path) - 1)]
    notes = np.rint(pitches[frames]).astype(int) % 12
    is_tone = [chord != NO_CHORD and note in chord_tones(chord) for note, chord in zip(notes, chords, strict=True)]
    return float(np.mean(is_tone))
