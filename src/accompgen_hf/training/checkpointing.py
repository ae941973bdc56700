"""Checkpoints that are whole or absent: staged, hashed, fsynced, renamed, the newest few kept.

`accelerate`'s `save_state` writes into its target, so a run killed while it overwrites leaves half a checkpoint. Here
it writes into a staging folder, which gets the checkpoint's name once every byte is on the disk. safetensors has no
checksum: `state.json` has one per file, and a damaged checkpoint is named and passed over.
"""

import json
import logging
import os
import re
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from accompgen_hf.accompgen.manifest_accompgen import hash_file

logger = logging.getLogger(__name__)

STATE_NAME = "state.json"
_NAME = re.compile(r"checkpoint-(\d{8})")


class SigtermFlag:
    """Remembers a SIGTERM inside a `with` block instead of dying of it; schedulers send one before they kill."""

    def __init__(self):
        self.is_set = False

    def __enter__(self) -> "SigtermFlag":
        # Only a process's main thread may set handlers; elsewhere its owner decides.
        self._is_installed = threading.current_thread() is threading.main_thread()
        if self._is_installed:
            self._previous = signal.signal(signal.SIGTERM, self._remember)
        return self

    def __exit__(self, *_) -> None:
        if self._is_installed:
            signal.signal(signal.SIGTERM, self._previous)

    def _remember(self, *_) -> None:
        self.is_set = True


def save_checkpoint(
    accelerator: Accelerator, output_dir: Path, step: int, state: dict[str, Any], keep_checkpoints: int
) -> Path:
    """Save everything that `accelerator` was given, and `state`, as the checkpoint of a finished step.

    Every process calls it.

    Args:
        accelerator (`Accelerator`):
            Holds model, optimizer, scaler and whatever was registered for checkpointing.
        output_dir (`Path`):
            Where `checkpoint-00000100` and its kind stand.
        step (`int`):
            Optimiser steps finished.
        state (`dict`):
            What else the run needs, as JSON.
        keep_checkpoints (`int`):
            Older ones than the newest `keep_checkpoints` are deleted, after the new one is safe.
    """
    output_dir = Path(output_dir)
    final = output_dir / f"checkpoint-{step:08d}"
    staging = output_dir / f".staging-{step:08d}"
    if accelerator.is_main_process:
        for leftover in output_dir.glob(".staging-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        staging.mkdir(parents=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(staging))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        files = sorted(path for path in staging.rglob("*") if path.is_file())
        hashes = {str(path.relative_to(staging)): hash_file(path) for path in files}
        (staging / STATE_NAME).write_text(json.dumps({**state, "step": step, "sha256": hashes}, indent=1))
        for path in [*files, staging / STATE_NAME]:
            _sync(path)
        _sync(staging)
        if final.exists():  # a damaged checkpoint of the same step
            shutil.rmtree(final)
        os.replace(staging, final)
        _sync(output_dir)
        for _, old in list_checkpoints(output_dir)[:-keep_checkpoints]:
            shutil.rmtree(old, ignore_errors=True)
    accelerator.wait_for_everyone()
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
    checkpoints = list_checkpoints(output_dir)
    damages = []
    for _, folder in reversed(checkpoints):
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


def check_same_run(found: dict[str, Any], asked: dict[str, Any], output_dir: Path) -> None:
    """Refuse to go on from a checkpoint's state under other arguments (`run`) or with other tokens.

    Raises:
        ValueError: If a field differs; both values are named.
    """
    there, here = ({**state["run"], "token_fingerprint": state["token_fingerprint"]} for state in (found, asked))
    differing = [name for name in here if there.get(name) != here[name]]
    if differing:
        before, now = ({name: values.get(name) for name in differing} for values in (there, here))
        raise ValueError(
            f"`output_dir` {output_dir} holds a run with {before}, now asked: {now}. Use another folder, with "
            "`init_from` to start from its weights."
        )


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


def _sync(path: Path) -> None:
    """Flush a file or folder to the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows has no handle for folders
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
