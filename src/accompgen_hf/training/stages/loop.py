"""The training loop of the three stages (paper §4.2): any number of processes, resumed bit for bit after a kill.

A run is a function of its arguments and a step. Clips come from positions [s G, (s + 1) G) of the endless stream of
epochs for step s and global batch G; the learning rate follows from s; the loss is a sum over all target codes of the
step divided by their number, so that neither processes nor micro-batches move the curve. Only the order of a stream of
shards also depends on its readers, the processes and workers (see `data/streaming.py`).
"""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from accompgen_hf.accompgen.codebooks_accompgen import IGNORED_LABEL
from accompgen_hf.accompgen.modeling_accompgen_stages import AccompGenStageForCausalLM
from accompgen_hf.accompgen.optional_accompgen import import_optional
from accompgen_hf.accompgen.progress_accompgen import ProgressBar
from accompgen_hf.accompgen.training_record_accompgen import read_record
from accompgen_hf.data.shards import sum_hours_by_licence
from accompgen_hf.data.stage_kinds import kind_of
from accompgen_hf.data.streaming import StreamedClips
from accompgen_hf.data.training_tracks import read_shard_tracks
from accompgen_hf.files import read_json, write_json
from accompgen_hf.training.learning_rate import LearningRate
from accompgen_hf.training.run_files import check_same_run, find_checkpoint, save_checkpoint
from accompgen_hf.training.sigterm import SigtermFlag
from accompgen_hf.training.stages.arguments import StageTrainingArguments
from accompgen_hf.training.stages.loading import iterate_windows
from accompgen_hf.training.stages.optimization import WeightAverage, make_optimizer
from accompgen_hf.training.stages.processes import check_processes, is_set_anywhere, prepare_sharded
from accompgen_hf.training.stages.reporting import RunReport, check_trackers
from accompgen_hf.training.stages.samples import AudioSampler
from accompgen_hf.training.stages.setup import list_data, load_stage, open_datasets, save_stage
from accompgen_hf.training.stages.validation import validate_stage


def train_stage(arguments: StageTrainingArguments) -> dict[str, Any]:
    """Train a stage, going on from the newest whole checkpoint in `arguments.output_dir`.

    Leaves `final/` (loadable by `from_pretrained`, its config carrying the `token_fingerprint`; with a `lora_rank` by
    the stage's `load_adapter`), `metrics.jsonl`, `curves.png`, `summary.json`, and `samples/` if there is a `codec`.
    On SIGTERM the step is finished and saved, and the function returns.

    Returns:
        `dict` with `is_finished`, `step`, `num_skipped_steps`, the last `validation`, `tokens_per_s`, `mfu` and
        `hours_by_licence` of the data.

    Raises:
        ImportError: If the package of a tracker in `report_to` is missing.
        ValueError: If data, model, checkpoint and arguments do not fit each other.
        RuntimeError: If gradients stay non-finite; the last checkpoint is good.
    """
    return StageTrainer(arguments).run()


