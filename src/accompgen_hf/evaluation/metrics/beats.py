"""Beats of an accompaniment: onsets in three bands and chord changes, a grid, and dynamic programming along it.

The grid comes from `meter.py`; the sequence that follows onsets near it is that of Ellis (2007). The tempo lies
between 58 and 172 beats per minute and may drift a little.
"""

from typing import NamedTuple

import numpy as np
from transformers.audio_utils import mel_filter_bank

from accompgen_hf.accompgen.audio_accompgen import resample
from accompgen_hf.evaluation.metrics.chords import CHORD_HOP_S, chord_fits, smooth_chords
from accompgen_hf.evaluation.metrics.meter import FRAME_RATE, find_grids

BEAT_TOLERANCE_S = 0.07
_ANALYSIS_RATE, _FFT_SIZE = 16_000, 512  # 32 ms
_BASS_RATE, _BASS_WINDOW, _BASS_HZ = 4000, 256, (30.0, 200.0)  # 64 ms
_FLOOR_DB = -70.0  # below full scale: rises under it are noise
_MIN_RISE_DB = 1.0  # mean over a clip's strongest frames; silence and steady noise stay below
_MIN_DURATION_S = 2.0
_BAND_WEIGHTS = {"low": 1.0, "mid": 0.3, "high": 0.5}
_CHANGE_WIDTH = 3.0  # frames: standard deviation of a chord change's place
_TIGHTNESS = 400.0
_GRID_WEIGHT, _GRID_WIDTH = 6.0, 4.0  # of the pull towards the grid; frames


class Beats(NamedTuple):
    """Beat times in seconds and the tempo in beats per minute; no beats and 0.0 where there are no onsets."""

    times: np.ndarray
    tempo_bpm: float


