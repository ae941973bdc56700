"""Many recordings, many processes: which job each process does, which are done already, and the table at the end."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from accompgen_hf.accompgen.audio_files_accompgen import AUDIO_SUFFIXES, list_audio_files
from accompgen_hf.accompgen.seeds_accompgen import item_seed
from accompgen_hf.app.result_folders import SETTINGS_KINDS, audio_files, result_name

FOLDER_SEED = 0
_WAIT_FOR_OTHERS = timedelta(days=7)  # processes end hours apart; the default of half an hour would end in an error


class Job(NamedTuple):
    """One accompaniment to make.

    Attributes:
        source (`str`): Path of the vocals.
        seed (`int`): Seed of this accompaniment.
        is_of_folder (`bool`): Found in a folder: left out if its result is there already.
    """

    source: str
    seed: int
    is_of_folder: bool


class Outcome(NamedTuple):
    """What became of a job: `status` is `made`, `there already` or `failed`, `detail` a folder or the reason."""

    source: str
    seed: int
    status: str
    work_s: float
    detail: str


def list_jobs(
    sources: Sequence[str], seed: int, num_variations: int = 1, excluded: str | os.PathLike | None = None
) -> list[Job]:
    """Make a list of all files and variations, in an order that every process finds.

    Item i of `sources` has the seed `seed + i * num_variations`. All files of a folder share the seed of the folder:
    a file that is added later leaves those of the others alone.

    Args:
        sources: Files and folders. Folders are searched in depth for files with the ending of an audio format; those
            of earlier results are left out.
        excluded: A folder whose files are no sources, such as that of the results.

    Raises:
        ValueError: If a folder holds no audio.
    """
    jobs = []
    for index, source in enumerate(sources):
        first_seed = item_seed(seed, index, num_variations)
        is_folder = os.path.isdir(source)
        files = _list_audio(source, excluded) if is_folder else [source]
        jobs += [Job(file, first_seed + variation, is_folder) for file in files for variation in range(num_variations)]
    return jobs


def _list_audio(folder: str, excluded: str | os.PathLike | None) -> list[str]:
    left_out = None if excluded is None else Path(excluded).resolve()
    found = list_audio_files(folder)
    results = {parent for parent in {path.parent for path in found} if _is_result(parent)}
    files = [
        str(path)
        for path in found
        if path.parent not in results and (left_out is None or left_out not in path.resolve().parents)
    ]
    if not files:
        what = "no audio but that of results" if found else "no audio"
        raise ValueError(f"{folder!r} holds {what}: give a folder with {', '.join(AUDIO_SUFFIXES)} files.")
    return files


def _is_result(folder: Path) -> bool:
    return (folder / "settings.json").is_file() and any(folder.glob("accompaniment.*"))


def process_place(environment: Mapping[str, str] | None = None) -> tuple[int, int]:
    """This process's number and how many there are, as `accelerate launch` and `torchrun` say it."""
    environment = os.environ if environment is None else environment
    return int(environment.get("RANK", 0)), int(environment.get("WORLD_SIZE", 1))


def find_result(parent: str | os.PathLike, settings: Mapping[str, Any]) -> Path | None:
    """The finished result folder that was made of the same vocals with the same settings, or `None`."""
    folder_name = result_name(settings["vocals"], settings["seed"])
    number = 1
    while (folder := Path(parent) / (folder_name if number == 1 else f"{folder_name}-{number}")).exists():
        number += 1
        try:
            record = json.loads((folder / "settings.json").read_bytes())
        except (OSError, ValueError):
            continue  # cut off while it was written
        is_same = all(record.get(key) == settings.get(key) for key in SETTINGS_KINDS)
        if is_same and all(
            (folder / file_name).exists() for file_name in {*audio_files(settings), *record.get("files", ())}
        ):
            return folder
    return None


def unfinished_seed(parent: str | os.PathLike, vocals: str | os.PathLike) -> int | None:
    """The seed of the newest `--stream` of these vocals that was stopped and can go on, or `None`."""
    prefix, suffix = result_name(vocals, 0)[:-1], ".part.codes"
    paths = [path for path in Path(parent).glob(f"*{suffix}") if path.name.startswith(prefix)]
    seeds = [path.name[len(prefix) : -len(suffix)] for path in sorted(paths, key=lambda path: path.stat().st_mtime)]
    return next((int(seed) for seed in reversed(seeds) if seed.isdecimal()), None)


def gather_outcomes(outcomes: list[Outcome]) -> list[Outcome]:
    """Collect the outcomes of all processes in process 0; another process gets its own."""
    rank, num_processes = process_place()
    if num_processes == 1:
        return outcomes
    import torch.distributed

    is_ours = not torch.distributed.is_initialized()
    if is_ours:
        torch.distributed.init_process_group("gloo", timeout=_WAIT_FOR_OTHERS)
    gathered = [None] * num_processes if rank == 0 else None
    torch.distributed.gather_object(outcomes, gathered)
    if is_ours:
        torch.distributed.destroy_process_group()
    if gathered is None:
        return outcomes
    return sorted(outcome for part in gathered for outcome in part)


def summary_table(outcomes: Iterable[Outcome]) -> str:
    """Make a table with one line per job, and the sums."""
    outcomes = list(outcomes)
    rows = [("vocals", "seed", "status", "work", "result or reason")]
    for outcome in outcomes:
        work = f"{outcome.work_s:.1f} s" if outcome.status == "made" else ""
        rows.append((Path(outcome.source).name, str(outcome.seed), outcome.status, work, outcome.detail))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ["  ".join([*map(str.ljust, row, widths), row[4]]).rstrip() for row in rows]
    counts = {status: sum(outcome.status == status for outcome in outcomes) for status in STATUSES}
    return "\n".join([*lines, ", ".join(f"{count} {status}" for status, count in counts.items())])


STATUSES = ("made", "there already", "failed")
