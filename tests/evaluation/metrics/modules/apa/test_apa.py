"""The `evaluate` module of APA gives the package's numbers."""

import numpy as np

from accompgen_hf.evaluation.metrics.prompt_adherence import accompaniment_prompt_adherence


def windows(num_windows: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num_windows, 6)) + seed


def test_apa_gives_the_packages_numbers(load):
    real, deranged, candidate = windows(80, 0), windows(80, 2), windows(50, 1)
    expected = accompaniment_prompt_adherence(real, deranged, candidate).to_dict()
    assert load("apa").compute(predictions=candidate, references=real, deranged=deranged) == expected
