"""Lead sheets of a few true bands against their songs; examples/measure_lead_sheets.py does it with 64."""

import runpy
from pathlib import Path

import numpy as np

from accompgen_hf.songs.song import HELD_OUT_SEED, compose_song

SCRIPT = Path(__file__).parents[2] / "examples" / "measure_lead_sheets.py"


def test_true_bands_of_held_out_songs_are_read_right():
    measure = runpy.run_path(str(SCRIPT))["measure_true_bands"]
    rows, notes, example = measure([compose_song(HELD_OUT_SEED + index, duration_s=10.0) for index in range(4)])
    for title in ("the sum", "the parts"):
        means = {name: np.mean([row[name] for row in rows[title]]) for name in ("key", "chords", "tempo", "beats, F1")}
        assert all(value > 0.9 for value in means.values()), (title, means)
    assert np.mean([row["chords"] for row in rows["the parts, against the sum"]]) > 0.9
    assert "at most 0.0" in notes[0]
    assert "G major" in example


def test_sheets_agree_in_the_time_of_the_chords_that_are_the_same_whatever_lies_between():
    agree = runpy.run_path(str(SCRIPT))["agree"]
    first, last = ({"start_s": start_s, "end_s": start_s + 2.0, "root": 0, "quality": "maj"} for start_s in (0.0, 4.0))
    silence = {"start_s": 2.0, "end_s": 4.0, "root": None, "quality": None}
    sheet = {"key": "C major", "tempo_bpm": 100.0, "beat_times": [0.5, 1.1], "chords": [first, silence, last]}
    assert set(agree(sheet, sheet).values()) == {1.0}
    other = {**sheet, "chords": [{**first, "quality": "min"}, silence, {**last, "quality": "maj7"}]}
    assert agree(other, sheet)["chords"] == 0.5
    assert agree(sheet, {**sheet, "chords": [silence]})["chords"] is None
