"""Chords in bars: what a result writes is read back, and what people write by hand."""

import numpy as np
import pytest

from accompgen_hf.app.bar_chords import has_bars, read_bars
from accompgen_hf.app.chord_files import read_chord_text
from accompgen_hf.app.lead_sheet_files import format_sheet, move_sheet


def make_sheet(meter: int, first_s: float, tempo_bpm: float = 97.3) -> dict:
    """Nine bars of halves from `first_s` on, after a short bar."""
    beat_s = 60 / tempo_bpm
    names = ["Am", "F", "C", "C", "G", "Em", "Dm", "Dm", "N", "N", "Am", "Am", "F", "G", "C", "C", "Am", "Am"]
    lengths = [2.0, meter - 2.0]
    bounds = first_s + beat_s * np.cumsum([0.0, *(lengths * len(names))[: len(names)]])
    spans = [(0.0, first_s, "E"), *zip(bounds[:-1], bounds[1:], names, strict=True)]
    chords = [
        {"start_s": float(a), "end_s": float(b), "name": name, "root": None if name == "N" else 0, "quality": "maj"}
        for a, b, name in spans
    ]
    downbeats = first_s + meter * beat_s * np.arange(9)
    beats = first_s + beat_s * np.arange(9 * meter)
    times = {"beat_times": beats.tolist(), "downbeat_times": downbeats.tolist(), "duration_s": chords[-1]["end_s"]}
    return {"key": "A minor", "tempo_bpm": tempo_bpm, "meter": meter, **times, "chords": chords}


def chords_at(chords, times_s) -> list[str]:
    return [next((name for a, b, name in chords if a <= time_s < b), "") for time_s in times_s]


@pytest.mark.parametrize("meter", [3, 4])
@pytest.mark.parametrize("count_in_s", [0.0, 4.934])
def test_a_lead_sheet_is_read_back_within_a_tenth_of_a_second(meter, count_in_s):
    sheet = make_sheet(meter, first_s=0.83)
    text = format_sheet(move_sheet(sheet, count_in_s), "my song | seed 7", count_in_s)
    assert has_bars(text)
    found = read_chord_text(text)
    assert found[0][0] == 0.0
    assert found[-1][1] == pytest.approx(sheet["duration_s"], abs=0.15)
    middles = [(chord["start_s"] + chord["end_s"]) / 2 for chord in sheet["chords"]]
    names = [chord["name"].replace("N", "N.C.") for chord in sheet["chords"]]
    assert chords_at(found, middles) == names
    for start_s in (chord["start_s"] for chord in sheet["chords"][1:]):
        if not any(abs(start_s - a) < 0.1 for a, _, _ in found):  # a bar of one chord is one cell
            assert len(set(chords_at(found, [start_s - 0.2, start_s + 0.2]))) == 1


def test_rows_by_hand():
    text = "tempo 120\nmeter 3/4\n| Am | F / G |\n|C|\n 0:06 | Em / |\n"
    assert read_bars(text) == [
        [0.0, 1.5, "Am"],
        [1.5, 2.5, "F"],
        [2.5, 3.0, "G"],
        [3.0, 6.0, "C"],
        [6.0, 7.5, "Em"],
    ]


def test_what_lies_in_the_count_in_is_left_out():
    text = "tempo 60\ncount-in 6.0\n0:02 | Am / F / | C / / / |\n"
    assert read_bars(text) == [[0.0, 4.0, "C"]]
    assert read_bars(text.replace("6.0", "5.0")) == [[0.0, 1.0, "F"], [1.0, 5.0, "C"]]
    assert read_bars(text.replace("6.0", "3.0").replace("F /", "/ F")) == [
        [0.0, 2.0, "Am"],
        [2.0, 3.0, "F"],
        [3.0, 7.0, "C"],
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("| Am | F |", "line 1: nothing says how long its bars are"),
        ("tempo 96\n| Am | |", "line 2, must have a chord in every bar"),
        ("tempo 96\n| / Am |", "line 2, must have a chord in every bar"),
        ("0:02.0 | Am |\n0:01.0 | F |\ntempo 96", "line 2, must begin behind the row before it"),
        ("tempo 0\n| Am |", "line 2: nothing says how long its bars are"),
        ("tempo 96\n| Am | Hm |", "`chords` must have names such as"),
    ],
)
def test_other_rows_are_refused(text, words):
    with pytest.raises(ValueError, match="`chords`") as refused:
        read_chord_text(text)
    assert words in str(refused.value)
