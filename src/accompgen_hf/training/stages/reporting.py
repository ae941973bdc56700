"""Reports of a run while it trains: the announcement, `metrics.jsonl`, the curves, and trackers."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accompgen_hf.accompgen.modeling_accompgen_stages import AccompGenStageForCausalLM
from accompgen_hf.accompgen.optional_accompgen import import_optional
from accompgen_hf.training.curves import Curve, Panel, draw_curves
from accompgen_hf.training.run_files import MetricsLog
from accompgen_hf.training.stages.arguments import StageTrainingArguments
from accompgen_hf.training.stages.setup import count_positions
from accompgen_hf.training.stages.throughput import count_clip_flops, find_peak_tflops

if TYPE_CHECKING:
    from accelerate import Accelerator

PROJECT_NAME = "accompgen"
# A tracker works if one of these modules can be imported.
TRACKER_PACKAGES = {"tensorboard": ("tensorboard", "tensorboardX"), "trackio": ("trackio",), "wandb": ("wandb",)}

STAGE_PANELS = (
    Panel(
        "cross-entropy (nats per code)",
        (Curve("train", "loss", "training"), Curve("validation", "loss", "validation", "o-")),
    ),
    Panel("validation perplexity", (Curve("validation", "perplexity", "codebook {} of the target", "o-"),)),
    Panel(
        "loss of wrong minus own conditioning (nats)",
        (
            Curve(
                "validation", "conditioning_gain", "another track's conditioning", "o-", "conditioning_gain_interval"
            ),
            Curve("validation", "null_gain", "hidden conditioning", "o-", "null_gain_interval"),
        ),
        has_zero_line=True,
    ),
    Panel("learning rate", (Curve("train", "learning_rate"),)),
)


def check_trackers(names: list[str]) -> None:
    """Make sure that trackers can be used: accelerate leaves those out, silently, whose package is missing.

    Raises:
        ImportError: If a package is missing; it is named.
    """
    for name in names:
        packages, missing = TRACKER_PACKAGES[name], []
        for package in packages:
            try:
                import_optional(package, f"`report_to` {name}", packages[0])
                break
            except ImportError as error:
                missing.append(error)
        else:
            raise missing[0]


class RunReport:
    """Prints and records the progress of a run.

    Args:
        accelerator (`Accelerator`):
            Accelerator of the run; made with `log_with` and `project_dir` where trackers are wanted.
        arguments (`StageTrainingArguments`): Arguments of the run.
        stage (`AccompGenStageForCausalLM`): The stage that is trained, unwrapped.
        step (`int`): Steps done already.
    """

    def __init__(
        self,
        accelerator: "Accelerator",
        arguments: StageTrainingArguments,
        stage: AccompGenStageForCausalLM,
        step: int,
    ):
        self.accelerator = accelerator
        self.arguments = arguments
        self.config = stage.config
        self.num_parameters = sum(parameter.numel() for parameter in stage.parameters())
        self.output_dir = Path(arguments.output_dir)
        self.log = MetricsLog(self.output_dir, step) if accelerator.is_main_process else None
        self.peak_tflops = find_peak_tflops(accelerator.device, arguments.mixed_precision, arguments.peak_tflops)
        self.tokens_per_s = 0.0
        self.mfu: float | None = None
        if arguments.report_to:
            accelerator.init_trackers(PROJECT_NAME, config=_flatten(asdict(arguments)))

    def announce(self, num_tracks: int, micro_batch_size: int, num_micro_batches: int) -> None:
        """Print what is trained, on what, by how many."""
        arguments, config, accelerator = self.arguments, self.config, self.accelerator
        peak = "n/a (give `--peak_tflops`)" if self.peak_tflops is None else f"of {self.peak_tflops:g} TFLOPS a device"
        accelerator.print(
            f"{arguments.stage}: {self.num_parameters / 1e6:.2f} M parameters, {num_tracks} tracks, clips of "
            f"{config.clip_duration_s} s ({count_positions(config)} positions)\n"
            f"world size {accelerator.num_processes}: {accelerator.num_processes} processes x {num_micro_batches} "
            f"micro-batches of at most {micro_batch_size} = global batch {arguments.global_batch_size}\n"
            f"{arguments.max_steps} steps on {accelerator.device}, mixed precision {arguments.mixed_precision}; "
            f"MFU {peak}"
        )

    def measure(self, num_clips: int, seconds: float) -> None:
        """Note the speed of a stretch of training: clips of all processes, and the time they took."""
        self.tokens_per_s = num_clips * count_positions(self.config) / seconds
        if self.peak_tflops is not None:
            peak = self.peak_tflops * 1e12 * self.accelerator.num_processes
            self.mfu = count_clip_flops(self.config) * num_clips / seconds / peak

    def show(self, loss: float) -> dict[str, str]:
        """The numbers of the progress bar."""
        shown = {"loss": f"{loss:.3f}", "tokens_per_s": f"{self.tokens_per_s:.0f}"}
        return shown if self.mfu is None else {**shown, "mfu": f"{self.mfu:.1%}"}

    def write_training(self, step: int, **values: float) -> None:
        """Record a stretch of training."""
        values["tokens_per_s"] = round(self.tokens_per_s, 1)
        if self.mfu is not None:
            values["mfu"] = round(self.mfu, 4)
        self._write("train", step, values)

    def write_validation(self, step: int, values: dict[str, Any]) -> None:
        """Record a validation, and draw the curves anew."""
        self._write("validation", step, values)
        if self.log is not None:
            draw_curves(self.output_dir, STAGE_PANELS)

    def _write(self, kind: str, step: int, values: dict[str, Any]) -> None:
        if self.log is not None:
            self.log.write(kind, step, **values)
        if self.arguments.report_to:
            self.accelerator.log({f"{kind}/{name}": value for name, value in _flatten(values).items()}, step=step)

    def close(self) -> None:
        """Let trackers write what they hold back."""
        if self.arguments.report_to:
            self.accelerator.end_training()


def _flatten(values: dict[str, Any]) -> dict[str, Any]:
    """Numbers and texts by name, as trackers take them: lists and dicts are spread, what is `None` is left out."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat.update({f"{name}.{inner}": item for inner, item in _flatten(value).items()})
        elif isinstance(value, list | tuple):
            flat.update(_flatten({f"{name}_{index + 1}": item for index, item in enumerate(value)}))
        elif value is not None:
            flat[name] = value
    return flat
