"""The command line and its result folders, around a stub in the pipeline's place: its contract, not its music."""

import re
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from accompgen_hf.accompgen.audio_accompgen import load_audio, write_audio
from accompgen_hf.accompgen.mixing_accompgen import mix
from accompgen_hf.accompgen.pipeline_accompgen import VocalAccompanimentPipeline
from accompgen_hf.app import cli, generate_command
from accompgen_hf.app.picture import draw_picture
from accompgen_hf.app.result_folders import read_settings
from onnx_networks import write_mixing_network
from tiny import tiny_model


class StubPipeline:
    """Answers as the pipeline does: audio and mix at the asked rate, as long as the vocals, from the seed alone."""

    def __init__(self):
        self.model = SimpleNamespace(
            config=SimpleNamespace(is_placeholder=False, token_fingerprint="f1"),
            parameters=lambda: [torch.empty(10)],
            coarse=torch.nn.Linear(10, 10),
            fine=torch.nn.Linear(10, 10),
        )
        self.device = torch.device("cpu")
        self.calls = []
        self.failure = None

    def __call__(self, vocals, *, seed, show_progress, output_sampling_rate=None, **options):
        self.calls.append({"seed": seed, "vocals": vocals, "output_sampling_rate": output_sampling_rate, **options})
        if self.failure is not None:
            raise self.failure
        rate = vocals["sampling_rate"] if output_sampling_rate == "input" else output_sampling_rate or 24_000
        num_samples = round(vocals["array"].shape[-1] * rate / vocals["sampling_rate"])
        audio = np.random.default_rng(seed).uniform(-0.1, 0.1, num_samples).astype(np.float32)
        mix = np.stack([audio] * vocals["array"].shape[0])
        return {"audio": audio, "mix": mix, "sampling_rate": rate, "seed": seed}


@pytest.fixture
def stub(monkeypatch):
    pipe = StubPipeline()
    monkeypatch.setattr(cli, "load_pipeline", lambda model, device: pipe)
    # The real picture takes a second; one test draws it.
    monkeypatch.setattr("accompgen_hf.app.result_folders.draw_picture", lambda path, *_args, **_kwargs: path.touch())
    return pipe


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_vocals(path: Path, sampling_rate: int = 22_050, duration_s: float = 0.5, channels: int = 1) -> Path:
    num_samples = round(duration_s * sampling_rate)
    tone = 0.3 * np.sin(2 * np.pi * 220 * np.arange(num_samples) / sampling_rate)
    soundfile.write(path, np.stack([tone] * channels, axis=1), sampling_rate)
    return path


def test_a_tagged_take_makes_itself_again(stub, here, capsys):
    write_vocals(here / "take.wav", sampling_rate=96_000)
    call = ["generate", "take.wav", "--seed", "7", "--rate", "48000", "--temperature", "0.8"]
    for file_format in ("flac", "mp3"):
        assert cli.main([*call, "--format", file_format, "-o", file_format]) == 0
        take = f"{file_format}/take-seed7/mix.{file_format}"
        assert soundfile.info(take).samplerate == 48_000
        assert cli.main(["generate", "--settings", take, "-o", f"{file_format} again"]) == 0
        again = Path(f"{file_format} again/take-seed7/mix.{file_format}")
        assert again.read_bytes() == Path(take).read_bytes()
    assert [(call["seed"], call["temperature"]) for call in stub.calls] == [(7, 0.8)] * 4
    assert cli.main(["generate", "take.wav", "--seed", "7", "--format", "mp3"]) == 1
    assert "got 96000: add `--rate 48000`" in capsys.readouterr().err
    assert len(stub.calls) == 4


def test_a_result_is_24_bit_at_the_vocals_rate_and_length(stub, here, capsys):
    write_vocals(here / "take.wav", sampling_rate=22_051, channels=2)
    assert cli.main(["generate", "take.wav", "--seed", "7"]) == 0
    folder = Path("accompgen_out/take-seed7")
    assert capsys.readouterr().out.split() == [str(folder)]
    assert sorted(path.name for path in folder.iterdir()) == [
        "accompaniment.wav",
        "mix.wav",
        "picture.png",
        "settings.json",
    ]
    for name, channels in (("accompaniment.wav", 1), ("mix.wav", 2)):
        info = soundfile.info(folder / name)
        assert (info.subtype, info.samplerate, info.frames) == ("PCM_24", 22_051, round(0.5 * 22_051))
        assert info.channels == channels
    assert [path.name for path in Path("accompgen_out").iterdir()] == [folder.name]


