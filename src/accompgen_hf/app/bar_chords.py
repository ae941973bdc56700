"""Chords written in bars, as `lead_sheet.txt` has them, with the time of each row: what people edit and give back."""

import re
from typing import Any, NamedTuple

_ROW = re.compile(r"\s*(?:(\d+):(\d\d(?:\.\d+)?))?\s*\|(.*)\|\s*")
_FACT = re.compile(r"\s*(tempo|meter|count-in)\s+(\d+(?:\.\d+)?)\b.*", re.IGNORECASE)
_REPEAT = "/"


class _Row(NamedTuple):
    """A row of bars: number of its line, its time if it has one, and the words of every bar."""

    number: int
    start_s: float | None
    bars: list[list[str]]


def has_bars(text: str) -> bool:
    """Whether a line of a text is a row of bars."""
    return any(_ROW.fullmatch(line) for line in text.splitlines())


def read_bars(text: str) -> list[list[Any]]:
    """Read the chords of rows of bars.

    Args:
        text (`str`): Rows such as `0:05.2 | Am | F / G / |`, in order. A row lasts until the next one's time, all of
            its bars alike; where no time follows, a bar has as many beats as the line `meter` says (4), at the line
            `tempo`. Words of a bar last equally long, and `/` goes on with the chord before it. A row without a time
            goes on where the one before it ends; the first begins at 0. The line `count-in` is taken off, and
            what then lies before 0 is left out.

    Returns:
        `list` of `[start_s, end_s, name]`.

    Raises:
        ValueError: If a row is empty, begins before the one before it, or nothing says how long its bars are.
    """
    rows, facts = _read_lines(text)
    beat_s = 60.0 / facts["tempo"] if facts.get("tempo") else None
    chords: list[list[Any]] = []
    end_s = count_in_s = facts.get("count-in", 0.0)
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        start_s = end_s if row.start_s is None else row.start_s
        if following is not None and following.start_s is not None:
            end_s = following.start_s
            if end_s <= start_s:
                raise ValueError(f"`chords`, line {following.number}, must begin behind the row before it.")
        elif beat_s is None:
            raise ValueError(
                f"`chords`, line {row.number}: nothing says how long its bars are. Add a line such as `tempo 96 BPM`, "
                "or the time of the next row."
            )
        else:
            end_s = start_s + len(row.bars) * facts.get("meter", 4.0) * beat_s
        chords += _spread(row, start_s - count_in_s, end_s - count_in_s)
    return [[max(0.0, start_s), end_s, name] for start_s, end_s, name in chords if end_s > 0]


def _read_lines(text: str) -> tuple[list[_Row], dict[str, float]]:
    rows: list[_Row] = []
    facts: dict[str, float] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if (fact := _FACT.fullmatch(line)) and not rows:
            facts[fact[1].lower()] = float(fact[2])
        elif row := _ROW.fullmatch(line):
            bars = [cell.split() for cell in row[3].split("|")]
            if not all(bars) or bars[0][0] == _REPEAT:
                raise ValueError(f"`chords`, line {number}, must have a chord in every bar, N.C. for none.")
            rows.append(_Row(number, None if row[1] is None else 60 * int(row[1]) + float(row[2]), bars))
    return rows, facts


def _spread(row: _Row, start_s: float, end_s: float) -> list[list[Any]]:
    """The chords of a row, evenly over its time."""
    chords: list[list[Any]] = []
    bar_s = (end_s - start_s) / len(row.bars)
    for index, words in enumerate(row.bars):
        for place, word in enumerate(words):
            first, last = (round(start_s + (index + p / len(words)) * bar_s, 3) for p in (place, place + 1))
            if word == _REPEAT:
                chords[-1][1] = last
            else:
                chords.append([first, last, word])
    return chords


__all__ = ["has_bars", "read_bars"]
