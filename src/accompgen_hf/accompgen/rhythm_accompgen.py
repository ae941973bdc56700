"""Beats and bars of an accompaniment: onsets in three bands and chord changes, a grid, and a path of beats along it.

A hypothesis lays bars of three or four beats over four curves: onsets of three bands, and changes of chord. Its score
is the curves' means on the sixteenths of the bar times weights, plus a prior of tempo and meter: a linear form of the
rhythm patterns of Krebs, Böck & Widmer (2013). The weights are fitted on training songs (`musical_tables_accompgen`).
The beats follow onsets near the best grid by dynamic programming (Ellis 2007). The tempo lies between 58 and 172 beats
per minute and may drift a little.

Letters: F frames, C curves, P phases, K sixteenths.
"""

from typing import NamedTuple

import numpy as np

from .frames_accompgen import MeasuredFrames
from .harmony_accompgen import CHORD_HOP_S, as_mono, chord_path
from .musical_tables_accompgen import load_tables

FRAME_RATE = 100  # frames of the curves per second
MIN_BPM, MAX_BPM = 58.0, 172.0
METERS = (3, 4)
CURVES = ("low", "mid", "high", "chords")
SEGMENT_S = 10.0  # tempo and meter belong to the recording, phases to stretches of this length
_NUM_TEMPI = 110
_PHASE_STEP = 3.0  # frames
_PRIOR_BPM = 105.0
_WHOLE_BARS = 48  # sixteenths: whole bars of three and of four beats

_ANALYSIS_RATE, _FFT_SIZE, _NUM_MELS = 16_000, 512, 40  # 32 ms
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


class Grid(NamedTuple):
    """Bars of one segment.

    Attributes:
        period (`float`): Frames between beats.
        phase (`float`), downbeat (`float`): Frame of one of its beats, and of one of its downbeats.
        meter (`int`): Beats of a bar.
        first (`int`), end (`int`): The segment's first frame, and the frame behind its last one.
    """

    period: float
    phase: float
    downbeat: float
    meter: int
    first: int
    end: int


class Hypotheses(NamedTuple):
    """Hypotheses of one tempo and meter: frame of a first downbeat `(P,)` and what the weights see `(P, features)`."""

    downbeats: np.ndarray
    features: np.ndarray


