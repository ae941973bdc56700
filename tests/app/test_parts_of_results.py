"""The command with a style and parts: files of every part, their sum, replays, resumed streams, folders, refusals."""

import functools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from accompgen_hf import VocalAccompanimentPipeline
from accompgen_hf.accompgen.audio_accompgen import write_audio
from accompgen_hf.app import cli
from accompgen_hf.app.part_files import GrowingWav
from tiny import tiny_model, tiny_part_model

RATE = 22_050
STEPS_OF_24_BITS = 2**-23
OUTPUT = Path("accompgen_out")


@functools.cache
def make_pipe() -> VocalAccompanimentPipeline:
    return VocalAccompanimentPipeline(model=tiny_part_model())


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "load_pipeline", lambda model, device: make_pipe())
    monkeypatch.setattr("accompgen_hf.app.result_folders.draw_picture", lambda path, *_args, **_kwargs: path.touch())
    write_vocals(tmp_path / "take.wav")
    return tmp_path


def write_vocals(path: Path, duration_s: float = 0.5) -> None:
    tone = 0.3 * np.sin(2 * np.pi * 220 * np.arange(round(duration_s * RATE)) / RATE)
    soundfile.write(path, tone, RATE)


def generate(*words: str) -> int:
    return cli.main(["generate", *words, "--guidance-scale", "1", "--quiet", "--device", "cpu"])


def read_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.wav")}


def check_sum(folder: Path, names: list[str]) -> None:
    """Parts are 32-bit float, and add up to the 24-bit accompaniment within two of its steps."""
    accompaniment, rate = soundfile.read(folder / "accompaniment.wav", dtype="float64")
    total = np.zeros_like(accompaniment)
    for name in names:
        info = soundfile.info(folder / f"{name}.wav")
        assert (info.subtype, info.samplerate, info.frames) == ("FLOAT", rate, len(accompaniment))
        total += soundfile.read(folder / f"{name}.wav", dtype="float64")[0]
    assert np.abs(total - accompaniment).max() <= 2 * STEPS_OF_24_BITS
    assert np.abs(accompaniment).max() > 0.01
    audio_files = {"accompaniment.wav", "mix.wav", *(f"{name}.wav" for name in names)}
    assert {path.name for path in folder.glob("*.wav")} == audio_files
    assert {"picture.png", "settings.json"} <= {path.name for path in folder.iterdir()}
    hashed = json.loads((folder / "settings.json").read_bytes())["files"]
    assert {name for name in hashed if name.endswith(".wav")} == audio_files


def test_parts_lie_beside_the_accompaniment_and_settings_make_them_again(here, capsys):
    assert generate("take.wav", "--seed", "7", "--style", "rock", "--parts", "other", "drums") == 0
    folder = OUTPUT / "take-seed7"
    check_sum(folder, ["drums", "other"])
    settings = json.loads((folder / "settings.json").read_bytes())
    assert (settings["style"], settings["parts"]) == ("rock", ["drums", "other"])
    assert cli.main(["generate", "--settings", str(folder / "settings.json"), "--quiet"]) == 0
    assert "the audio is the recorded one, bit for bit" in capsys.readouterr().err
    assert read_files(OUTPUT / "take-seed7-2") == read_files(folder)
    # Without them all parts play, in whatever style.
    assert generate("take.wav", "--seed", "7", "--preview") == 0
    check_sum(OUTPUT / "take-seed7-3", ["drums", "bass", "other"])
    assert not {"style", "parts"} & set(json.loads((OUTPUT / "take-seed7-3" / "settings.json").read_bytes()))
    assert read_files(OUTPUT / "take-seed7-3")["drums.wav"] != read_files(folder)["drums.wav"]


