"""Chords in keys: forward and backward give what summing over all sequences gives."""

import itertools

import numpy as np

from accompgen_hf.accompgen.chords_in_keys_accompgen import find_chord_chances

NUM_KEYS, NUM_CHORDS, NUM_STEPS = 2, 3, 4


def shares(generator: np.random.Generator, *shape: int) -> np.ndarray:
    table = generator.random(shape)
    return table / table.sum(-1, keepdims=True)


def test_chances_are_sums_over_all_sequences_of_chords_in_all_keys():
    generator = np.random.default_rng(0)
    seen = generator.random((NUM_STEPS, NUM_CHORDS))
    first = shares(generator, NUM_KEYS * NUM_CHORDS).reshape(NUM_KEYS, NUM_CHORDS)
    moves = shares(generator, NUM_KEYS, NUM_CHORDS, NUM_CHORDS)
    changes = np.array([0.0, 0.3, 0.0, 0.9])
    expected = np.zeros((NUM_STEPS, NUM_CHORDS))
    for key in range(NUM_KEYS):
        for chords in itertools.product(range(NUM_CHORDS), repeat=NUM_STEPS):
            chance = first[key, chords[0]] * seen[0, chords[0]]
            for step in range(1, NUM_STEPS):
                before, chord = chords[step - 1 : step + 1]
                step_chance = changes[step] * moves[key, before, chord] + (1 - changes[step]) * (before == chord)
                chance *= step_chance * seen[step, chord]
            expected[range(NUM_STEPS), chords] += chance
    found = find_chord_chances(seen, first, moves, changes)
    np.testing.assert_allclose(found, expected / expected.sum(1, keepdims=True))
