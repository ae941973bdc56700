"""Run systems over windows, one file per output, so that a killed run goes on where it stopped."""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from accompgen_hf.accompgen.audio_accompgen import write_audio
from accompgen_hf.accompgen.progress_accompgen import ProgressBar
from accompgen_hf.evaluation.protocol.excerpts import SEPARATED, VOCALS, WindowFolder
from accompgen_hf.evaluation.systems.system import FolderSystem, System, Window
from accompgen_hf.files import read_json, write_json

BATCH_SIZE = 16  # windows that a system which can accompanies together; a killed run loses as many
CONDITIONS = {"isolated": VOCALS, "separated": SEPARATED}  # which vocals a system hears


def check_names(systems: Sequence[System]) -> None:
    """Refuse names that are used twice or cannot name a folder.

    Raises:
        ValueError: If there are such.
    """
    names = [system.name for system in systems]
    if not names:
        raise ValueError("`systems` must name at least one system, got none.")
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", name):
            raise ValueError(f"`system` names are letters, digits, '.', '_', '+' and '-', got {name!r}.")
        if names.count(name) > 1:
            raise ValueError(f"`system` names must differ, got {name!r} {names.count(name)} times.")


def window_seed(seed: int, window_id: str) -> int:
    """The seed of a window, whatever stands before it in the list."""
    return int.from_bytes(hashlib.sha256(f"{seed} {window_id}".encode()).digest()[:4], "big") >> 1


def generate_outputs(system: System, test_set: WindowFolder, folder: Path, condition: str, seed: int) -> Path | None:
    """Let a system accompany every window of a condition that it has not accompanied yet.

    Args:
        system (`System`): The system that plays.
        test_set (`WindowFolder`): The windows that are sung.
        folder (`Path`): Folder of all systems' outputs; this one's go into `<name>/<condition>/<window_id>.wav`.
        condition (`str`): A key of `CONDITIONS`.
        seed (`int`): Seed of the run.

    Returns:
        The folder of the outputs, or `None` if the system has none for this condition.

    Raises:
        ValueError: If an output is not finite or of another length, or folders are mixed up.
    """
    if isinstance(system, FolderSystem) and system.folder.resolve().is_relative_to((folder / system.name).resolve()):
        raise ValueError(
            f"`system` {system.name}: {system.folder} lies where this run keeps its own copies. Give another folder, "
            "or another `--output_dir`."
        )
    claim_folder(folder / system.name, {"describe": system.describe(), "seed": seed})
    if isinstance(system, FolderSystem):
        system = system.of_condition(condition)
        if system is None:
            return None
    target = folder / system.name / condition
    target.mkdir(parents=True, exist_ok=True)
    missing = [window for window in test_set.windows if not (target / f"{window.window_id}.wav").is_file()]
    with ProgressBar(
        total=len(missing), desc=f"{system.name}, {condition}", unit="window", disable=not missing
    ) as progress:
        for windows in _batches(missing, BATCH_SIZE if hasattr(system, "generate_batch") else 1):
            vocals = [test_set.load(window, CONDITIONS[condition]) for window in windows]
            seeds = [window_seed(seed, window.window_id) for window in windows]
            if len(windows) == 1:
                outputs = [system.generate(vocals[0], test_set.sampling_rate, seed=seeds[0], window=windows[0])]
            else:
                outputs = system.generate_batch(vocals, test_set.sampling_rate, seeds, windows)
            for window, voice, audio in zip(windows, vocals, outputs, strict=True):
                check_output(audio, voice, system.name, window)
                write_audio(target / f"{window.window_id}.wav", audio, test_set.sampling_rate)
            progress.update(len(windows))
    return target


def _batches(windows: Sequence[Window], batch_size: int) -> Iterator[list[Window]]:
    """Windows in their order, equally long ones together."""
    for _, group in groupby(windows, key=lambda window: window.duration_s):
        together = list(group)
        yield from (together[start : start + batch_size] for start in range(0, len(together), batch_size))


def check_output(audio: np.ndarray, vocals: np.ndarray, name: str, window: Window) -> None:
    """Refuse an output that cannot be scored.

    Raises:
        ValueError: If it has another shape than the vocals, or holds NaN or infinity.
    """
    if np.shape(audio) != vocals.shape:
        raise ValueError(
            f"`system` {name} gave {np.shape(audio)} for window {window.window_id}, a mismatched pair: its vocals "
            f"are {vocals.shape}."
        )
    if not np.isfinite(audio).all():
        raise ValueError(
            f"`system` {name} gave NaN or infinity for window {window.window_id}: it has failed there. Look at it "
            "before anything is measured."
        )


def claim_folder(folder: Path, description: dict[str, Any]) -> None:
    """Make a system's folder, and empty it if its outputs were made by something else under the same name.

    Raises:
        ValueError: If it holds files that no run has written.
    """
    path = folder / "system.json"
    if path.is_file() and read_json(path) == json.loads(json.dumps(description)):
        return
    if folder.exists() and not path.is_file() and any(folder.iterdir()):
        raise ValueError(f"`output_dir`: {folder} holds files that no run has written. Choose another folder.")
    if path.is_file():
        ProgressBar.write(f"{folder.name} has changed since its outputs were made: they are made again.")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, description)
