"""Another take of a result folder: the command and the function behind it, with a tiny model from voice to files."""

import json
from pathlib import Path

import mido
import numpy as np
import pytest
import soundfile
import torch

from accompgen_hf import VocalAccompanimentPipeline
from accompgen_hf.accompgen.recordings_accompgen import Recording
from accompgen_hf.app import cli, regenerate_command
from accompgen_hf.app.kept_codes import CODES_FILE, read_codes
from accompgen_hf.app.lead_sheet_files import read_sheet, write_sheet_files
from accompgen_hf.app.regenerate import regenerate_result
from accompgen_hf.app.result_folders import read_settings, write_result
from tiny import listening_model, tiny_model, tiny_part_model

RATE = 24_000
SPAN = ["--from", "0.4", "--to", "0.8", "--no-snap"]
GENERATE = ["generate", "take.wav", "--seed", "7", "--guidance-scale", "1", "--quiet"]
OLD = Path("accompgen_out/take-seed7")


@pytest.fixture(scope="module")
def pipe():
    return VocalAccompanimentPipeline(model=tiny_model())


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch, pipe):
    monkeypatch.chdir(tmp_path)
    for module in (cli, regenerate_command):
        monkeypatch.setattr(module, "load_pipeline", lambda *_: pipe)
    monkeypatch.setattr("accompgen_hf.app.result_folders.draw_picture", lambda path, *_args, **_kwargs: path.touch())
    write_vocals("take.wav", 1.2)


def write_vocals(path: str, duration_s: float) -> None:
    time_s = np.arange(round(duration_s * RATE)) / RATE
    soundfile.write(path, 0.2 * np.sin(2 * np.pi * (200 + 40 * time_s) * time_s), RATE)


def audio_of(folder: Path) -> np.ndarray:
    return soundfile.read(folder / "accompaniment.wav")[0]


def test_a_new_take_stands_beside_the_old_one_and_differs_from_the_span_on(capsys):
    assert cli.main(GENERATE) == 0
    old_bytes = {path.name: path.read_bytes() for path in OLD.iterdir()}
    assert CODES_FILE in old_bytes
    assert cli.main(["regenerate", str(OLD), *SPAN, "--seed", "8", "--quiet"]) == 0
    captured = capsys.readouterr()
    new = Path(captured.out.split()[-1])
    assert new == OLD.with_name("take-seed7-take-2")
    assert "seed 8; made anew: 0.40 s to 0.80 s" in captured.err
    assert old_bytes == {path.name: path.read_bytes() for path in OLD.iterdir()}
    assert sorted(path.name for path in new.iterdir()) == sorted(old_bytes)
    before, after = audio_of(OLD), audio_of(new)
    assert len(before) == len(after)
    start = round(0.4 * RATE)
    np.testing.assert_array_equal(before[:start], after[:start])
    assert not np.array_equal(before, after)
    codes, old_codes = read_codes(new), read_codes(OLD)
    assert torch.equal(codes["coarse_codes"][:, 60:], old_codes["coarse_codes"][:, 60:])
    record = read_settings(new / "settings.json")
    assert (record["seed"], record["guidance_scale"]) == (8, 1)
    assert record["regenerated"] == {"from": "take-seed7", "start_s": 0.4, "end_s": 0.8}
    # A take of this take counts on, and with the old seed the old codes come back.
    assert cli.main(["regenerate", str(new), *SPAN, "--seed", "7", "--quiet"]) == 0
    again = OLD.with_name("take-seed7-take-3")
    assert (again / "accompaniment.wav").read_bytes() == old_bytes["accompaniment.wav"]
    assert (again / CODES_FILE).exists()


