"""What people, programs and the page read of a lead sheet."""

import json

import numpy as np
import pytest

from accompgen_hf.app.lead_sheet_files import (
    SHEET_FILES,
    format_sheet,
    list_bars,
    move_sheet,
    read_sheet,
    show_sheet,
    write_sheet_files,
)

NAMES = {"C": (0, "maj"), "Am": (9, "min"), "F": (5, "maj"), "G7": (7, "7"), "N": (None, None)}


def make_sheet(halves: list[str], first_s: float = 0.0, meter: int = 4, num_beats: int | None = None) -> dict:
    """Halves of bars at 120 beats per minute, from `first_s` on; what is before it has the first chord."""
    lengths = [1.0, 1.0] if meter == 4 else [1.0, 0.5]
    bounds = first_s + np.cumsum([0.0, *(lengths * len(halves))[: len(halves)]])
    bounds[0] = 0.0
    chords = [
        {
            "start_s": float(start_s),
            "end_s": float(end_s),
            "name": name,
            "root": NAMES[name][0],
            "quality": NAMES[name][1],
        }
        for start_s, end_s, name in zip(bounds[:-1], bounds[1:], halves, strict=True)
    ]
    beats = [round(float(time), 3) for time in np.arange(first_s, bounds[-1] - 0.01, 0.5)][:num_beats]
    sheet = {"duration_s": float(bounds[-1]), "key": "A minor", "tempo_bpm": 120.0, "meter": meter}
    return {**sheet, "beat_times": beats, "downbeat_times": beats[::meter], "chords": chords}


def test_bars_and_chord_names_are_written_as_people_read_them():
    sheet = make_sheet(["Am", "Am", "F", "G7", "C", "C", "N", "N", "Am", "G7"])
    assert format_sheet(sheet, "take-seed7").splitlines() == [
        "take-seed7",
        "",
        "key      A minor",
        "tempo    120 BPM",
        "meter    4/4",
        "length   0:10.0",
        "",
        " 0:00.0  | Am        | F / G7 /  | C         | N.C.      |",
        " 0:08.0  | Am / G7 / |",
        "",
        "A cell is a bar, and / is one more beat of the chord before it.",
    ]


def test_bars_of_three_split_two_to_one_and_a_pick_up_has_its_own_line():
    text = format_sheet(make_sheet(["Am", "G7", "C", "C"], first_s=0.0, meter=3), "take")
    assert "| Am / G7 |" in text
    sheet = make_sheet(["C", "C", "Am", "G7"])
    moved = move_sheet(sheet, 1.0)
    early = {"start_s": 0.0, "end_s": 1.0, "name": "N", "root": None, "quality": None}
    rows = [
        line
        for line in format_sheet({**moved, "chords": [early, *moved["chords"]]}, "take").splitlines()
        if "|" in line
    ]
    assert [row.split("|")[0].strip() for row in rows] == ["0:00.0", "0:01.0"]
    assert rows[0].split("|")[1].strip() == "N.C."


def test_a_half_bar_that_a_span_divides_is_written_beat_by_beat():
    sheet = make_sheet(["Am", "F", "C", "C"])
    first, *others = sheet["chords"]
    new = {**first, "start_s": 0.5, "name": "G7", "root": 7, "quality": "7"}
    text = format_sheet({**sheet, "chords": [{**first, "end_s": 0.5}, new, *others]}, "take")
    assert "| Am G7 F / | C         |" in text


def test_bars_go_on_where_beats_are_not_heard():
    sheet = make_sheet(["Am", "Am", "F", "F", "C", "C"], num_beats=5)
    assert [(bar.start_s, bar.chords) for bar in list_bars(sheet)] == [
        (0.0, ("Am", "Am")),
        (2.0, ("F", "F")),
        (4.0, ("C", "C")),
    ]


def test_without_beats_chords_stand_with_their_times():
    sheet = {**make_sheet(["Am", "Am", "N"]), "beat_times": [], "downbeat_times": [], "meter": None, "tempo_bpm": None}
    text = format_sheet({**sheet, "key": None}, "take")
    assert "no key heard" in text
    assert "no beat heard" in text
    assert text.splitlines()[-2:] == [" 0:00.0  Am", " 0:02.0  N.C."]
    assert list_bars(sheet) == []


