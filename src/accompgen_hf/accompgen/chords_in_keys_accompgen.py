"""Chords as hidden states in a key that stays: what is seen before and after an instant tells of its chord.

Letters: S steps, K = 24 keys, C = 24 chords, in an order that all arguments share.
"""

import numpy as np

_LEAST_CHANCE = 0.01  # of a change; below, chords stay


def find_chord_chances(seen: np.ndarray, first: np.ndarray, moves: np.ndarray, changes: np.ndarray) -> np.ndarray:
    """Probability of every chord at every step, with all that is seen before and after: `(S, C)`.

    Args:
        seen (`np.ndarray` of shape `(S, C)`): How likely each chord makes what is seen at a step, up to a factor.
        first (`np.ndarray` of shape `(K, C)`): p(key, chord) of the first step.
        moves (`np.ndarray` of shape `(K, C, C)`): p(chord | chord before, key) where a chord may change.
        changes (`np.ndarray` of shape `(S,)`): Probability that it may change before a step.
    """

    def forward(state: np.ndarray, chance: float) -> np.ndarray:
        return state if chance < _LEAST_CHANCE else (1 - chance) * state + chance * (state[:, None] @ moves)[:, 0]

    def backward(state: np.ndarray, chance: float) -> np.ndarray:
        return state if chance < _LEAST_CHANCE else (1 - chance) * state + chance * (moves @ state[..., None])[..., 0]

    before, state = [], first
    for step, row in enumerate(seen):
        state = (forward(state, changes[step]) if step else state) * row
        state /= state.sum()
        before.append(state)
    found, state = np.empty_like(seen), np.ones_like(first)
    for step in range(len(seen) - 1, -1, -1):
        both = before[step] * state
        found[step] = both.sum(0) / both.sum()
        state = backward(state * seen[step], changes[step])
        state /= state.max()
    return found


__all__ = ["find_chord_chances"]
