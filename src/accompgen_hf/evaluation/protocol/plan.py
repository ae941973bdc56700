"""What examples/evaluate.py knows before any work: whether the options fit each other, and how much there is to do."""

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

from accompgen_hf.accompgen.audio_files_accompgen import list_audio_files
from accompgen_hf.data.sources import Track
from accompgen_hf.evaluation.metrics.frechet import MIN_WINDOWS
from accompgen_hf.evaluation.systems.system import FolderSystem
from accompgen_hf.files import read_json
from accompgen_hf.model_parts import resolve_model

NUM_SONGS, NUM_QUICK_SONGS = 32, 4
NEEDS_CORPUS = ("random", "retrieval")


def choose_scope(options: argparse.Namespace, default_systems: Sequence[str]) -> None:
    """Fill in what depends on `quick`: four songs without sets, so neither FAD and APA nor systems with a corpus.

    Raises:
        ValueError: If a system is named that needs a corpus, with `quick`.
    """
    if options.num_songs is None:
        options.num_songs = NUM_QUICK_SONGS if options.quick else NUM_SONGS
    named = options.systems
    if options.quick:
        wrong = [name for name in named or [] if name in NEEDS_CORPUS]
        if wrong:
            raise ValueError(f"`systems` {', '.join(wrong)} need a corpus, and `quick` renders none. Leave one out.")
        options.embedders, options.isolated_only = [], True
    if named is None:
        is_alone = not (options.system or options.musicgen or options.singsong or options.variant)
        options.systems = (["ours"] if is_alone else []) if options.quick else list(default_systems)


def check_plan(options: argparse.Namespace) -> None:
    """Refuse in the first second what could not be scored after an hour.

    Raises:
        ValueError: If there are too few windows for the embedders, or a folder, model or page is missing.
    """
    for name in ("num_songs", "num_reference"):
        number = getattr(options, name) * options.windows_per_song
        if options.embedders and number < MIN_WINDOWS and not (name == "num_reference" and options.reference):
            raise ValueError(
                f"`{name}` gives at most {number} windows, and FAD and APA need {MIN_WINDOWS}. Raise it, or leave "
                "them out: `--quick`, or `--embedders` without a name."
            )
    if options.page is not None and not options.page.is_file():
        raise ValueError(f"`page` {options.page} is not a file. Name a Markdown page that is there.")
    for name, folder in (("data", options.data), ("reference", options.reference), ("corpus", options.corpus)):
        if folder is not None and not os.path.isdir(folder):
            raise ValueError(f"`{name}` {folder} is not a folder. Check the path.")
    for folder in [options.model, options.singsong]:
        if folder is not None and not os.path.isdir(resolve_model(folder)):
            raise ValueError(f"`model` {folder} is not a folder. Check the path.")
    for pair in options.system:
        name, sign, folder = pair.partition("=")
        if not sign or not name or not folder:
            raise ValueError(f"`system` must be NAME=DIR, got {pair!r}.")
        system = FolderSystem(name, folder).of_condition("isolated")
        if not list_audio_files(folder):
            raise ValueError(f"`system` {name}: {folder} holds no sound file. `--export_inputs` says what to play.")
        for window_id in known_windows(options):
            system.path(window_id)


def known_windows(options: argparse.Namespace) -> list[str]:
    """Ids of the windows that an earlier call, such as one with `export_inputs`, has left in the folder of the run."""
    path = Path(options.output_dir) / "inputs" / "windows.json"
    return [row["window_id"] for row in read_json(path)["windows"]] if path.is_file() else []


def describe_work(tested: Sequence[Track], num_others: int, num_systems: int, folder: Path) -> str:
    """How much there is to do, and how long the songs take, as measured on the first of them.

    Args:
        tested (sequence of `Track`): Songs under test.
        num_others (`int`): Songs of the reference and the corpus that are rendered or read, too.
        num_systems (`int`): Systems that play.
        folder (`Path`): Folder of the run; what is there already is not done again.
    """
    work = f"{len(tested)} songs under test and {num_others} others"
    if (folder / "inputs" / "windows.json").is_file():
        return f"{work}; what is there from before stays. {num_systems} systems play to each"
    start = time.perf_counter()
    tested[0].load()
    seconds = (time.perf_counter() - start) * (len(tested) + num_others)
    about = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
    return f"{work}, about {about} to make; then {num_systems} systems play to each, as the bars say"


__all__ = ["NUM_QUICK_SONGS", "NUM_SONGS", "check_plan", "choose_scope", "describe_work", "known_windows"]
