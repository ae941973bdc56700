"""Chords and key of an accompaniment: chroma of treble and bass, templates of 24 triads, Viterbi, order of chords.

Pitch classes count from C; chords are numbered 0-11 major on C to B, 12-23 minor, 24 none (the tables of
`listener_accompgen` have another numbering). For chords nothing was trained. How often a chord sounds in a key and
which follows which is counted on the scores of training songs (`musical_tables_accompgen`); the profiles of pitch
classes are those of Temperley (2001).
"""

from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from .frames_accompgen import MeasuredFrames
from .musical_tables_accompgen import load_tables

PITCH_CLASSES = 12
PITCH_CLASS_NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
NO_CHORD = 24
CHORD_HOP_S = 0.1
_ANALYSIS_RATE = 8000
_TREBLE_HZ, _TREBLE_WINDOW_S = (130.0, 1050.0), 0.5
_BASS_HZ, _BASS_WINDOW_S = (40.0, 180.0), 0.6
_BASS_WEIGHT = 0.5
_SILENCE = 1e-5  # magnitude of a spectral line, full scale at 1: -100 dB
_NO_CHORD_FIT = 0.13  # noise and clicks reach 0.1, bands 0.4 to 0.9
_SHARPNESS = 24.0  # how much a frame's fit counts against the cost of a change
_CHANGE_COST = 8.0

_LOWEST_HZ, _HIGHEST_HZ = 55.0, 1000.0  # above, partials say more of the instrument than of the chord
_WINDOW_S = 0.68  # resolves a semitone from about 50 Hz up
_HOP_S = 0.085
# How often the pitch classes of a major and a minor key sound (Kostka-Payne corpus), tonic first. On our songs they
# find the key of the true accompaniment more often than Krumhansl's ratings, which confuse keys a fifth apart.
KEY_PROFILES = {
    "major": (0.748, 0.060, 0.488, 0.082, 0.670, 0.460, 0.096, 0.715, 0.104, 0.366, 0.057, 0.400),
    "minor": (0.712, 0.084, 0.474, 0.618, 0.049, 0.460, 0.105, 0.747, 0.404, 0.067, 0.133, 0.330),
}
MODES = ("major", "minor")
# Degrees of a key: twelve roots above the tonic, of each kind of chord. A heard minor seventh tells V from I.
CHORD_KINDS = ("major triad", "dominant seventh", "minor triad")
NUM_DEGREES = len(CHORD_KINDS) * PITCH_CLASSES
_UNSEEN_SHARE, _UNSEEN_STEPS = 0.003, 0.5  # of a chord that no training song plays in the key, added to every count
_MIN_TONAL_SHARE = 0.1  # of the time there must be chords at all


class ChordSpan(NamedTuple):
    """A chord that was heard: seconds and its number."""

    start_s: float
    end_s: float
    chord: int

    @property
    def label(self) -> str:
        """In mir_eval's words: "Eb:min", or "N"."""
        return chord_label(self.chord)


class Key(NamedTuple):
    """A key: tonic (C is 0) and "major" or "minor"."""

    tonic: int
    mode: str


class Harmony(NamedTuple):
    """What chords and key are found in.

    Attributes:
        treble, bass (`np.ndarray` of shape `(num_frames, 12)`): As [`BandChroma`] gives them, 10 frames per second.
        chroma (`np.ndarray` of shape `(12, num_chroma_frames)`): As [`KeyChroma`] gives it.
    """

    treble: np.ndarray
    bass: np.ndarray
    chroma: np.ndarray


def chord_label(chord: int) -> str:
    """mir_eval's word for a chord number."""
    return "N" if chord == NO_CHORD else f"{PITCH_CLASS_NAMES[chord % 12]}:{'maj' if chord < 12 else 'min'}"


