"""The model of a run: a stage with fresh weights from its config's fields, or one to go on from."""

import os
import shutil
from pathlib import Path

import torch

from accompgen_hf.configuration_accompgen import AccompGenStageConfig
from accompgen_hf.modeling_accompgen_stages import (
    AccompGenCoarseForCausalLM,
    AccompGenFineForCausalLM,
    AccompGenSemanticForCausalLM,
    AccompGenStageForCausalLM,
)
from accompgen_hf.training.arguments import StageTrainingArguments

STAGE_MODELS = {
    "semantic": AccompGenSemanticForCausalLM,
    "coarse": AccompGenCoarseForCausalLM,
    "fine": AccompGenFineForCausalLM,
}


def load_stage(arguments: StageTrainingArguments) -> AccompGenStageForCausalLM:
    """Build the stage that `arguments` describe, in float32.

    Raises:
        ValueError: If `init_from` is another stage, or `model` names a field that the stage's config lacks.
    """
    model_class = STAGE_MODELS[arguments.stage]
    config_class = model_class.config_class
    if arguments.init_from is not None:
        found = config_class.get_config_dict(arguments.init_from)[0].get("model_type")
        if found != config_class.model_type:
            raise ValueError(
                f"`init_from` must be a folder of model_type {config_class.model_type}, got {found} in "
                f"{arguments.init_from}."
            )
        return model_class.from_pretrained(arguments.init_from, dtype=torch.float32, **arguments.model)
    unknown = sorted(name for name in arguments.model if not hasattr(config_class(), name))
    if unknown:
        raise ValueError(f"`model` must hold fields of {config_class.__name__}, which has none named {unknown}.")
    config = config_class(**arguments.model)
    with torch.random.fork_rng():
        torch.manual_seed(arguments.seed)
        return model_class(config)


def save_stage(model: AccompGenStageForCausalLM, folder: Path) -> None:
    """Save a stage as a folder that `from_pretrained` loads, replacing an older one at once."""
    folder = Path(folder)
    staging = folder.with_name(f".{folder.name}")
    shutil.rmtree(staging, ignore_errors=True)
    model.save_pretrained(staging)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(staging, folder)


def count_positions(config: AccompGenStageConfig) -> int:
    """Positions of a training clip's sequence, BOS included."""
    frames = [config.clip_duration_s * segment.frame_rate * segment.num_codebooks for segment in config.segments]
    return 1 + round(sum(frames))