def make_sheet() -> dict:
    """A sheet with beats, which what the tiny model plays has not."""
    beats = [0.05, 0.3, 0.55, 0.8, 1.05]
    chords = [
        {"start_s": start_s, "end_s": end_s, "name": name, "root": root, "quality": "maj"}
        for start_s, end_s, name, root in (
            (0.0, 0.05, "C", 0),
            (0.05, 0.55, "C", 0),
            (0.55, 1.05, "F", 5),
            (1.05, 1.2, "G", 7),
        )
    ]
    sheet = {"duration_s": 1.2, "key": "C major", "tempo_bpm": 240.0, "meter": 4, "beat_times": beats}
    return {**sheet, "downbeat_times": beats[::4], "chords": chords}


def test_the_sheet_of_a_take_says_the_same_outside_of_the_span(capsys):
    assert cli.main(GENERATE) == 0
    before = make_sheet()
    write_sheet_files(OLD, before, "take")
    assert cli.main(["regenerate", str(OLD), "--from", "0.58", "--to", "0.76", "--seed", "8", "--quiet"]) == 0
    assert "made anew: 0.56 s to 0.80 s" in capsys.readouterr().err  # snapped to the beats of the sheet
    new = OLD.with_name("take-seed7-take-2")
    after, _ = read_sheet(new)
    for name in ("key", "tempo_bpm", "meter", "duration_s", "downbeat_times"):
        assert after[name] == before[name]
    assert [time for time in after["beat_times"] if not 0.56 < time < 0.8] == before["beat_times"]
    assert after["chords"][:2] == before["chords"][:2]
    assert after["chords"][-1] == before["chords"][-1]
    assert "| C" in (new / "lead_sheet.txt").read_text()
    assert "240 BPM" in (new / "lead_sheet.txt").read_text()
    assert (new / "lead_sheet.txt").read_text().splitlines()[0] == new.name
    clicks = [
        message for message in mido.MidiFile(new / "song.mid") if message.type == "note_on" and message.channel == 9
    ]
    assert len(clicks) == len(before["beat_times"])


COUNT_IN_S = 1.95  # a bar of 1 s, and what is missing before the first bar line at 0.05 s


@pytest.fixture
def counted_in(pipe) -> Path:
    """A result with a bar of clicks before it."""
    result = pipe("take.wav", seed=7, guidance_scale=1.0, return_codes=True, output_sampling_rate="input")
    vocals, settings = Recording("take.wav"), {"vocals": "take.wav", "seed": 7, "guidance_scale": 1, "count_in": 1}
    return write_result("counted", settings, vocals, RATE, {**result, "lead_sheet": make_sheet()}, {})


@pytest.mark.parametrize(
    ("span", "music_s"),
    [
        (["--from", "2.53", "--to", "2.71"], (0.56, 0.8)),  # snapped to the beats at 0.55 and 0.8 s
        (["--from", "0", "--to", "2.7"], (0.0, 0.8)),  # the count-in is no part of it
        (["--from", "2.35", "--no-snap"], (0.4, 1.2)),
    ],
)
def test_seconds_are_those_of_the_files_with_their_count_in(counted_in, span, music_s, capsys):
    assert cli.main(["regenerate", str(counted_in), *span, "--seed", "8", "--quiet"]) == 0
    start_s, end_s = (COUNT_IN_S + edge_s for edge_s in music_s)
    captured = capsys.readouterr()
    assert f"made anew: {start_s:.2f} s to {end_s:.2f} s" in captured.err
    new = Path(captured.out.split()[-1])
    changed = read_settings(new / "settings.json")["regenerated"]
    assert (changed["start_s"], changed["end_s"]) == (pytest.approx(start_s), pytest.approx(end_s))
    start = round(start_s * RATE)
    for name in ("accompaniment.wav", "mix.wav", "vocals.wav"):
        before, after = (soundfile.read(folder / name)[0] for folder in (counted_in, new))
        assert len(before) == len(after) == round((COUNT_IN_S + 1.2) * RATE)
        np.testing.assert_array_equal(before[: round(COUNT_IN_S * RATE)], after[: round(COUNT_IN_S * RATE)])
        if name == "accompaniment.wav":
            np.testing.assert_array_equal(before[:start], after[:start])
            assert not np.array_equal(before[start:], after[start:])
    sheet, count_in_s = read_sheet(new)
    assert count_in_s == COUNT_IN_S
    assert sheet["tempo_bpm"] == 240.0
    clicks, now = [], 0.0
    for message in mido.MidiFile(new / "song.mid"):
        now += message.time
        if message.type == "note_on" and message.channel == 9:
            clicks.append(now)
    expected = [*np.arange(0.0, COUNT_IN_S - 0.01, 0.25), *(COUNT_IN_S + time for time in sheet["beat_times"])]
    np.testing.assert_allclose(clicks, expected, atol=0.01)


