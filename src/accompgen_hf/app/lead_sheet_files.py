"""The lead sheet of a result for people, programs and the page: `lead_sheet.txt`, `lead_sheet.json` and `song.mid`."""

import json
import math
import os
from collections.abc import Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from accompgen_hf.accompgen.lead_sheet_accompgen import QUALITIES
from accompgen_hf.app.song_midi import encode_midi
from accompgen_hf.files import write_bytes, write_text

SHEET_FILES = ("lead_sheet.txt", "lead_sheet.json", "song.mid")
NO_CHORD_NAME = "N.C."  # as musicians write "no chord"
_BARS_PER_LINE = 4
_SHORTEST_STEP_S = 0.05  # between beats
_NEAR_S = 0.1  # a chord begins on the bar line that is so near


class Bar(NamedTuple):
    """A bar: seconds, and names and beats of its chords, one for each half. Bars at both ends may be cut off, and a
    half may have two chords where a span was made anew."""

    start_s: float
    end_s: float
    chords: tuple[str, ...]
    beats: tuple[int, ...]


class ShownSheet(NamedTuple):
    """A lead sheet as a page shows it.

    Attributes:
        summary (`str`): Key, tempo and meter in words, for example "A minor, 97 BPM, 4/4".
        chords (`list` of `(start_s, end_s, name)`): One entry as long as a chord stays; `N.C.` is no chord.
    """

    summary: str
    chords: list[tuple[float, float, str]]


def show_sheet(sheet: dict[str, Any]) -> ShownSheet:
    """What a page shows of a `result["lead_sheet"]`."""
    chords = []
    for name, group in groupby(sheet["chords"], key=_written_name):
        group = list(group)
        chords.append((group[0]["start_s"], group[-1]["end_s"], name))
    return ShownSheet(", ".join(_describe(sheet).values()), chords)


def list_bars(sheet: dict[str, Any]) -> list[Bar]:
    """The bars of a sheet with their chords, the first from its first chord on; none without beats.

    Bars go on evenly where no beat was heard before the first one and after the last one.
    """
    if not sheet["downbeat_times"]:
        return []
    beat_s = beat_step_s(sheet)
    step_s = beat_s * sheet["meter"]
    first, last = sheet["downbeat_times"][0], sheet["downbeat_times"][-1]
    begin_s, end_s = sheet["chords"][0]["start_s"], sheet["chords"][-1]["end_s"]
    before = first - step_s * np.arange(int((first - begin_s) / step_s), 0, -1)
    after = last + step_s * np.arange(1, int((end_s - last) / step_s) + 1)
    lines = np.concatenate([before, sheet["downbeat_times"], after])
    lines = np.concatenate([[begin_s], lines[(lines > begin_s + _NEAR_S) & (lines < end_s)]])
    places = np.searchsorted(lines, [chord["start_s"] + _NEAR_S for chord in sheet["chords"]]) - 1
    bars = []
    for place, group in groupby(zip(places, sheet["chords"], strict=True), key=lambda pair: pair[0]):
        chords = [chord for _, chord in group]
        beats = (max(1, round((chord["end_s"] - chord["start_s"]) / beat_s)) for chord in chords)
        bars.append(Bar(float(lines[place]), chords[-1]["end_s"], tuple(map(_written_name, chords)), tuple(beats)))
    return bars


def beat_step_s(sheet: dict[str, Any]) -> float:
    """Seconds from beat to beat, where there are beats."""
    steps = np.diff(sheet["beat_times"])
    return float(np.median(steps)) if len(steps) else 60.0 / sheet["tempo_bpm"]


def format_sheet(sheet: dict[str, Any], title: str, count_in_s: float = 0.0) -> str:
    """The sheet as a text of bars and chord names.

    Args:
        sheet (`dict`): A `result["lead_sheet"]`, moved behind the count-in if there is one.
        title (`str`): First line.
        count_in_s (`float`): Length of the count-in.
    """
    facts = {**_describe(sheet), "length": _clock(sheet["duration_s"])}
    if count_in_s:
        facts["count-in"] = f"{count_in_s:.3f} s"
    lines = [title, "", *(f"{name:<9}{value}" for name, value in facts.items()), ""]
    bars = list_bars(sheet)
    if not bars:
        lines += [f"{_clock(start_s):>7}  {name}" for start_s, _, name in show_sheet(sheet).chords]
        return "\n".join(lines) + "\n"
    cells = list(map(_format_bar, bars))
    width = max(5, *map(len, cells))
    is_cut = bars[0].end_s - bars[0].start_s < (sheet["meter"] - 0.5) * beat_step_s(sheet)
    rows = [range(0, 1)] if is_cut else []  # a pick-up stands in a line of its own
    rows += [
        range(first, min(first + _BARS_PER_LINE, len(bars))) for first in range(len(rows), len(bars), _BARS_PER_LINE)
    ]
    for row in rows:
        written = " | ".join(cells[index].ljust(width) for index in row)
        lines.append(f"{_clock(bars[row[0]].start_s):>7}  | {written} |")
    lines += ["", "A cell is a bar, and / is one more beat of the chord before it."]
    return "\n".join(lines) + "\n"


