"""The files of a training run, the same for stages, codec and semantic encoder: checkpoints and `metrics.jsonl`.

A checkpoint is whole or absent: it is written into a staging folder, hashed, flushed to the disk and renamed, and the
newest few stay. safetensors and pickle have no checksum; `state.json` has one per file, and a damaged checkpoint is
named and passed over. `accelerate`'s `save_state` alone writes into its target, so that a kill leaves half of one.
"""

import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import torch

from accompgen_hf.accompgen.optional_accompgen import import_optional
from accompgen_hf.files import hash_file, publish_folder, written_whole

logger = logging.getLogger(__name__)

STATE_NAME = "state.json"
METRICS_NAME = "metrics.jsonl"
_NAME = re.compile(r"checkpoint-(\d{8})")


def save_checkpoint(
    output_dir: Path, step: int, write: Callable[[Path], None], state: dict[str, Any], keep_checkpoints: int
) -> Path:
    """Save the checkpoint of a finished step; every process of a run calls it.

    Args:
        output_dir (`Path`): Folder of the run, in which `checkpoint-00000100` and the like stand.
        step (`int`): Number of finished optimiser steps.
        write (`Callable[[Path], None]`):
            Writes models and optimizers into the folder that it is given, in every process.
        state (`dict`): Everything else that the run needs, as JSON.
        keep_checkpoints (`int`):
            How many of the newest checkpoints stay; older ones are deleted after the new one is safe.
    """
    accelerate = import_optional("accelerate", "Training", ".[train]")
    output_dir, processes = Path(output_dir), accelerate.PartialState()
    final = output_dir / f"checkpoint-{step:08d}"
    staging = output_dir / f".staging-{step:08d}"
    if processes.is_main_process:
        for leftover in output_dir.glob(".staging-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        staging.mkdir(parents=True)
    processes.wait_for_everyone()
    write(staging)
    processes.wait_for_everyone()
    if processes.is_main_process:
        files = sorted(path for path in staging.rglob("*") if path.is_file())
        hashes = {str(path.relative_to(staging)): hash_file(path) for path in files}
        (staging / STATE_NAME).write_text(json.dumps({**state, "step": step, "sha256": hashes}, indent=1))
        publish_folder(staging, final)
        for _, old in list_checkpoints(output_dir)[:-keep_checkpoints]:
            shutil.rmtree(old, ignore_errors=True)
    processes.wait_for_everyone()
    return final


def list_checkpoints(output_dir: Path) -> list[tuple[int, Path]]:
    """List (step, folder) of the checkpoints in `output_dir`, oldest first."""
    found = [(_NAME.fullmatch(path.name), path) for path in Path(output_dir).glob("checkpoint-*")]
    return sorted((int(match[1]), path) for match, path in found if match and (path / STATE_NAME).is_file())


def find_checkpoint(output_dir: Path) -> tuple[Path, dict[str, Any]] | None:
    """Find the newest undamaged checkpoint and its `state`.

    Returns:
        Folder and state, or `None` if there is no checkpoint at all.

    Raises:
        ValueError: If there are checkpoints and every one is damaged.
    """
    damages = []
    for _, folder in reversed(list_checkpoints(output_dir)):
        damage, state = _inspect(folder)
        if damage is None:
            return folder, state
        damages.append(damage)
        logger.warning("Checkpoint %s is damaged (%s): passed over.", folder, damage)
    if damages:
        raise ValueError(
            f"`output_dir` {output_dir} has {len(damages)} checkpoints and all are damaged ({'; '.join(damages)}). "
            "Restore one from a copy, or start anew in another folder."
        )
    return None


def _inspect(folder: Path) -> tuple[str | None, dict[str, Any]]:
    """Say what is wrong with a checkpoint, or `None`, and return its state."""
    try:
        state = json.loads((folder / STATE_NAME).read_text())
        for name, sha256 in state["sha256"].items():
            if hash_file(folder / name) != sha256:
                return f"{folder.name}/{name} has another sha256 than when it was saved", {}
    except (OSError, ValueError, KeyError) as error:
        return f"{folder.name}: {type(error).__name__} {error}", {}
    return None, state


def describe_run(arguments: Any, free_fields: Iterable[str]) -> dict[str, Any]:
    """The fields of a dataclass that decide what is learned: all but `free_fields`, as JSON gives them back."""
    fields = asdict(arguments)
    return json.loads(json.dumps({name: fields[name] for name in fields if name not in set(free_fields)}))


def check_same_run(
    before: Mapping[str, Any], now: Mapping[str, Any], output_dir: Path, remedy: str = "or the earlier values"
) -> None:
    """Refuse to go on from a checkpoint of `before` with the values of `now`.

    Raises:
        ValueError: If a field differs; both values are named.
    """
    differing = [name for name in now if before.get(name) != now[name]]
    if differing:
        there, here = ({name: values.get(name) for name in differing} for values in (before, now))
        raise ValueError(
            f"`output_dir` {output_dir} holds a run with {there}, now asked: {here}. Use another folder, {remedy}."
        )


class HasState(Protocol):
    """A model, an optimizer, or anything else that gives its state as a dictionary and takes it back."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values by name."""

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Take back what `state_dict` gave."""


class RunFolder:
    """Checkpoints and metrics of a run in one process.

    Args:
        output_dir (`str`): Folder of the run; it is made if it does not exist.
        run (`dict`): Description that a checkpoint must have been written with, see [`describe_run`].
        parts (`dict`): Models and optimizers by the name of their file in a checkpoint.
        keep_checkpoints (`int`): Number of newest checkpoints that stay.

    Attributes:
        metrics (`MetricsLog`): The record of the run, after `resume`.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike,
        run: dict[str, Any],
        parts: Mapping[str, HasState],
        keep_checkpoints: int = 2,
    ):
        self.path, self.run, self.parts, self.keep_checkpoints = Path(output_dir), run, parts, keep_checkpoints
        self.path.mkdir(parents=True, exist_ok=True)

    def resume(self) -> int:
        """Load the newest undamaged checkpoint, if there is one, and open the metrics.

        Returns:
            `int`: Number of finished steps.

        Raises:
            ValueError: If the checkpoint is of another `run`, or all are damaged.
        """
        step, found = 0, find_checkpoint(self.path)
        if found is not None:
            folder, state = found
            check_same_run(state["run"], self.run, self.path)
            for name, part in self.parts.items():
                part.load_state_dict(torch.load(folder / f"{name}.pt", map_location="cpu", weights_only=True))
            step = state["step"]
        self.metrics = MetricsLog(self.path, step)
        return step

    def save(self, step: int) -> Path:
        """Save all parts as the checkpoint of a finished step."""

        def write(folder: Path) -> None:
            for name, part in self.parts.items():
                torch.save(part.state_dict(), folder / f"{name}.pt")

        return save_checkpoint(self.path, step, write, {"run": self.run}, self.keep_checkpoints)


class MetricsLog:
    """Appends events to `metrics.jsonl`; a resumed run first drops what lies after its checkpoint.

    Args:
        output_dir (`Path`): Folder of the run.
        step (`int`): Number of finished steps: later lines belong to work that is lost and will be done again.
    """

    def __init__(self, output_dir: Path, step: int):
        self.path = Path(output_dir) / METRICS_NAME
        kept = [event for event in read_metrics(output_dir) if event["step"] <= step]
        with written_whole(self.path) as temporary:
            temporary.write_text("".join(json.dumps(event) + "\n" for event in kept), "utf-8")

    def write(self, kind: str, step: int, **values: Any) -> None:
        """Append one event: `kind` is `"train"` or `"validation"`."""
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, "step": step, **values}) + "\n")


def read_metrics(output_dir: str | os.PathLike, kind: str | None = None) -> list[dict[str, Any]]:
    """Read the events of a run, or those of one `kind`; a last line that was cut off is left out."""
    path = Path(output_dir) / METRICS_NAME
    if not path.is_file():
        return []
    lines = path.read_text("utf-8").splitlines(keepends=True)
    events = [json.loads(line) for line in lines if line.endswith("\n")]
    return [event for event in events if kind is None or event["kind"] == kind]