class BandChroma:
    """How far pitch classes stand out of a band's spectrum, over time, of audio that arrives in chunks.

    Args:
        sampling_rate (`int`): Rate of the chunks in Hz.
        band_hz: Lowest and highest frequency.
        window_s (`float`), hop_s (`float`): Seconds; frame k is centred on `k * hop_s`.
    """

    def __init__(self, sampling_rate: int, band_hz: tuple[float, float], window_s: float, hop_s: float = CHORD_HOP_S):
        window_samples, self._hop_samples = round(window_s * _ANALYSIS_RATE), round(hop_s * _ANALYSIS_RATE)
        self._fft_size = 2 << int(np.ceil(np.log2(window_samples)))
        frequencies = np.fft.rfftfreq(self._fft_size, 1 / _ANALYSIS_RATE)
        self._is_used = (frequencies >= band_hz[0]) & (frequencies <= band_hz[1])
        weights = np.exp(-0.5 * (_semitone_distances(frequencies[self._is_used]) / 0.3) ** 2)
        self._weights = weights / weights.sum(axis=0)
        self._window = np.hanning(window_samples)
        self._frames = MeasuredFrames(sampling_rate, _ANALYSIS_RATE, window_samples, self._hop_samples, self._measure)

    def push(self, audio: np.ndarray) -> None:
        """Take the next samples, float32 `(num_samples,)`."""
        self._frames.push(audio)

    def finish(self) -> np.ndarray:
        """`(num_frames, 12)`: deviations from a frame's mean, relative to its norm.

        Frames of tones have a norm of 0.3 to 1, those of noise, clicks and silence below 0.1.
        """
        return self._frames.finish(lambda num_samples: num_samples // self._hop_samples + 1)

    def _measure(self, frames: np.ndarray) -> np.ndarray:
        spectrum = np.abs(np.fft.rfft(frames * self._window, self._fft_size, axis=1))
        spectrum = spectrum[:, self._is_used] / (self._window.sum() / 2)
        # The square root keeps quiet notes in the chord beside loud ones.
        chroma = np.sqrt(np.maximum(spectrum, _SILENCE)) @ self._weights  # (num_frames, 12)
        return (chroma - chroma.mean(axis=1, keepdims=True)) / np.linalg.norm(chroma, axis=1, keepdims=True)


class KeyChroma:
    """Energy of the twelve pitch classes over time, of audio that arrives in chunks.

    Args:
        sampling_rate (`int`): Rate of the chunks in Hz.
    """

    def __init__(self, sampling_rate: int):
        window_samples = round(_WINDOW_S * sampling_rate)
        frequencies = np.fft.rfftfreq(window_samples, 1 / sampling_rate)
        self._is_used = (frequencies >= _LOWEST_HZ) & (frequencies <= _HIGHEST_HZ)
        self._weights = np.exp(-0.5 * (_semitone_distances(frequencies[self._is_used]) / 0.25) ** 2)
        self._window = np.hanning(window_samples)
        self._frames = MeasuredFrames(
            sampling_rate,
            sampling_rate,
            window_samples,
            round(_HOP_S * sampling_rate),
            self._measure,
            is_centred=False,
        )

    def push(self, audio: np.ndarray) -> None:
        """Take the next samples, `(num_samples,)`."""
        self._frames.push(audio)

    def finish(self) -> np.ndarray:
        """`(12, num_frames)`, C first, 12 frames per second; a frame sums to one, or to zero in silence."""
        return self._frames.finish().T

    def _measure(self, frames: np.ndarray) -> np.ndarray:
        spectrum = np.abs(np.fft.rfft(frames * self._window, axis=1))  # (num_frames, bins)
        energies = spectrum[:, self._is_used] @ self._weights  # (num_frames, 12)
        energies -= energies.min(axis=1, keepdims=True)
        totals = energies.sum(axis=1, keepdims=True)
        return np.divide(energies, totals, out=np.zeros_like(energies), where=totals > 1e-9)


class HarmonyListener:
    """[`Harmony`] of audio that arrives in chunks.

    Args:
        sampling_rate (`int`): Rate of the chunks in Hz.
    """

    def __init__(self, sampling_rate: int):
        self._treble = BandChroma(sampling_rate, _TREBLE_HZ, _TREBLE_WINDOW_S)
        self._bass = BandChroma(sampling_rate, _BASS_HZ, _BASS_WINDOW_S)
        self._chroma = KeyChroma(sampling_rate)

    def push(self, audio: np.ndarray, treble: np.ndarray | None = None, bass: np.ndarray | None = None) -> None:
        """Take the next samples, float32 `(num_samples,)`; of `treble` and `bass` alone where they are known."""
        self._chroma.push(audio)
        self._treble.push(audio if treble is None else treble)
        self._bass.push(audio if bass is None else bass)

    def finish(self) -> Harmony:
        """What has been heard."""
        return Harmony(self._treble.finish(), self._bass.finish(), self._chroma.finish())


def band_chroma(
    audio: np.ndarray, sampling_rate: int, band_hz: tuple[float, float], window_s: float, hop_s: float = CHORD_HOP_S
) -> np.ndarray:
    """[`BandChroma`] of a whole recording, `(num_samples,)`: `(num_frames, 12)`."""
    measured = BandChroma(sampling_rate, band_hz, window_s, hop_s)
    measured.push(as_mono(audio).astype(np.float32))
    return measured.finish()


def chroma(audio: np.ndarray, sampling_rate: int) -> np.ndarray:
    """[`KeyChroma`] of a whole recording, `(num_samples,)`: `(12, num_frames)`, 12 frames per second.

    Raises:
        ValueError: If `audio` is not mono.
    """
    measured = KeyChroma(sampling_rate)
    measured.push(as_mono(audio).astype(np.float64))
    return measured.finish()


def as_mono(audio: np.ndarray) -> np.ndarray:
    """Return mono audio as an array.

    Raises:
        ValueError: If `audio` is not mono.
    """
    audio = np.asarray(audio)
    if audio.ndim != 1:
        raise ValueError(f"`audio` must be mono, (num_samples,), got {audio.shape}.")
    return audio


def _semitone_distances(frequencies: np.ndarray) -> np.ndarray:
    """From every frequency to the nearest tone of every pitch class: (bins, 12)"""
    semitones = 69 + 12 * np.log2(frequencies / 440.0)
    return (semitones[:, None] - np.arange(PITCH_CLASSES) + 6) % 12 - 6


@lru_cache(maxsize=1)
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


def fit_chords(treble: np.ndarray, bass: np.ndarray) -> np.ndarray:
    """How well every frame fits every chord, "no chord" last: `(num_frames, 25)`, 10 frames per second."""
    treble_templates, bass_templates = _templates()
    fits = treble @ treble_templates.T + _BASS_WEIGHT * bass @ bass_templates.T
    return np.concatenate([fits, np.full((len(fits), 1), _NO_CHORD_FIT)], axis=1)


def chord_fits(audio: np.ndarray, sampling_rate: int) -> np.ndarray:
    """[`fit_chords`] of a whole recording, `(num_samples,)`."""
    treble = band_chroma(audio, sampling_rate, _TREBLE_HZ, _TREBLE_WINDOW_S)
    return fit_chords(treble, band_chroma(audio, sampling_rate, _BASS_HZ, _BASS_WINDOW_S))


def smooth_chords(fits: np.ndarray, change_cost: float = _CHANGE_COST) -> np.ndarray:
    """The path of chords that fits best when every change has a price (Viterbi): `(num_frames,)`."""
    gains = _SHARPNESS * fits
    best, came_from = gains[0].copy(), np.zeros(gains.shape, dtype=np.int64)
    states = np.arange(gains.shape[1])
    for frame in range(1, len(gains)):
        change = best.max() - change_cost
        came_from[frame] = np.where(best >= change, states, best.argmax())
        best = np.maximum(best, change) + gains[frame]
    path = np.empty(len(gains), dtype=np.int64)
    path[-1] = best.argmax()
    for frame in range(len(gains) - 1, 0, -1):
        path[frame - 1] = came_from[frame, path[frame]]
    return path


def chord_path(audio: np.ndarray, sampling_rate: int) -> np.ndarray:
    """Chord of every frame of mono audio: `(num_frames,)`, 10 frames per second."""
    return smooth_chords(chord_fits(audio, sampling_rate))


def chord_spans(path: np.ndarray, duration_s: float) -> list[ChordSpan]:
    """The chords of a path, from 0 to the recording's end without gaps."""
    changes = np.flatnonzero(np.diff(path)) + 1
    bounds = [0.0, *((changes - 0.5) * CHORD_HOP_S), duration_s]
    firsts = [0, *changes]
    return [
        ChordSpan(float(start_s), float(min(end_s, duration_s)), int(path[first]))
        for start_s, end_s, first in zip(bounds[:-1], bounds[1:], firsts, strict=True)
        if start_s < duration_s
    ]


def detect_chords(audio: np.ndarray, sampling_rate: int) -> list[ChordSpan]:
    """Major and minor triads of mono audio `(num_samples,)`, from 0 to its end without gaps; silence is "no chord"."""
    return chord_spans(chord_path(audio, sampling_rate), len(audio) / sampling_rate)


def key_correlations(pitch_class_energy: np.ndarray, mode: str) -> np.ndarray:
    """Correlation of a pitch-class distribution `(12,)` with the keys of one mode on C, C sharp, ..., B: `(12,)`.

    Raises:
        ValueError: If `mode` is unknown.
    """
    if mode not in KEY_PROFILES:
        raise ValueError(f"`mode` must be one of {sorted(KEY_PROFILES)}, got {mode!r}.")
    profile = np.array(KEY_PROFILES[mode])
    keys = np.stack([np.roll(profile, tonic) for tonic in range(PITCH_CLASSES)])
    keys = (keys - keys.mean(1, keepdims=True)) / keys.std(1, keepdims=True)
    energy = pitch_class_energy - pitch_class_energy.mean()
    scale = np.sqrt((energy**2).mean()) * PITCH_CLASSES
    return keys @ energy / scale if scale > 0 else np.zeros(PITCH_CLASSES)


def key_scores(degrees_on_c: np.ndarray, durations: np.ndarray, pitch_class_energy: np.ndarray) -> dict[Key, float]:
    """How well every key fits: mean log share of its chords, mean log share of their steps, and its profile.

    Args:
        degrees_on_c (`np.ndarray` of shape `(num_chords,)`): The chords in order, as degrees of C, at least one.
        durations (`np.ndarray` of shape `(num_chords,)`): Duration of each chord.
        pitch_class_energy (`np.ndarray` of shape `(12,)`): Mean chroma.
    """
    kinds, roots = np.divmod(degrees_on_c, PITCH_CLASSES)
    scores = {}
    for mode in MODES:
        shares, steps = log_shares(mode)
        correlations = key_correlations(pitch_class_energy, mode)
        for tonic in range(PITCH_CLASSES):
            degrees = kinds * PITCH_CLASSES + (roots - tonic) % PITCH_CLASSES
            score = np.average(shares[degrees], weights=durations) + correlations[tonic]
            if len(degrees) > 1:
                score += np.mean([steps[place] for place in pairwise(degrees.tolist())])
            scores[Key(tonic, mode)] = float(score)
    return scores


def log_shares(mode: str) -> tuple[np.ndarray, np.ndarray]:
    """Logarithms of how often a mode's degrees sound `(36,)`, and of what follows each of them `(36, 36)`."""
    counts = load_tables()["chords"][mode]
    shares = np.array(counts["seconds"]) / np.sum(counts["seconds"]) + _UNSEEN_SHARE
    steps = np.full((NUM_DEGREES, NUM_DEGREES), _UNSEEN_STEPS)
    before, after, counted = np.reshape(counts["steps"], (-1, 3)).T
    steps[before, after] += counted
    return np.log(shares / shares.sum()), np.log(steps / steps.sum(axis=1, keepdims=True))


def list_degrees(path: np.ndarray, treble: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """The chords of a path as degrees of C, their durations in frames, and the share of time that has chords."""
    degrees, durations = [], []
    for frames in np.split(np.arange(len(path)), np.flatnonzero(np.diff(path)) + 1):
        chord = path[frames[0]]
        if chord == NO_CHORD:
            continue
        root, is_minor = chord % PITCH_CLASSES, chord >= PITCH_CLASSES
        has_seventh = treble[frames, (root + 10) % PITCH_CLASSES].mean() > 0
        kind = 2 if is_minor else int(has_seventh)
        degrees.append(kind * PITCH_CLASSES + root)
        durations.append(len(frames))
    return np.array(degrees, dtype=int), np.array(durations), sum(durations) / len(path)


def find_key(harmony: Harmony, path: np.ndarray) -> Key | None:
    """Key of what was heard, or `None` if there are chords for less than a tenth of the time.

    Args:
        harmony (`Harmony`): What was heard.
        path (`np.ndarray` of shape `(num_frames,)`): Its chords.
    """
    degrees, durations, tonal_share = list_degrees(path, harmony.treble)
    if tonal_share < _MIN_TONAL_SHARE:
        return None
    scores = key_scores(degrees, durations, harmony.chroma.mean(axis=1))
    return max(scores, key=scores.get)


def detect_key(audio: np.ndarray, sampling_rate: int) -> Key | None:
    """Key of mono audio `(num_samples,)`, or `None` if it holds chords for less than a tenth of its time."""
    treble = band_chroma(audio, sampling_rate, _TREBLE_HZ, _TREBLE_WINDOW_S)
    bass = band_chroma(audio, sampling_rate, _BASS_HZ, _BASS_WINDOW_S)
    harmony = Harmony(treble, bass, chroma(audio, sampling_rate))
    return find_key(harmony, smooth_chords(fit_chords(treble, bass)))


__all__ = [
    "CHORD_HOP_S",
    "CHORD_KINDS",
    "KEY_PROFILES",
    "MODES",
    "NO_CHORD",
    "NUM_DEGREES",
    "PITCH_CLASSES",
    "PITCH_CLASS_NAMES",
    "BandChroma",
    "ChordSpan",
    "Harmony",
    "HarmonyListener",
    "Key",
    "KeyChroma",
    "as_mono",
    "band_chroma",
    "chord_fits",
    "chord_label",
    "chord_path",
    "chord_spans",
    "chroma",
    "detect_chords",
    "detect_key",
    "find_key",
    "fit_chords",
    "key_correlations",
    "key_scores",
    "list_degrees",
    "log_shares",
    "smooth_chords",
]
