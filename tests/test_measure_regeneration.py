"""The script that measures regenerated spans: what it takes for outside of a span."""

import importlib
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.mark.parametrize(
    ("name", "shape", "first", "last"),
    [
        ("instrumental_semantic_ids", (500,), 100, 200),
        ("instrumental_semantic_ids", (3, 500), 100, 200),
        ("coarse_codes", (4, 750), 150, 300),
        ("fine_codes", (3, 4, 750), 150, 300),
    ],
)
def test_codes_of_one_part_and_of_several_are_outside_of_the_same_seconds(monkeypatch, name, shape, first, last):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    script = importlib.import_module("measure_regeneration")
    codes, inside = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    inside[..., first:last] = 1
    assert script.hash_outside(name, codes, 2.0, 4.0) == script.hash_outside(name, inside, 2.0, 4.0)
    for place in (first - 1, last):
        outside = codes.clone()
        outside[..., place] = 1
        assert script.hash_outside(name, codes, 2.0, 4.0) != script.hash_outside(name, outside, 2.0, 4.0)
