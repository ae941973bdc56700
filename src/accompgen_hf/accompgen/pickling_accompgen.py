"""Pickling of models whose weight norm makes classes of its own, which pickle cannot name: by tensors."""

from typing import Any

import torch


class PickledByTensorsMixin:
    """For models that are made by `type(model)(model.config)`: process pools and caches can then hold them."""

    def __reduce__(self) -> tuple:
        """Give what makes the model again; the names of its tensors stay, because they enter fingerprints."""
        trained = [name for name, parameter in self.named_parameters() if parameter.requires_grad]
        return rebuild_model, (type(self), self.config, dict(self.state_dict()), trained, self.training)


def rebuild_model(
    model_class: type, config: Any, tensors: dict[str, torch.Tensor], trained: list[str], is_training: bool
) -> Any:
    """Make a pickled model again, with the very tensors."""
    model = model_class(config)
    model.load_state_dict(tensors, assign=True)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trained)
    return model.train(is_training)


__all__ = ["PickledByTensorsMixin", "rebuild_model"]
