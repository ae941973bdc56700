"""The `evaluate` module of FAD gives the package's numbers."""

from pathlib import Path

import numpy as np
import pytest

import accompgen_hf
from accompgen_hf.evaluation.metrics.frechet import frechet_audio_distance

MODULES = Path(accompgen_hf.__file__).parent / "evaluation" / "metrics" / "modules"


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    import evaluate

    folder = tmp_path_factory.mktemp("evaluate")  # one for all: Python remembers where it found a package
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("evaluate.config.HF_EVALUATE_OFFLINE", True)
        patch.setattr("evaluate.config.HF_MODULES_CACHE", str(folder / "modules"))
        yield lambda name: evaluate.load(str(MODULES / name), cache_dir=str(folder / "cache"))


def windows(num_windows: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num_windows, 6)) + seed


def test_fad_gives_the_packages_numbers_for_sets_of_different_sizes(load):
    reference, candidate = windows(80, 0), windows(50, 1)
    expected = frechet_audio_distance(reference, candidate, seed=3)
    found = load("fad").compute(predictions=candidate.tolist(), references=reference.tolist(), seed=3)
    assert found == expected
