"""The model of a run, with fresh weights from its config's fields or one to go on from, and the clips it reads."""

from pathlib import Path

import torch

from accompgen_hf.accompgen.configuration_accompgen import AccompGenStageConfig
from accompgen_hf.accompgen.modeling_accompgen_codec import AccompGenCodec
from accompgen_hf.accompgen.modeling_accompgen_semantic_encoder import AccompGenSemanticEncoder
from accompgen_hf.accompgen.modeling_accompgen_stages import (
    AccompGenStageForCausalLM,
)
from accompgen_hf.data.dataset import StageClipDataset
from accompgen_hf.data.stage_kinds import STAGE_KINDS, kind_of
from accompgen_hf.files import folder_written_whole
from accompgen_hf.training.stages.arguments import StageTrainingArguments
from accompgen_hf.training.stages.code_tables import start_tables_from_centroids, start_tables_from_codec


def load_stage(arguments: StageTrainingArguments) -> AccompGenStageForCausalLM:
    """Build the stage that `arguments` describe, in float32.

    Raises:
        ValueError: If `init_from` is another stage, `init_codes_from` or `init_ids_from` does not fit, or `model`
            names a field that the stage's config lacks.
    """
    model_class = STAGE_KINDS[arguments.stage].model_class
    config_class = model_class.config_class
    if arguments.init_from is not None:
        found = config_class.get_config_dict(arguments.init_from)[0].get("model_type")
        if found != config_class.model_type:
            raise ValueError(
                f"`init_from` must be a folder of model_type {config_class.model_type}, got {found} in "
                f"{arguments.init_from}."
            )
        stage = model_class.from_pretrained(arguments.init_from, dtype=torch.float32, **arguments.model)
        if arguments.init_ids_from is not None:
            stage.config.token_fingerprint, stage.config.silence_codes = None, None  # of the ids before
            start_tables_from_centroids(stage, _load_centroids(arguments.init_ids_from), arguments.seed)
        return stage
    unknown = sorted(name for name in arguments.model if not hasattr(config_class(), name))
    if unknown:
        raise ValueError(f"`model` must hold fields of {config_class.__name__}, which has none named {unknown}.")
    config = config_class(**arguments.model)
    with torch.random.fork_rng():
        torch.manual_seed(arguments.seed)
        stage = model_class(config)
    if arguments.init_ids_from is not None:
        start_tables_from_centroids(stage, _load_centroids(arguments.init_ids_from), arguments.seed)
    if arguments.init_codes_from is not None:
        start_tables_from_codec(stage, AccompGenCodec.from_pretrained(arguments.init_codes_from), arguments.seed)
    return stage


def _load_centroids(folder: str) -> torch.Tensor:
    return AccompGenSemanticEncoder.from_pretrained(folder, dtype=torch.float32).centroids.detach()


def open_datasets(
    arguments: StageTrainingArguments, config: AccompGenStageConfig
) -> tuple[StageClipDataset, StageClipDataset | None]:
    """Clips to train on and, unless there is no validation, held-out ones.

    Raises:
        ValueError: If there are too few of either; said before the first step, not after hours.
    """
    open_split = kind_of(config).dataset_class
    training = open_split(
        arguments.data,
        config,
        "train",
        seed=arguments.seed,
        condition_dropout=config.condition_dropout,
        history_dropout=config.history_dropout,
        shuffle_pairs=arguments.shuffle_pairs,
        style_dropout=config.style_dropout,
    )
    if not arguments.validation_clips:
        return training, None
    validation = open_split(arguments.data, config, "validation", seed=arguments.seed)
    num_tracks = len({row.track_id for row in validation.rows})
    if min(num_tracks, arguments.validation_clips) < 2:
        raise ValueError(
            "`data` and `validation_clips` must give at least two held-out tracks, for `conditioning_gain`, "
            f"got {num_tracks} tracks, {arguments.validation_clips} clips. Prepare the data with a higher "
            "`validation_share`, or set `validation_clips` to 0."
        )
    return training, validation


def save_stage(model: AccompGenStageForCausalLM, folder: Path, weights: dict[str, torch.Tensor] | None = None) -> None:
    """Save a stage, or its config with other `weights`, as a folder that `from_pretrained` loads, all at once."""
    with folder_written_whole(folder) as staging:
        model.save_pretrained(staging, state_dict=weights)


def count_positions(config: AccompGenStageConfig) -> int:
    """Positions of a training clip's sequence, BOS included."""
    frames = [config.clip_duration_s * segment.frame_rate * segment.num_codebooks for segment in config.segments]
    return 1 + round(sum(frames))


def count_targets(config: AccompGenStageConfig) -> int:
    """Target codes of a training clip."""
    segment = config.target_segment
    return round(config.clip_duration_s * segment.frame_rate * segment.num_codebooks)
