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