def test_a_second_run_never_overwrites(stub, here):
    write_vocals(here / "take.wav")
    for _ in range(3):
        assert cli.main(["generate", "take.wav", "--seed", "7"]) == 0
    names = sorted(path.name for path in Path("accompgen_out").iterdir())
    assert names == ["take-seed7", "take-seed7-2", "take-seed7-3"]


def test_without_a_seed_a_new_one_is_drawn_and_printed(stub, here, capsys):
    write_vocals(here / "take.wav")
    state = torch.get_rng_state()
    assert cli.main(["generate", "take.wav"]) == 0
    assert f"seed {stub.calls[0]['seed']} (new)" in capsys.readouterr().err
    assert cli.main(["generate", "take.wav"]) == 0
    assert stub.calls[0]["seed"] != stub.calls[1]["seed"]
    assert torch.equal(torch.get_rng_state(), state)


def test_settings_of_a_result_make_the_same_again(stub, here, capsys):
    write_vocals(here / "take.wav")
    call = ["generate", "take.wav", "--seed", "7", "--guidance-scale", "0", "--top-k", "5", "--preview"]
    assert cli.main(call) == 0
    assert cli.main(["generate", "--settings", "accompgen_out/take-seed7/settings.json", "-o", "again"]) == 0
    first, second = stub.calls
    assert first.pop("vocals")["array"].tolist() == second.pop("vocals")["array"].tolist()
    assert first == second
    asked = {"seed": 7, "output_sampling_rate": "input", "guidance_scale": 0, "top_k": 5, "preview": True}
    assert first == {**asked, "return_codes": True}
    for name in ("mix.wav", "accompaniment.wav"):
        assert Path("again/take-seed7", name).read_bytes() == Path("accompgen_out/take-seed7", name).read_bytes()
    assert "bit for bit" in capsys.readouterr().err


def test_options_stand_over_settings(stub, here, capsys):
    write_vocals(here / "take.wav")
    assert cli.main(["generate", "take.wav", "--seed", "7", "--top-k", "5", "--preview"]) == 0
    settings = "accompgen_out/take-seed7/settings.json"
    assert cli.main(["generate", "--settings", settings, "--seed", "8", "--no-preview"]) == 0
    assert (stub.calls[1]["seed"], stub.calls[1]["top_k"], stub.calls[1]["preview"]) == (8, 5, False)
    assert "differs from the recorded" in capsys.readouterr().err


def test_a_variation_is_repeated_by_its_own_settings(stub, here):
    write_vocals(here / "take.wav")
    assert cli.main(["generate", "take.wav", "--seed", "7", "--variations", "2"]) == 0
    assert [call["seed"] for call in stub.calls] == [7, 8]
    settings = read_settings("accompgen_out/take-seed8/settings.json")
    assert settings["seed"] == 8
    assert settings["made_with"]["token_fingerprint"] == "f1"


def test_several_recordings_use_seeds_of_their_own(stub, here):
    for name in ("a.wav", "b.wav"):
        write_vocals(here / name)
    assert cli.main(["generate", "a.wav", "b.wav", "--seed", "7", "--variations", "2"]) == 0
    names = sorted(path.name for path in Path("accompgen_out").iterdir())
    assert names == ["a-seed7", "a-seed8", "b-seed10", "b-seed9"]


def test_a_hand_written_settings_file_sets_single_stages(stub, here):
    write_vocals(here / "take.wav")
    Path("mine.json").write_text('{"semantic_kwargs": {"temperature": 1.1}, "seed": null}')
    assert cli.main(["generate", "take.wav", "--settings", "mine.json", "--sampling-rate", "48000"]) == 0
    assert stub.calls[0]["semantic_kwargs"] == {"temperature": 1.1}
    assert stub.calls[0]["output_sampling_rate"] == 48_000


