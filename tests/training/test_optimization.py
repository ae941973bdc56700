"""Schedule, decay groups and averaged weights against their closed forms."""

import math

import pytest
import torch

from accompgen_hf.training.arguments import StageTrainingArguments
from accompgen_hf.training.optimization import WeightAverage, learning_rate_at, make_optimizer


def make_arguments(**fields) -> StageTrainingArguments:
    return StageTrainingArguments(stage="fine", data="a", output_dir="b", **fields)


def test_learning_rate_warms_up_and_falls_like_a_cosine():
    arguments = make_arguments(learning_rate=1.0, warmup_steps=10, max_steps=110)
    assert [learning_rate_at(step, arguments) for step in (0, 4, 9, 10)] == [0.1, 0.5, 1.0, 1.0]
    assert learning_rate_at(60, arguments) == pytest.approx(0.5)
    assert learning_rate_at(109, arguments) == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.99)))
    assert learning_rate_at(0, make_arguments(learning_rate=1.0, warmup_steps=0, max_steps=1)) == 1.0


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
