"""Processes that train together: check that all are there, let them agree, and share weights."""

import os
from typing import TYPE_CHECKING

import torch
from torch.distributed.fsdp import register_fsdp_forward_method

from accompgen_hf.accompgen.modeling_accompgen_stages import AccompGenStageForCausalLM
from accompgen_hf.training.stages.arguments import StageTrainingArguments

if TYPE_CHECKING:
    from accelerate import Accelerator


def check_processes(num_processes: int) -> None:
    """Refuse to train as one of several processes that do not know each other.

    Raises:
        ValueError: If a launcher started another number than work together.
    """
    num_launched = int(os.environ.get("WORLD_SIZE", "1"))
    if num_launched != num_processes:
        raise ValueError(
            f"{num_launched} processes were launched, but this one works with {num_processes}: each would train alone "
            "and overwrite the others. Without GPUs, set ACCELERATE_USE_CPU=true."
        )


def prepare_sharded(
    stage: AccompGenStageForCausalLM, accelerator: "Accelerator", arguments: StageTrainingArguments
) -> None:
    """With FSDP2, gather the shards in the calls that are not `forward` too.

    Raises:
        ValueError: If averaged weights are asked for, which would be saved by the first process alone.
    """
    if accelerator.distributed_type != "FSDP":
        return
    if arguments.ema_decay is not None:
        raise ValueError(f"`ema_decay` must be null with FSDP, got {arguments.ema_decay}. Use DDP, or no average.")
    for name in ("target_losses", "generate"):
        register_fsdp_forward_method(stage, name)


def is_set_anywhere(is_set: bool, accelerator: "Accelerator") -> bool:
    """Whether any process has its flag set: all of them then do the same."""
    if accelerator.num_processes == 1:
        return is_set
    flag = torch.tensor(int(is_set), device=accelerator.device)
    return bool(accelerator.reduce(flag, reduction="sum").item())
