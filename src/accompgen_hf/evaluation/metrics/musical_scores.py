"""All musical scores of one accompaniment: key, chords, beats, likeness, silence, leakage, loudness, clipping."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from accompgen_hf.accompgen.audio_accompgen import integrated_loudness
from accompgen_hf.accompgen.harmony_accompgen import Key, chroma, detect_chords, detect_key
from accompgen_hf.accompgen.rhythm_accompgen import track_beats
from accompgen_hf.evaluation.metrics.beats import score_beats
from accompgen_hf.evaluation.metrics.chords import chord_tone_energy, score_chords
from accompgen_hf.evaluation.metrics.embedder_interface import check_mono, check_pair
from accompgen_hf.evaluation.metrics.keys import score_key

ACTIVITY_WINDOW_S = 0.1
SILENCE_DB = -60.0  # RMS dBFS of a window
CLIPPED = 0.999
_MAX_LEAKAGE_LAG_S = 0.05
_TEMPO_TOLERANCE = 0.04
_HARMONY_SCORES = ("key_exact", "key_relative", "key_mirex", "chord_majmin", "chord_tone_energy")


def is_active(audio: np.ndarray, sampling_rate: int) -> np.ndarray:
    """Which windows of 0.1 s are louder than -60 dBFS: `(num_windows,)` booleans."""
    window_samples = round(ACTIVITY_WINDOW_S * sampling_rate)
    num_windows = max(1, len(audio) // window_samples)
    windows = np.array_split(np.asarray(audio, dtype=np.float64), num_windows)
    return np.array([np.mean(window**2) > 10 ** (SILENCE_DB / 10) for window in windows])


def vocal_leakage_db(accompaniment: np.ndarray, vocals: np.ndarray, sampling_rate: int) -> float | None:
    """SI-SDR (Le Roux et al. 2019) of the accompaniment as if it were meant to be the vocals, best lag within 50 ms.

    `10 log10(r² / (1 - r²))` with the normalised correlation r. High means that the voice sounds in the accompaniment;
    unrelated recordings lie below -20 dB.

    Returns:
        `float` in [-100, 100] dB, or `None` if a side is silent.
    """
    vocals, accompaniment = (np.asarray(side, dtype=np.float64) - np.mean(side) for side in (vocals, accompaniment))
    energy = float(np.sum(vocals**2) * np.sum(accompaniment**2))
    if energy < 1e-16:
        return None
    max_lag = min(round(_MAX_LEAKAGE_LAG_S * sampling_rate), len(vocals) - 1)
    size = 1 << int(np.ceil(np.log2(len(vocals) + max_lag + 1)))
    correlation = np.fft.irfft(np.fft.rfft(accompaniment, size) * np.conj(np.fft.rfft(vocals, size)), size)
    near = np.concatenate([correlation[: max_lag + 1], correlation[size - max_lag :]])
    squared = float(np.max(near**2) / energy)
    return float(np.clip(10 * np.log10((squared + 1e-12) / max(1 - squared, 1e-12)), -100.0, 100.0))


def chroma_cosine(first: np.ndarray, second: np.ndarray, sampling_rate: int) -> float | None:
    """Mean cosine of the two recordings' chroma over the frames in which both sound; `None` if there are none."""
    a, b = chroma(first, sampling_rate), chroma(second, sampling_rate)  # (12, num_frames)
    norms = np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0)
    is_heard = norms > 1e-9
    return float(np.mean((a * b).sum(axis=0)[is_heard] / norms[is_heard])) if is_heard.any() else None


def _read(annotation: Any, name: str) -> Any:
    return annotation.get(name) if isinstance(annotation, Mapping) else getattr(annotation, name, None)


def _difference(a: float, b: float) -> float | None:
    return a - b if np.isfinite(a) and np.isfinite(b) else None