def test_the_demo_takes_the_shipped_singing(stub, here, capsys, monkeypatch):
    monkeypatch.setattr("accompgen_hf.app.result_folders.draw_picture", draw_picture)
    assert cli.main(["demo", "--seed", "1"]) == 0
    captured = capsys.readouterr()
    assert captured.out.strip() == str(Path("accompgen_out/vocadito_10-seed1"))
    assert "vocadito_10.wav (vocadito data set, CC BY 4.0): 9.1 s" in captured.err
    assert stub.calls[0]["vocals"]["sampling_rate"] == 44_100
    info = soundfile.info("accompgen_out/vocadito_10-seed1/mix.wav")
    assert info.frames == soundfile.info(cli.SHIPPED_VOCALS).frames
    assert Path("accompgen_out/vocadito_10-seed1/picture.png").read_bytes().startswith(b"\x89PNG")


def test_what_libraries_tell_programmers_is_no_note(stub, here, capsys, monkeypatch):
    def warn(path, *_args, **_kwargs):
        warnings.warn("`old` will be removed in v6", FutureWarning, stacklevel=1)
        path.touch()

    write_vocals(here / "take.wav")
    monkeypatch.setattr("accompgen_hf.app.result_folders.draw_picture", warn)
    assert cli.main(["generate", "take.wav"]) == 0
    said = capsys.readouterr().err
    assert "note" not in said
    assert "seed" in said


def test_a_silent_recording_is_told_so(stub, here, capsys):
    soundfile.write("take.wav", np.zeros(8000), 16_000)
    write_vocals(here / "sung.wav")
    assert cli.main(["generate", "take.wav", "sung.wav", "--seed", "7"]) == 0
    said = capsys.readouterr().err
    assert "accompgen: note: take.wav is silent. Was the right microphone chosen?" in said
    assert "sung.wav is silent" not in said


def test_one_broken_recording_does_not_stop_the_others(stub, here, capsys):
    (here / "broken.wav").write_bytes(b"not audio at all")
    write_vocals(here / "take.wav")
    assert cli.main(["generate", "broken.wav", "take.wav", "--seed", "7"]) == 1
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    assert "broken.wav: " in captured.err
    assert "1 of 2 recordings failed" in captured.err
    assert captured.out.strip() == str(Path("accompgen_out/take-seed8"))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["generate"], "name at least one recording"),
        (["generate", "missing.wav"], "there is no file 'missing.wav'"),
        (["generate", "take.wav", "--settings", "missing.json"], "cannot be read as JSON"),
        (["generate", "--settings", "take.wav"], "`--settings` 'take.wav' has no settings in its tags: give a file"),
        (["generate", "take.wav", "--device", "tpu"], "must be auto or one of cpu"),
        (["generate", "take.wav", "--sampling-rate", "3"], "between 4000 and 768000 Hz, got 3"),
    ],
)
def test_a_wrong_call_exits_with_2_and_one_sentence(stub, here, capsys, argv, message):
    write_vocals(here / "take.wav")
    assert cli.main(argv) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert not stub.calls


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--seed", "-2"], "must be a whole number of at least -1, got '-2'"),
        (["--variations", "0"], "must be a whole number of at least 1, got '0'"),
        (["--top-p", "1.5"], "must be a number of at least 0 and at most 1, got '1.5'"),
        (["--temperature", "inf"], "must be a number of at least 0, got 'inf'"),
        (["--guidance-scale", "nan"], "must be a number of at least 0, got 'nan'"),
    ],
)
def test_an_option_out_of_range_exits_with_2(here, capsys, option, message):
    with pytest.raises(SystemExit) as caught:
        cli.main(["generate", "take.wav", *option])
    assert caught.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert message in line
    assert line.endswith("(`accompgen generate --help` lists the options)")


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (ValueError("`top_k` must be at least 1, got 0."), "error: take.wav: `top_k` must be at least 1, got 0."),
        (ValueError("Copy it again, or pass `allow_truncated=True` to use"), "or add `--allow-truncated` to use"),
        (RuntimeError("CUDA out of memory"), "try `--preview`, a shorter recording or `--device cpu`"),
        (KeyError("stage"), "KeyError: 'stage' (`--debug` shows where)"),
    ],
)
def test_a_failure_while_working_exits_with_1_and_leaves_nothing(stub, here, capsys, failure, message):
    write_vocals(here / "take.wav")
    stub.failure = failure
    assert cli.main(["generate", "take.wav"]) == 1
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert not Path("accompgen_out").exists()
    cli.main(["generate", "take.wav", "--debug"])
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("failure", [KeyError("stage"), RuntimeError("CUDA out of\nmemory"), OSError()])
def test_the_table_gives_the_reason_that_was_said(stub, here, capsys, failure):
    for name in ("a.wav", "b.wav"):
        write_vocals(here / name)
    stub.failure = failure
    assert cli.main(["generate", "a.wav", "b.wav"]) == 1
    said = capsys.readouterr().err
    [reason] = re.findall(r"^accompgen: error: a\.wav: (.+?)(?: \(`--debug` shows where\))?$", said, re.MULTILINE)
    assert re.search(rf"^a\.wav +\d+ +failed +{re.escape(reason)}$", said, re.MULTILINE)


