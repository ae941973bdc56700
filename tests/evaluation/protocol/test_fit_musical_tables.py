"""Tables of the musical metrics: counted and fitted on training songs alone, and what they find is what was put in."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from accompgen_hf.accompgen import musical_tables_accompgen
from accompgen_hf.accompgen.musical_tables_accompgen import load_tables
from accompgen_hf.accompgen.rhythm_accompgen import METERS
from accompgen_hf.evaluation.protocol.fit_musical_tables import (
    RhythmExample,
    count_chords,
    fit_rhythm,
    format_tables,
    make_metronome,
    make_rhythm_example,
    replace_tables,
)
from accompgen_hf.songs.song import Chord, compose_song

RATE = 16_000


def test_chords_are_counted_as_degrees_of_the_key():
    song = compose_song(3)
    played = [(0.0, 2.0, 2, "maj7"), (2.0, 3.0, 9, "7"), (3.0, 4.0, 2, "maj"), (4.0, 5.0, 4, "min7")]
    chords = tuple(Chord(*chord) for chord in played)
    song = replace(song, tonic=2, mode="major", song_chords=chords, start_s=0.0, duration_s=5.0)
    counts = count_chords([song])
    seconds = np.reshape(counts["major"]["seconds"], (3, 12))
    assert (seconds[0, 0], seconds[1, 7], seconds[2, 2]) == (3.0, 1.0, 1.0)  # I, V7, ii
    assert seconds.sum() == 5
    assert counts["major"]["steps"] == [0, 19, 1, 0, 26, 1, 19, 0, 1]
    assert counts["minor"]["steps"] == []


def test_right_hypotheses_have_the_tempo_and_the_place_of_the_beats():
    clicks = make_metronome(100.0, 10.0, RATE, 0.2)
    example = make_rhythm_example(clicks, RATE, 100.0, None, 0.2)
    assert 0 < example.is_right.sum() < 40
    in_three = make_rhythm_example(clicks, RATE, 100.0, 3, 0.2)
    assert 0 < in_three.is_right.sum() < example.is_right.sum()
    weights = np.concatenate([np.asarray(load_tables()["rhythm"][str(meter)]) for meter in METERS])
    assert example.is_right[(example.features @ weights).argmax()]


def test_fitted_weights_let_right_hypotheses_win():
    rng = np.random.default_rng(0)
    widths = [16 * meter + 3 for meter in METERS]
    features = rng.normal(size=(20, 200, sum(widths)))
    examples = [RhythmExample(values, values[:, 5] - values[:, 70] > 2.5) for values in features]
    fitted = fit_rhythm(examples)
    assert [len(fitted[str(meter)]) for meter in METERS] == widths
    weights = np.concatenate(list(fitted.values()))
    assert {int(np.argmax(weights)), int(np.argmin(weights))} == {5, 70}
    with pytest.raises(ValueError, match="`examples` must hold a right hypothesis, got none"):
        fit_rhythm([RhythmExample(features[0], np.zeros(200, dtype=bool))])


def test_the_file_holds_the_tables_in_lines_that_python_may_have():
    tables = {"made_with": {"seeds": [0, 9]}, "rhythm": {"3": [1.0, 2.0], "4": [0.5] * 60}}
    text = format_tables(tables)
    assert json.loads(text) == tables
    assert '"3": [ 1.0, 2.0 ],' in text
    assert max(map(len, text.split("\n"))) < 120
    path = Path(musical_tables_accompgen.__file__)
    module = replace_tables(path.read_text("utf-8"), tables)
    names = {}
    exec(module, names)
    assert names["load_tables"]() == tables
    assert replace_tables(module, load_tables()) == path.read_text("utf-8")
    with pytest.raises(ValueError, match="`module` must hold its tables between"):
        replace_tables("no tables", tables)
