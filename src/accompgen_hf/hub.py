"""One repository of the whole system: assemble trained parts and save them as the Hub expects."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from .modeling_accompgen import AccompGenForConditionalGeneration
from .pipeline_accompgen import VocalAccompanimentPipeline


def assemble_pipeline(**parts: Any) -> VocalAccompanimentPipeline:
    """Join trained stages, encoder, centroids and codec; arguments and errors as in `from_sub_models`."""
    return VocalAccompanimentPipeline(model=AccompGenForConditionalGeneration.from_sub_models(**parts), device="cpu")


def save_repository(
    pipe: VocalAccompanimentPipeline, folder: str | os.PathLike, half_precision: bool = False, card: str | None = None
) -> Path:
    """Write model, processor and card to a folder, all or nothing.

    Args:
        pipe (`VocalAccompanimentPipeline`): What to save.
        folder (`str` or `os.PathLike`): Replaced if it is there.
        half_precision (`bool`): Store float16 weights, the centroids excepted. The config goes on saying float32, so
            that loading gives float32 everywhere: half precision is slow on a CPU and gives other tokens.
        card (`str`, *optional*): Text of README.md.

    Raises:
        ValueError: If a weight is not finite, or too large for float16.
    """
    folder = Path(folder)
    state = pipe.model.state_dict()
    if half_precision:
        state = {name: _to_half(name, tensor) for name, tensor in state.items()}
    folder.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        pipe.save_pretrained(staged, state_dict=state)
        if card is not None:
            (staged / "README.md").write_text(card, encoding="utf-8")
        staged.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        staged.rename(folder)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return folder


def _to_half(name: str, tensor: torch.Tensor) -> torch.Tensor:
    if tensor.dtype != torch.float32 or name.endswith("centroids"):
        return tensor
    half = tensor.half()
    if not torch.isfinite(half).all():
        raise ValueError(f"`{name}` must be finite and fit float16, got values up to {tensor.abs().max():g}.")
    return half
