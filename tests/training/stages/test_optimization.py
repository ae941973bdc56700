"""Decay groups and averaged weights against their closed forms."""

import pytest
import torch

from accompgen_hf.training.stages.arguments import StageTrainingArguments
from accompgen_hf.training.stages.optimization import WeightAverage, make_optimizer


def make_arguments(**fields) -> StageTrainingArguments:
    return StageTrainingArguments(stage="fine", data="a", output_dir="b", **fields)


def test_gains_are_not_decayed():
    model = torch.nn.Sequential(torch.nn.Linear(3, 3, bias=False), torch.nn.LayerNorm(3))
    decayed, free = make_optimizer(model, make_arguments()).param_groups
    assert [tuple(p.shape) for p in decayed["params"]] == [(3, 3)]
    assert decayed["weight_decay"] == 0.01
    assert (len(free["params"]), free["weight_decay"]) == (2, 0.0)


def test_average_follows_its_recursion_and_gives_the_weights_back():
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(model.weight, 1.0)
    average = WeightAverage(model, 0.9)
    torch.nn.init.constant_(model.weight, 3.0)
    average.update(model)
    with average.applied_to(model):
        assert model.weight.item() == pytest.approx(0.9 * 1 + 0.1 * 3)
    assert model.weight.item() == 3.0
    restored = WeightAverage(model, 0.9)
    restored.load_state_dict(average.state_dict())
    assert restored.average["weight"].item() == pytest.approx(1.2)
