"""Finished work is not lost: destinations checked before it, busy files, foreign names, settings from Windows."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from accompgen_hf.accompgen import whole_files_accompgen
from accompgen_hf.accompgen.options_accompgen import GENERATION_OPTIONS
from accompgen_hf.app import cli
from accompgen_hf.app.recording_queue import list_jobs
from accompgen_hf.app.result_folders import encode_record, read_settings, write_result

RATE = 16_000
AUDIO = np.full(1600, 0.1, np.float32)
FILES = ["accompaniment.wav", "mix.wav", "picture.png", "settings.json"]
RESULT = {"audio": AUDIO, "mix": AUDIO, "sampling_rate": RATE}


@pytest.fixture(autouse=True)
def quick(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("accompgen_hf.app.result_folders.draw_picture", lambda path, *_args, **_kwargs: path.touch())


def write(vocals: str = "take.wav") -> Path:
    return write_result("out", {"vocals": vocals, "seed": 3}, AUDIO[None], RATE, RESULT, {})


def refuse_replacing(monkeypatch, seconds: float, only: str = "") -> None:
    """Let `os.replace` meet a file that another program holds."""
    replace, end = os.replace, time.monotonic() + seconds

    def busy(source, target):
        if time.monotonic() < end and os.fspath(target).endswith(only):
            raise PermissionError(13, "The process cannot access the file because it is being used")
        replace(source, target)

    monkeypatch.setattr(whole_files_accompgen.os, "replace", busy)


def test_a_file_that_is_held_for_a_moment_costs_no_result(monkeypatch):
    refuse_replacing(monkeypatch, 0.3)
    folder = write()
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert [path.name for path in Path("out").iterdir()] == ["take-seed3"]


def test_finished_files_that_cannot_be_moved_are_kept_and_their_place_is_named(monkeypatch):
    monkeypatch.setattr(whole_files_accompgen, "_PATIENCE_S", 0.1)
    replace = os.replace

    def busy(source, target):
        if "take-seed3" in os.fspath(target) and os.fspath(target).endswith("mix.wav"):
            raise PermissionError(13, "in use")
        replace(source, target)

    monkeypatch.setattr(whole_files_accompgen.os, "replace", busy)
    with pytest.raises(
        OSError, match=r"the finished files could not be moved \(.*in use.*\); they are in 'out.accompgen-"
    ) as caught:
        write()
    kept = Path(str(caught.value).split("'")[-2])
    assert sorted(path.name for path in kept.iterdir()) == FILES
    assert soundfile.info(kept / "mix.wav").frames == 1600
    assert list(Path("out").iterdir()) == [kept]


def test_a_picture_that_cannot_be_drawn_costs_the_picture_alone(monkeypatch):
    def fail(*_args, **_kwargs):
        raise RuntimeError("no font")

    monkeypatch.setattr("accompgen_hf.app.result_folders.draw_picture", fail)
    with pytest.warns(UserWarning, match=r"The picture could not be made \(no font\)"):
        folder = write()
    assert sorted(path.name for path in folder.iterdir()) == ["accompaniment.wav", "mix.wav", "settings.json"]


@pytest.mark.parametrize("place", ["a file", "below a file", "locked"])
def test_a_destination_that_cannot_be_written_is_told_before_the_work(monkeypatch, capsys, place):
    monkeypatch.setattr(cli, "load_pipeline", lambda *_args: pytest.fail("the model is loaded"))
    soundfile.write("take.wav", AUDIO, RATE)
    Path("file").write_text("x")
    output = {"a file": "file", "below a file": "file/out", "locked": "locked"}[place]
    if place == "locked":
        Path("locked").mkdir(mode=0o500)
        if os.access("locked", os.W_OK):
            pytest.skip("this user may write everywhere")
    assert cli.main(["generate", "take.wav", "-o", output]) == 2
    assert f"`--output` '{output}' cannot be written: " in capsys.readouterr().err
    assert Path("file").read_text() == "x"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows names are Unicode")
def test_vocals_whose_name_is_not_utf8_get_a_readable_folder_and_a_record_that_finds_them():
    name = os.fsdecode(b"caf\xe9.wav")
    folder = write(name)
    assert folder.name == "caf_-seed3"
    settings = read_settings(folder / "settings.json")
    assert os.fsencode(settings["vocals"]) == b"caf\xe9.wav"
    assert json.loads(encode_record({"a": "ü日本\udce9"})) == {"a": "ü日本\udce9"}
    assert "ü日本".encode() in encode_record({"a": "ü日本\udce9"})


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such variable")
def test_names_are_read_and_told_where_the_locale_is_c():
    soundfile.write("ü日本.wav", AUDIO[:100], RATE)
    environment = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "", "PYTHONUTF8": ""}
    call = [sys.executable, "-m", "accompgen_hf.app.cli", "generate", "ü日本.wav", "-o", "ü日本.wav/out"]
    done = subprocess.run(call, env=environment, capture_output=True, check=False)
    assert done.returncode == 2  # found out before the model is loaded
    assert "`--output` 'ü日本.wav/out' cannot be written: " in done.stderr.decode()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_settings_with_the_mark_of_a_windows_program_are_read(encoding):
    Path("s.json").write_bytes('{"seed": 7, "vocals": "ü.wav"}'.encode(encoding))
    assert read_settings("s.json") == {"seed": 7, "vocals": "ü.wav"}


def test_a_folder_gives_files_of_every_readable_kind_and_nothing_else():
    names = ["a.wav", "b.caf", "c.w64", "d.mp2", "e.rf64", "f.MOV", "g.oga", "h.au", "i.m4b"]
    for name in [*names, "._a.wav", ".hidden.wav", "notes.txt"]:
        (Path("songs") / name).parent.mkdir(exist_ok=True)
        (Path("songs") / name).touch()
    Path("songs/live.mp3").mkdir()
    assert [Path(job.source).name for job in list_jobs(["songs"], 0)] == names
    from accompgen_hf.data.sources import list_audio

    assert [path.name for path in list_audio("songs")] == names


def test_seed_minus_one_draws_one():
    parser = cli.build_parser()
    assert parser.parse_args(["generate", "a.wav", "--seed", "-1"]).seed == cli.DRAWN_SEED
    with pytest.raises(SystemExit):
        parser.parse_args(["generate", "a.wav", "--seed", "-2"])
    assert GENERATION_OPTIONS["seed"].low == 0
