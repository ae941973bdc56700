"""The command line: `accompgen generate VOCALS...`, `demo`, and for repositories `assemble` and `verify`.

Exit codes: 0 everything was made; 1 a recording or the model could not be used, or the work was stopped; 2 the call
itself is wrong, and nothing was started. Results are named on stdout, everything else is said on stderr.
"""

import argparse
import math
import os
import secrets
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from accompgen_hf.loading import UsageError, choose_device, describe_model, load_pipeline
from accompgen_hf.repository_commands import add_repository_commands

SHIPPED_VOCALS = Path(__file__).parent / "assets" / "vocals" / "vocadito_10.wav"
DEFAULT_OUTPUT = "accompgen_out"
ESTIMATE_ABOVE_S = 30.0  # work that takes longer is announced
# Below both no trial is worth its own time: the shipped default needs less than 30 s for this much.
_FREE_OF_TRIAL_S = 12.0
_FREE_OF_TRIAL_PARAMETERS = 60_000_000
_TRIAL_DURATIONS_S = (0.1, 0.5)
_OPTION_KEYS = (  # settings that go to the pipeline under their own names
    "guidance_scale",
    "temperature",
    "top_k",
    "top_p",
    "preview",
    "accompaniment_lufs_offset",
    "semantic_kwargs",
    "coarse_kwargs",
    "fine_kwargs",
)


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is returned, never raised, except by argparse."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a console that lacks a letter of a file name prints `?` for it
            stream.reconfigure(errors="replace")
    arguments = build_parser().parse_args(argv)
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_args, **_kwargs: say(f"accompgen: note: {message}")
        try:
            return arguments.run(arguments)
        except UsageError as error:
            say(f"accompgen: error: {error}")
            return 2
        except KeyboardInterrupt:
            say("accompgen: stopped; finished results stay")
            return 1
        except Exception as error:  # the last line of defence: a person gets a sentence
            report_failure(error, arguments.debug)
            return 1


def report_failure(error: Exception, is_debug: bool, subject: str = "") -> None:
    """Say what went wrong in one line, with the traceback only on request."""
    if is_debug:
        traceback.print_exception(type(error), error, error.__traceback__)
    is_expected = isinstance(error, (ValueError, TypeError, OSError, ImportError))
    words = str(error) if is_expected else f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError) or "out of memory" in words.lower():
        words += " (try `--preview`, a shorter recording or `--device cpu`)"
    hint = "" if is_expected or is_debug else " (`--debug` shows where)"
    say(f"accompgen: error: {subject}{words or type(error).__name__}{hint}")


