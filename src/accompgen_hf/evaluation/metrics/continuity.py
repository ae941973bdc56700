"""Does a long accompaniment hold together: the start against the end, the seams of windows, and rests of the voice."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from accompgen_hf.accompgen.audio_accompgen import integrated_loudness
from accompgen_hf.accompgen.harmony_accompgen import Key, detect_key
from accompgen_hf.accompgen.rhythm_accompgen import track_beats
from accompgen_hf.evaluation.metrics.beats import score_beats
from accompgen_hf.evaluation.metrics.keys import score_key

FLUX_HOP_S = 0.02
END_DURATION_S = 30.0
SILENCE_DB = -60.0  # RMS dBFS of half a second
_NEAR_SEAM_S = 0.03


def spectral_flux(audio: np.ndarray, sampling_rate: int) -> np.ndarray:
    """Rise of log magnitudes from one 40 ms frame to the next, every 20 ms: `(num_frames,)`, frame n at n * 0.02 s."""
    hop = round(FLUX_HOP_S * sampling_rate)
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(audio, hop), 2 * hop)[::hop]
    levels = []
    for start in range(0, len(frames), 4096):  # an hour must not need gigabytes
        spectra = np.abs(np.fft.rfft(frames[start : start + 4096] * np.hanning(2 * hop), axis=1))
        levels.append(np.log(np.maximum(spectra, 1e-3)).astype(np.float32))
    levels = np.concatenate(levels)
    flux = np.zeros(len(levels))
    flux[1:] = np.maximum(np.diff(levels, axis=0), 0).mean(axis=1)
    return flux


def compare_seams(audio: np.ndarray, sampling_rate: int, seams_s: Sequence[float]) -> dict[str, float]:
    """Spectral flux where windows meet, against everywhere else.

    Returns:
        `dict`: `at_seams` (median of the highest flux within 30 ms of each seam), `elsewhere_p95` (95th percentile of
        the same maximum at all other instants) and `share_above` (seams above that percentile; chance is 0.05).
    """
    flux = spectral_flux(audio, sampling_rate)
    reach = round(_NEAR_SEAM_S / FLUX_HOP_S)
    peaks = np.lib.stride_tricks.sliding_window_view(np.pad(flux, reach), 2 * reach + 1).max(axis=1)
    places = np.unique(np.rint(np.asarray(seams_s) / FLUX_HOP_S).astype(int))
    places = places[(places > 0) & (places < len(flux))]
    near = np.unique((places[:, None] + np.arange(-2 * reach, 2 * reach + 1)).clip(0, len(flux) - 1))
    threshold = np.quantile(np.delete(peaks, near), 0.95)
    return {
        "at_seams": float(np.median(peaks[places])),
        "elsewhere_p95": float(threshold),
        "share_above": float(np.mean(peaks[places] > threshold)),
    }


def compare_ends(audio: np.ndarray, sampling_rate: int, annotation: Any) -> dict[str, dict[str, float | None]]:
    """Key, beats and loudness of the first and of the last 30 s.

    Args:
        annotation (`SongAnnotation`): The truth, with `tonic`, `mode` and `beat_times`.

    Returns:
        `dict` with `first` and `last`, each a `dict` of `key_exact`, `key_mirex`, `beat_f1` and `loudness_lufs`.
    """
    duration_s = len(audio) / sampling_rate
    starts_s = {"first": 0.0, "last": max(0.0, duration_s - END_DURATION_S)}
    return {name: _score_span(audio, sampling_rate, annotation, start_s) for name, start_s in starts_s.items()}


def _score_span(audio: np.ndarray, sampling_rate: int, annotation: Any, start_s: float) -> dict[str, float | None]:
    span = audio[round(start_s * sampling_rate) : round((start_s + END_DURATION_S) * sampling_rate)]
    key = score_key(detect_key(span, sampling_rate), Key(annotation.tonic, annotation.mode))
    beats = np.asarray(annotation.beat_times) - start_s
    beats = beats[(beats >= 0) & (beats < len(span) / sampling_rate)]
    return {
        "key_exact": key["exact"],
        "key_mirex": key["mirex"],
        "beat_f1": score_beats(track_beats(span, sampling_rate).times, beats),
        "loudness_lufs": integrated_loudness(span, sampling_rate),
    }


def compare_beats_at_seams(
    heard: np.ndarray, truth: np.ndarray, seams_s: Sequence[float], half_span_s: float = 1.25
) -> dict[str, float | None]:
    """Beat F1 of the spans around seams, and of equally long spans around the middles between seams."""
    seams_s = np.sort(np.asarray(seams_s, dtype=np.float64))
    places = {"across_seams": seams_s, "inside_windows": (seams_s[1:] + seams_s[:-1]) / 2}
    return {
        name: score_beats(*(_within(times, middles, half_span_s) for times in (heard, truth)))
        for name, middles in places.items()
    }


def _within(times: np.ndarray, middles: np.ndarray, half_span_s: float) -> np.ndarray:
    times = np.asarray(times, dtype=np.float64)
    is_inside = np.abs(times[:, None] - middles).min(axis=1) <= half_span_s if len(times) else np.zeros(0, bool)
    return times[is_inside]


def score_rest(
    audio: np.ndarray, sampling_rate: int, start_s: float, end_s: float, heard: np.ndarray, truth: np.ndarray
) -> dict[str, float | None]:
    """What the band does while the voice rests: beats on in tempo, and no silence.

    Returns:
        `dict`: `duration_s`, `beat_f1` (of the whole recording's beats, inside the rest) and `silent_share` (half
        seconds below -60 dBFS).
    """
    middle, half = np.array([(start_s + end_s) / 2]), (end_s - start_s) / 2
    rest = np.asarray(audio[round(start_s * sampling_rate) : round(end_s * sampling_rate)], dtype=np.float64)
    parts = np.array_split(rest, max(1, round(2 * (end_s - start_s))))
    power = np.array([np.mean(part**2) if len(part) else 0.0 for part in parts])
    return {
        "duration_s": float(end_s - start_s),
        "beat_f1": score_beats(*(_within(times, middle, half) for times in (heard, truth))),
        "silent_share": float(np.mean(power < 10 ** (SILENCE_DB / 10))),
    }


def longest_rest(notes: Sequence[Any], duration_s: float) -> tuple[float, float]:
    """Start and end in seconds of the longest stretch without a sung note between the first and the last one."""
    notes = sorted(notes, key=lambda note: note.start_s)
    gaps = [(before.end_s, after.start_s) for before, after in pairwise(notes)]
    start_s, end_s = max(gaps, key=lambda gap: gap[1] - gap[0], default=(0.0, duration_s))
    return max(0.0, start_s), min(duration_s, end_s)