def score_accompaniment(
    accompaniment: np.ndarray,
    vocals: np.ndarray,
    sampling_rate: int,
    annotation: Any = None,
    reference: np.ndarray | None = None,
) -> dict[str, float | None]:
    """Score one accompaniment.

    Args:
        accompaniment (`np.ndarray` of shape `(num_samples,)`): The mono accompaniment to judge.
        vocals (`np.ndarray` of shape `(num_samples,)`): The mono vocals that it was made for.
        sampling_rate (`int`): Rate of all of them in Hz.
        annotation (`SongAnnotation` or its `to_dict()`, *optional*): The truth: `tonic` and `mode`, `chords`,
            `beat_times` and `tempo_bpm`; each may be missing.
        reference (`np.ndarray` of shape `(num_samples,)`, *optional*): The true accompaniment.

    Returns:
        `dict` of numbers, `None` where there is no truth or nothing to measure:

        - `key_exact`, `key_relative`, `key_mirex`: as in [`score_key`], 0 to 1, against the annotated key.
        - `chord_majmin`: share of the time with the true triad, 0 to 1.
        - `chord_tone_energy`: share of the pitch classes' energy on the true chord's tones, 0 to 1.
        - `beat_f1`: F measure within 70 ms, 0 to 1; read it beside `activity_coverage`.
        - `activity_coverage`: share of windows of 0.1 s above -60 dBFS, 0 to 1; `silence_rate` is the rest.
        - `tempo_bpm`: heard, 0 for none; `tempo_correct`: 1 if within 4 % of the true tempo; `tempo_octave`: or of
          its half or double.
        - `chroma_cosine`: with the reference, -1 to 1; `vocal_chroma_cosine`: with the vocals.
        - `vocal_leakage_db`: as [`vocal_leakage_db`].
        - `loudness_lufs`: integrated (BS.1770); `loudness_difference_lu`: above (+) or below the vocals.
        - `clipping_rate`: share of samples at or above 0.999 of full scale, 0 to 1.

    Raises:
        ValueError: If audio is not mono, holds NaN or infinity, or the sides are not equally long.
    """
    vocals, accompaniment = check_pair(vocals, accompaniment)
    if reference is not None:
        reference = check_mono(reference, "`reference`")
        if len(reference) != len(accompaniment):
            raise ValueError(
                f"`reference` must be as long as `accompaniment`, {len(accompaniment)} samples, got {len(reference)}."
            )
    active_share = float(is_active(accompaniment, sampling_rate).mean())
    loudness = integrated_loudness(accompaniment, sampling_rate)
    has_reference = reference is not None
    return {
        **_score_harmony(accompaniment, sampling_rate, annotation),
        **_score_rhythm(accompaniment, sampling_rate, annotation),
        "activity_coverage": active_share,
        "silence_rate": 1.0 - active_share,
        "chroma_cosine": chroma_cosine(accompaniment, reference, sampling_rate) if has_reference else None,
        "vocal_chroma_cosine": chroma_cosine(accompaniment, vocals, sampling_rate),
        "vocal_leakage_db": vocal_leakage_db(accompaniment, vocals, sampling_rate),
        "loudness_lufs": loudness if np.isfinite(loudness) else None,
        "loudness_difference_lu": _difference(loudness, integrated_loudness(vocals, sampling_rate)),
        "clipping_rate": float(np.mean(np.abs(accompaniment) >= CLIPPED)),
    }


def _score_harmony(accompaniment: np.ndarray, sampling_rate: int, annotation: Any) -> dict[str, float | None]:
    tonic, mode, chords = (_read(annotation, name) for name in ("tonic", "mode", "chords"))
    scores: dict[str, float | None] = dict.fromkeys(_HARMONY_SCORES)
    if tonic is not None and mode is not None:
        key_scores = score_key(detect_key(accompaniment, sampling_rate), Key(int(tonic), str(mode)))
        scores |= {f"key_{name}": value for name, value in key_scores.items()}
    if chords is not None:
        scores["chord_majmin"] = score_chords(detect_chords(accompaniment, sampling_rate), chords)
        scores["chord_tone_energy"] = chord_tone_energy(accompaniment, sampling_rate, chords)
    return scores


def _score_rhythm(accompaniment: np.ndarray, sampling_rate: int, annotation: Any) -> dict[str, float | None]:
    beat_times, tempo_bpm = _read(annotation, "beat_times"), _read(annotation, "tempo_bpm")
    beats = track_beats(accompaniment, sampling_rate)
    scores: dict[str, float | None] = {"beat_f1": None, "tempo_bpm": beats.tempo_bpm}
    scores |= {"tempo_correct": None, "tempo_octave": None}
    if beat_times is not None:
        scores["beat_f1"] = score_beats(beats.times, np.asarray(beat_times, dtype=np.float64))
    if tempo_bpm is not None:
        ratios = beats.tempo_bpm / float(tempo_bpm) * np.array([1.0, 2.0, 0.5])
        is_near = np.abs(ratios - 1) <= _TEMPO_TOLERANCE
        scores |= {"tempo_correct": float(is_near[0]), "tempo_octave": float(is_near.any())}
    return scores