def build_parser() -> argparse.ArgumentParser:
    import importlib.metadata

    try:
        version = importlib.metadata.version("accompgen_hf")
    except importlib.metadata.PackageNotFoundError:
        version = "(not installed)"
    parser = argparse.ArgumentParser(prog="accompgen", description="Vocals in, band out.")
    parser.add_argument("--version", action="version", version=f"accompgen_hf {version}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    generate = commands.add_parser("generate", help="make accompaniments for recordings of singing")
    generate.add_argument("vocals", nargs="*", metavar="VOCALS", help="wav, flac, mp3 or ogg; none with --settings")
    demo = commands.add_parser("demo", help="the same for the shipped nine seconds of singing, or for VOCALS")
    demo.add_argument("vocals", nargs="*", metavar="VOCALS", help="a recording of your own")
    for command in (generate, demo):
        _add_options(command)
        command.set_defaults(run=run)
    add_repository_commands(commands)
    return parser


def _add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-o", "--output", default=DEFAULT_OUTPUT, metavar="DIR", help="parent of the result folders (%(default)s)")
    add("--model", help="a folder or Hub repository; without it the small default inside the package")
    add("--seed", type=_number(int, 0), help="same seed, same audio; recording and variation i use seed + i")
    add("--variations", type=_number(int, 1), default=1, metavar="N", help="how many accompaniments per recording")
    add("--guidance-scale", type=_number(float, 0), metavar="W", help="how strongly the band follows the singer")
    add("--temperature", type=_number(float, 0), metavar="T", help="below 1: safer, above 1: wilder")
    add("--top-k", type=_number(int, 0), metavar="K", help="choose among the K likeliest codes only")
    add("--top-p", type=_number(float, 0, 1), metavar="P", help="choose among the likeliest codes that sum up to P")
    add("--preview", action=argparse.BooleanOptionalAction, help="coarse codes alone: faster, duller sound")
    add("--sampling-rate", type=_number(int, 1), metavar="HZ", help="of the files written (that of the vocals)")
    add(
        "--accompaniment-lufs-offset",
        type=_number(float, -60, 60),
        metavar="LU",
        help="loudness of the band in the mix, minus that of the voice (-3)",
    )
    add("--separate", metavar="MODEL", help="whole songs: this MDX-Net .onnx file, or htdemucs, takes the voice out")
    add("--settings", metavar="FILE", help="settings.json of an earlier result: make the same again")
    add("--device", default="auto", help="auto, cuda, cuda:1, mps or cpu (auto: the first of these that is there)")
    add("--allow-truncated", action="store_true", default=None, help="use what is there of a file that ends early")
    add("--quiet", action="store_true", help="no progress bars")
    add("--debug", action="store_true", help="show the full traceback of an error")


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
    """Carry out `generate` or `demo`: settings, model, then one recording after the other."""
    recorded = _read_settings(arguments)
    settings = _merge_settings(arguments, recorded)
    sources = _find_sources(arguments, recorded)
    device = choose_device(arguments.device)
    separator = open_separator(settings.get("separate"), device)
    pipe = load_pipeline(settings.get("model"), device)
    if getattr(pipe.model.config, "is_placeholder", False):
        say("placeholder model: its weights are barely trained; length, timing and files are real, the music is not")
    if "seed" in settings:
        say(f"seed {settings['seed']}")
    else:
        settings["seed"] = secrets.randbelow(1_000_000)  # short enough for a folder's name and a note to a friend
        say(f"seed {settings['seed']} (new)")

    num_failed = 0
    is_announced = False
    for index, source in enumerate(sources):
        item = {**settings, "seed": settings["seed"] + index * arguments.variations}
        try:
            num_left = len(sources) - index
            is_announced = _run_one(arguments, pipe, separator, source, item, recorded, num_left, is_announced)
        except Exception as error:  # one broken recording does not stop the others
            report_failure(error, arguments.debug, f"{source}: ")
            num_failed += 1
    if num_failed and len(sources) > 1:
        say(f"accompgen: {num_failed} of {len(sources)} recordings failed")
    return 1 if num_failed else 0


def _run_one(
    arguments: argparse.Namespace,
    pipe: Any,
    separator: Any,
    source: str,
    settings: dict[str, Any],
    recorded: Mapping[str, Any],
    num_left: int,
    is_announced: bool,
) -> bool:
    """All variations of one recording; whether the estimate has been made by now."""
    from accompgen_hf.audio_accompgen import load_audio
    from accompgen_hf.results import write_result

    vocals, sampling_rate = load_audio(source, allow_truncated=bool(settings.get("allow_truncated")))
    duration_s = vocals.shape[-1] / sampling_rate
    channels = f"{vocals.shape[0]} channel" + ("s" if vocals.shape[0] > 1 else "")
    shown = source if source != str(SHIPPED_VOCALS) else f"{SHIPPED_VOCALS.name} (vocadito data set, CC BY 4.0)"
    say(f"{shown}: {duration_s:.1f} s, {sampling_rate} Hz, {channels}")
    if separator is not None:
        vocals, _, sampling_rate = separator.separate(vocals, sampling_rate)
    options = {key: settings[key] for key in _OPTION_KEYS if key in settings}
    if not is_announced:
        announce_work(pipe, vocals, sampling_rate, arguments.variations, num_left, options)
    made_with = describe_model(pipe)
    # One call per variation, not one batch: batch shape changes float sums, and then `--settings` with a variation's
    # own seed would not give the same file.
    for variation in range(arguments.variations):
        item = {**settings, "vocals": os.path.abspath(source), "seed": settings["seed"] + variation}
        start = time.monotonic()
        result = pipe(
            {"array": vocals, "sampling_rate": sampling_rate},
            seed=item["seed"],
            output_sampling_rate=item.get("sampling_rate", "input"),
            show_progress=not arguments.quiet,
            **options,
        )
        elapsed_s = time.monotonic() - start
        folder = write_result(arguments.output, item, vocals, sampling_rate, result, made_with)
        say(f"{elapsed_s:.1f} s of work, {elapsed_s / duration_s:.2f} s per second of music")
        print(folder, flush=True)
        _compare_with_record(folder, recorded)
    return True


def _read_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    if arguments.settings is None:
        return {}
    from accompgen_hf.results import read_settings

    try:
        return read_settings(arguments.settings)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _merge_settings(arguments: argparse.Namespace, recorded: Mapping[str, Any]) -> dict[str, Any]:
    """The file's settings under the options given: what is set, `vocals` apart."""
    from accompgen_hf.decoding_accompgen import check_sampling_rate
    from accompgen_hf.results import SETTINGS_TYPES

    given = {key: getattr(arguments, key, None) for key in SETTINGS_TYPES if key != "vocals"}
    given = {key: value for key, value in given.items() if value is not None}
    settings = {**{key: recorded[key] for key in SETTINGS_TYPES if key in recorded and key != "vocals"}, **given}
    if "sampling_rate" in settings:
        try:
            check_sampling_rate(settings["sampling_rate"], "`--sampling-rate`")
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


def open_separator(model: str | None, device: str) -> Any:
    """What takes the voice out of a whole song, or `None`."""
    if model is None:
        return None
    from accompgen_hf.data.separation import load_separator

    try:
        return load_separator(model, device="auto" if device.startswith("cuda") else "cpu")
    except ValueError as error:
        raise UsageError(str(error)) from error


def announce_work(
    pipe: Any, vocals: Any, sampling_rate: int, num_variations: int, num_recordings: int, options: Mapping[str, Any]
) -> None:
    """Before more than 30 s of work: say how long it will take, as measured here, and what is faster."""
    duration_s = vocals.shape[-1] / sampling_rate
    work_s = duration_s * num_variations * num_recordings
    num_parameters = sum(parameter.numel() for parameter in pipe.model.parameters())
    is_short = work_s <= _FREE_OF_TRIAL_S and num_parameters <= _FREE_OF_TRIAL_PARAMETERS
    if is_short or duration_s < 2 * _TRIAL_DURATIONS_S[1]:
        return
    seconds = num_variations * num_recordings * estimate_seconds(pipe, vocals, sampling_rate, options)
    if seconds > ESTIMATE_ABOVE_S:
        hint = "" if options.get("preview") else "; a first impression with `--preview` takes about half of it"
        about = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
        others = " for all of them, if they are as long as this one" if num_recordings > 1 else ""
        say(f"this will take about {about}{others}{hint} (Ctrl-C stops)")


def estimate_seconds(pipe: Any, vocals: Any, sampling_rate: int, options: Mapping[str, Any]) -> float:
    """Time for this recording, from two short trials: the shorter also warms up, their difference is music."""
    times_s = []
    for duration_s in _TRIAL_DURATIONS_S:
        excerpt = {"array": vocals[:, : math.ceil(duration_s * sampling_rate)], "sampling_rate": sampling_rate}
        start = time.monotonic()
        pipe(excerpt, seed=0, show_progress=False, **options)
        times_s.append(time.monotonic() - start)
    per_second = max(0.0, times_s[1] - times_s[0]) / (_TRIAL_DURATIONS_S[1] - _TRIAL_DURATIONS_S[0])
    return times_s[0] + per_second * vocals.shape[-1] / sampling_rate


def _compare_with_record(folder: Path, recorded: Mapping[str, Any]) -> None:
    """With `--settings` of a written result: say whether the same audio came out."""
    from accompgen_hf.results import AUDIO_FILES, file_hash

    hashes = recorded.get("files", {})
    if set(AUDIO_FILES) <= set(hashes):
        is_same = all(file_hash(folder / name) == hashes[name] for name in AUDIO_FILES)
        say("the audio is the recorded one, bit for bit" if is_same else "the audio differs from the recorded one")


if __name__ == "__main__":
    sys.exit(main())
