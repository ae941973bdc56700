"""LoRA adapters of a stage, by PEFT: added before training, merged afterwards (arXiv 2106.09685)."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from accompgen_hf.accompgen.modeling_accompgen_stages import AccompGenStageForCausalLM
from accompgen_hf.accompgen.optional_accompgen import import_optional
from accompgen_hf.accompgen.training_record_accompgen import join_tracks, read_record

ADAPTER_CONFIG = "adapter_config.json"
LAYER_MATRICES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def is_adapter(source: str | os.PathLike) -> bool:
    """Whether a folder holds an adapter instead of a stage."""
    return (Path(source) / ADAPTER_CONFIG).is_file()


def add_adapter(
    stage: AccompGenStageForCausalLM,
    rank: int,
    alpha: float | None = None,
    target: Sequence[str] | None = None,
    seed: int = 0,
) -> None:
    """Freeze a stage and put adapters beside its matrices; they change nothing until they are trained.

    Args:
        stage (`AccompGenStageForCausalLM`): The stage, changed in place.
        rank (`int`): Rank of each adapter.
        alpha (`float`, *optional*): The adapter's product is scaled by `alpha / rank`. `None` means `2 * rank`.
        target (sequence of `str`, *optional*): Names of the matrices, among `LAYER_MATRICES`. `None` means all.
        seed (`int`): Seed of the adapters' weights.

    Raises:
        ValueError: If a name is unknown.
        ImportError: If PEFT is missing.
    """
    target = list(LAYER_MATRICES if target is None else target)
    unknown = sorted(set(target) - set(LAYER_MATRICES))
    if unknown or not target:
        raise ValueError(
            f"`lora_target` must be among {', '.join(LAYER_MATRICES)}, got {', '.join(unknown) or 'none'}."
        )
    peft = import_optional("peft", "Training adapters", ".[train]")
    alpha = 2 * rank if alpha is None else alpha
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        stage.add_adapter(peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=target, bias="none"))
    for config in stage.peft_config.values():
        config.base_model_name_or_path = None  # a folder on this disk, or a name that PEFT would ask the Hub about


def merge_adapter(stage: AccompGenStageForCausalLM, source: str | os.PathLike) -> Any:
    """Add a trained adapter to a stage's weights for good; the result is a stage like any other.

    Args:
        stage (`AccompGenStageForCausalLM`): What the adapter was trained on; it is used up.
        source (`str` or `os.PathLike`): Folder or Hub id of the adapter.

    Raises:
        ImportError: If PEFT is missing.
    """
    peft = import_optional("peft", "Merging adapters", ".[train]")
    generation_config = stage.generation_config
    tracks = join_tracks([stage.training_tracks, read_record(source)])
    merged = peft.PeftModel.from_pretrained(stage, source).merge_and_unload()
    merged.generation_config, merged.training_tracks = generation_config, tracks
    return merged.eval()


__all__ = ["ADAPTER_CONFIG", "LAYER_MATRICES", "add_adapter", "is_adapter", "merge_adapter"]
