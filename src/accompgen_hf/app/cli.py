"""The command line: `accompgen generate VOCALS...`, `demo`, `web`, and for repositories `assemble` and `verify`.

Exit codes: 0 everything was made; 1 a recording or the model could not be used, or the work was stopped; 2 the call
itself is wrong, and nothing was started. Results are named on stdout, everything else is said on stderr.
"""

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import accompgen_hf
from accompgen_hf.accompgen.optional_accompgen import import_optional
from accompgen_hf.accompgen.options_accompgen import GENERATION_OPTIONS, GenerationOption
from accompgen_hf.app.console import report_failure, say
from accompgen_hf.app.delivery_choices import FORMATS, MAX_COUNT_IN_BARS
from accompgen_hf.app.garbage import collected_rarely
from accompgen_hf.app.open_pipeline import (
    SHIPPED_VOCALS,
    UsageError,
    add_machine_options,
    choose_device,
    load_pipeline,
    open_separator,
    set_threads,
)
from accompgen_hf.app.regenerate_command import add_regenerate_command
from accompgen_hf.app.repository_commands import add_repository_commands
from accompgen_hf.scripts import OneLineParser
from accompgen_hf.web.web_command import add_web_command

DEFAULT_OUTPUT = "accompgen_out"
DRAWN_SEED = -1  # as other programs call one that is to be drawn


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is returned, never raised, except by argparse."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a console that lacks a letter of a file name prints `?` instead
            stream.reconfigure(errors="replace")
    parser = build_parser()
    if "_ARGCOMPLETE" in os.environ:  # a shell asks how the line may go on
        import_optional("argcomplete", "Completing in the shell", ".[completion]").autocomplete(parser)
    arguments = parser.parse_args(argv)
    with collected_rarely(), warnings.catch_warnings():
        accompgen_hf.register()  # here work begins, and the heavy libraries are loaded
        warnings.showwarning = lambda message, *_args, **_kwargs: say(f"accompgen: note: {message}")
        warnings.simplefilter("ignore", FutureWarning)  # words of libraries for those who program with them
        try:
            return arguments.run(arguments)
        except UsageError as error:
            say(f"accompgen: error: {error}")
            return 2
        except KeyboardInterrupt:
            hint = "; the same call goes on" if getattr(arguments, "stream", False) else ""
            say(f"accompgen: stopped; finished results stay{hint}")
            return 1
        except Exception as error:  # an unexpected error: the user gets one sentence
            report_failure(error, arguments.debug)
            return 1


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands."""
    parser = OneLineParser(prog="accompgen", description="Vocals in, band out.")
    parser.add_argument("--version", action=_ShowVersions, nargs=0, help="show the versions that matter, and end")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    generate = commands.add_parser("generate", help="make accompaniments for recordings of singing")
    generate.add_argument(
        "vocals",
        nargs="*",
        metavar="VOCALS",
        help="files (wav, flac, mp3, ogg) or folders of them; none with --settings",
    )
    demo = commands.add_parser("demo", help="the same for the shipped nine seconds of singing, or for VOCALS")
    demo.add_argument("vocals", nargs="*", metavar="VOCALS", help="a recording of your own")
    demo.set_defaults(stream=False, preview_first=False, batch_size=1)
    _add_ways_to_run(generate)
    for command in (generate, demo):
        _add_options(command)
        command.set_defaults(run=run, variations=1)
    add_regenerate_command(commands, _number, _chords)
    add_web_command(commands, _number)
    add_repository_commands(commands)
    return parser


class _ShowVersions(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_call: Any) -> None:
        import importlib.metadata

        versions = [f"accompgen_hf {accompgen_hf.__version__}"]
        for library in ("torch", "transformers"):
            try:
                versions.append(f"{library} {importlib.metadata.version(library)}")
            except importlib.metadata.PackageNotFoundError:
                versions.append(f"{library} is missing")
        versions.append(f"Python {sys.version.split()[0]}")
        print(", ".join(versions))
        parser.exit()


def _add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-o", "--output", default=DEFAULT_OUTPUT, metavar="DIR", help="parent of the result folders (%(default)s)")
    add("--model", help="a folder or Hub repository; without it the small default inside the package")
    for option in GENERATION_OPTIONS.values():
        if option.help is not None:
            _add_generation_option(add, option)
    add(
        "--chords",
        type=_chords,
        metavar="FILE",
        help="chords to play: lines of start, end (seconds) and name, bars, or an edited lead_sheet.txt",
    )
    add(
        "--best-of", type=_number(int, 2), metavar="N", help="make N takes, and keep the one that fits the singer best"
    )
    add("--separate", metavar="MODEL", help="whole songs: this MDX-Net .onnx file, or htdemucs, takes the voice out")
    add("--separate-preset", metavar="NAME", help="which network the .onnx file is, if its name does not say so")
    add("--separate-n-fft", type=_number(int, 1), metavar="N", help="or its own numbers: samples per analysis window,")
    add("--separate-gain", type=_number(float, 0), metavar="G", help="factor on what it predicts,")
    add("--separate-stem", choices=("vocals", "instrumental"), help="and what that is")
    add("--format", choices=FORMATS, help="of the audio files; seed, settings and model stand in their tags")
    add(
        "--count-in",
        type=_number(int, 0, MAX_COUNT_IN_BARS),
        metavar="BARS",
        help="bars of clicks before the mix; every file begins as much earlier",
    )
    add("--settings", metavar="FILE", help="settings.json or a tagged take of an earlier result: make the same again")
    add_machine_options(add, _number)
    add("--quiet", action="store_true", help="no progress bars")
    add("--debug", action="store_true", help="show the full traceback of an error")


def _chords(path: str) -> list[list]:
    from accompgen_hf.app.chord_files import read_chord_file

    try:
        return read_chord_file(path)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _add_generation_option(add: Callable[..., Any], option: GenerationOption) -> None:
    how: dict[str, Any] = {"action": argparse.BooleanOptionalAction}
    if option.kind is str:
        how = {"choices": option.choices} if option.choices else {"metavar": option.metavar}
    elif option.kind is list:
        how = {"nargs": "+", "metavar": option.metavar}
    elif option.kind is not bool:
        low = DRAWN_SEED if option.name == "seed" else option.low
        how = {"type": _number(option.kind, low, option.high), "metavar": option.metavar}
    names = [f"--{option.key.replace('_', '-')}", *(["--rate"] if option.key == "sampling_rate" else [])]
    add(*names, help=option.help, **how)


def _add_ways_to_run(parser: argparse.ArgumentParser) -> None:
    ways = parser.add_mutually_exclusive_group()
    add = ways.add_argument
    add(
        "--stream",
        action="store_true",
        help="whole songs: NAME.part.wav grows while you listen; after a stop or kill, the same call goes on",
    )
    add("--preview-first", action="store_true", help="write NAME.preview.wav, then go on from its codes to the whole")
    add(
        "--batch-size",
        type=_number(int, 1),
        default=1,
        metavar="N",
        help="make N at a time, which is faster on a GPU",
    )


def _number(kind: type, low: float, high: float = float("inf")) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not low <= value <= high or value == float("inf"):
            upper = "" if high == float("inf") else f" and at most {high}"
            words = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"must be {words} of at least {low}{upper}, got {text!r}")
        return value

    return parse


def run(arguments: argparse.Namespace) -> int:
    """Carry out `generate` or `demo`: settings, jobs, model, then batch after batch."""
    from accompgen_hf.accompgen.seeds_accompgen import draw_seed
    from accompgen_hf.app.generate_command import Work
    from accompgen_hf.app.recording_queue import (
        FOLDER_SEED,
        gather_outcomes,
        list_jobs,
        process_place,
        summary_table,
        unfinished_seed,
    )
    from accompgen_hf.app.result_folders import check_parent

    recorded = _read_settings(arguments)
    settings = _merge_settings(arguments, recorded)
    if settings.get("seed") == DRAWN_SEED:
        settings["seed"] = draw_seed()
        say(f"seed {settings['seed']} is drawn")
    best_of = settings.get("best_of", 1)
    if best_of > 1 and (arguments.stream or arguments.preview_first):
        raise UsageError("`--best-of` compares whole takes: leave `--stream` and `--preview-first` out")
    sources = _find_sources(arguments, recorded)
    rank, num_processes = process_place()
    is_new = "seed" not in settings
    # A rerun over a folder, and every process, must find the same results.
    is_repeated = num_processes > 1 or any(map(os.path.isdir, sources))
    unfinished = None
    if is_new and arguments.stream and not is_repeated and len(sources) == arguments.variations == 1:
        unfinished = unfinished_seed(arguments.output, sources[0])
    if is_new and is_repeated:
        settings["seed"] = FOLDER_SEED
    elif is_new:
        settings["seed"] = draw_seed() if unfinished is None else unfinished
    try:
        # A job of `--best-of` takes as many seeds in a row.
        num_takes = arguments.variations * best_of
        jobs = list_jobs(sources, settings["seed"], num_takes, excluded=arguments.output)[::best_of]
        check_parent(arguments.output)
    except ValueError as error:
        raise UsageError(str(error)) from error
    device = choose_device(arguments.device)
    if device == "cuda" and num_processes > 1:
        device = f"cuda:{os.environ.get('LOCAL_RANK', rank)}"
    separator = open_separator(settings, device)
    pipe = load_pipeline(settings.get("model"), device)
    settings = _check_band(settings, pipe.model.config)
    set_threads(arguments.threads)
    if getattr(pipe.model.config, "is_placeholder", False):
        say("placeholder model: its weights are barely trained; length, timing and files are real, the music is not")
    origin = " (of the part file left over)" if unfinished is not None else " (new)"
    origin = origin if is_new and not is_repeated else ""
    say(f"seed {settings['seed']}{origin}")

    work = Work(arguments, pipe, separator, settings, recorded)
    outcomes = gather_outcomes(work.run(jobs[rank::num_processes]))
    if rank > 0:
        return 0  # process 0 tells of every failure: a launcher that saw another fail would end it before its table
    if len(outcomes) > 1:
        say(summary_table(outcomes))
    num_failed = sum(outcome.status == "failed" for outcome in outcomes)
    if num_failed and len(outcomes) > 1:
        say(f"accompgen: {num_failed} of {len(outcomes)} recordings failed")
    return 1 if num_failed else 0


def _read_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    if arguments.settings is None:
        return {}
    from accompgen_hf.app.result_folders import read_settings

    try:
        settings = read_settings(arguments.settings)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if "regenerated" in settings:
        raise UsageError(
            f"`--settings` is of a take of {settings['regenerated']['from']!r} of which a span was made anew: call "
            "`accompgen regenerate` on that folder with its `--from`, `--to`, `--seed` and `--no-snap`"
        )
    return settings


def _merge_settings(arguments: argparse.Namespace, recorded: Mapping[str, Any]) -> dict[str, Any]:
    """The file's settings under the options given: what is set, `vocals` apart."""
    from accompgen_hf.accompgen.audio_checks_accompgen import check_sampling_rate
    from accompgen_hf.app.result_folders import SETTINGS_KINDS

    given = {key: getattr(arguments, key, None) for key in SETTINGS_KINDS if key != "vocals"}
    given = {key: value for key, value in given.items() if value is not None}
    settings = {**{key: recorded[key] for key in SETTINGS_KINDS if key in recorded and key != "vocals"}, **given}
    if "sampling_rate" in settings:
        try:
            check_sampling_rate(settings["sampling_rate"], "`--sampling-rate`")
        except ValueError as error:
            raise UsageError(str(error)) from error
    return settings