def test_a_span_within_the_count_in_or_behind_the_music_is_refused(counted_in, capsys):
    for span in (["--from", "0", "--to", "1.9"], ["--from", "3.2"], ["--from", "2", "--to", "4"]):
        assert cli.main(["regenerate", str(counted_in), *span, "--quiet"]) == 1
        message = "count from the start of the files: there the music is from 1.95 s, behind the count-in, to 3.15 s"
        assert message in capsys.readouterr().err


def test_all_of_a_take_made_anew_has_a_count_in_of_its_own(pipe, counted_in):
    with pytest.warns(UserWarning, match="There is no count-in"):  # what the tiny model plays has no beat
        folder = regenerate_result(pipe, counted_in, 0.0, None, seed=8)
    assert len(audio_of(folder)) == round(1.2 * RATE)


def test_a_streams_result_keeps_its_codes_too():
    assert cli.main([*GENERATE, "--stream"]) == 0
    streamed = read_codes(OLD)
    assert cli.main([*GENERATE, "--output", "whole"]) == 0
    whole = read_codes("whole/take-seed7")
    assert streamed.keys() == whole.keys()
    for name, value in whole.items():
        assert torch.equal(streamed[name], value) if isinstance(value, torch.Tensor) else streamed[name] == value


def test_longer_vocals_are_continued(capsys):
    assert cli.main(GENERATE) == 0
    write_vocals("longer.wav", 1.6)
    assert cli.main(["regenerate", str(OLD), "--vocals", "longer.wav", "--quiet"]) == 0
    new = OLD.with_name("take-seed7-take-2")
    assert "seed 7; made anew: 1.20 s to 1.60 s" in capsys.readouterr().err
    codes, old_codes = read_codes(new), read_codes(OLD)
    assert torch.equal(codes["fine_codes"][:, : old_codes["fine_codes"].shape[1]], old_codes["fine_codes"])
    assert len(audio_of(new)) == round(1.6 * RATE)
    assert read_settings(new / "settings.json")["vocals"].endswith("longer.wav")


def test_a_span_is_told_other_chords_and_the_rest_stays(monkeypatch):
    listening = VocalAccompanimentPipeline(model=listening_model())
    for module in (cli, regenerate_command):
        monkeypatch.setattr(module, "load_pipeline", lambda *_: listening)
    assert cli.main([*GENERATE, "--key", "C"]) == 0
    Path("chords.txt").write_text("0.4 0.8 F#m\n", "utf-8")
    for more in ([], ["--chords", "chords.txt"]):
        assert cli.main(["regenerate", str(OLD), *SPAN, "--seed", "8", "--quiet", *more]) == 0
    plain, told = (OLD.with_name(f"take-seed7-take-{number}") for number in (2, 3))
    record = read_settings(told / "settings.json")
    assert (record["key"], record["chords"]) == ("C", [[0.4, 0.8, "F#m"]])
    assert "chords" not in read_settings(plain / "settings.json")
    old, ids, others = (read_codes(folder)["instrumental_semantic_ids"] for folder in (OLD, told, plain))
    assert torch.equal(ids[:20], old[:20])
    assert torch.equal(ids[40:], old[40:])
    assert not torch.equal(ids[20:40], others[20:40])


