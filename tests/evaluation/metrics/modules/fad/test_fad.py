"""The `evaluate` module of FAD gives the package's numbers."""

import numpy as np

from accompgen_hf.evaluation.metrics.frechet import frechet_audio_distance


def windows(num_windows: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num_windows, 6)) + seed


def test_fad_gives_the_packages_numbers_for_sets_of_different_sizes(load):
    reference, candidate = windows(80, 0), windows(50, 1)
    expected = frechet_audio_distance(reference, candidate, seed=3)
    found = load("fad").compute(predictions=candidate.tolist(), references=reference.tolist(), seed=3)
    assert found == expected