def test_a_failure_while_writing_leaves_no_half_result(stub, here, monkeypatch):
    def fail(*_args, **_kwargs):
        raise OSError("No space left on device")

    write_vocals(here / "take.wav")
    monkeypatch.setattr("accompgen_hf.app.result_folders.draw_picture", fail)
    assert cli.main(["generate", "take.wav"]) == 1
    assert list(Path("accompgen_out").iterdir()) == []


def test_a_model_that_cannot_be_loaded_is_one_sentence(here, capsys, monkeypatch):
    def fail(model, device):
        raise OSError(f"{model} is not a model")

    write_vocals(here / "take.wav")
    monkeypatch.setattr(cli, "load_pipeline", fail)
    assert cli.main(["generate", "take.wav", "--model", "nobody/nothing"]) == 1
    assert "error: nobody/nothing is not a model" in capsys.readouterr().err


def test_ctrl_c_is_no_traceback(stub, here, capsys):
    write_vocals(here / "take.wav")
    stub.failure = KeyboardInterrupt()
    assert cli.main(["generate", "take.wav"]) == 1
    assert "stopped" in capsys.readouterr().err


def test_a_placeholder_model_says_so(stub, here, capsys):
    write_vocals(here / "take.wav")
    for placeholder in (False, True):
        stub.model.config.is_placeholder = placeholder
        assert cli.main(["generate", "take.wav"]) == 0
        assert ("placeholder model" in capsys.readouterr().err) is placeholder


def test_long_work_is_announced_with_its_time_and_the_preview(stub, here, capsys, monkeypatch):
    clock = iter(np.cumsum([0, 1.0, 0, 3.0, 0, 0]))  # 1 s for 0.1 s of music, 3 s for 0.5 s: 5 s per second, 0.5 + x
    monkeypatch.setattr(generate_command, "working_time", lambda: float(next(clock)))
    write_vocals(here / "take.wav", duration_s=20.0)
    assert cli.main(["generate", "take.wav", "--seed", "7"]) == 0
    expected = (
        "about 101 s; a first impression with `--preview` takes about half of it; with `--stream` you can listen"
    )
    assert expected in capsys.readouterr().err
    trial_lengths = [call["vocals"]["array"].shape for call in stub.calls]
    assert trial_lengths == [(1, 2205), (1, 11025), (1, 441_000)]


def test_only_what_helps_is_offered(stub, here, capsys, monkeypatch):
    stub.model.fine = torch.nn.Linear(5, 5)  # a preview would hardly be sooner
    monkeypatch.setattr(generate_command, "estimate_seconds", lambda pipe, vocals, total_s, options: total_s)
    write_vocals(here / "take.wav", duration_s=40.0, sampling_rate=8000)
    assert cli.main(["demo", "take.wav"]) == 0
    assert "this will take about 40 s (Ctrl-C stops)" in capsys.readouterr().err


