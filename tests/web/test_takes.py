"""What the player is told of a take."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from accompgen_hf.accompgen.mixing_accompgen import mix
from accompgen_hf.web.choices import Settings
from accompgen_hf.web.studio import FinishedTake
from accompgen_hf.web.takes import describe_take, label, listening_gains, sum_up

RATE = 16_000


def sounds(level: float) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return (level * random.standard_normal((2, RATE))).astype(np.float32), (
        0.02 * random.standard_normal(RATE)
    ).astype(np.float32)


def test_the_tracks_with_their_gains_are_the_mix():
    vocals, accompaniment = sounds(0.05)
    voice, band = listening_gains(vocals, accompaniment, RATE)
    assert voice == 1.0
    np.testing.assert_allclose(vocals + band * accompaniment, mix(vocals, accompaniment, RATE), atol=1e-6)


def test_what_would_pass_the_ceiling_is_lowered_as_a_whole():
    vocals, accompaniment = sounds(0.5)
    voice, band = listening_gains(vocals, accompaniment, RATE)
    assert voice < 1.0
    assert np.abs(voice * vocals + band * accompaniment).max() == pytest.approx(10 ** (-1 / 20), abs=1e-5)


def test_a_take_is_told_as_json_with_files_that_gradio_serves(tmp_path):
    vocals, accompaniment = sounds(0.1)
    made = FinishedTake(
        1, 7, Settings(), tmp_path, tmp_path / "take.zip", tmp_path / "voice.wav", vocals, accompaniment, RATE
    )
    told = describe_take(made)
    assert json.loads(json.dumps(told)) == told
    assert [(track["name"], Path(track["file"]["path"]).name) for track in told["tracks"]] == [
        ("voice", "voice.wav"),
        ("band", "accompaniment.wav"),
    ]
    assert [file["file"]["orig_name"] for file in told["files"]] == ["mix.wav", "accompaniment.wav", "take.zip"]
    assert all(file["file"]["meta"] == {"_type": "gradio.FileData"} for file in told["files"])
    assert told["duration_s"] == 1.0
    assert told["made_anew_s"] is None
    assert describe_take(replace(made, made_anew_s=(0.25, 0.75)))["made_anew_s"] == [0.25, 0.75]
    assert describe_take(made)["id"] != told["id"]


def test_a_label_says_what_was_chosen():
    assert label(7, Settings()) == "seed 7"
    assert label(9, Settings(), (0.96, 2.04)) == "seed 9, 1.0 to 2.0 s made anew"
    assert label(7, Settings(guidance_scale=2.0, preview=True)) == "seed 7, guidance 2, quick sketch"
    told = Settings(key="A minor", tempo_bpm=92.5, chords=[[0.0, 1.0, "F"]])
    assert label(7, told) == "seed 7, A minor, 92.5 beats a minute, your chords"


def test_a_band_of_parts_has_a_track_and_a_file_for_each(tmp_path):
    vocals, accompaniment = sounds(0.1)
    paths = [tmp_path / name for name in ("take.zip", "voice.wav")]
    parts = ("drums", "electric_bass")
    made = FinishedTake(1, 7, Settings(style="bossa_nova"), tmp_path, *paths, vocals, accompaniment, RATE, parts)
    told = describe_take(made)
    assert [track["label"] for track in told["tracks"]] == ["Your voice", "Drums", "Electric bass"]
    assert len({track["gain"] for track in told["tracks"][1:]}) == 1
    assert [Path(track["file"]["path"]).name for track in told["tracks"][1:]] == ["drums.wav", "electric_bass.wav"]
    assert [file["label"] for file in told["files"]] == ["Mix", "Band", "Drums", "Electric bass", "All (zip)"]
    assert told["label"] == "seed 7, bossa nova"
    assert [part["name"] for part in told["parts"]] == ["drums", "electric_bass"]


def test_the_lead_sheet_is_summed_up_as_far_as_it_is_known():
    assert sum_up(None) == ""
    assert sum_up({"key": "A minor", "tempo_bpm": 91.7, "meter": 3}) == "A minor, 92 beats a minute, 3 to a bar"
    assert sum_up({"key": None, "tempo_bpm": None, "meter": None}) == ""