PARTS = ("drums", "bass", "other")


@pytest.fixture
def parts_pipe(monkeypatch):
    """The command with a model of three parts."""
    pipe = VocalAccompanimentPipeline(model=tiny_part_model())
    for module in (cli, regenerate_command):
        monkeypatch.setattr(module, "load_pipeline", lambda *_: pipe)


@pytest.mark.usefixtures("parts_pipe")
def test_some_parts_of_a_take_change_by_the_command_and_the_others_stay(capsys):
    assert cli.main([*GENERATE, "--style", "rock"]) == 0
    assert cli.main(["regenerate", str(OLD), *SPAN, "--parts", "drums", "other", "--seed", "8", "--quiet"]) == 0
    new = OLD.with_name("take-seed7-take-2")
    record = read_settings(new / "settings.json")
    assert record["regenerated"] == {"from": OLD.name, "start_s": 0.4, "end_s": 0.8, "parts": ["drums", "other"]}
    assert record["style"] == "rock"
    start = round(0.4 * RATE)
    is_bent = np.maximum(*(np.abs(audio_of(folder)) for folder in (OLD, new))) > 0.899  # a gain for all parts
    for part in PARTS:
        before, after = (soundfile.read(folder / f"{part}.wav", dtype="float32")[0] for folder in (OLD, new))
        np.testing.assert_array_equal(before[:start], after[:start])
        assert np.array_equal(before[~is_bent], after[~is_bent]) == (part == "bass")
    codes, old_codes = read_codes(new), read_codes(OLD)
    for name in ("coarse_codes", "fine_codes"):
        for row, part in enumerate(PARTS):
            is_other = (codes[name][row] != old_codes[name][row]).any(0)  # of every frame
            assert bool(is_other[30:60].any()) == (part != "bass")
            assert not is_other[:30].any()
            assert not is_other[60:].any()
    # With the old seed the old take comes back.
    assert cli.main(["regenerate", str(new), *SPAN, "--parts", "drums", "other", "--seed", "7", "--quiet"]) == 0
    again = OLD.with_name("take-seed7-take-3")
    for part in PARTS:
        assert (again / f"{part}.wav").read_bytes() == (OLD / f"{part}.wav").read_bytes()
    capsys.readouterr()
    assert cli.main(["regenerate", str(OLD), *SPAN, "--parts", "flute", "--quiet"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith("error: `--parts` must be a list of names out of drums, bass, other, got ['flute'].")


@pytest.mark.usefixtures("parts_pipe")
def test_a_take_of_some_parts_has_one_of_these_made_anew():
    assert cli.main([*GENERATE, "--parts", "drums", "bass"]) == 0
    assert cli.main(["regenerate", str(OLD), *SPAN, "--parts", "bass", "--seed", "8", "--quiet"]) == 0
    new = OLD.with_name("take-seed7-take-2")
    codes, old_codes = (read_codes(folder)["fine_codes"] for folder in (new, OLD))
    assert codes.shape[0] == 2
    assert torch.equal(codes[0], old_codes[0])
    assert not torch.equal(codes[1], old_codes[1])
    assert not (new / "other.wav").exists()


def test_the_function_takes_vocals_and_a_place_and_tells_its_progress(pipe):
    assert cli.main(GENERATE) == 0
    vocals = Recording(*soundfile.read("take.wav", dtype="float32"))
    Path("take.wav").unlink()
    seconds = []
    asked = {"seed": 8, "snap": False, "parent": "page", "callback": lambda stage, s: seconds.append(s)}
    folder = regenerate_result(pipe, OLD, 0.4, 0.8, vocals=vocals, **asked)
    assert folder == Path("page/take-seed7-take-2")
    assert sum(seconds) == pytest.approx(3 * 0.4)


def test_what_cannot_be_regenerated_is_refused(pipe, capsys):
    assert cli.main(GENERATE) == 0
    with pytest.raises(ValueError, match="`start_s` is needed: the vocals are no longer than the result"):
        regenerate_result(pipe, OLD, None, None)
    with pytest.raises(ValueError, match="`regenerate_parts` must be left out: this model plays one part"):
        regenerate_result(pipe, OLD, 0.4, 0.8, parts=["drums"])
    for arguments, code, message in (
        ([str(OLD), "--from", "0.8", "--to", "0.4"], 2, "`--to` must lie behind `--from`, got 0.8 to 0.4"),
        ([str(OLD), *SPAN, "--parts", "drums"], 2, "`--parts` must be left out: this model plays one part"),
        ([str(OLD), "--from", "5", "--to", "6"], 1, "the span of `--from` and `--to` must begin inside the 1.2 s"),
        ([str(OLD)], 2, "say where the span begins with `--from`"),
        ([str(OLD), "--from", "5"], 1, "got 5 s to the end"),
        (["missing", *SPAN], 2, "there is no folder 'missing'"),
        ([".", *SPAN], 2, "'.' is no result folder: there is no settings.json in it"),
        ([str(OLD), *SPAN, "--vocals", "missing.wav"], 2, "there is no file 'missing.wav'"),
    ):
        assert cli.main(["regenerate", *arguments, "--quiet"]) == code
        assert message in capsys.readouterr().err
    Path("take.wav").rename("moved.wav")
    assert cli.main(["regenerate", str(OLD), *SPAN]) == 1
    assert "are not there any more. Say where they are with `--vocals`" in capsys.readouterr().err
    path = OLD / CODES_FILE
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    assert cli.main(["regenerate", str(OLD), *SPAN, "--vocals", "moved.wav"]) == 1
    assert "is not the file that was written: it is damaged or exchanged" in capsys.readouterr().err


def test_settings_of_such_a_take_are_no_settings_of_a_whole_one(capsys):
    settings = {"vocals": "take.wav", "seed": 8, "regenerated": {"from": "take-seed7", "start_s": 0.4, "end_s": 0.8}}
    Path("settings.json").write_text(json.dumps(settings))
    assert cli.main(["generate", "--settings", "settings.json"]) == 2
    assert "is of a take of 'take-seed7' of which a span was made anew" in capsys.readouterr().err


def test_the_best_of_several_takes_is_kept_and_made_again_from_its_settings(capsys):
    call = [*GENERATE, "--best-of", "3"]
    assert cli.main(call) == 0
    captured = capsys.readouterr()
    record = read_settings(OLD / "settings.json")
    ranking = record["ranking"]
    assert (record["seed"], record["best_of"]) == (7, 3)
    assert ranking["seed"] in (7, 8, 9)
    assert ranking["num_takes"] == 3
    assert f"kept the take of seed {ranking['seed']}, the best of 3: likely chords" in captured.err
    assert read_codes(OLD)["seed"] == ranking["seed"]
    assert cli.main(["generate", "--settings", str(OLD / "settings.json"), "--quiet"]) == 0
    assert "the audio is the recorded one, bit for bit" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main([*GENERATE, "--best-of", "1"])
    assert cli.main([*call, "--stream"]) == 2
    assert "`--best-of` compares whole takes" in capsys.readouterr().err


def test_recordings_of_a_list_have_seeds_of_their_own():
    write_vocals("other.wav", 1.2)
    call = ["generate", "take.wav", "other.wav", "--seed", "7", "--best-of", "2", "--preview", "--quiet"]
    assert cli.main([*call, "--guidance-scale", "1", "--batch-size", "2"]) == 0
    records = [read_settings(folder / "settings.json") for folder in sorted(Path("accompgen_out").iterdir())]
    assert [record["seed"] for record in records] == [9, 7]
    assert [record["ranking"]["seed"] in seeds for record, seeds in zip(records, ((9, 10), (7, 8)), strict=True)]
