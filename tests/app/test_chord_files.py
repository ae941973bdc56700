"""Files of chords that a singer tells: read, refused with the line that is wrong, and taken by the command."""

import functools
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from accompgen_hf import VocalAccompanimentPipeline
from accompgen_hf.app import cli
from accompgen_hf.app.chord_files import read_chord_file, read_chord_text
from tiny import listening_model

CHORDS = [[0.0, 0.24, "Am"], [0.24, 0.5, "F/A"]]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "text",
    [
        "0.0 0.24 Am\n0.24 0.5 F/A\n",
        "\ufeff# by hand\r\n\r\n0.000000\t0.240000\tAm\r\n0.24\t0.5\tF/A",
        json.dumps({"count_in_s": 2, "chords": [{"start_s": 2 + a, "end_s": 2 + b, "name": c} for a, b, c in CHORDS]}),
    ],
    ids=["lines", "labels of an editor", "lead sheet"],
)
def test_chords_are_read(text):
    Path("chords.txt").write_text(text, "utf-8")
    assert read_chord_file("chords.txt") == read_chord_text(text) == CHORDS


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"0 1 Am\n1 2", "line 2, must be start, end and name, such as 0.0 2.4 Am, got '1 2'"),
        (b"0 one Am", "line 1, must be start, end and name"),
        (b"0 nan Am", "line 1, must be start, end and name"),
        (b"0 1 A minor", "line 1, must be start, end and name"),
        (b"0 1 H", "`chords` must have names such as"),
        (b"1 0 Am", "`chords` must follow each other"),
        (b"# nothing\n", "must hold at least one chord, got none"),
        (b"\xff\xfe\x00", "cannot be read as text"),
        (b"{}", "must be lines or a whole lead sheet"),
        (b"{", "must be lines or a whole lead sheet"),
        (b'{"chords": [{"start_s": 1e999, "end_s": 2, "name": "F"}]}', "must be (start_s, end_s, name)"),
        (b'{"chords": [{"start_s": 0, "end_s": 1' + b"0" * 400 + b', "name": "F"}]}', "must be lines or a whole lead"),
        (b'{"chords":' + b"[" * 100_000, "must be lines or a whole lead sheet"),
    ],
)
def test_other_files_are_refused(content, words):
    Path("chords.txt").write_bytes(content)
    with pytest.raises(ValueError, match=r"`--chords` 'chords\.txt'") as refused:
        read_chord_file("chords.txt")
    assert words in str(refused.value)


@functools.cache
def make_pipe() -> VocalAccompanimentPipeline:
    return VocalAccompanimentPipeline(model=listening_model())


def generate(monkeypatch, *words: str) -> int:
    monkeypatch.setattr(cli, "load_pipeline", lambda model, device: make_pipe())
    monkeypatch.setattr("accompgen_hf.app.result_folders.draw_picture", lambda path, *_args, **_kwargs: path.touch())
    tone = 0.3 * np.sin(2 * np.pi * 220 * np.arange(16_000) / 16_000)
    soundfile.write("take.wav", tone, 16_000)
    return cli.main(["generate", *words, "--seed", "7", "--quiet", "--device", "cpu"])


def test_the_command_tells_them_and_settings_tell_them_again(monkeypatch):
    assert generate(monkeypatch, "take.wav") == 0
    Path("chords.txt").write_text("0 1 F#m\n", "utf-8")
    told = ["--key", "F# minor", "--tempo-bpm", "90", "--chords", "chords.txt"]
    assert generate(monkeypatch, "take.wav", *told) == 0
    assert generate(monkeypatch, "--settings", "accompgen_out/take-seed7-2/settings.json") == 0
    plain, first, again = (Path(f"accompgen_out/take-seed7{number}") for number in ("", "-2", "-3"))
    settings = json.loads((first / "settings.json").read_bytes())
    assert [settings[name] for name in ("key", "tempo_bpm", "chords")] == ["F# minor", 90.0, [[0.0, 1.0, "F#m"]]]
    sounds = [(folder / "accompaniment.wav").read_bytes() for folder in (plain, first, again)]
    assert sounds[0] != sounds[1] == sounds[2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--key", "H"], "`key` must be a tonic"),
        (["--tempo-bpm", "10"], "must be a number of at least 30"),
        (["--chords", "none.txt"], "`--chords` 'none.txt' cannot be read"),
    ],
)
def test_what_is_not_understood_is_a_wrong_call(monkeypatch, capsys, words, message):
    try:
        code = generate(monkeypatch, "take.wav", *words)
    except SystemExit as error:
        code = error.code
    assert code == 2
    assert message in capsys.readouterr().err
    assert not Path("accompgen_out").exists()
