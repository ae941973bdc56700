"""Which of several takes fits the singer best: what can be heard of voice and bands alone, without any truth.

What a voice asks for is played by many takes, an accident by one. Five terms, each between 0 and 1:

- `likely_chords`: how likely the band's chords are, on average, by the sung notes and what all takes play;
- `on_beat`: how strong the singer's onsets are on the band's beats, against everywhere; 0.5 is chance;
- `common_beats`: how far its beats are those of another take (F1), on average over the other takes;
- `silence`: share of the time in which the band is below -60 dBFS;
- `clipping`: share of the samples whose peaks had to be bent.

The score is their sum by `WEIGHTS`. The singer's tuning is taken out first.

Letters: F frames.
"""

from typing import Any

import numpy as np

from .audio_accompgen import fold_to_mono
from .harmony_accompgen import chord_fits, smooth_chords
from .likely_chords_accompgen import find_likely_chords
from .resampling_accompgen import resample
from .rhythm_accompgen import (
    FRAME_RATE,
    find_grids,
    follow_beats,
    has_beats,
    onset_bands,
    onset_strength,
    rhythm_curves,
)

WEIGHTS = {
    "likely_chords": 2.0,
    "on_beat": 1.0,
    "common_beats": 1.0,
    "silence": -1.0,
    "clipping": -1.0,
}

_PITCH_RATE, _PITCH_WINDOW, _PITCH_HOP = 8000, 512, 160  # 64 ms every 20 ms
PITCH_HOP_S = _PITCH_HOP / _PITCH_RATE
_LOWEST_HZ, _HIGHEST_HZ = 65.0, 1000.0
_MAX_APERIODICITY = 0.2  # of YIN (de Cheveigné & Kawahara 2002)
_VOICE_GATE_DB = -35.0  # below the voice's loudest frames
_SILENCE_DB, _SILENCE_HOP_S = -60.0, 0.1
_BENT_PEAK = 0.9  # as in `soften_peaks`
_NEAR_BEAT = 3  # frames to either side, 30 ms
_SAME_BEAT_S = 0.07  # to either side, as beats are scored


def check_keep(keep: int | None, num_variations: int) -> None:
    """Refuse to keep more takes than are made, or one of one.

    Raises:
        ValueError: If `keep` is no whole number from 1 to `num_variations`, or there is one take alone.
    """
    if keep is None:
        return
    is_number = isinstance(keep, int) and not isinstance(keep, bool)
    if not is_number or not 1 <= keep <= num_variations or num_variations == 1:
        raise ValueError(
            f"`keep` must be a whole number from 1 to `num_variations`, of at least two takes; got {keep!r} of "
            f"{num_variations}."
        )


