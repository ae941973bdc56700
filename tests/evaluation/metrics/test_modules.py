"""The `evaluate` modules say on a card what they are; what they compute is tested in `modules`."""

from pathlib import Path

import pytest

import accompgen_hf

MODULES = Path(accompgen_hf.__file__).parent / "evaluation" / "metrics" / "modules"


@pytest.mark.parametrize("name", ["fad", "apa"])
def test_every_module_has_a_card(name):
    card = (MODULES / name / "README.md").read_text("utf-8")
    assert card.startswith("---\ntitle:")
    assert f"evaluation/metrics/modules/{name}" in card
