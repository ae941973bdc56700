"""Loads the `evaluate` modules from their folders, without a network."""

from pathlib import Path

import pytest

import accompgen_hf

MODULES = Path(accompgen_hf.__file__).parent / "evaluation" / "metrics" / "modules"


@pytest.fixture(scope="session")
def load(tmp_path_factory):
    import evaluate

    folder = tmp_path_factory.mktemp("evaluate")  # one for all: Python remembers where it found a package
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("evaluate.config.HF_EVALUATE_OFFLINE", True)
        patch.setattr("evaluate.config.HF_MODULES_CACHE", str(folder / "modules"))
        yield lambda name: evaluate.load(str(MODULES / name), cache_dir=str(folder / "cache"))
