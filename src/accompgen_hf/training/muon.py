"""Muon for the matrices inside the layers, AdamW for everything else, as one optimizer.

Muon (Jordan et al., 2024) takes the nearest orthogonal matrix to the averaged gradient as the direction, so that weak
directions of a layer learn as fast as strong ones. `torch.optim.Muon` computes it in bfloat16, which a CPU without
such arithmetic does many times more slowly than float32, and leaves embeddings and heads to a second optimizer.
"""

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from transformers.modeling_layers import GradientCheckpointingLayer

OPTIMIZERS = ("adamw", "muon")
_MOMENTUM = 0.95
_STEPS = 5
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # coefficients of the Newton-Schulz iteration, Jordan et al.
_ADAMW_RMS = 0.2  # RMS of AdamW's updates: with it both take the same learning rate (Liu et al., 2025)


def group_parameters(model: nn.Module, weight_decay: float) -> list[dict]:
    """Put the parameters that learn into Muon's groups: matrices, one-dimensional ones without decay, and layers'."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    linear = [module for layer in layers for module in layer.modules() if isinstance(module, nn.Linear)]
    matrices = [module.weight for module in linear if module.weight.requires_grad]
    inside = {id(matrix) for matrix in matrices}
    return [
        {"params": [p for p in parameters if p.ndim >= 2 and id(p) not in inside], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        {"params": matrices, "weight_decay": weight_decay, "is_matrix": True},
    ]


class Muon(torch.optim.AdamW):
    """Muon in groups with `is_matrix`, AdamW in the others.

    Args:
        groups (`list` of `dict`): Parameter groups. Parameters of groups with `is_matrix` have two dimensions.
        lr (`float`), betas (`tuple`): Settings of AdamW; Muon's momentum is 0.95.
    """

    def __init__(self, groups: list[dict], lr: float, betas: tuple[float, float]):
        super().__init__([{"is_matrix": False, **group} for group in groups], lr=lr, betas=betas)

    @torch.no_grad()
    def step(self, closure=None):
        """Update every parameter that has a gradient.

        Raises:
            ValueError: If a matrix is sharded: its direction needs it whole.
        """
        groups = self.param_groups
        try:
            self.param_groups = [group for group in groups if not group["is_matrix"]]
            loss = super().step(closure)
        finally:
            self.param_groups = groups
        for group in groups:
            if group["is_matrix"]:
                for matrix in group["params"]:
                    if matrix.grad is not None:
                        self._update(matrix, group["lr"], group["weight_decay"])
        return loss

    def _update(self, matrix: torch.Tensor, learning_rate: float, weight_decay: float) -> None:
        if isinstance(matrix, DTensor):
            raise ValueError("`optimizer` 'muon' needs whole matrices, got sharded ones. Take 'adamw'.")
        state = self.state[matrix]
        if "momentum" not in state:
            state["step"] = torch.zeros(())  # loading a state looks for AdamW's
            state["momentum"] = torch.zeros_like(matrix)
        state["momentum"].lerp_(matrix.grad, 1 - _MOMENTUM)
        direction = orthogonalise(matrix.grad.lerp(state["momentum"], _MOMENTUM))  # Nesterov's
        matrix.mul_(1 - learning_rate * weight_decay)
        matrix.add_(direction, alpha=-learning_rate * _ADAMW_RMS * max(matrix.shape) ** 0.5)


def orthogonalise(matrix: torch.Tensor) -> torch.Tensor:
    """Pull the singular values of a matrix towards 1, to between about 0.7 and 1.2, and keep its singular vectors."""
    first, second, third = _COEFFICIENTS
    is_tall = matrix.shape[0] > matrix.shape[1]
    result = matrix.T if is_tall else matrix
    result = result / (result.norm() + 1e-7)
    for _ in range(_STEPS):
        gram = result @ result.T
        result = first * result + (second * gram + third * gram @ gram) @ result
    return result.T if is_tall else result