def onset_bands(audio: np.ndarray, sampling_rate: int) -> dict[str, np.ndarray]:
    """How much the level rises within 30 to 40 ms, below 200 Hz (`low`), above 1.7 kHz (`high`) and between (`mid`).

    Returns:
        `dict` of arrays `(num_frames,)` in dB, 100 frames per second, each centred on its instant.
    """
    audio = np.asarray(audio, dtype=np.float32)
    wide = resample(audio, sampling_rate, _ANALYSIS_RATE)
    num_frames = len(wide) * FRAME_RATE // _ANALYSIS_RATE + 1
    filters = mel_filter_bank(_FFT_SIZE // 2 + 1, 40, 30.0, 8000.0, _ANALYSIS_RATE, mel_scale="htk")
    power = np.square(_spectrum(wide, _FFT_SIZE, _FFT_SIZE, _ANALYSIS_RATE, num_frames)) @ filters
    mel = np.maximum(10 * np.log10(np.maximum(power, 1e-12)), _FLOOR_DB)
    bass = _spectrum(resample(audio, sampling_rate, _BASS_RATE), _BASS_WINDOW, 512, _BASS_RATE, num_frames)
    frequencies = np.fft.rfftfreq(512, 1 / _BASS_RATE)
    is_bass = (frequencies > _BASS_HZ[0]) & (frequencies < _BASS_HZ[1])
    low = np.maximum(20 * np.log10(np.maximum(bass[:, is_bass], 1e-6)), _FLOOR_DB + 10)
    return {"low": _rise(low, 4), "mid": _rise(mel[:, 8:25], 3), "high": _rise(mel[:, 25:], 3)}


def _spectrum(audio: np.ndarray, window_samples: int, fft_size: int, rate: int, num_frames: int) -> np.ndarray:
    """Magnitudes, full scale at 1: (num_frames, bins)"""
    padded = np.pad(audio, (window_samples // 2, window_samples))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window_samples)[:: rate // FRAME_RATE][:num_frames]
    window = np.hanning(window_samples)
    return np.abs(np.fft.rfft(frames * window, fft_size, axis=1)) / (window.sum() / 2)


def _rise(levels: np.ndarray, lag: int) -> np.ndarray:
    """(num_frames, bands) -> (num_frames,)"""
    rise = np.zeros(len(levels))
    rise[lag:] = np.maximum(levels[lag:] - levels[:-lag], 0).mean(axis=1)
    return rise


def _above_surroundings(rise: np.ndarray) -> np.ndarray:
    """What stands out of the two seconds around it, in standard deviations."""
    box = np.ones(min(2 * FRAME_RATE + 1, len(rise)))
    rise = np.maximum(rise - np.convolve(rise, box, "same") / np.convolve(np.ones_like(rise), box, "same"), 0)
    deviation = rise.std()
    return rise / deviation if deviation > 1e-9 else np.zeros_like(rise)


def has_onsets(bands: dict[str, np.ndarray]) -> bool:
    """Whether something rises: no silence, no steady noise."""
    return float(np.quantile(sum(bands.values()), 0.98)) >= _MIN_RISE_DB


def onset_strength(bands: dict[str, np.ndarray]) -> np.ndarray:
    """One curve of all bands, smoothed over 30 ms, with a standard deviation of one: `(num_frames,)`."""
    strength = sum(weight * _above_surroundings(bands[name]) for name, weight in _BAND_WEIGHTS.items())
    strength = _smooth(strength)
    return strength / max(strength.std(), 1e-9)


def _smooth(curve: np.ndarray) -> np.ndarray:
    """Over 30 ms."""
    weights = np.exp(-0.5 * (np.arange(-4, 5) / 1.5) ** 2)
    return np.convolve(curve, weights / weights.sum(), "same")


def rhythm_curves(audio: np.ndarray, sampling_rate: int, bands: dict[str, np.ndarray]) -> np.ndarray:
    """What a grid is found in: onsets of `low`, `mid` and `high`, and changes of chord, `(num_frames, 4)`.

    Each has a standard deviation of one, so neither level nor duration counts.
    """
    strength = onset_strength(bands)
    curves = [_smooth(_above_surroundings(bands[name])) for name in ("low", "mid", "high")]
    changes = np.bincount(chord_changes(audio, sampling_rate, strength), minlength=len(strength))
    curves.append(np.convolve(changes, np.exp(-0.5 * (np.arange(-10, 11) / _CHANGE_WIDTH) ** 2), "same"))
    return np.stack([curve / max(curve.std(), 1e-9) for curve in curves], axis=1)


def chord_changes(audio: np.ndarray, sampling_rate: int, strength: np.ndarray) -> np.ndarray:
    """Frames in which a new chord begins, each moved to the strongest onset near it."""
    path = smooth_chords(chord_fits(audio, sampling_rate))
    changes = (np.flatnonzero(np.diff(path)) + 0.5) * CHORD_HOP_S * FRAME_RATE
    snapped = []
    for change in changes:
        near = np.arange(max(0, int(change) - 22), min(len(strength), int(change) + 23))
        snapped.append(near[(strength[near] * np.exp(-0.5 * ((near - change) / 12) ** 2)).argmax()])
    return np.array(snapped, dtype=np.int64)


def track_beats(audio: np.ndarray, sampling_rate: int) -> Beats:
    """Beats of mono audio.

    Args:
        audio (`np.ndarray` of shape `(num_samples,)`): Mono waveform.
        sampling_rate (`int`): Rate in Hz.

    Returns:
        [`Beats`]; without beats if the audio is shorter than two seconds, silent or without onsets.
    """
    nothing = Beats(np.zeros(0), 0.0)
    if len(audio) < _MIN_DURATION_S * sampling_rate:
        return nothing
    bands = onset_bands(audio, sampling_rate)
    if not has_onsets(bands):
        return nothing
    grids = find_grids(rhythm_curves(audio, sampling_rate, bands))
    pulled = onset_strength(bands)
    for grid in grids:
        places = np.arange(grid.first, grid.end)
        offsets = (places - grid.phase + grid.period / 2) % grid.period - grid.period / 2
        pulled[places] += _GRID_WEIGHT * np.exp(-0.5 * (offsets / _GRID_WIDTH) ** 2)
    period = grids[0].period
    return Beats(_follow(pulled, period) / FRAME_RATE, 60.0 * FRAME_RATE / period)


def _follow(strength: np.ndarray, period: float) -> np.ndarray:
    """Frames of the sequence with the most strength whose steps stay near the period (dynamic programming)."""
    lags = np.arange(int(period / 2), int(2 * period) + 1)
    prices = _TIGHTNESS / period * np.log(lags / period) ** 2
    best, came_from = strength.copy(), np.full(len(strength), -1)
    for frame in range(lags[0], len(strength)):
        earlier = frame - lags[: frame - lags[0] + 1]
        earlier = earlier[earlier >= 0]
        scores = best[earlier] - prices[: len(earlier)]
        choice = int(scores.argmax())
        if scores[choice] > 0:
            best[frame], came_from[frame] = strength[frame] + scores[choice], earlier[choice]
    tail = max(0, len(strength) - int(np.ceil(period)))
    frames = [tail + int(best[tail:].argmax())]
    while came_from[frames[-1]] >= 0:
        frames.append(came_from[frames[-1]])
    return np.array(frames[::-1])


def score_beats(heard: np.ndarray, truth: np.ndarray) -> float | None:
    """F measure of beat times in seconds, hits within 70 ms and one to one; `None` if there are no true beats.

    Equals `mir_eval.beat.f_measure`; the first five seconds count too, since clips are short.
    """
    heard, truth = np.sort(np.asarray(heard, dtype=np.float64)), np.sort(np.asarray(truth, dtype=np.float64))
    if len(truth) == 0:
        return None
    hits, place = 0, 0
    for time in truth:  # beats lie further apart than twice the tolerance: the first in reach is the match
        while place < len(heard) and heard[place] < time - BEAT_TOLERANCE_S:
            place += 1
        if place < len(heard) and heard[place] <= time + BEAT_TOLERANCE_S:
            hits, place = hits + 1, place + 1
    return 2.0 * hits / (len(heard) + len(truth))
