"""Chords that a singer tells in a file: lines of start, end and name, or an edited lead sheet."""

import json
import os
from pathlib import Path
from typing import Any

from accompgen_hf.accompgen.told_song_accompgen import read_chords


def read_chord_file(path: str | os.PathLike) -> list[list[Any]]:
    """Read the chords of a file.

    Args:
        path: A text of lines such as `0.0 2.4 Am` (start and end in seconds, with blanks or tabs between them; lines
            that begin with `#` are skipped), as Audacity and Sonic Visualiser export labels; or a `lead_sheet.json`,
            that a result has (its count-in is taken off).

    Returns:
        `list` of `[start_s, end_s, name]`.

    Raises:
        ValueError: If the file cannot be read, a line is no chord, or they do not follow each other.
    """
    try:
        text = Path(path).read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"`--chords` {os.fspath(path)!r} cannot be read as text ({error}).") from error
    chords = _of_sheet(path, text) if text.lstrip().startswith("{") else _of_lines(path, text)
    try:
        read_chords(chords)
    except ValueError as error:
        raise ValueError(f"`--chords` {os.fspath(path)!r}: {error}") from error
    if not chords:
        raise ValueError(f"`--chords` {os.fspath(path)!r} must hold at least one chord, got none.")
    return chords


def _of_sheet(path: str | os.PathLike, text: str) -> list[list[Any]]:
    try:
        sheet = json.loads(text)
        count_in_s = float(sheet.get("count_in_s", 0.0))
        chords = [
            [max(0.0, round(chord["start_s"] - count_in_s, 6)), round(chord["end_s"] - count_in_s, 6), chord["name"]]
            for chord in sheet["chords"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"`--chords` {os.fspath(path)!r} is no lead sheet ({error!r}).") from error
    return chords


def _of_lines(path: str | os.PathLike, text: str) -> list[list[Any]]:
    chords = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        words = line.split()
        try:
            start_s, end_s = map(float, words[:2])
            [name] = words[2:]
        except ValueError:
            raise ValueError(
                f"`--chords` {os.fspath(path)!r}, line {number}, must be start, end and name, such as 0.0 2.4 Am, got "
                f"{line.strip()!r}."
            ) from None
        chords.append([start_s, end_s, name])
    return chords


__all__ = ["read_chord_file"]
