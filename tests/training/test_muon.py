"""Muon takes the layers' matrices and moves them along the polar factor of the gradient."""

import copy

import torch

from accompgen_hf.accompgen.configuration_accompgen import AccompGenFineConfig
from accompgen_hf.training.muon import Muon
from accompgen_hf.training.stages.arguments import StageTrainingArguments
from accompgen_hf.training.stages.optimization import make_optimizer
from tiny import tiny_stage


def make_arguments(**fields) -> StageTrainingArguments:
    return StageTrainingArguments(stage="fine", data="a", output_dir="b", **fields)


def test_muon_takes_the_matrices_of_the_layers_and_adamw_the_rest():
    stage = tiny_stage(AccompGenFineConfig)
    optimizer = make_optimizer(stage, make_arguments(optimizer="muon", learning_rate=1e-2))
    names = {id(parameter): name for name, parameter in stage.named_parameters()}
    inside = {names[id(p)] for group in optimizer.param_groups if group["is_matrix"] for p in group["params"]}
    assert inside == {name for name in names.values() if name.endswith("proj.weight")}
    grouped = [p for group in optimizer.param_groups for p in group["params"]]
    assert sorted(map(id, grouped)) == sorted(names)
    reference = copy.deepcopy(stage)
    adamw = make_optimizer(reference, make_arguments(learning_rate=1e-2))
    for model, each in ((stage, optimizer), (reference, adamw)):
        torch.manual_seed(0)
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        each.step()
    for (name, mine), theirs in zip(stage.named_parameters(), reference.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6) == (name not in inside), name


def test_muon_moves_a_matrix_along_the_polar_factor_of_its_gradient():
    weight = torch.nn.Parameter(torch.zeros(6, 4))
    optimizer = Muon([{"params": [weight], "weight_decay": 0.0, "is_matrix": True}], lr=0.5, betas=(0.9, 0.99))
    gradient = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    weight.grad = gradient.clone()
    optimizer.step()
    left, _, right = torch.linalg.svd(gradient, full_matrices=False)
    step = -weight.detach() / (0.5 * 0.2 * 6**0.5)
    assert torch.allclose(torch.linalg.svdvals(step), torch.ones(4), atol=0.35)
    in_singular_basis = left.T @ step @ right.T
    off_diagonal = in_singular_basis - torch.diag(in_singular_basis.diagonal())
    assert off_diagonal.abs().max() < 1e-4
    # The momentum is saved as any optimizer's state, and loads.
    other = Muon([{"params": [weight], "weight_decay": 0.0, "is_matrix": True}], lr=0.5, betas=(0.9, 0.99))
    other.load_state_dict(optimizer.state_dict())
    assert torch.equal(other.state[weight]["momentum"], optimizer.state[weight]["momentum"])