def test_the_announcement_is_of_all_recordings_that_are_left(stub, here, capsys, monkeypatch):
    (here / "songs").mkdir()
    for name, duration_s in (("a", 20.0), ("b", 60.0), ("c", 40.0)):
        write_vocals(here / "songs" / f"{name}.wav", duration_s=duration_s, sampling_rate=8000)
    monkeypatch.setattr(generate_command, "estimate_seconds", lambda pipe, vocals, total_s, options: total_s)
    assert cli.main(["generate", "songs"]) == 0
    captured = capsys.readouterr()
    assert "about 2 min for 2 min of music;" in captured.err
    assert f"[2 of 3] {Path('songs/b.wav')}: 60.0 s" in captured.err
    (here / "songs" / "d.wav").write_bytes(b"nothing")
    write_vocals(here / "songs" / "e.wav", duration_s=40.0, sampling_rate=8000)
    assert cli.main(["generate", "songs"]) == 1
    captured = capsys.readouterr()
    assert "about 40 s; a first" in captured.err
    assert re.search(r"^d\.wav +0 +failed +is text, not audio", captured.err, re.MULTILINE)


def test_short_work_needs_no_trial(stub, here, capsys):
    write_vocals(here / "take.wav", duration_s=2.0)
    assert cli.main(["generate", "take.wav"]) == 0
    assert len(stub.calls) == 1
    assert "this will take" not in capsys.readouterr().err


def test_a_whole_song_is_separated_first_and_the_settings_say_so(stub, here, tmp_path):
    scaling = write_mixing_network(tmp_path / "Kim_Vocal_2.onnx", 0.5 * np.eye(4), np.ones(3073), dim_t=16)
    write_vocals(here / "song.wav", sampling_rate=44_100)
    assert cli.main(["generate", "song.wav", "--separate", scaling.name, "--seed", "7"]) == 0
    mix, _ = soundfile.read(here / "song.wav")
    vocals = stub.calls[0]["vocals"]
    assert (vocals["array"].shape, vocals["sampling_rate"]) == ((2, len(mix)), 44_100)
    # The network halves, the preset's gain is 1.009.
    np.testing.assert_allclose(vocals["array"][0, 4096:-4096], 0.5045 * mix[4096:-4096], atol=1e-4)
    assert cli.main(["generate", "--settings", "accompgen_out/song-seed7/settings.json"]) == 0
    np.testing.assert_array_equal(stub.calls[1]["vocals"]["array"], vocals["array"])


