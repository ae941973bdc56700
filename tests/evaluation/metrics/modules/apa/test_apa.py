"""The `evaluate` module of APA gives the package's numbers."""

from pathlib import Path

import numpy as np
import pytest

import accompgen_hf
from accompgen_hf.evaluation.metrics.prompt_adherence import accompaniment_prompt_adherence

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


def test_apa_gives_the_packages_numbers(load):
    real, deranged, candidate = windows(80, 0), windows(80, 2), windows(50, 1)
    expected = accompaniment_prompt_adherence(real, deranged, candidate).to_dict()
    assert load("apa").compute(predictions=candidate, references=real, deranged=deranged) == expected