def test_a_page_shows_each_chord_once_as_long_as_it_stays():
    shown = show_sheet(make_sheet(["Am", "Am", "F", "N"]))
    assert shown.summary == "A minor, 120 BPM, 4/4"
    assert shown.chords == [(0.0, 2.0, "Am"), (2.0, 3.0, "F"), (3.0, 4.0, "N.C.")]


def test_a_moved_sheet_is_later_by_the_same_time():
    sheet = make_sheet(["Am", "F"])
    moved = move_sheet(sheet, 2.5)
    assert moved["beat_times"] == [time + 2.5 for time in sheet["beat_times"]]
    assert (moved["chords"][1]["start_s"], moved["chords"][1]["end_s"], moved["duration_s"]) == (3.5, 4.5, 4.5)
    assert sheet["chords"][0]["start_s"] == 0


@pytest.mark.parametrize("halves", [["Am", "F"], []])
def test_the_files_hold_the_sheet(tmp_path, halves):
    sheet = (
        make_sheet(halves) if halves else {**make_sheet(["N"]), "chords": [], "beat_times": [], "downbeat_times": []}
    )
    sheet = sheet if halves else {**sheet, "meter": None, "tempo_bpm": None}
    write_sheet_files(tmp_path, sheet, "take")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(SHEET_FILES)
    assert json.loads((tmp_path / "lead_sheet.json").read_text()) == {**sheet, "count_in_s": 0.0}
    assert (tmp_path / "song.mid").read_bytes().startswith(b"MThd")


def test_a_sheet_is_read_back_as_it_was_before_its_count_in(tmp_path):
    assert read_sheet(tmp_path) == (None, 0.0)
    sheet = make_sheet(["Am", "F", "C", "N"], first_s=0.123)
    for count_in_s in (0.0, 2.0 + 1 / 3):
        write_sheet_files(tmp_path, move_sheet(sheet, count_in_s), "take", count_in_s)
        assert read_sheet(tmp_path) == (sheet, count_in_s)
    silent = {**make_sheet(["N"]), "key": None, "tempo_bpm": None, "meter": None}
    silent |= {"beat_times": [], "downbeat_times": []}
    write_sheet_files(tmp_path, silent, "take")
    assert read_sheet(tmp_path) == (silent, 0.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"beat_times": [0.0, 0.0, 0.5]},
        {"beat_times": [0.0, 0.5, 99.0]},
        {"beat_times": "0.0"},
        {"downbeat_times": [0.3]},
        {"downbeat_times": []},
        {"meter": 5},
        {"tempo_bpm": None},
        {"tempo_bpm": float("nan")},
        {"duration_s": float("inf")},
        {"key": 3},
        {"chords": []},
        {"chords": [{"start_s": 0.0, "end_s": 2.0, "name": "Am", "root": 9, "quality": "aug"}]},
        {"chords": [{"start_s": 0.0, "end_s": 2.0, "name": "Am", "root": 12, "quality": "min"}]},
        {"chords": [{"start_s": 0.5, "end_s": 2.0, "name": "Am", "root": 9, "quality": "min"}]},
        {"chords": [{"start_s": 0.0, "end_s": 2.0, "name": 1, "root": None, "quality": None}]},
        {"chords": None},
        {"count_in_s": -1.0},
    ],
)
def test_a_sheet_that_nothing_of_ours_has_written_is_refused(tmp_path, changes):
    sheet = {**make_sheet(["Am", "F"]), "count_in_s": 0.0, **changes}
    (tmp_path / "lead_sheet.json").write_text(json.dumps(sheet))
    with pytest.raises(ValueError, match=r"lead_sheet.json' is damaged. Delete it, and chords and beats"):
        read_sheet(tmp_path)
    (tmp_path / "lead_sheet.json").write_text("[")
    with pytest.raises(ValueError, match="is damaged"):
        read_sheet(tmp_path)
