"""Optimizer and averaged weights of a stage (paper §4.2)."""

import contextlib
from collections.abc import Iterator

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from accompgen_hf.training.stages.arguments import StageTrainingArguments
from accompgen_hf.training.stages.muon import Muon


def make_optimizer(model: nn.Module, arguments: StageTrainingArguments) -> torch.optim.AdamW:
    """AdamW, or Muon on the layers' matrices and AdamW on the rest; norms' gains are not decayed."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": arguments.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    options = {"lr": arguments.learning_rate, "betas": tuple(arguments.betas)}
    if arguments.optimizer == "adamw":
        return torch.optim.AdamW(groups, **options, fused=True)
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    linear = [module for layer in layers for module in layer.modules() if isinstance(module, nn.Linear)]
    matrices = [module.weight for module in linear if module.weight.requires_grad]
    inside = {id(matrix) for matrix in matrices}
    groups[0]["params"] = [p for p in groups[0]["params"] if id(p) not in inside]
    groups.append({"params": matrices, "weight_decay": arguments.weight_decay, "is_matrix": True})
    return Muon(groups, **options)


class WeightAverage:
    """Exponential moving average of a model's parameters, in float32.

    Args:
        model (`nn.Module`): The model; the average starts from its present parameters.
        decay (`float`): Share of the average that each update keeps.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self.average = {name: parameter.detach().float().clone() for name, parameter in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards the model."""
        for name, parameter in model.named_parameters():
            self.average[name].lerp_(parameter.float(), 1 - self.decay)

    @contextlib.contextmanager
    def applied_to(self, model: nn.Module) -> Iterator[None]:
        """Give the model the averaged weights inside a `with` block, and its own back afterwards."""
        own = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        self._write(model, self.average)
        try:
            yield
        finally:
            self._write(model, own)

    @staticmethod
    @torch.no_grad()
    def _write(model: nn.Module, weights: dict[str, torch.Tensor]) -> None:
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The averages by the parameters' names."""
        return self.average

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Take back what `state_dict` gave."""
        for name, tensor in state.items():
            self.average[name].copy_(tensor)
