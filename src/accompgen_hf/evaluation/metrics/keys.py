"""Key of an accompaniment, from the order of its chords and from its pitch classes, and scores of keys.

How often a chord sounds in a key and which follows which is counted on the scores of training songs
(`musical_tables.json`); the profiles of pitch classes are those of Temperley (2001).
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from accompgen_hf.evaluation.metrics.chords import (
    NO_CHORD,
    PITCH_CLASSES,
    TREBLE_HZ,
    TREBLE_WINDOW_S,
    band_chroma,
    chord_fits,
    smooth_chords,
)
from accompgen_hf.evaluation.metrics.musical_tables import load_tables

LOWEST_HZ, HIGHEST_HZ = 55.0, 1000.0  # above, partials say more of the instrument than of the chord
WINDOW_S = 0.68  # resolves a semitone from about 50 Hz up
HOP_S = 0.085
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


class Key(NamedTuple):
    """A key: tonic (C is 0) and "major" or "minor"."""

    tonic: int
    mode: str


def chroma(audio: np.ndarray, sampling_rate: int) -> np.ndarray:
    """Energy of the twelve pitch classes, C first, over time.

    Args:
        audio (`np.ndarray` of shape `(num_samples,)`): Mono waveform.
        sampling_rate (`int`): Rate in Hz.

    Returns:
        `np.ndarray` of shape `(12, num_frames)`, 12 frames per second; a frame sums to one, or to zero in silence.

    Raises:
        ValueError: If `audio` is not mono.
    """
    audio = np.asarray(audio, dtype=np.float64)
    if audio.ndim != 1:
        raise ValueError(f"`audio` must be mono, (num_samples,), got {audio.shape}.")
    window_samples, hop_samples = round(WINDOW_S * sampling_rate), round(HOP_S * sampling_rate)
    audio = np.pad(audio, (0, max(0, window_samples - len(audio))))
    frames = np.lib.stride_tricks.sliding_window_view(audio, window_samples)[::hop_samples]
    spectrum = np.abs(np.fft.rfft(frames * np.hanning(window_samples), axis=1))  # (num_frames, bins)
    frequencies = np.fft.rfftfreq(window_samples, 1 / sampling_rate)
    is_used = (frequencies >= LOWEST_HZ) & (frequencies <= HIGHEST_HZ)
    semitones = 69 + 12 * np.log2(frequencies[is_used] / 440.0)
    distance = (semitones[:, None] - np.arange(PITCH_CLASSES) + 6) % 12 - 6  # (bins, 12), in semitones
    energies = spectrum[:, is_used] @ np.exp(-0.5 * (distance / 0.25) ** 2)  # (num_frames, 12)
    energies -= energies.min(axis=1, keepdims=True)
    totals = energies.sum(axis=1, keepdims=True)
    return np.divide(energies, totals, out=np.zeros_like(energies), where=totals > 1e-9).T


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


def best_tonic(audio: np.ndarray, sampling_rate: int, mode: str) -> int:
    """Tonic (C is 0) of the key of `mode` that the audio's pitch classes fit best."""
    return int(key_correlations(chroma(audio, sampling_rate).mean(axis=1), mode).argmax())


def degree_of(root: int, quality: str, tonic: int) -> int:
    """Number of a chord in a key; `quality` as the songs write it."""
    kind = 1 if quality == "7" else 2 if quality.startswith("m") and not quality.startswith("maj") else 0
    return kind * PITCH_CLASSES + (root - tonic) % PITCH_CLASSES


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
        shares, steps = _log_shares(mode)
        correlations = key_correlations(pitch_class_energy, mode)
        for tonic in range(PITCH_CLASSES):
            degrees = kinds * PITCH_CLASSES + (roots - tonic) % PITCH_CLASSES
            score = np.average(shares[degrees], weights=durations) + correlations[tonic]
            if len(degrees) > 1:
                score += np.mean([steps[place] for place in pairwise(degrees.tolist())])
            scores[Key(tonic, mode)] = float(score)
    return scores


def _log_shares(mode: str) -> tuple[np.ndarray, np.ndarray]:
    """Of chords `(36,)`, and of their steps `(36, 36)`."""
    counts = load_tables()["chords"][mode]
    shares = np.array(counts["seconds"]) / np.sum(counts["seconds"]) + _UNSEEN_SHARE
    steps = np.full((NUM_DEGREES, NUM_DEGREES), _UNSEEN_STEPS)
    before, after, counted = np.reshape(counts["steps"], (-1, 3)).T
    steps[before, after] += counted
    return np.log(shares / shares.sum()), np.log(steps / steps.sum(axis=1, keepdims=True))


def hear_degrees(audio: np.ndarray, sampling_rate: int) -> tuple[np.ndarray, np.ndarray, float]:
    """The chords of mono audio as degrees of C, their durations in frames, and the share of time that has chords."""
    path = smooth_chords(chord_fits(audio, sampling_rate))
    treble = band_chroma(audio, sampling_rate, TREBLE_HZ, TREBLE_WINDOW_S)
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


def detect_key(audio: np.ndarray, sampling_rate: int) -> Key | None:
    """Key of mono audio `(num_samples,)`, or `None` if it holds chords for less than a tenth of its time."""
    degrees, durations, tonal_share = hear_degrees(audio, sampling_rate)
    if tonal_share < _MIN_TONAL_SHARE:
        return None
    scores = key_scores(degrees, durations, chroma(audio, sampling_rate).mean(axis=1))
    return max(scores, key=scores.get)


def score_key(heard: Key | None, truth: Key) -> dict[str, float]:
    """How near two keys are.

    Returns:
        `dict`: `exact` (0 or 1), `relative` (1 also for the relative key, which has the same notes) and `mirex` (1;
        0.5 a fifth up or down in the same mode, 0.3 the relative, 0.2 the parallel key; 0 otherwise, and for no key).
    """
    if heard is None:
        return {"exact": 0.0, "relative": 0.0, "mirex": 0.0}
    step = (heard.tonic - truth.tonic) % PITCH_CLASSES
    is_exact = heard == truth
    is_relative = heard.mode != truth.mode and step == (9 if truth.mode == "major" else 3)
    if is_exact:
        mirex = 1.0
    elif heard.mode == truth.mode and step in (5, 7):
        mirex = 0.5
    elif is_relative:
        mirex = 0.3
    else:
        mirex = 0.2 if step == 0 else 0.0
    return {"exact": float(is_exact), "relative": float(is_exact or is_relative), "mirex": mirex}
