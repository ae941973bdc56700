"""The arguments of a stage's training run: a YAML file whose every field can be overridden (paper §4.2, Table 1)."""

import argparse
from dataclasses import MISSING, dataclass, field, fields
from numbers import Real
from pathlib import Path
from types import UnionType
from typing import Any, get_args

import yaml

from accompgen_hf.data.stage_kinds import STAGE_KINDS
from accompgen_hf.scripts import describe_fields, script_parser
from accompgen_hf.training.muon import OPTIMIZERS
from accompgen_hf.training.run_files import describe_run

TRAINING_FIELDS = (
    "condition_dropout",
    "history_dropout",
    "style_dropout",
    "dropout",
)  # of the stage's config; no weight depends on them
MIXED_PRECISIONS = ("no", "fp16", "bf16")
TRACKERS = ("tensorboard", "trackio", "wandb")
# Fields that change neither the weights nor the numbers that are compared: a checkpoint goes on under other values.
FREE_FIELDS = (
    *("data", "output_dir", "micro_batch_size", "num_workers", "gradient_checkpointing", "torch_compile"),
    *(
        "log_every",
        "validate_every",
        "validate_first",
        "validation_clips",
        "validation_batch_size",
        "save_every",
        "keep_checkpoints",
    ),
    *("num_processes", "max_skipped_in_row", "codec", "sample_every", "sample_clips", "report_to", "peak_tflops"),
    "push_to_hub",
    *("streaming", "shuffle_buffer"),  # a streamed run describes its stream by itself
)