def _format_bar(bar: Bar) -> str:
    if len(set(bar.chords)) == 1:
        return bar.chords[0]
    return " ".join(name + " /" * (num_beats - 1) for name, num_beats in zip(bar.chords, bar.beats, strict=True))


def _written_name(chord: dict[str, Any]) -> str:
    return NO_CHORD_NAME if chord["root"] is None else chord["name"]


def _describe(sheet: dict[str, Any]) -> dict[str, str]:
    if sheet["meter"] is None:
        rhythm = {"tempo": "no beat heard"}
    else:
        rhythm = {"tempo": f"{sheet['tempo_bpm']:.0f} BPM", "meter": f"{sheet['meter']}/4"}
    return {"key": "no key heard" if sheet["key"] is None else sheet["key"], **rhythm}


def _clock(seconds: float) -> str:
    tenths = round(10 * seconds)
    return f"{tenths // 600}:{tenths % 600 // 10:02d}.{tenths % 10}"


def move_sheet(sheet: dict[str, Any], seconds: float, num_digits: int = 6) -> dict[str, Any]:
    """The sheet of a recording that begins so much later, its times rounded to so many digits of a second."""

    def moved(time: float) -> float:
        return round(time + seconds, num_digits)

    chords = [
        {**chord, "start_s": moved(chord["start_s"]), "end_s": moved(chord["end_s"])} for chord in sheet["chords"]
    ]
    times = {name: list(map(moved, sheet[name])) for name in ("beat_times", "downbeat_times")}
    return {**sheet, **times, "chords": chords, "duration_s": moved(sheet["duration_s"])}


def write_sheet_files(
    folder: Path, sheet: dict[str, Any], title: str, count_in_s: float = 0.0, click_times: Sequence[float] = ()
) -> None:
    """Write `SHEET_FILES` into a folder.

    Args:
        sheet (`dict`): A `result["lead_sheet"]`, moved behind the count-in if there is one.
        title (`str`): Name of the take.
        count_in_s (`float`): Length of the count-in.
        click_times: Seconds of its clicks.

    Raises:
        OSError: If a file cannot be written.
    """
    text, record, midi = (folder / name for name in SHEET_FILES)
    write_text(text, format_sheet(sheet, title, count_in_s))
    write_text(record, _encode_sheet({**sheet, "count_in_s": count_in_s}))
    write_bytes(midi, encode_midi(sheet, title, click_times))


def read_sheet(folder: str | os.PathLike) -> tuple[dict[str, Any] | None, float]:
    """The lead sheet of a result folder as the pipeline gave it, and the seconds of the count-in before the files.

    Returns:
        `None` and 0 where the folder has no sheet.

    Raises:
        ValueError: If the file is damaged; files of strangers are checked, too.
    """
    path = Path(folder) / SHEET_FILES[1]
    if not path.is_file():
        return None, 0.0
    try:
        sheet = json.loads(path.read_bytes())
        count_in_s = float(sheet.pop("count_in_s"))
        sheet = move_sheet(sheet, -count_in_s, num_digits=3)
        is_right = count_in_s >= 0 and _has_right_beats(sheet) and _has_right_chords(sheet)
    except (OSError, ValueError, TypeError, LookupError, AttributeError, OverflowError):
        is_right = False
    if not is_right:
        raise ValueError(
            f"{str(path)!r} is damaged. Delete it, and chords and beats of the whole take are heard anew."
        )
    return sheet, count_in_s


def _has_right_beats(sheet: dict[str, Any]) -> bool:
    beats, downbeats, meter, tempo_bpm = (
        sheet[name] for name in ("beat_times", "downbeat_times", "meter", "tempo_bpm")
    )
    if not math.isfinite(sheet["duration_s"]) or not isinstance(sheet["key"], str | None):
        return False
    if not beats:
        return (downbeats, meter, tempo_bpm) == ([], None, None)
    is_in_order = all(earlier + _SHORTEST_STEP_S <= later for earlier, later in pairwise([-1.0, *beats]))
    has_bars = meter in (3, 4) and downbeats == beats[beats.index(downbeats[0]) :: meter]
    return is_in_order and has_bars and beats[-1] <= sheet["duration_s"] and 1.0 <= tempo_bpm <= 1000.0


def _has_right_chords(sheet: dict[str, Any]) -> bool:
    """Whether chords follow each other from 0 to the end, and have a root and a quality, or neither."""
    chords = sheet["chords"]
    edges = [0.0, *(chord["end_s"] for chord in chords)]
    if [chord["start_s"] for chord in chords] != edges[:-1] or edges != sorted(edges):
        return False
    for chord in chords:
        has_tones = chord["quality"] in QUALITIES and chord["root"] in range(12)
        if not isinstance(chord["name"], str) or not (has_tones or chord["quality"] is chord["root"] is None):
            return False
    return edges[-1] == sheet["duration_s"]


def _encode_sheet(sheet: dict[str, Any]) -> str:
    """JSON with one line per list of times and per chord."""
    chords = ",\n  ".join(json.dumps(chord) for chord in sheet["chords"])
    others = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in sheet.items() if name != "chords"]
    return "{\n " + ",\n ".join([*others, f'"chords": [\n  {chords}\n ]']) + "\n}\n"