class OnsetBands:
    """How much the level rises within 30 to 40 ms in three bands, of audio that arrives in chunks.

    Args:
        sampling_rate (`int`): Rate of the chunks in Hz.
    """

    def __init__(self, sampling_rate: int):
        self._filters = _mel_filters(_FFT_SIZE, _NUM_MELS, _ANALYSIS_RATE)
        frequencies = np.fft.rfftfreq(512, 1 / _BASS_RATE)
        self._is_bass = (frequencies > _BASS_HZ[0]) & (frequencies < _BASS_HZ[1])
        self._rises = {"low": _Rise(4), "mid": _Rise(3), "high": _Rise(3)}
        self._wide = MeasuredFrames(
            sampling_rate, _ANALYSIS_RATE, _FFT_SIZE, _ANALYSIS_RATE // FRAME_RATE, self._measure_wide
        )
        self._bass = MeasuredFrames(
            sampling_rate, _BASS_RATE, _BASS_WINDOW, _BASS_RATE // FRAME_RATE, self._measure_bass
        )

    def push(self, audio: np.ndarray) -> None:
        """Take the next samples, float32 `(num_samples,)`."""
        self._wide.push(audio)
        self._bass.push(audio)

    def finish(self) -> dict[str, np.ndarray]:
        """Arrays `(num_frames,)` in dB, 100 frames per second, each centred on its instant.

        `low` is below 200 Hz, `high` above 1.7 kHz and `mid` between them.
        """
        wide = self._wide.finish(lambda num_samples: num_samples * FRAME_RATE // _ANALYSIS_RATE + 1)
        low = self._bass.finish(lambda _: len(wide))
        return {"low": low[:, 0], "mid": wide[:, 0], "high": wide[:, 1]}

    def _measure_wide(self, frames: np.ndarray) -> np.ndarray:
        power = np.square(_magnitudes(frames, _FFT_SIZE)) @ self._filters
        mel = np.maximum(10 * np.log10(np.maximum(power, 1e-12)), _FLOOR_DB)
        return np.stack([self._rises["mid"](mel[:, 8:25]), self._rises["high"](mel[:, 25:])], axis=1)

    def _measure_bass(self, frames: np.ndarray) -> np.ndarray:
        bass = _magnitudes(frames, 512)[:, self._is_bass]
        return self._rises["low"](np.maximum(20 * np.log10(np.maximum(bass, 1e-6)), _FLOOR_DB + 10))[:, None]


class _Rise:
    """How much levels `(num_frames, bands)` rise within `lag` frames, on average over bands: `(num_frames,)`."""

    def __init__(self, lag: int):
        self._lag, self._before = lag, None

    def __call__(self, levels: np.ndarray) -> np.ndarray:
        before = levels[:0] if self._before is None else self._before
        joined = np.concatenate([before, levels])
        self._before = joined[-self._lag :]
        rise = np.zeros(len(joined))
        rise[self._lag :] = np.maximum(joined[self._lag :] - joined[: -self._lag], 0).mean(axis=1)
        return rise[len(before) :]


def _magnitudes(frames: np.ndarray, fft_size: int) -> np.ndarray:
    """Full scale at 1: (num_frames, window_samples) -> (num_frames, bins)"""
    window = np.hanning(frames.shape[1])
    return np.abs(np.fft.rfft(frames * window, fft_size, axis=1)) / (window.sum() / 2)


def _mel_filters(fft_size: int, num_mels: int, sampling_rate: int, lowest_hz: float = 30.0) -> np.ndarray:
    """Triangles evenly spaced on the mel scale up to half the rate, peaks at 1: (bins, num_mels)"""
    lowest, highest = 2595.0 * np.log10(1.0 + np.array([lowest_hz, sampling_rate / 2]) / 700.0)
    corners = 700.0 * (10.0 ** (np.linspace(lowest, highest, num_mels + 2) / 2595.0) - 1.0)
    slopes = corners - np.linspace(0, sampling_rate // 2, fft_size // 2 + 1)[:, None]  # (bins, num_mels + 2)
    widths = np.diff(corners)
    return np.maximum(0, np.minimum(-slopes[:, :-2] / widths[:-1], slopes[:, 2:] / widths[1:]))


def onset_bands(audio: np.ndarray, sampling_rate: int) -> dict[str, np.ndarray]:
    """[`OnsetBands`] of a whole recording, `(num_samples,)`."""
    bands = OnsetBands(sampling_rate)
    bands.push(as_mono(audio).astype(np.float32))
    return bands.finish()


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


def rhythm_curves(bands: dict[str, np.ndarray], path: np.ndarray) -> np.ndarray:
    """What a grid is found in: onsets of `low`, `mid` and `high`, and changes of chord, `(num_frames, 4)`.

    Each has a standard deviation of one, so neither level nor duration counts.

    Args:
        bands (`dict`): Result of [`onset_bands`].
        path (`np.ndarray` of shape `(num_chord_frames,)`): Result of `chord_path`.
    """
    strength = onset_strength(bands)
    curves = [_smooth(_above_surroundings(bands[name])) for name in ("low", "mid", "high")]
    changes = np.bincount(chord_changes(path, strength), minlength=len(strength))
    curves.append(np.convolve(changes, np.exp(-0.5 * (np.arange(-10, 11) / _CHANGE_WIDTH) ** 2), "same"))
    return np.stack([curve / max(curve.std(), 1e-9) for curve in curves], axis=1)


def chord_changes(path: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Frames in which a new chord begins, each moved to the strongest onset near it."""
    changes = (np.flatnonzero(np.diff(path)) + 0.5) * CHORD_HOP_S * FRAME_RATE
    snapped = []
    for change in changes:
        near = np.arange(max(0, int(change) - 22), min(len(strength), int(change) + 23))
        snapped.append(near[(strength[near] * np.exp(-0.5 * ((near - change) / 12) ** 2)).argmax()])
    return np.array(snapped, dtype=np.int64)


def tempo_candidates() -> np.ndarray:
    """Beats per minute that are tried, evenly spaced in ratio."""
    return np.exp(np.linspace(np.log(MIN_BPM), np.log(MAX_BPM), _NUM_TEMPI))


def list_hypotheses(curves: np.ndarray, tempo_bpm: float, meter: int) -> Hypotheses:
    """All places of the bar at one tempo and meter.

    Args:
        curves (`np.ndarray` of shape `(F, C)`): Curves, each with a standard deviation of one.
        tempo_bpm (`float`): Beats per minute.
        meter (`int`): Number of beats in a bar.
    """
    phases, values, is_inside = _lay_sixteenths(curves, tempo_bpm)
    means = bar_means(values, is_inside, meter)
    rotated = [np.roll(means, -4 * beat, axis=1).reshape(len(phases), -1) for beat in range(meter)]
    prior = np.tile(_prior(tempo_bpm), (meter * len(phases), 1))
    downbeats = _list_downbeats(phases, tempo_bpm, meter)
    return Hypotheses(downbeats, np.concatenate([np.concatenate(rotated), prior], axis=1))


def _lay_sixteenths(curves: np.ndarray, tempo_bpm: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Phases (P,), the curves on their sixteenths (P, K, C), and which of these lie inside (P, K)."""
    period = 60.0 * FRAME_RATE / tempo_bpm
    phases = np.arange(0.0, period, _PHASE_STEP)
    num_steps = -(-(int(len(curves) / (period / 4)) + 1) // _WHOLE_BARS) * _WHOLE_BARS
    frames = np.rint(phases[:, None] + period / 4 * np.arange(num_steps)).astype(int)
    return phases, *curves_at(curves, frames)


def curves_at(curves: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The curves at frames `(P, K)`, zero behind their end: `(P, K, C)`; and which frames lie inside, `(P, K)`."""
    is_inside = frames < len(curves)
    followed_by_zero = np.concatenate([curves, np.zeros((1, curves.shape[1]))])
    return followed_by_zero[np.minimum(frames, len(curves))], is_inside


def bar_means(values: np.ndarray, is_inside: np.ndarray, meter: int) -> np.ndarray:
    """Means of curves over whole bars: (P, K, C) -> (P, 4 * meter, C), of the sixteenths (P, K) that lie inside."""
    num_phases, bar = len(values), 4 * meter
    counts = is_inside.reshape(num_phases, -1, bar).sum(axis=1)
    return values.reshape(num_phases, -1, bar, values.shape[2]).sum(axis=1) / np.maximum(counts, 1)[..., None]


def rhythm_weights(meter: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights of a bar that begins on each of its beats `(4 * meter * C, meter)`, and of tempo and meter `(3,)`."""
    weights = np.asarray(load_tables()["rhythm"][str(meter)])
    of_bar = weights[:-3].reshape(4 * meter, -1)
    turned = [np.roll(of_bar, 4 * beat, axis=0).ravel() for beat in range(meter)]
    return np.stack(turned, axis=1), weights[-3:]


def _prior(tempo_bpm: float) -> np.ndarray:
    octaves = np.log2(tempo_bpm / _PRIOR_BPM)
    return np.array([octaves, octaves**2, 1.0])


def _list_downbeats(phases: np.ndarray, tempo_bpm: float, meter: int) -> np.ndarray:
    period = 60.0 * FRAME_RATE / tempo_bpm
    return np.concatenate([phases + beat * period for beat in range(meter)])


def find_grids(curves: np.ndarray) -> list[Grid]:
    """The tempo and meter on which all segments agree best, with every segment's own downbeats.

    Args:
        curves (`np.ndarray` of shape `(F, C)`): Curves in the order of `CURVES`.
    """
    segments = np.array_split(curves, max(1, round(len(curves) / FRAME_RATE / SEGMENT_S)))
    weights = {meter: rhythm_weights(meter) for meter in METERS}
    best_score, best_tempo, best_meter, best_downbeats = -np.inf, MIN_BPM, METERS[0], []
    for tempo_bpm in tempo_candidates():
        laid = [_lay_sixteenths(segment, tempo_bpm) for segment in segments]
        for meter in METERS:
            of_bar, of_prior = weights[meter]
            scores, chosen = [], []
            for phases, values, is_inside in laid:
                means = bar_means(values, is_inside, meter)
                score = (means.reshape(len(phases), -1) @ of_bar).T.ravel()
                scores.append(score.max())
                chosen.append(_list_downbeats(phases, tempo_bpm, meter)[score.argmax()])
            mean_score = np.mean(scores) + _prior(tempo_bpm) @ of_prior
            if mean_score > best_score:
                best_score, best_tempo, best_meter, best_downbeats = mean_score, tempo_bpm, meter, chosen
    period = 60.0 * FRAME_RATE / best_tempo
    ends = np.cumsum([len(segment) for segment in segments])
    return [
        Grid(period, float(start + downbeat % period), float(start + downbeat), best_meter, int(start), int(end))
        for start, end, downbeat in zip([0, *ends[:-1]], ends, best_downbeats, strict=True)
    ]


def follow_beats(strength: np.ndarray, grids: list[Grid]) -> Beats:
    """Beats along the grids of all segments.

    Args:
        strength (`np.ndarray` of shape `(num_frames,)`): Result of [`onset_strength`].
        grids (`list` of [`Grid`]): Result of [`find_grids`].
    """
    pulled = strength.copy()
    for grid in grids:
        places = np.arange(grid.first, grid.end)
        offsets = (places - grid.phase + grid.period / 2) % grid.period - grid.period / 2
        pulled[places] += _GRID_WEIGHT * np.exp(-0.5 * (offsets / _GRID_WIDTH) ** 2)
    period = grids[0].period
    return Beats(_follow(pulled, period) / FRAME_RATE, 60.0 * FRAME_RATE / period)


def nearest_onset(strength: np.ndarray, time_s: float) -> float:
    """Where a beat is heard that is expected at an instant: at the strongest onset within 0.1 s.

    Args:
        strength (`np.ndarray` of shape `(num_frames,)`): Result of [`onset_strength`].
        time_s (`float`): The instant.
    """
    place = time_s * FRAME_RATE
    near = np.arange(max(0, int(place) - 9), min(len(strength), int(place) + 11))
    if len(near) == 0:  # behind the last frame
        return time_s
    pulled = strength[near] + _GRID_WEIGHT * np.exp(-0.5 * ((near - place) / _GRID_WIDTH) ** 2)
    return float(near[pulled.argmax()]) / FRAME_RATE


def track_beats(audio: np.ndarray, sampling_rate: int) -> Beats:
    """Beats of mono audio.

    Args:
        audio (`np.ndarray` of shape `(num_samples,)`): Mono waveform.
        sampling_rate (`int`): Rate in Hz.

    Returns:
        [`Beats`]; without beats if the audio is shorter than two seconds, silent or without onsets.
    """
    if not has_beats(bands := onset_bands(audio, sampling_rate)):
        return Beats(np.zeros(0), 0.0)
    grids = find_grids(rhythm_curves(bands, chord_path(audio, sampling_rate)))
    return follow_beats(onset_strength(bands), grids)


def has_beats(bands: dict[str, np.ndarray]) -> bool:
    """Whether there are two seconds or more, and onsets in them."""
    return len(bands["low"]) > _MIN_DURATION_S * FRAME_RATE and has_onsets(bands)


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


__all__ = [
    "CURVES",
    "FRAME_RATE",
    "MAX_BPM",
    "METERS",
    "MIN_BPM",
    "SEGMENT_S",
    "Beats",
    "Grid",
    "Hypotheses",
    "OnsetBands",
    "bar_means",
    "chord_changes",
    "curves_at",
    "find_grids",
    "follow_beats",
    "has_beats",
    "has_onsets",
    "list_hypotheses",
    "nearest_onset",
    "onset_bands",
    "onset_strength",
    "rhythm_curves",
    "rhythm_weights",
    "tempo_candidates",
    "track_beats",
]
