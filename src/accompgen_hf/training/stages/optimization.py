"""Optimizer and averaged weights of a stage (paper §4.2)."""

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from accompgen_hf.training.muon import Muon, group_parameters
from accompgen_hf.training.stages.arguments import StageTrainingArguments


def make_optimizer(model: nn.Module, arguments: StageTrainingArguments) -> torch.optim.AdamW:
    """AdamW, or Muon on the layers' matrices and AdamW on the rest; norms' gains are not decayed."""
    options = {"lr": arguments.learning_rate, "betas": tuple(arguments.betas)}
    if arguments.optimizer == "muon":
        return Muon(group_parameters(model, arguments.weight_decay), **options)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": arguments.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, **options, fused=True)


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
