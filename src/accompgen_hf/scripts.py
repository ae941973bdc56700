"""What the example scripts and the command share: help that names every default, and errors in one line."""

import argparse
import inspect
import os
import re
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

EXPECTED = (ValueError, TypeError, OSError, ImportError, RuntimeError)
_WAIT_S = 3.0  # longer than a launcher needs to end the other processes


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Adds the default to every help text that does not speak of it."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help
        says_nothing = action.default is None or action.default is False or action.default in ([], {}, ())
        if says_nothing or action.required or action.default == argparse.SUPPRESS or not action.option_strings:
            return text
        return text if "%(default)" in (text or "") or "default" in (text or "") else f"{text} (%(default)s)"


class OneLineParser(argparse.ArgumentParser):
    """A parser that refuses a wrong call in one line; the list of all options is left to `--help`."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the call, and end with the exit code 2."""
        self.exit(2, f"{self.prog}: error: {message} (`{self.prog} --help` lists the options)\n")


def script_parser(description: str | None, **kwargs: Any) -> argparse.ArgumentParser:
    """A parser whose help begins with a script's docstring and names every default.

    Args:
        description (`str`, *optional*): `__doc__` of the script.
        kwargs: Further arguments of `argparse.ArgumentParser`.
    """
    return OneLineParser(description=description, formatter_class=_Formatter, **kwargs)


def describe_fields(kind: type) -> dict[str, str]:
    """Help texts of a dataclass of arguments, from its docstring: the first sentence of each."""
    text = inspect.cleandoc(kind.__doc__ or "")
    text = re.split(r"^(?:Args|Attributes):\n", text, maxsplit=1, flags=re.MULTILINE)[-1]
    entries = re.findall(r"^    ([\w, ]+) \([^\n]*?\):((?:.|\n)*?)(?=^    \w|\Z)", text, re.MULTILINE)
    helps = {}
    for names, described in entries:
        sentence = re.split(r"(?<=[.;])\s", " ".join(described.split()).replace("`", ""), maxsplit=1)[0].rstrip(".;")
        for name in names.split(", "):
            helps[name] = f"{sentence[:1].lower()}{sentence[1:]}".replace("%", "%%")
    return helps


def run_script(main: Callable[[], Any]) -> None:
    """Run a script; an error that its user can mend is one line on stderr and the exit code 1.

    Of several processes, each with the same error, one tells of it: the others wait, and the launcher ends them. None
    of them leaves through a clean exit, which would wait for the rest for ever.
    """
    rank, num_processes = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    try:
        main()
    except Exception as error:
        if num_processes > 1 and rank > 0:
            time.sleep(_WAIT_S)
        # torch's own assertion is the only word about a device that is not there.
        is_device = isinstance(error, AssertionError) and str(error).startswith("Torch not compiled with")
        if isinstance(error, EXPECTED) or is_device:
            words = " ".join(str(error).split()) or type(error).__name__
            words += ": give `--device cpu`, or install another torch." if is_device else ""
            print(f"error: {words}", file=sys.stderr, flush=True)
        else:
            sys.excepthook(type(error), error, error.__traceback__)  # a mistake of ours: all of it
        if num_processes > 1:
            sys.stderr.flush()
            os._exit(1)
        sys.exit(1)


__all__ = ["OneLineParser", "describe_fields", "run_script", "script_parser"]
