"""The `evaluate` modules load from their folders without a network and give the package's numbers."""

from pathlib import Path

import pytest

import accompgen_hf

MODULES = Path(accompgen_hf.__file__).parent / "evaluation" / "metrics" / "modules"


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    import evaluate

    folder = tmp_path_factory.mktemp("evaluate")  # one for all: Python remembers where it found a package
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("evaluate.config.HF_EVALUATE_OFFLINE", True)
        patch.setattr("evaluate.config.HF_MODULES_CACHE", str(folder / "modules"))
        yield lambda name: evaluate.load(str(MODULES / name), cache_dir=str(folder / "cache"))


@pytest.mark.parametrize("name", ["fad", "apa"])
def test_every_module_has_a_card(name):
    card = (MODULES / name / "README.md").read_text("utf-8")
    assert card.startswith("---\ntitle:")
    assert f"evaluation/metrics/modules/{name}" in card