def _check_band(settings: dict[str, Any], config: Any) -> dict[str, Any]:
    """The settings, if the model knows what they ask for and tell; the parts in the model's order."""
    from accompgen_hf.accompgen.parts_accompgen import choose_parts, style_id
    from accompgen_hf.accompgen.told_song_accompgen import TOLD_NAMES, read_told_song

    try:
        style_id(config, settings.get("style"))
        read_told_song(*map(settings.get, TOLD_NAMES))
        if "parts" in settings:
            chosen = choose_parts(config, settings["parts"])
            settings = {**settings, "parts": [config.part_names[index] for index in chosen]}
    except ValueError as error:
        raise UsageError(str(error)) from error
    return settings


def _find_sources(arguments: argparse.Namespace, recorded: Mapping[str, Any]) -> list[str]:
    if arguments.vocals:
        sources = arguments.vocals
    elif "vocals" in recorded:
        sources = [recorded["vocals"]]
    elif arguments.command == "demo":
        sources = [str(SHIPPED_VOCALS)]
    else:
        raise UsageError("name at least one recording, or --settings of an earlier result")
    missing = [source for source in sources if not os.path.exists(source)]
    if missing:
        raise UsageError(f"there is no file {', '.join(map(repr, missing))}")
    return sources


if __name__ == "__main__":
    sys.exit(main())
