"""The model of a run, with fresh weights from its config's fields or one to go on from, and the clips it reads."""

from pathlib import Path

import torch

from accompgen_hf.accompgen.configuration_accompgen import AccompGenConfig, AccompGenStageConfig
from accompgen_hf.accompgen.modeling_accompgen import AccompGenForConditionalGeneration, equivalent_fingerprints
from accompgen_hf.accompgen.modeling_accompgen_stages import (
    AccompGenStageForCausalLM,
)
from accompgen_hf.data.dataset import StageClipDataset
from accompgen_hf.data.remote_shards import RemoteShards
from accompgen_hf.data.stage_kinds import STAGE_KINDS, kind_of
from accompgen_hf.data.streaming import FewRows, StreamedClips
from accompgen_hf.files import folder_written_whole
from accompgen_hf.model_parts import PART_CLASSES, load_part, naming, resolve_model
from accompgen_hf.training.stages.adapters import add_adapter
from accompgen_hf.training.stages.arguments import StageTrainingArguments
from accompgen_hf.training.stages.code_tables import start_tables_from_centroids, start_tables_from_codec


def load_stage(arguments: StageTrainingArguments) -> AccompGenStageForCausalLM:
    """Build the stage that `arguments` describe, in float32.

    Raises:
        ImportError: If adapters are asked for, and PEFT is missing.
        ValueError: If `init_from` is another stage, `init_codes_from` or `init_ids_from` does not fit, or `model`
            names a field that the stage's config lacks.
    """
    model_class = STAGE_KINDS[arguments.stage].model_class
    config_class = model_class.config_class
    if arguments.init_from is not None:
        stage = _load_initial(arguments, model_class)
        if arguments.init_ids_from is not None:
            stage.config.token_fingerprint, stage.config.silence_codes = None, None  # of the ids before
            start_tables_from_centroids(stage, _load_centroids(arguments.init_ids_from), arguments.seed)
        if arguments.lora_rank is not None:
            add_adapter(stage, arguments.lora_rank, arguments.lora_alpha, arguments.lora_target, arguments.seed)
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
        start_tables_from_codec(stage, load_part(arguments.init_codes_from, "codec"), arguments.seed)
    return stage


def _load_initial(arguments: StageTrainingArguments, model_class: type) -> AccompGenStageForCausalLM:
    """The stage of `init_from`, which may be a whole model, with the run's own dropouts."""
    source, config_class = resolve_model(arguments.init_from), model_class.config_class
    with naming(source):
        found = config_class.get_config_dict(source)[0].get("model_type")
    if found == config_class.model_type:
        return model_class.from_pretrained(source, dtype=torch.float32, **arguments.model)
    if found != AccompGenConfig.model_type or arguments.stage not in PART_CLASSES:
        raise ValueError(
            f"`init_from` must be a folder of model_type {config_class.model_type}, or of a whole model with such a "
            f"stage, got {found} in {arguments.init_from}."
        )
    model = AccompGenForConditionalGeneration.from_pretrained(source, dtype=torch.float32)
    part = getattr(model, arguments.stage)
    current, former = equivalent_fingerprints(model.config, model.semantic_encoder, model.codec)
    if part.config.token_fingerprint == former:  # the same tokens, by an older rule of what identifies them
        part.config.token_fingerprint = current
    stage = model_class(config_class(**{**part.config.to_dict(), **arguments.model}))
    stage.load_state_dict(part.state_dict())
    stage.generation_config, stage.training_tracks = part.generation_config, part.training_tracks
    return stage


def _load_centroids(source: str) -> torch.Tensor:
    return load_part(source, "semantic_encoder", dtype=torch.float32).centroids.detach()


def open_datasets(
    arguments: StageTrainingArguments, config: AccompGenStageConfig
) -> tuple[StageClipDataset | StreamedClips, StageClipDataset | None]:
    """Clips to train on and, unless there is no validation, held-out ones.

    Raises:
        ValueError: If there are too few of either; said before the first step, not after hours.
    """
    open_split = kind_of(config).dataset_class
    dropouts = {name: getattr(config, name) for name in ("condition_dropout", "history_dropout", "style_dropout")}
    training: StageClipDataset | StreamedClips
    held_out: str | list[str] | FewRows = arguments.data
    if arguments.streaming:
        sources = [RemoteShards(name) for name in list_data(arguments)]
        cutter = open_split.cutter_class(config, **dropouts)
        training = StreamedClips(sources, config, cutter, arguments.seed, arguments.shuffle_buffer)
        held_out = FewRows(sources, arguments.validation_clips)
    else:
        shuffle_pairs = arguments.shuffle_pairs
        training = open_split(
            arguments.data, config, "train", seed=arguments.seed, shuffle_pairs=shuffle_pairs, **dropouts
        )
    if not arguments.validation_clips:
        return training, None
    validation = open_split(held_out, config, "validation", seed=arguments.seed)
    num_tracks = len({row.track_id for row in validation.rows})
    if min(num_tracks, arguments.validation_clips) < 2:
        raise ValueError(
            "`data` and `validation_clips` must give at least two held-out tracks, for `conditioning_gain`, "
            f"got {num_tracks} tracks, {arguments.validation_clips} clips. Prepare the data with a higher "
            "`validation_share`, or set `validation_clips` to 0."
        )
    return training, validation


def list_data(arguments: StageTrainingArguments) -> list[str]:
    """Folders, or ids, of the run's data."""
    return [arguments.data] if isinstance(arguments.data, str) else list(arguments.data)


def save_stage(model: AccompGenStageForCausalLM, folder: Path, weights: dict[str, torch.Tensor] | None = None) -> None:
    """Save a stage, or its config with other `weights`, as a folder that `from_pretrained` loads, all at once.

    A stage with adapters saves these alone, for `load_adapter`.
    """
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
