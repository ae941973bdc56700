"""The command `accompgen regenerate`: its options, and what it says."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from accompgen_hf.app.console import say
from accompgen_hf.app.open_pipeline import UsageError, add_machine_options, choose_device, load_pipeline, set_threads


def add_regenerate_command(
    commands: Any, number: Callable[..., Callable[[str], Any]], chords: Callable[[str], list]
) -> None:
    """Add `accompgen regenerate` to the commands; `number` makes a parser of numbers in a range, `chords` is one."""
    parser = commands.add_parser("regenerate", help="make a span of a result anew, and keep everything else")
    add = parser.add_argument
    add("folder", metavar="RESULT_FOLDER", help="folder of an earlier result")
    add("--from", dest="start_s", type=number(float, 0), metavar="S", help="start in seconds of the folder's files")
    add("--to", dest="end_s", type=number(float, 0), metavar="S", help="end in seconds (that of the recording)")
    add("--parts", nargs="+", metavar="PART", help="make these parts anew alone, of a model that plays several")
    add("--chords", type=chords, metavar="FILE", help="chords to play there, such as an edited lead_sheet.txt")
    add("--seed", type=number(int, 0), help="seed of the span; with that of the result its own codes come back")
    add("--no-snap", action="store_true", help="take the seconds as they are, not the nearest beats")
    add("--vocals", metavar="FILE", help="the vocals, if they have moved; longer ones are continued without --from")
    add("--model", help="a folder or Hub repository, if the model has moved")
    add("-o", "--output", metavar="DIR", help="parent of the new folder (that of the old one)")
    add_machine_options(add, number)
    add("--quiet", action="store_true", help="no progress bars")
    add("--debug", action="store_true", help="show the full traceback of an error")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Carry out `regenerate`."""
    from accompgen_hf.accompgen.parts_accompgen import choose_parts
    from accompgen_hf.app.regenerate import regenerate_result
    from accompgen_hf.app.result_folders import read_settings

    if not os.path.isdir(arguments.folder):
        raise UsageError(f"there is no folder {arguments.folder!r}")
    if not (Path(arguments.folder) / "settings.json").is_file():
        raise UsageError(f"{arguments.folder!r} is no result folder: there is no settings.json in it")
    if arguments.vocals is not None and not os.path.exists(arguments.vocals):
        raise UsageError(f"there is no file {arguments.vocals!r}")
    if arguments.start_s is None and (arguments.vocals is None or arguments.end_s is not None):
        raise UsageError("say where the span begins with `--from`, or give longer `--vocals` to continue")
    if arguments.end_s is not None and arguments.end_s <= arguments.start_s:
        raise UsageError(f"`--to` must lie behind `--from`, got {arguments.start_s:g} to {arguments.end_s:g}")
    model = read_settings(Path(arguments.folder) / "settings.json").get("model")
    pipe = load_pipeline(model if arguments.model is None else arguments.model, choose_device(arguments.device))
    try:
        choose_parts(pipe.model.config, arguments.parts, "`--parts`")
    except ValueError as error:
        raise UsageError(str(error)) from error
    set_threads(arguments.threads)
    folder = regenerate_result(
        pipe,
        arguments.folder,
        arguments.start_s,
        arguments.end_s,
        parts=arguments.parts,
        chords=arguments.chords,
        seed=arguments.seed,
        snap=not arguments.no_snap,
        vocals=arguments.vocals,
        parent=arguments.output,
        show_progress=not arguments.quiet,
    )
    record = read_settings(folder / "settings.json")
    changed = record["regenerated"]
    say(f"seed {record['seed']}; made anew: {changed['start_s']:.2f} s to {changed['end_s']:.2f} s")
    print(folder, flush=True)
    return 0


__all__ = ["add_regenerate_command", "run"]
