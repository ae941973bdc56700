"""What the commands say on stderr."""

import sys
import traceback

# The library's messages are written for people who call functions; these names are not those of the options.
_OPTIONS = {
    "pass `allow_truncated=True`": "add `--allow-truncated`",
    "`regenerate_parts`": "`--parts`",
    "`regenerate`": "the span of `--from` and `--to`",
    "`start_s`": "`--from`",
    "`end_s`": "`--to`",
}


def say(message: str) -> None:
    """Print one line on stderr."""
    print(message, file=sys.stderr, flush=True)


def name_options(words: str) -> str:
    """A message of the library with the options of the command in the place of its parameters."""
    for parameter, option in _OPTIONS.items():
        words = words.replace(parameter, option)
    return words


def report_failure(error: Exception, is_debug: bool, subject: str = "") -> str:
    """Say what went wrong in one line, with the traceback only on request; returns the words, without the subject."""
    if is_debug:
        traceback.print_exception(type(error), error, error.__traceback__)
    is_expected = isinstance(error, (ValueError, TypeError, OSError, ImportError))
    words = name_options(" ".join(str(error).split()))
    if not words or not is_expected:
        words = f"{type(error).__name__}: {words}".removesuffix(": ")
    if isinstance(error, MemoryError) or "out of memory" in words.lower():
        words += " (try `--preview`, a shorter recording or `--device cpu`)"
    hint = "" if is_expected or is_debug else " (`--debug` shows where)"
    say(f"accompgen: error: {subject}{words}{hint}")
    return words