class StageTrainer:
    """The parts and the state of a run; use [`train_stage`]."""

    def __init__(self, arguments: StageTrainingArguments):
        self.arguments = arguments
        if arguments.mixed_precision == "fp16" and not torch.cuda.is_available():
            raise ValueError("`mixed_precision` 'fp16' needs a GPU, and there is none. Use 'no' or 'bf16'.")
        check_trackers(arguments.report_to)
        self.accelerator = import_optional("accelerate", "Training", ".[train]").Accelerator(
            mixed_precision=arguments.mixed_precision,
            log_with=arguments.report_to or None,
            project_dir=arguments.output_dir,
        )
        check_processes(self.accelerator.num_processes)
        self.micro_batch_size, self.num_micro_batches = arguments.divide_batch(self.accelerator.num_processes)
        self.output_dir = Path(arguments.output_dir)
        self.output_dir.mkdir(parents=True, exist_ok=True)

        model = load_stage(arguments)
        config = model.config
        with self.accelerator.main_process_first():  # of several processes, one makes the mapped file of the shards
            self.dataset, self.validation_dataset = open_datasets(arguments, config)
        self.sampler = None
        if arguments.codec is not None:
            dataset = self.validation_dataset or self.dataset
            self.sampler = AudioSampler(arguments.codec, dataset, arguments.sample_clips, self.output_dir)
        self.stream: dict[str, Any] | None = None
        if isinstance(self.dataset, StreamedClips):
            num_readers = self.accelerator.num_processes * max(1, arguments.num_workers)
            self.dataset.check_readers(num_readers)
            self.stream = self.dataset.describe(num_readers)
        config.token_fingerprint = self.dataset.token_fingerprint
        if arguments.gradient_checkpointing:
            model.gradient_checkpointing_enable()
        if arguments.torch_compile:
            model.compile()
        self.model, self.optimizer = self.accelerator.prepare(model, make_optimizer(model, arguments))
        prepare_sharded(self.stage, self.accelerator, arguments)
        self.learning_rate = LearningRate(arguments.learning_rate, arguments.warmup_steps, arguments.max_steps)
        self.ema = None
        if arguments.ema_decay is not None:
            self.ema = WeightAverage(self.stage, arguments.ema_decay)
            self.accelerator.register_for_checkpointing(self.ema)
        self.state: dict[str, Any] = {
            "num_skipped_steps": 0,
            "num_skipped_in_row": 0,
            "token_fingerprint": config.token_fingerprint,
            "run": {**arguments.describe_run(), "stream": self.stream},
            "validation_before": None,
        }
        self.step = 0
        self.validation: dict[str, Any] | None = None

    @property
    def stage(self) -> AccompGenStageForCausalLM:
        """The model without the wrappers of accelerate."""
        return self.accelerator.unwrap_model(self.model)

    def run(self) -> dict[str, Any]:
        """Train to the end, or to a SIGTERM."""
        arguments, accelerator = self.arguments, self.accelerator
        self._resume()
        self.first_step = self.step
        self.report = RunReport(accelerator, arguments, self.stage, self.step)
        self.report.announce(len(self.dataset), self.micro_batch_size, self.num_micro_batches)
        if self.step == 0 and arguments.validate_first:
            self._validate()
            self.state["validation_before"] = self.validation
        self.model.train()
        losses, started_at = [], time.monotonic()
        progress = ProgressBar(
            total=arguments.max_steps,
            initial=self.step,
            desc=arguments.stage,
            mininterval=1.0,
            disable=not accelerator.is_main_process,
        )
        with progress, SigtermFlag() as sigterm:
            windows = self._make_windows()
            while self.step < arguments.max_steps:
                # 1. One optimiser step.
                loss, grad_norm = self._take_step(next(windows))
                self.step += 1
                losses.append(loss)
                progress.update()
                is_last = self.step == arguments.max_steps
                # 2. Report.
                if self.step % arguments.log_every == 0 or is_last:
                    num_clips = len(losses) * arguments.global_batch_size
                    self.report.measure(num_clips, time.monotonic() - started_at)
                    self._log_step(losses, grad_norm, progress)
                    losses, started_at = [], time.monotonic()
                # 3. Validate, save, stop: work that the speed above does not count.
                paused_at = time.monotonic()
                if self.step % arguments.validate_every == 0 or is_last:
                    self._validate()
                if self.step % arguments.sample_every == 0 or is_last:
                    self._write_samples()
                is_told_to_stop = is_set_anywhere(sigterm.is_set, accelerator)
                if self.step % arguments.save_every == 0 or is_last or is_told_to_stop:
                    self._save()
                started_at += time.monotonic() - paused_at
                if is_told_to_stop and not is_last:
                    self.report.close()
                    accelerator.print(f"SIGTERM: saved step {self.step} and stopping.")
                    return self._summarise(is_finished=False)
        return self._finish()

    def _take_step(self, window: list[dict[str, torch.Tensor]]) -> tuple[float, float]:
        """Accumulate the gradients of a window of micro-batches and update; return loss and gradient norm."""
        arguments, accelerator = self.arguments, self.accelerator
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate.at(self.step)
        num_targets = torch.stack([(batch["labels"] != IGNORED_LABEL).sum() for batch in window]).sum()
        num_targets = accelerator.reduce(num_targets.to(accelerator.device), reduction="sum")
        total = torch.zeros((), device=accelerator.device)
        for index, batch in enumerate(window):
            batch = {name: tensor.to(accelerator.device, non_blocking=True) for name, tensor in batch.items()}
            is_last = index == len(window) - 1
            with contextlib.nullcontext() if is_last else accelerator.no_sync(self.model), self._dropout_noise(index):
                loss = self.model(**batch, num_items_in_batch=num_targets).loss
                # DDP averages gradients over processes; the loss is already divided by all targets.
                accelerator.backward(loss * accelerator.num_processes)
            total += loss.detach()
        grad_norm = accelerator.clip_grad_norm_(self.model.parameters(), arguments.max_grad_norm)
        grad_norm = grad_norm.full_tensor() if isinstance(grad_norm, DTensor) else grad_norm
        is_finite = bool(torch.isfinite(grad_norm))
        if is_finite or arguments.mixed_precision == "fp16":
            self.optimizer.step()  # With fp16 the scaler skips by itself, and lowers its scale by doing so.
        self.optimizer.zero_grad()
        self._count_skipped(not is_finite)
        if is_finite and self.ema is not None:
            self.ema.update(self.stage)
        return accelerator.reduce(total, reduction="sum").item(), float(grad_norm)

    def _count_skipped(self, is_skipped: bool) -> None:
        state, arguments = self.state, self.arguments
        state["num_skipped_steps"] += is_skipped
        state["num_skipped_in_row"] = state["num_skipped_in_row"] + 1 if is_skipped else 0
        if state["num_skipped_in_row"] >= arguments.max_skipped_in_row:
            raise RuntimeError(
                f"The gradients of {state['num_skipped_in_row']} steps in a row were not finite (step {self.step}). "
                f"The last checkpoint in {self.output_dir} is good: go on from it with a lower `learning_rate`, or "
                "with `mixed_precision` 'bf16' or 'no'."
            )

    @contextlib.contextmanager
    def _dropout_noise(self, index: int) -> Iterator[None]:
        """Key the model's dropout, if it has any, by run, step, process and micro-batch."""
        if self.stage.config.dropout == 0:
            yield
            return
        words = (self.arguments.seed, self.step, self.accelerator.process_index, index)
        with torch.random.fork_rng():
            torch.manual_seed(hash(words) % 2**63)  # a tuple of integers: the same in every process and run
            yield

    def _make_windows(self) -> Iterator[list[dict[str, torch.Tensor]]]:
        """The micro-batches of every step from here on."""
        return iterate_windows(
            self.dataset,
            kind_of(self.stage.config).collator_class(self.stage.config),
            self.arguments,
            self.step,
            self.micro_batch_size,
            (self.accelerator.process_index, self.accelerator.num_processes),
        )

    def _resume(self) -> None:
        found = find_checkpoint(self.output_dir)
        if found is None:
            return
        folder, state = found
        before, now = ({**each["run"], "token_fingerprint": each["token_fingerprint"]} for each in (state, self.state))
        check_same_run(before, now, self.output_dir, "with `init_from` to start from its weights")
        self.accelerator.load_state(str(folder))
        self.state, self.step = {name: state.get(name) for name in self.state}, state["step"]
        self.accelerator.print(f"Resumed from {folder}.")

    def _log_step(self, losses: list[float], grad_norm: float, progress: ProgressBar) -> None:
        loss = sum(losses) / len(losses)
        progress.set_postfix(**self.report.show(loss), refresh=False)
        self.report.write_training(
            self.step,
            loss=loss,
            learning_rate=self.learning_rate.at(self.step - 1),
            grad_norm=grad_norm,
            num_skipped_steps=self.state["num_skipped_steps"],
        )

    def _validate(self) -> None:
        if self.validation_dataset is None:
            return
        arguments = self.arguments
        with self._averaged_weights(), self.accelerator.autocast():
            self.validation = validate_stage(
                self.stage,
                self.validation_dataset,
                arguments.validation_clips,
                arguments.validation_batch_size,
                self.accelerator,
            )
        self.report.write_validation(self.step, self.validation)

    def _write_samples(self) -> None:
        if self.sampler is not None:
            with self._averaged_weights():
                self.sampler.write(self.stage, self.step, self.accelerator.is_main_process)

    def _save(self) -> None:
        save_checkpoint(
            self.output_dir,
            self.step,
            lambda folder: self.accelerator.save_state(str(folder)),
            self.state,
            self.arguments.keep_checkpoints,
        )

    @contextlib.contextmanager
    def _averaged_weights(self) -> Iterator[None]:
        if self.ema is None:
            yield
        else:
            with self.ema.applied_to(self.stage):
                yield

    def _finish(self) -> dict[str, Any]:
        """Save the result, unless an earlier call of the same run did."""
        summary_path = self.output_dir / "summary.json"
        if self.first_step == self.arguments.max_steps and summary_path.is_file():
            summary = read_json(summary_path)
        else:
            if self.validation is None:  # killed between the last checkpoint and here
                self._validate()
            summary = {**self._summarise(is_finished=True), "arguments": asdict(self.arguments)}
            with self._averaged_weights():
                weights = self.accelerator.get_state_dict(self.model)  # whole on the first process, however sharded
                if self.accelerator.is_main_process:
                    self.stage.training_tracks = self._list_tracks()
                    save_stage(self.stage, self.output_dir / "final", weights)
            if self.accelerator.is_main_process:
                write_json(summary_path, summary)
        self.accelerator.wait_for_everyone()
        self.report.close()
        return summary

    def _list_tracks(self) -> frozenset[str]:
        """List the tracks of the shards, and those of the initial model if it records them."""
        first = self.stage.training_tracks
        if first is None and self.arguments.init_from is not None:
            first = read_record(self.arguments.init_from)
        if isinstance(self.dataset, StreamedClips):
            return self.dataset.list_tracks().union(first or ())
        return frozenset(first or ()).union(*(read_shard_tracks(folder) for folder in list_data(self.arguments)))

    def _summarise(self, is_finished: bool) -> dict[str, Any]:
        return {
            "is_finished": is_finished,
            "step": self.step,
            "num_skipped_steps": self.state["num_skipped_steps"],
            "token_fingerprint": self.state["token_fingerprint"],
            "hours_by_licence": sum_hours_by_licence(self.dataset.manifests),
            "tokens_per_s": round(self.report.tokens_per_s, 1),
            "mfu": self.report.mfu,
            "validation_before": self.state["validation_before"],
            "validation": self.validation,
        }
