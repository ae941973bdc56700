"""Zip files of takes come from visitors: what is no take is refused, and nothing but three members is read."""

import json
import zipfile

import pytest
import torch

from accompgen_hf.app.kept_codes import CODES_FILE, write_codes
from accompgen_hf.web import earlier_takes
from accompgen_hf.web.earlier_takes import ChosenSpan, read_take

SETTINGS = {"vocals": "my.wav", "seed": 7, "guidance_scale": 2.0, "preview": True, "made_with": {"device": "cpu"}}

SHEET = {"duration_s": 3.0, "key": None, "tempo_bpm": None, "meter": None, "beat_times": [], "downbeat_times": []}
SHEET |= {"chords": [{"start_s": 0.0, "end_s": 3.0, "name": "N", "root": None, "quality": None}]}


def write_take(folder, settings=SETTINGS, **members: bytes):
    result = {"semantic_ids": torch.zeros(3), "seed": 7, "coarse_codes": torch.ones((4, 6), dtype=torch.int64)}
    write_codes(folder / CODES_FILE, result)
    with zipfile.ZipFile(folder / "my-seed7.zip", "w") as files:
        files.write(folder / CODES_FILE, CODES_FILE)
        if settings is not None:
            files.writestr("settings.json", json.dumps(settings))
        for name, content in members.items():
            files.writestr(name, content)
    return str(folder / "my-seed7.zip")


def test_settings_and_codes_become_options_and_a_record(tmp_path):
    archive = write_take(tmp_path)
    take = read_take(archive, tmp_path / "earlier")
    span = ChosenSpan(archive, 1.0, 2.0, "drums")
    options = take.options(span)
    assert options.pop("known_codes")["coarse_codes"].tolist() == [[1] * 6] * 4
    assert options == {
        "guidance_scale": 2.0,
        "preview": True,
        "output_sampling_rate": "input",
        "regenerate": (1.0, 2.0),
        "regenerate_parts": ["drums"],
    }
    assert take.new_settings(span, {"seed": 9, "regenerated": (0.96, 2.04)}) == {
        "vocals": "my.wav",
        "seed": 9,
        "guidance_scale": 2.0,
        "preview": True,
        "regenerated": {"from": "my-seed7", "start_s": 0.96, "end_s": 2.04, "parts": ["drums"]},
    }


def test_the_rate_of_the_files_stays(tmp_path):
    archive = write_take(tmp_path, {**SETTINGS, "sampling_rate": 48_000})
    options = read_take(archive, tmp_path / "earlier").options(ChosenSpan(archive, 1.0, 2.0))
    assert options["output_sampling_rate"] == 48_000


def test_a_lead_sheet_is_known_too(tmp_path):
    archive = write_take(tmp_path, **{"lead_sheet.json": json.dumps({**SHEET, "count_in_s": 0.0}).encode()})
    options = read_take(archive, tmp_path / "earlier").options(ChosenSpan(archive, 1.0, 2.0))
    assert options["known_codes"]["lead_sheet"] == SHEET


def test_nothing_but_three_members_is_unpacked(tmp_path):
    sheet = json.dumps({**SHEET, "count_in_s": 0.0}).encode()
    archive = write_take(tmp_path, **{"../outside.txt": b"x", "mix.wav": b"x", "lead_sheet.json": sheet})
    read_take(archive, tmp_path / "earlier")
    unpacked = sorted(path.name for path in (tmp_path / "earlier").iterdir())
    assert unpacked == [CODES_FILE, "lead_sheet.json", "settings.json"]
    assert not (tmp_path / "outside.txt").exists()


@pytest.mark.parametrize("kind", ["missing", "no zip", "no settings", "unknown settings", "no sheet", "too large"])
def test_what_is_no_take_is_refused_in_words_for_a_visitor(tmp_path, kind, monkeypatch):
    settings = {"no settings": None, "unknown settings": {"evil": 1}}.get(kind, SETTINGS)
    archive = write_take(tmp_path, settings, **({"lead_sheet.json": b"{}"} if kind == "no sheet" else {}))
    if kind == "missing":
        archive = str(tmp_path / "none.zip")
    if kind == "no zip":
        (tmp_path / "my-seed7.zip").write_bytes(b"la la la")
    if kind == "too large":
        monkeypatch.setattr(earlier_takes, "_MAX_MEMBER_BYTES", 10)
    with pytest.raises(ValueError, match="The take is no zip file from this page"):
        read_take(archive, tmp_path / "earlier")