@dataclass
class StageTrainingArguments:
    """One run of one stage.

    Attributes:
        stage (`str`): A name in `data.stage_kinds`: `"semantic"`, `"coarse"` or `"fine"`; with the baseline imported,
            `"singsong"` or `"singsong_fine"` too.
        data (`str` or `list` of `str`): Folders of token shards; with `streaming` also ids of datasets on the Hub.
        output_dir (`str`): Folder for checkpoints, metrics, curves and `final/`.
        model (`dict`): Fields of the stage's config.
        init_from (`str`, *optional*): Folder or Hub id, of the stage or of a whole model, whose weights and config the
            run starts from, with a new schedule (fine-tuning).
        init_ids_from (`str`, *optional*): Folder or Hub id of the semantic encoder whose centroids the embeddings of
            semantic ids, and the semantic stage's head, start from (ours). With `init_from`, a coarse or fine stage
            goes on with this encoder's ids instead of those that it was trained on; the codec must be the same.
        lora_rank (`int`, *optional*): Rank of LoRA adapters, which are trained instead of the weights of `init_from`.
        lora_alpha (`float`, *optional*): Scale of the adapters, divided by their rank; `None` is twice the rank.
        lora_target (`list` of `str`, *optional*): Matrices that get adapters; `None` is all of the layers.
        init_codes_from (`str`, *optional*): Folder or Hub id of the codec whose codebooks the embeddings and heads of
            a new coarse or fine stage start from (ours; see `code_tables.py`).
        max_steps (`int`): Optimiser steps.
        global_batch_size (`int`): Clips per optimiser step over all processes.
        micro_batch_size (`int`, *optional*): Clips per forward; the step accumulates as many as it needs. `None` means
            all clips of the step.
        optimizer (`str`): `"adamw"`, as in the paper, or `"muon"` (ours; see `muon.py`).
        learning_rate (`float`): Highest learning rate, reached after `warmup_steps`; then a cosine falls to 0 at
            `max_steps`.
        warmup_steps (`int`): Steps over which the learning rate rises.
        betas (`list` of two `float`): Betas of AdamW, which also trains tables, heads and gains under `"muon"`.
        weight_decay (`float`): Weight decay of matrices; gains are not decayed.
        max_grad_norm (`float`): Norm to which gradients are clipped.
        mixed_precision (`str`): `"no"`, `"fp16"` or `"bf16"`.
        ema_decay (`float`, *optional*): Decay of an exponential moving average of the weights, which is then
            validated and saved as the result.
        seed (`int`): Seed of weights, order, crops and dropout.
        shuffle_pairs (`bool`): Whether clips get the conditioning of other clips, as a control experiment.
        num_workers (`int`): Processes that load data.
        streaming (`bool`): Whether to fetch shards one at a time, from the Hub or from folders, instead of opening
            all of them; `data` on the Hub is `me/shards`, or `me/shards@v1` for a branch, tag or commit.
        shuffle_buffer (`int`): Rows among which a stream draws the next one.
        gradient_checkpointing (`bool`): Whether to compute activations again in the backward pass to save memory.
        torch_compile (`bool`): Whether to compile the model.
        log_every (`int`): Steps between lines of `metrics.jsonl`.
        validate_every (`int`): Steps between validations; there is one at the end in any case.
        validate_first (`bool`): Whether to validate before the first step, too, for a comparison.
        validation_clips (`int`): Clips of one validation; 0 for none.
        validation_batch_size (`int`): Clips per forward of a validation.
        save_every (`int`): Steps between checkpoints.
        keep_checkpoints (`int`): Number of newest checkpoints that stay.
        num_processes (`int`, *optional*): Number of processes that the run must have; another number is refused.
        max_skipped_in_row (`int`): Steps in a row whose gradients are not finite, after which the run gives up.
        codec (`str`, *optional*): EnCodec, or whole model, by which validation clips are heard in `samples/`.
        sample_every (`int`): Steps between samples; there are samples at the end in any case.
        sample_clips (`int`): Number of clips to generate.
        report_to (`str` or `list` of `str`, *optional*): `"tensorboard"`, `"trackio"`, `"wandb"`, besides
            `metrics.jsonl`.
        peak_tflops (`float`, *optional*): Peak of one device, for the share of it that is used (MFU); it is known
            for some GPUs.
        push_to_hub (`str`, *optional*): Repository to which the script uploads the finished stage with its card.
    """

    stage: str
    data: str | list[str]
    output_dir: str
    model: dict[str, Any] = field(default_factory=dict)
    init_from: str | None = None
    init_ids_from: str | None = None
    init_codes_from: str | None = None
    lora_rank: int | None = None
    lora_alpha: float | None = None
    lora_target: list[str] | None = None
    max_steps: int = 100_000
    global_batch_size: int = 180
    micro_batch_size: int | None = None
    optimizer: str = "adamw"
    learning_rate: float = 3e-4
    warmup_steps: int = 4000
    betas: list[float] = field(default_factory=lambda: [0.9, 0.99])
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    mixed_precision: str = "no"
    ema_decay: float | None = None
    seed: int = 0
    shuffle_pairs: bool = False
    num_workers: int = 0
    streaming: bool = False
    shuffle_buffer: int = 1000
    gradient_checkpointing: bool = False
    torch_compile: bool = False
    log_every: int = 10
    validate_every: int = 1000
    validate_first: bool = False
    validation_clips: int = 32
    validation_batch_size: int = 4
    save_every: int = 1000
    keep_checkpoints: int = 3
    num_processes: int | None = None
    max_skipped_in_row: int = 50
    codec: str | None = None
    sample_every: int = 5000
    sample_clips: int = 2
    report_to: str | list[str] | None = None
    peak_tflops: float | None = None
    push_to_hub: str | None = None

    def __post_init__(self):
        if self.mixed_precision is False:  # what YAML makes of a bare `no`
            self.mixed_precision = "no"
        self._check_numbers()
        choices = (("stage", tuple(STAGE_KINDS)), ("mixed_precision", MIXED_PRECISIONS), ("optimizer", OPTIMIZERS))
        for name, allowed in choices:
            if getattr(self, name) not in allowed:
                raise ValueError(f"`{name}` must be one of {allowed}, got {getattr(self, name)!r}.")
        positive = ("max_steps", "global_batch_size", "log_every", "validate_every", "validation_batch_size")
        positive += ("save_every", "keep_checkpoints", "max_skipped_in_row", "sample_every", "sample_clips")
        positive += ("shuffle_buffer",)
        for name in positive:
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        if self.micro_batch_size is not None and self.micro_batch_size < 1:
            raise ValueError(f"`micro_batch_size` must be at least 1, got {self.micro_batch_size}.")
        if not self.learning_rate > 0 or self.warmup_steps < 0:
            raise ValueError(
                "`learning_rate` must be above 0 and `warmup_steps` at least 0, "
                f"got {self.learning_rate} and {self.warmup_steps}."
            )
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(f"`ema_decay` must be between 0 and 1, got {self.ema_decay}.")
        if self.peak_tflops is not None and not self.peak_tflops > 0:
            raise ValueError(f"`peak_tflops` must be above 0, got {self.peak_tflops}.")
        self.report_to = [self.report_to] if isinstance(self.report_to, str) else list(self.report_to or [])
        unknown = sorted(set(self.report_to) - set(TRACKERS))
        if unknown:
            raise ValueError(f"`report_to` must be among {TRACKERS}, got {unknown}.")
        if self.streaming and self.shuffle_pairs:
            raise ValueError(
                "`shuffle_pairs` draws among all rows, which `streaming` never has. Leave one of them out."
            )
        if self.streaming and self.codec is not None and not self.validation_clips:
            raise ValueError("`codec` needs `validation_clips` with `streaming`: held-out clips are what is heard.")
        if self.lora_rank is not None and (self.lora_rank < 1 or self.init_from is None):
            raise ValueError(
                "`lora_rank` must be at least 1 and needs `init_from`, the stage that adapters are trained on; got "
                f"{self.lora_rank} and {self.init_from!r}."
            )
        if self.lora_rank is None and (self.lora_alpha is not None or self.lora_target is not None):
            raise ValueError("`lora_alpha` and `lora_target` need `lora_rank`: without it there are no adapters.")
        if isinstance(self.lora_target, str):
            self.lora_target = self.lora_target.split(",")
        if self.init_codes_from is not None and (self.init_from is not None or self.stage == "semantic"):
            raise ValueError(
                "`init_codes_from` starts the tables of a new stage that reads or writes codes; got "
                f"`stage` {self.stage!r} and `init_from` {self.init_from!r}. Leave one of them out."
            )
        if self.init_ids_from is not None and self.init_from is not None and self.stage not in ("coarse", "fine"):
            raise ValueError(
                "`init_ids_from` lets a coarse or fine stage in `init_from` go on with other semantic ids; got "
                f"`stage` {self.stage!r}, which is about these ids alone. Leave one of them out."
            )
        if self.init_from is not None and not set(self.model) <= set(TRAINING_FIELDS):
            raise ValueError(
                f"`model` may only change {TRAINING_FIELDS} with `init_from`, whose config decides the rest; got "
                f"{self.model} and {self.init_from}."
            )

    def _check_numbers(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            kinds = get_args(entry.type) if isinstance(entry.type, UnionType) else (entry.type,)
            if {int, float}.isdisjoint(kinds) or (value is None and type(None) in kinds):
                continue
            if not isinstance(value, Real):
                raise ValueError(f"`{entry.name}` must be a number, got {value!r}.")

    @classmethod
    def from_yaml(cls, path: str | Path, **overrides: Any) -> "StageTrainingArguments":
        """Read a YAML file; a `model` in `overrides` changes single fields of the file's.

        Raises:
            ValueError: If a field is unknown or missing, or a value is not allowed.
        """
        values = yaml.safe_load(Path(path).read_text("utf-8-sig")) or {}
        if overrides.get("init_from") is not None:
            values.pop("model", None)
        model = {**values.get("model", {}), **overrides.pop("model", {})}
        values = {**values, **overrides, "model": model}
        known = {entry.name for entry in fields(cls)}
        unknown, missing = sorted(set(values) - known), sorted({"stage", "data", "output_dir"} - set(values))
        if unknown or missing:
            raise ValueError(
                f"{path}: unknown fields {unknown}, missing fields {missing}. Fields are {sorted(known)}; `model` "
                "holds those of the stage's config."
            )
        return cls(**values)

    def divide_batch(self, num_processes: int) -> tuple[int, int]:
        """Divide the global batch: clips per forward, and forwards per process and step.

        Raises:
            ValueError: If the processes are not those asked for, or do not divide the global batch.
        """
        if self.num_processes is not None and self.num_processes != num_processes:
            raise ValueError(
                f"`num_processes` is {self.num_processes}, but this run has {num_processes}. "
                "`accelerate launch --cpu` starts one process whatever is asked: give it `--multi_gpu` and set "
                "ACCELERATE_USE_CPU=true."
            )
        if self.global_batch_size % num_processes:
            raise ValueError(
                f"`global_batch_size` must be a multiple of the {num_processes} processes, "
                f"got {self.global_batch_size}."
            )
        per_process = self.global_batch_size // num_processes
        micro_batch_size = min(self.micro_batch_size or per_process, per_process)
        return micro_batch_size, -(-per_process // micro_batch_size)

    def describe_run(self) -> dict[str, Any]:
        """The fields that decide what is learned: a checkpoint goes on only under the same ones."""
        return describe_run(self, FREE_FIELDS)


def parse_stage_arguments(
    argv: list[str] | None = None, description: str | None = "Train one stage."
) -> StageTrainingArguments:
    """Parse `--config FILE` and overrides such as `--learning_rate 1e-4` or `--model.hidden_size 64`.

    Values are read as YAML, so that numbers, booleans, lists and `null` mean what they mean in the file.

    Raises:
        ValueError: As [`StageTrainingArguments.from_yaml`].
    """
    parser = script_parser(description, allow_abbrev=False)
    parser.add_argument("--config", required=True, help="YAML file, see examples/configs")
    parser.add_argument("--data", nargs="+", help="folders of token shards; with --streaming also ids on the Hub")
    helps = describe_fields(StageTrainingArguments)
    for entry in fields(StageTrainingArguments):
        if entry.name not in ("data", "model"):
            default = entry.default if entry.default_factory is MISSING else entry.default_factory()
            told = helps[entry.name] + (
                "" if default in (MISSING, None) else f" ({default}, unless the file says else)"
            )
            bare = {"nargs": "?", "const": True} if isinstance(default, bool) else {}  # `--streaming` alone is true
            parser.add_argument(
                f"--{entry.name}", type=_read_value, default=argparse.SUPPRESS, metavar="V", help=told, **bare
            )
    known, rest = parser.parse_known_args(argv)
    overrides = vars(known)
    path = overrides.pop("config")
    if overrides["data"] is None:
        overrides.pop("data")
    model = {}
    for name, value in zip(rest[::2], rest[1::2], strict=False):
        if not name.startswith("--model."):
            parser.error(f"unknown argument {name}")
        model[name.removeprefix("--model.")] = _read_value(value)
    if len(rest) % 2:
        parser.error(f"{rest[-1]} has no value")
    return StageTrainingArguments.from_yaml(path, **overrides, model=model)


def _read_value(text: str) -> Any:
    value = yaml.safe_load(text)
    if isinstance(value, str):
        try:
            return float(value)  # YAML 1.1 takes 1e-4, without a point, for text
        except ValueError:
            return value
    return value