@pytest.mark.parametrize(
    ("options", "vocals_share"),
    [
        (["--separate-preset", "UVR_MDXNET_Main"], 0.5 * 1.043),
        (["--separate-n-fft", "7680", "--separate-stem", "vocals", "--separate-gain", "0.5"], 0.25),
        (["--separate-preset", "UVR-MDX-NET-Voc_FT", "--separate-stem", "instrumental"], 1 - 0.5 * 1.021),
    ],
)
def test_a_network_of_any_name_separates_by_preset_or_options(stub, here, options, vocals_share):
    write_mixing_network(here / "mine.onnx", 0.5 * np.eye(4), np.ones(3073), dim_t=16)
    write_vocals(here / "song.wav", sampling_rate=44_100)
    assert cli.main(["generate", "song.wav", "--separate", "mine.onnx", *options, "--seed", "7"]) == 0
    mix, _ = soundfile.read(here / "song.wav")
    vocals = stub.calls[0]["vocals"]["array"]
    np.testing.assert_allclose(vocals[1, 4096:-4096], vocals_share * mix[4096:-4096], atol=1e-4)
    assert cli.main(["generate", "--settings", "accompgen_out/song-seed7/settings.json"]) == 0
    np.testing.assert_array_equal(stub.calls[1]["vocals"]["array"], vocals)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--separate", "missing.onnx"], "'missing.onnx' does not exist"),
        (["--separate", "mine.onnx"], "Give both, or the `preset` of the network that it is"),
        (["--separate", "mine.onnx", "--separate-preset", "Kim"], "`preset` must be one of vocals, "),
        (["--separate", "mine.onnx", "--separate-preset", "vocals"], "`n_fft` must be even and at least 6144|6144"),
        (["--separate-gain", "2"], "`separate_gain` needs `separate`"),
    ],
)
def test_a_separator_that_cannot_be_opened_stops_before_the_work(stub, here, capsys, options, message):
    write_mixing_network(here / "mine.onnx", 0.5 * np.eye(4), np.ones(3074), dim_t=16)
    write_vocals(here / "song.wav")
    assert cli.main(["generate", "song.wav", *options]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert stub.calls == []


def test_a_saved_model_goes_all_the_way_and_repeats_itself(here, capsys):
    write_vocals(here / "take.wav", sampling_rate=44_100, duration_s=0.3, channels=2)
    VocalAccompanimentPipeline(tiny_model()).save_pretrained(here / "model")
    call = ["generate", "take.wav", "--model", "model", "--seed", "3", "--device", "cpu", "--quiet"]
    assert cli.main([*call, "--guidance-scale", "2", "--top-k", "8"]) == 0, capsys.readouterr().err
    folder = Path("accompgen_out/take-seed3")
    assert soundfile.info(folder / "mix.wav").channels == 2
    assert soundfile.info(folder / "accompaniment.wav").frames == soundfile.info("take.wav").frames
    assert cli.main(["generate", "--settings", str(folder / "settings.json")]) == 0
    assert "bit for bit" in capsys.readouterr().err


# ---- folders, batches, streams -------------------------------------------------------------------------------------


def test_a_folder_is_worked_off_and_a_rerun_does_what_is_missing(stub, here, capsys):
    (here / "songs").mkdir()
    for name in ("a.wav", "b.wav"):
        write_vocals(here / "songs" / name)
    (here / "songs" / "broken.wav").write_bytes(b"not audio at all")
    assert cli.main(["generate", "songs", "-o", "songs/out"]) == 1
    captured = capsys.readouterr()
    assert captured.out.split() == [str(Path("songs/out/a-seed0")), str(Path("songs/out/b-seed0"))]
    assert "2 made, 0 there already, 1 failed" in captured.err
    assert [call["seed"] for call in stub.calls] == [0, 0]
    (here / "songs" / "broken.wav").unlink()
    write_vocals(here / "songs" / "aa.wav")
    assert cli.main(["generate", "songs", "-o", "songs/out"]) == 0
    captured = capsys.readouterr()
    assert captured.out.split() == [str(Path("songs/out/aa-seed0"))]
    assert "1 made, 2 there already, 0 failed" in captured.err
    assert cli.main(["generate", "songs", "-o", "songs/out", "--top-k", "5"]) == 0
    assert "3 made, 0 there already, 0 failed" in capsys.readouterr().err


def test_a_folder_without_audio_is_a_wrong_call(stub, here, capsys):
    (here / "songs").mkdir()
    assert cli.main(["generate", "songs"]) == 2
    assert "'songs' holds no audio" in capsys.readouterr().err


def test_processes_share_the_jobs(stub, here, monkeypatch):
    names = [f"{name}.wav" for name in "abcde"]
    for name in names:
        write_vocals(here / name)
    monkeypatch.setattr("accompgen_hf.app.recording_queue.gather_outcomes", lambda outcomes: outcomes)
    for rank, expected in (("0", ["a-seed0", "c-seed2", "e-seed4"]), ("1", ["b-seed1", "d-seed3"])):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("WORLD_SIZE", "2")
        assert cli.main(["generate", *names, "-o", rank]) == 0
        assert sorted(path.name for path in Path(rank).iterdir()) == expected


def test_process_0_alone_tells_of_failures(stub, here, monkeypatch, capsys):
    (here / "a.wav").write_bytes(b"not audio at all")
    (here / "b.wav").write_bytes(b"nor this")
    monkeypatch.setattr("accompgen_hf.app.recording_queue.gather_outcomes", lambda outcomes: outcomes)
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, code in (("1", 0), ("0", 1)):
        monkeypatch.setenv("RANK", rank)
        assert cli.main(["generate", "a.wav", "b.wav"]) == code
        assert "is text, not audio" in capsys.readouterr().err


def test_recordings_and_variations_run_together_when_asked(stub, here, monkeypatch):
    batches = []

    def together(vocals, *, seed, **settings):
        if not isinstance(vocals, list):
            return StubPipeline.__call__(stub, vocals, seed=seed, **settings)
        batches.append((len(vocals), seed, settings.pop("batch_size")))
        if 9 in seed:
            raise ValueError("the whole batch fails")
        return [StubPipeline.__call__(stub, one, seed=own, **settings) for one, own in zip(vocals, seed, strict=True)]

    monkeypatch.setattr(generate_command.Work, "announce", lambda *_: None)
    monkeypatch.setattr(cli, "load_pipeline", lambda *_: together)
    together.model, together.device = stub.model, stub.device
    for name in ("a.wav", "b.wav"):
        write_vocals(here / name)
    assert cli.main(["generate", "a.wav", "b.wav", "--seed", "7", "--variations", "2", "--batch-size", "3"]) == 0
    assert batches == [(3, [7, 8, 9], 3)]
    names = sorted(path.name for path in Path("accompgen_out").iterdir())
    assert names == ["a-seed7", "a-seed8", "b-seed10", "b-seed9"]


def test_a_preview_comes_first_and_its_codes_go_on(stub, here, capsys):
    write_vocals(here / "take.wav")
    assert cli.main(["generate", "take.wav", "--seed", "7", "--preview-first"]) == 0
    first, second = stub.calls
    assert (first["preview"], first["return_codes"]) == (True, True)
    assert second["known_codes"]["seed"] == 7
    assert sorted(path.name for path in Path("accompgen_out").iterdir()) == ["take-seed7", "take-seed7.preview.wav"]
    assert "take-seed7.preview.wav: the preview" in capsys.readouterr().err


def test_a_stream_grows_a_part_file_and_ends_as_a_result(here, capsys, monkeypatch):
    pipe = VocalAccompanimentPipeline(model=tiny_model())
    monkeypatch.setattr(cli, "load_pipeline", lambda model, device: pipe)
    monkeypatch.setattr("accompgen_hf.app.result_folders.draw_picture", lambda path, *_args, **_kwargs: path.touch())
    write_vocals(here / "take.wav", duration_s=0.9, channels=2)
    call = ["generate", "take.wav", "--seed", "7", "--preview", "--guidance-scale", "1"]
    assert cli.main([*call, "--stream"]) == 0
    captured = capsys.readouterr()
    assert captured.out.strip() == str(Path("accompgen_out/take-seed7"))
    assert f"{Path('accompgen_out/take-seed7.part.wav')}: 0.4 of 0.9 s" in captured.err
    assert [path.name for path in Path("accompgen_out").iterdir()] == ["take-seed7"]
    settings = {"seed": 7, "preview": True, "guidance_scale": 1, "window_batch_size": 1}
    whole = pipe("take.wav", output_sampling_rate="input", **settings)
    write_audio("whole.wav", whole["audio"], whole["sampling_rate"])
    assert Path("accompgen_out/take-seed7/accompaniment.wav").read_bytes() == Path("whole.wav").read_bytes()
    # The mix, made in blocks of the two files, is that of the whole.
    accompaniment, rate = load_audio("accompgen_out/take-seed7/accompaniment.wav")
    write_audio("mix.wav", mix(load_audio("take.wav")[0], accompaniment, rate), rate)
    assert Path("accompgen_out/take-seed7/mix.wav").read_bytes() == Path("mix.wav").read_bytes()


def test_a_stopped_stream_goes_on_without_being_told_its_seed(here, capsys, monkeypatch):
    pipe = VocalAccompanimentPipeline(model=tiny_model())
    monkeypatch.setattr(cli, "load_pipeline", lambda model, device: pipe)
    monkeypatch.setattr("accompgen_hf.app.result_folders.draw_picture", lambda path, *_args, **_kwargs: path.touch())
    write_vocals(here / "take.wav", duration_s=0.9)
    call = ["generate", "take.wav", "--preview", "--guidance-scale", "1", "--stream"]

    def stop(*_args) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("accompgen_hf.app.part_files.GrowingWav.append", stop)
        assert cli.main(call) == 1
    [codes] = Path("accompgen_out").glob("*.part.codes")
    seed = codes.name.removeprefix("take-seed").removesuffix(".part.codes")
    capsys.readouterr()
    assert cli.main(call) == 0
    captured = capsys.readouterr()
    assert f"seed {seed} (of the part file left over)" in captured.err
    assert "part.wav: goes on; what was there is written again first" in captured.err
    assert [path.name for path in Path("accompgen_out").iterdir()] == [f"take-seed{seed}"]


def test_ways_to_go_on_exclude_each_other(here, capsys):
    with pytest.raises(SystemExit):
        cli.main(["generate", "take.wav", "--stream", "--preview-first"])
    assert "not allowed with argument" in capsys.readouterr().err
