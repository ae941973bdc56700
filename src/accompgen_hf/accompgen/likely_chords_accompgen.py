"""Which chords a song has at every instant, as far as its singer and several bands for it tell together.

In a key chords come and follow each other as they do in training songs (`musical_tables_accompgen`). Heard are the
bands, by the mean of how well their frames fit each chord, and the sung notes: most of them are tones of the chord.

Letters: F frames of `CHORD_HOP_S`, K = 24 keys, C = 24 triads.
"""

from functools import lru_cache

import numpy as np

from .chords_in_keys_accompgen import find_chord_chances
from .harmony_accompgen import CHORD_HOP_S, CHORD_KINDS, MODES, PITCH_CLASSES, log_shares

NUM_TRIADS = 24
_CHANGES = 0.07  # a chord lasts for 1.4 s on average
_TONE_SHARE = 0.8  # of the sung time on root, third and fifth
_VOICE_WEIGHT, _BANDS_WEIGHT = 1.0, 2.0  # of a frame's evidence, since neighbours are alike


def chord_tones(chord: int) -> tuple[int, int, int]:
    """Pitch classes of a triad's root, third and fifth."""
    root = chord % PITCH_CLASSES
    return root, (root + (4 if chord < PITCH_CLASSES else 3)) % PITCH_CLASSES, (root + 7) % PITCH_CLASSES


def find_likely_chords(pitches: np.ndarray, pitch_hop_s: float, fits: np.ndarray) -> np.ndarray:
    """Probability of every triad at every frame: `(F, C)`.

    Args:
        pitches (`np.ndarray` of shape `(num_pitches,)`): Sung pitches as MIDI numbers, NaN where nothing is sung.
        pitch_hop_s (`float`): Seconds from one to the next.
        fits (`np.ndarray` of shape `(F, 25)`): `chord_fits` of a band, or their mean over several.
    """
    evidence = _VOICE_WEIGHT * _sung_evidence(pitches, pitch_hop_s, len(fits)) + _BANDS_WEIGHT * fits[:, :NUM_TRIADS]
    seen = np.exp(evidence - evidence.max(axis=1, keepdims=True))
    return find_chord_chances(seen, *_chords_in_keys(), np.full(len(fits), _CHANGES))


def _sung_evidence(pitches: np.ndarray, pitch_hop_s: float, num_frames: int) -> np.ndarray:
    """Mean log probability of a frame's sung notes, times the share of it that is sung: `(F, C)`."""
    log_tones = np.full((NUM_TRIADS, PITCH_CLASSES), np.log((1 - _TONE_SHARE) / (PITCH_CLASSES - 3)))
    for chord in range(NUM_TRIADS):
        log_tones[chord, list(chord_tones(chord))] = np.log(_TONE_SHARE / 3)
    is_sung = np.isfinite(pitches)
    frames = np.rint(np.flatnonzero(is_sung) * pitch_hop_s / CHORD_HOP_S).astype(int)
    notes = np.rint(pitches[is_sung]).astype(int) % PITCH_CLASSES
    is_inside = frames < num_frames
    evidence = np.zeros((num_frames, NUM_TRIADS))
    np.add.at(evidence, frames[is_inside], log_tones.T[notes[is_inside]])
    return evidence * pitch_hop_s / CHORD_HOP_S


@lru_cache(maxsize=1)
def _chords_in_keys() -> tuple[np.ndarray, np.ndarray]:
    """Shares of the triads in every key `(K, C)`, and which other triad follows `(K, C, C)`."""
    triads = np.array([root + PITCH_CLASSES * kind.startswith("minor") for kind in CHORD_KINDS for root in range(12)])
    is_triad = triads[:, None] == np.arange(NUM_TRIADS)  # degrees of a key with sevenths, and without
    shares, moves = np.empty((2, NUM_TRIADS)), np.empty((2, NUM_TRIADS, NUM_TRIADS))
    for mode, name in enumerate(MODES):
        degree_shares, degree_steps = map(np.exp, log_shares(name))
        shares[mode] = degree_shares @ is_triad
        steps = (is_triad.T * degree_shares) @ degree_steps @ is_triad
        np.fill_diagonal(steps, 0)
        moves[mode] = steps / steps.sum(axis=1, keepdims=True)
    modes, tonics = np.divmod(np.arange(2 * PITCH_CLASSES), PITCH_CLASSES)
    chords = np.arange(NUM_TRIADS)
    degrees = (chords - tonics[:, None]) % PITCH_CLASSES + chords // PITCH_CLASSES * PITCH_CLASSES  # (K, C)
    first = shares[modes[:, None], degrees] / len(modes)
    return first, moves[modes[:, None, None], degrees[:, :, None], degrees[:, None]]


__all__ = ["NUM_TRIADS", "chord_tones", "find_likely_chords"]