def rank_takes(vocals: np.ndarray, sampling_rate: int, takes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Takes of one recording, the best first.

    Args:
        vocals (`np.ndarray` of shape `(channels, num_samples)`): What is sung.
        sampling_rate (`int`): Its rate in Hz.
        takes (`list` of `dict`): Results of the pipeline, with `audio` and `sampling_rate`.

    Returns:
        The same results, each with `ranking`: its terms, `score`, its `place` from 1 on, and `num_takes`. Equal scores
        stand in the order of their seeds.
    """
    voice = Voice(fold_to_mono(vocals), sampling_rate)
    bands = [Band(take["audio"], take["sampling_rate"]) for take in takes]
    terms = rate_bands(voice, bands)
    order = sorted(range(len(takes)), key=lambda index: -terms[index]["score"])
    return [
        {**takes[index], "ranking": {**terms[index], "place": place, "num_takes": len(takes)}}
        for place, index in enumerate(order, 1)
    ]


class Voice:
    """What a take is compared with.

    Args:
        vocals (`np.ndarray` of shape `(num_samples,)`): Mono.
        sampling_rate (`int`): Rate in Hz.

    Attributes:
        pitches (`np.ndarray` of shape `(F,)`): Sung pitches as MIDI numbers in equal temperament at 440 Hz, 50 frames
            per second; NaN where nothing is sung.
        onsets (`np.ndarray`): Strength of onsets, 100 frames per second.
    """

    def __init__(self, vocals: np.ndarray, sampling_rate: int):
        self.pitches = sung_pitches(vocals, sampling_rate)
        self.onsets = onset_strength(onset_bands(vocals, sampling_rate))


class Band:
    """What is heard of a take.

    Args:
        audio (`np.ndarray` of shape `(num_samples,)`): The accompaniment alone.
        sampling_rate (`int`): Rate in Hz.

    Attributes:
        fits (`np.ndarray` of shape `(num_chord_frames, 25)`): Its `chord_fits`, 10 frames per second.
        path (`np.ndarray` of shape `(num_chord_frames,)`): Its `chord_path`.
        beats (`np.ndarray`): Seconds of its beats.
        silence, clipping (`float`): The terms of these names.
    """

    def __init__(self, audio: np.ndarray, sampling_rate: int):
        self.fits = chord_fits(audio, sampling_rate)
        self.path = smooth_chords(self.fits)
        self.beats = np.zeros(0)
        onsets = onset_bands(audio, sampling_rate)
        if has_beats(onsets):
            self.beats = follow_beats(onset_strength(onsets), find_grids(rhythm_curves(onsets, self.path))).times
        self.silence = share_of_silence(audio, sampling_rate)
        self.clipping = float(np.mean(np.abs(audio) > _BENT_PEAK))


def rate_bands(voice: Voice, bands: list[Band]) -> list[dict[str, float]]:
    """Every term of every band, and `score`: one `dict` each, in the order of `bands`."""
    num_frames = min(len(band.fits) for band in bands)
    fits = np.mean([band.fits[:num_frames] for band in bands], axis=0)
    likely = find_likely_chords(voice.pitches, PITCH_HOP_S, fits)
    rated = []
    for index, band in enumerate(bands):
        others = bands[:index] + bands[index + 1 :]
        terms = {
            "likely_chords": mean_likelihood(band.path, likely),
            "on_beat": share_on_beat(voice.onsets, band.beats),
            "common_beats": share_of_common_beats(band.beats, [other.beats for other in others]),
            "silence": band.silence,
            "clipping": band.clipping,
        }
        rated.append({**terms, "score": float(sum(WEIGHTS[name] * value for name, value in terms.items()))})
    return rated


def sung_pitches(vocals: np.ndarray, sampling_rate: int) -> np.ndarray:
    """Pitch of a voice by YIN: MIDI numbers `(F,)`, 50 frames per second, NaN where nothing is sung.

    How far the singer's tuning is off is taken out.
    """
    audio = np.pad(resample(np.asarray(vocals, np.float32), sampling_rate, _PITCH_RATE), _PITCH_WINDOW // 2)
    longest = round(_PITCH_RATE / _LOWEST_HZ)
    if len(audio) < _PITCH_WINDOW + longest:
        return np.zeros(0)
    frames = np.lib.stride_tricks.sliding_window_view(audio, _PITCH_WINDOW + longest)[::_PITCH_HOP].astype(np.float64)
    fft_size = 2048
    spectrum = np.fft.rfft(frames, fft_size, axis=1)
    first = np.fft.rfft(frames[:, :_PITCH_WINDOW], fft_size, axis=1)
    products = np.fft.irfft(spectrum * first.conj(), fft_size, axis=1)[:, : longest + 1]
    sums = np.pad(np.cumsum(frames**2, axis=1), ((0, 0), (1, 0)))
    energies = sums[:, _PITCH_WINDOW:][:, : longest + 1] - sums[:, : longest + 1]
    differences = np.maximum(energies[:, :1] + energies - 2 * products, 0)  # of the frame and itself, lag by lag
    lags = np.arange(1, longest + 1)
    means = np.cumsum(differences[:, 1:], axis=1) / lags
    aperiodicity = np.divide(differences[:, 1:], means, out=np.ones_like(means), where=means > 1e-12)
    shortest = int(_PITCH_RATE / _HIGHEST_HZ)
    best = _first_dips(aperiodicity[:, shortest - 1 :]) + shortest - 1
    rows = np.arange(len(frames))
    levels = 10 * np.log10(np.maximum(energies[:, 0], 1e-12))
    is_sung = (aperiodicity[rows, best] < _MAX_APERIODICITY) & (levels > levels.max() + _VOICE_GATE_DB)
    pitches = np.where(is_sung, 69 + 12 * np.log2(_PITCH_RATE / _refine(aperiodicity, best) / 440.0), np.nan)
    if is_sung.any():
        pitches -= np.angle(np.mean(np.exp(2j * np.pi * pitches[is_sung]))) / (2 * np.pi)
    return pitches


def _first_dips(aperiodicity: np.ndarray) -> np.ndarray:
    """Column of each row's first dip that is deep enough; without one, of its lowest value."""
    is_dip = np.zeros(aperiodicity.shape, bool)
    inner = aperiodicity[:, 1:-1]
    is_dip[:, 1:-1] = (inner <= aperiodicity[:, :-2]) & (inner < aperiodicity[:, 2:]) & (inner < _MAX_APERIODICITY)
    return np.where(is_dip.any(axis=1), is_dip.argmax(axis=1), aperiodicity.argmin(axis=1))


def _refine(aperiodicity: np.ndarray, best: np.ndarray) -> np.ndarray:
    """Lags at the minimum of a parabola through three columns; column k is lag k + 1."""
    columns = np.clip(best, 1, aperiodicity.shape[1] - 2)
    rows = np.arange(len(best))
    before, middle, after = (aperiodicity[rows, columns + step] for step in (-1, 0, 1))
    bend = before - 2 * middle + after
    shift = np.divide(0.5 * (before - after), bend, out=np.zeros_like(bend), where=np.abs(bend) > 1e-12)
    return columns + 1 + np.clip(shift, -0.5, 0.5)


def mean_likelihood(path: np.ndarray, likely: np.ndarray) -> float:
    """Mean probability of a band's chords; "no chord" has none.

    Args:
        path (`np.ndarray` of shape `(num_chord_frames,)`): Result of `chord_path` of the band.
        likely (`np.ndarray` of shape `(num_frames, 24)`): Result of `find_likely_chords`; it may be shorter.
    """
    chords = path[: len(likely)]
    padded = np.pad(likely, ((0, 0), (0, 1)))  # `NO_CHORD` is the last one
    return float(np.mean(padded[np.arange(len(chords)), chords]))


def share_on_beat(voice_onsets: np.ndarray, beats: np.ndarray) -> float:
    """How much the singer's onsets lie on the band's beats; 0 without beats.

    The mean strength within 30 ms of the beats over the sum of this and the mean of all: 0.5 is chance.

    Args:
        voice_onsets (`np.ndarray`): Strength of the voice's onsets, 100 frames per second.
        beats (`np.ndarray`): Seconds of the band's beats.
    """
    if not len(beats):
        return 0.0
    places = np.rint(beats * FRAME_RATE).astype(int)[:, None] + np.arange(-_NEAR_BEAT, _NEAR_BEAT + 1)
    at_beats = voice_onsets[np.clip(places, 0, len(voice_onsets) - 1)].max(axis=1).mean()
    everywhere = np.lib.stride_tricks.sliding_window_view(voice_onsets, 2 * _NEAR_BEAT + 1).max(axis=1).mean()
    total = at_beats + everywhere
    return float(at_beats / total) if total > 0 else 0.0


def share_of_common_beats(beats: np.ndarray, other_beats: list[np.ndarray]) -> float:
    """F1 of beats against those of other takes, on average over these; 0 without others.

    Beats within 70 ms are the same. They lie further apart than twice that, so each meets one other at most.

    Args:
        beats (`np.ndarray`): Seconds of a band's beats.
        other_beats (`list` of `np.ndarray`): The same of the other takes.
    """
    shares = []
    for other in other_beats:
        num_same = np.count_nonzero(np.abs(beats[:, None] - other) <= _SAME_BEAT_S)
        shares.append(2 * num_same / max(1, len(beats) + len(other)))
    return float(np.mean(shares)) if shares else 0.0


def share_of_silence(audio: np.ndarray, sampling_rate: int) -> float:
    """Share of windows of 0.1 s below -60 dBFS."""
    pieces = np.array_split(audio.astype(np.float64), max(1, round(len(audio) / sampling_rate / _SILENCE_HOP_S)))
    power = np.array([np.mean(piece**2) for piece in pieces])
    return float(np.mean(power < 10 ** (_SILENCE_DB / 10)))


__all__ = [
    "PITCH_HOP_S",
    "WEIGHTS",
    "Band",
    "Voice",
    "check_keep",
    "mean_likelihood",
    "rank_takes",
    "rate_bands",
    "share_of_common_beats",
    "share_of_silence",
    "share_on_beat",
    "sung_pitches",
]
