"""Chords of an accompaniment: chroma of treble and bass, templates of 24 triads and "no chord", Viterbi smoothing.

Nothing here is trained. Pitch classes count from C; chords are numbered 0-11 major on C to B, 12-23 minor, 24 none.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from accompgen_hf.accompgen.audio_accompgen import resample
from accompgen_hf.accompgen.optional_accompgen import import_optional
from accompgen_hf.songs.theory import PITCH_CLASS_NAMES

PITCH_CLASSES = 12
NO_CHORD = 24
CHORD_HOP_S = 0.1
# Qualities as the songs write them -> mir_eval's words.
_QUALITIES = {"m7b5": "hdim7"}
_ANALYSIS_RATE = 8000
TREBLE_HZ, TREBLE_WINDOW_S = (130.0, 1050.0), 0.5
_BASS_HZ, _BASS_WINDOW_S = (40.0, 180.0), 0.6
_BASS_WEIGHT = 0.5
_SILENCE = 1e-5  # magnitude of a spectral line, full scale at 1: -100 dB
_NO_CHORD_FIT = 0.13  # noise and clicks reach 0.1, bands 0.4 to 0.9
_SHARPNESS = 24.0  # how much a frame's fit counts against the cost of a change
_CHANGE_COST = 8.0


class ChordSpan(NamedTuple):
    """A chord that was heard: seconds and its number."""

    start_s: float
    end_s: float
    chord: int

    @property
    def label(self) -> str:
        """In mir_eval's words: "Eb:min", or "N"."""
        return chord_label(self.chord)


def chord_label(chord: int) -> str:
    """mir_eval's word for a chord number."""
    return "N" if chord == NO_CHORD else f"{PITCH_CLASS_NAMES[chord % 12]}:{'maj' if chord < 12 else 'min'}"


def band_chroma(
    audio: np.ndarray, sampling_rate: int, band_hz: tuple[float, float], window_s: float, hop_s: float = CHORD_HOP_S
) -> np.ndarray:
    """How far pitch classes stand out of a band's spectrum, over time.

    Args:
        audio (`np.ndarray` of shape `(num_samples,)`): Mono waveform.
        sampling_rate (`int`): Rate in Hz.
        band_hz: Lowest and highest frequency.
        window_s (`float`), hop_s (`float`): Seconds; frame k is centred on `k * hop_s`.

    Returns:
        `np.ndarray` of shape `(num_frames, 12)`: deviations from a frame's mean, relative to its norm. Frames of tones
        have a norm of 0.3 to 1, those of noise, clicks and silence below 0.1.
    """
    audio = resample(np.asarray(audio, dtype=np.float32), sampling_rate, _ANALYSIS_RATE)
    window_samples, hop_samples = round(window_s * _ANALYSIS_RATE), round(hop_s * _ANALYSIS_RATE)
    num_frames = len(audio) // hop_samples + 1
    padded = np.pad(audio, (window_samples // 2, window_samples))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window_samples)[::hop_samples][:num_frames]
    fft_size = 2 << int(np.ceil(np.log2(window_samples)))
    frequencies = np.fft.rfftfreq(fft_size, 1 / _ANALYSIS_RATE)
    is_used = (frequencies >= band_hz[0]) & (frequencies <= band_hz[1])
    window = np.hanning(window_samples)
    spectrum = np.abs(np.fft.rfft(frames * window, fft_size, axis=1))[:, is_used] / (window.sum() / 2)
    semitones = 69 + 12 * np.log2(frequencies[is_used] / 440.0)
    distance = (semitones[:, None] - np.arange(PITCH_CLASSES) + 6) % 12 - 6  # (bins, 12), in semitones
    weights = np.exp(-0.5 * (distance / 0.3) ** 2)
    # The square root keeps quiet notes in the chord beside loud ones.
    chroma = np.sqrt(np.maximum(spectrum, _SILENCE)) @ (weights / weights.sum(axis=0))  # (num_frames, 12)
    return (chroma - chroma.mean(axis=1, keepdims=True)) / np.linalg.norm(chroma, axis=1, keepdims=True)


def _templates() -> tuple[np.ndarray, np.ndarray]:
    """What a triad looks like in the treble and in the bass: twice `(24, 12)`, mean zero and norm one."""
    treble, bass = np.zeros((24, PITCH_CLASSES)), np.zeros((24, PITCH_CLASSES))
    for chord in range(24):
        root, third = chord % 12, 4 if chord < 12 else 3
        for interval in (0, third, 7):
            for partial, weight in ((0, 1.0), (7, 0.25), (4, 0.1)):  # fundamental, third and fifth partial
                treble[chord, (root + interval + partial) % 12] += weight
        for interval, weight in ((0, 1.0), (7, 0.4), (third, 0.3)):
            bass[chord, (root + interval) % 12] += weight
    centred = [table - table.mean(axis=1, keepdims=True) for table in (treble, bass)]
    return tuple(table / np.linalg.norm(table, axis=1, keepdims=True) for table in centred)


def chord_fits(audio: np.ndarray, sampling_rate: int) -> np.ndarray:
    """How well every frame fits every chord, "no chord" last: `(num_frames, 25)`, 10 frames per second."""
    treble = band_chroma(audio, sampling_rate, TREBLE_HZ, TREBLE_WINDOW_S)
    bass = band_chroma(audio, sampling_rate, _BASS_HZ, _BASS_WINDOW_S)
    treble_templates, bass_templates = _templates()
    fits = treble @ treble_templates.T + _BASS_WEIGHT * bass @ bass_templates.T
    return np.concatenate([fits, np.full((len(fits), 1), _NO_CHORD_FIT)], axis=1)


def smooth_chords(fits: np.ndarray) -> np.ndarray:
    """The path of chords that fits best when every change has a price (Viterbi): `(num_frames,)`."""
    gains = _SHARPNESS * fits
    best, came_from = gains[0].copy(), np.zeros(gains.shape, dtype=np.int64)
    states = np.arange(gains.shape[1])
    for frame in range(1, len(gains)):
        change = best.max() - _CHANGE_COST
        came_from[frame] = np.where(best >= change, states, best.argmax())
        best = np.maximum(best, change) + gains[frame]
    path = np.empty(len(gains), dtype=np.int64)
    path[-1] = best.argmax()
    for frame in range(len(gains) - 1, 0, -1):
        path[frame - 1] = came_from[frame, path[frame]]
    return path


def detect_chords(audio: np.ndarray, sampling_rate: int) -> list[ChordSpan]:
    """Major and minor triads of mono audio `(num_samples,)`, from 0 to its end without gaps; silence is "no chord"."""
    path = smooth_chords(chord_fits(audio, sampling_rate))
    changes = np.flatnonzero(np.diff(path)) + 1
    duration_s = len(audio) / sampling_rate
    bounds = [0.0, *((changes - 0.5) * CHORD_HOP_S), duration_s]
    firsts = [0, *changes]
    return [
        ChordSpan(float(start_s), float(min(end_s, duration_s)), int(path[first]))
        for start_s, end_s, first in zip(bounds[:-1], bounds[1:], firsts, strict=True)
        if start_s < duration_s
    ]


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
