"""Chords that a singer tells in a text: lines of start, end and name, rows of bars, or an edited lead sheet."""

import json
import math
import os
from pathlib import Path
from typing import Any

from accompgen_hf.accompgen.told_song_accompgen import read_chords
from accompgen_hf.app.bar_chords import has_bars, read_bars


def read_chord_file(path: str | os.PathLike) -> list[list[Any]]:
    """Read the chords of a file that holds what [`read_chord_text`] reads, as the argument of `--chords`.

    Raises:
        ValueError: If the file cannot be read, or its text.
    """
    try:
        text = Path(path).read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"`--chords` {os.fspath(path)!r} cannot be read as text ({error}).") from error
    try:
        return read_chord_text(text)
    except ValueError as error:
        raise ValueError(f"`--chords` {os.fspath(path)!r}: {error}") from error


def read_chord_text(text: str) -> list[list[Any]]:
    """Read the chords of a text.

    Args:
        text (`str`): Lines such as `0.0 2.4 Am` (start and end in seconds, with blanks or tabs between them; lines
            that begin with `#` are skipped), as Audacity and Sonic Visualiser export labels; rows of bars, as
            [`read_bars`] reads them in `lead_sheet.txt`; or a `lead_sheet.json`. Count-ins are taken off.

    Returns:
        `list` of `[start_s, end_s, name]`.

    Raises:
        ValueError: If a line is no chord, they do not follow each other, or there is none.
    """
    text = text.removeprefix("\ufeff")
    if text.lstrip().startswith("{"):
        chords = _of_sheet(text)
    else:
        chords = read_bars(text) if has_bars(text) else _of_lines(text)
    read_chords(chords)
    if not chords:
        raise ValueError("`chords` must hold at least one chord, got none.")
    return chords


def _of_sheet(text: str) -> list[list[Any]]:
    try:
        sheet = json.loads(text)
        count_in_s = float(sheet.get("count_in_s", 0.0))
        return [
            [max(0.0, round(chord["start_s"] - count_in_s, 6)), round(chord["end_s"] - count_in_s, 6), chord["name"]]
            for chord in sheet["chords"]
        ]
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"`chords` must be lines or a whole lead sheet, got a part of one ({error!r}).") from error


def _of_lines(text: str) -> list[list[Any]]:
    chords = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            start, end, name = line.split()
            times_s = [float(start), float(end)]
        except ValueError:
            times_s = []
        if not times_s or not all(map(math.isfinite, times_s)):
            raise ValueError(
                f"`chords`, line {number}, must be start, end and name, such as 0.0 2.4 Am, got {line.strip()!r}."
            )
        chords.append([*times_s, name])
    return chords


__all__ = ["read_chord_file", "read_chord_text"]