def test_a_stopped_stream_of_parts_goes_on_to_the_same_bytes(here, capsys, monkeypatch):
    write_vocals(here / "take.wav", 1.3)
    call = ["take.wav", "--seed", "7", "--style", "rock", "--stream"]
    assert generate(*call, "-o", "whole") == 0
    num_appended = 0

    def stop_later(wav: GrowingWav, audio: np.ndarray) -> None:
        nonlocal num_appended
        num_appended += 1
        if num_appended == 7:  # in the middle of the second piece's parts
            raise KeyboardInterrupt
        append(wav, audio)

    append = GrowingWav.append
    with monkeypatch.context() as patch:
        patch.setattr(GrowingWav, "append", stop_later)
        assert generate(*call, "-o", "cut") == 1
    left = {path.name for path in Path("cut").iterdir()}
    assert left == {f"take-seed7.{name}" for name in ("part.codes", "part.wav", *PART_FILES)}
    shutil.copytree("cut", "other")
    assert generate(*call, "-o", "other", "--parts", "bass", "--preview") == 0
    assert [path.name for path in Path("other").iterdir()] == ["take-seed7"]
    check_sum(Path("other/take-seed7"), ["bass"])
    assert generate(*call, "-o", "cut") == 0
    assert [path.name for path in Path("cut").iterdir()] == ["take-seed7"]
    check_sum(Path("cut/take-seed7"), ["drums", "bass", "other"])
    assert read_files(Path("cut/take-seed7")) == read_files(Path("whole/take-seed7"))


PART_FILES = tuple(f"{name}.part.wav" for name in ("drums", "bass", "other"))


def test_what_is_refused_while_it_streams_leaves_no_files_of_parts(here, monkeypatch):
    def refuse(*_args) -> None:
        raise ValueError("refused")

    monkeypatch.setattr(GrowingWav, "append", refuse)
    monkeypatch.setattr("accompgen_hf.app.part_files.CodeJournal.is_worth_keeping", False)
    assert generate("take.wav", "--seed", "7", "--stream") == 1
    assert list(OUTPUT.iterdir()) == []


def test_folders_variations_and_batches_have_parts_and_a_rerun_finds_them(here, capsys):
    Path("takes").mkdir()
    for name in ("a", "b"):
        write_vocals(here / "takes" / f"{name}.wav")
    call = ["takes", "--style", "rock", "--parts", "bass", "--variations", "2", "--preview", "--batch-size", "4"]
    assert generate(*call) == 0
    folders = sorted(path.name for path in OUTPUT.iterdir())
    assert folders == ["a-seed0", "a-seed1", "b-seed0", "b-seed1"]
    for folder in folders:
        check_sum(OUTPUT / folder, ["bass"])
    (OUTPUT / "a-seed1" / "bass.wav").unlink()  # an incomplete result is made again
    capsys.readouterr()
    assert generate(*call) == 0
    assert "1 made, 3 there already, 0 failed" in capsys.readouterr().err
    assert generate(*call[:2], "bossa_nova", *call[3:]) == 0
    assert "4 made, 0 there already, 0 failed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--style", "polka"], "`style` must be one of any, bossa_nova, rock, got 'polka'"),
        (["--parts", "drums", "guitar"], "`parts` must be a list of names out of drums, bass, other, got"),
    ],
)
def test_unknown_names_are_a_wrong_call_that_lists_the_known_ones(capsys, words, message):
    assert generate("take.wav", *words) == 2
    assert message in capsys.readouterr().err
    assert not OUTPUT.exists()


def test_a_model_of_one_part_without_styles_says_so(capsys, monkeypatch):
    plain = VocalAccompanimentPipeline(model=tiny_model())
    monkeypatch.setattr(cli, "load_pipeline", lambda model, device: plain)
    assert generate("take.wav", "--style", "rock") == 2
    assert "`style` must be left out: this model knows no styles; got 'rock'" in capsys.readouterr().err
    assert generate("take.wav", "--parts", "drums") == 2
    assert "this model plays one part, 'instrumental'" in capsys.readouterr().err


def test_float_files_keep_what_passes_full_scale_and_no_time(here, monkeypatch):
    audio = np.linspace(-2, 2, 3000, dtype=np.float32)
    for name in ("a.wav", "b.wav"):
        write_audio(name, audio, RATE, subtype="FLOAT")
        grown = GrowingWav(f"grown-{name}", RATE, 3000, subtype="FLOAT")
        for start in (0, 1000, 2000):
            grown.append(audio[start : start + 1000])
        for path in (name, f"grown-{name}"):
            assert np.array_equal(soundfile.read(path, dtype="float32")[0], audio)
            content = Path(path).read_bytes()
            assert content[content.index(b"PEAK") + 12 :][:4] == bytes(4)
