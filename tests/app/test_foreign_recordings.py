"""The cases of docs/measured/reliability.md from end to end.

What must work through the pipeline, what the command refuses, and what a kill leaves of a file.
"""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import soundfile

from accompgen_hf.accompgen.audio_accompgen import load_audio, write_audio
from accompgen_hf.accompgen.pipeline_accompgen import VocalAccompanimentPipeline
from accompgen_hf.app import cli
from tiny import tiny_model

RATE = 16_000
QUICK = {"preview": True, "output_sampling_rate": "input", "show_progress": False}


@pytest.fixture(scope="module")
def pipe():
    return VocalAccompanimentPipeline(model=tiny_model(), device="cpu")


def tone(duration_s: float = 0.2, sampling_rate: int = RATE, num_channels: int = 1) -> np.ndarray:
    time = np.arange(round(duration_s * sampling_rate)) / sampling_rate
    return np.stack([0.5 * np.sin(2 * np.pi * 220 * (1 + channel) * time) for channel in range(num_channels)])


def check_result(result: dict, num_samples: int, sampling_rate: int, num_channels: int) -> None:
    assert result["sampling_rate"] == sampling_rate
    assert result["audio"].shape == (num_samples,)
    assert np.atleast_2d(result["mix"]).shape == (num_channels, num_samples)
    for audio in (result["audio"], result["mix"]):
        assert np.isfinite(audio).all()
        assert np.abs(audio).max() <= 1.0


WAVEFORMS = {
    "silent": (np.zeros((1, 3200)), RATE),
    "clipped": (np.clip(20 * tone(), -1, 1), RATE),
    "DC": (np.full((1, 3200), 0.9), RATE),
    "stereo": (tone(num_channels=2), RATE),
    "5.1": (tone(num_channels=6), RATE),
    "0.1 s": (tone(0.1), RATE),
    **{f"{rate} Hz": (tone(0.11, rate), rate) for rate in (8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000)},
}


@pytest.mark.parametrize("case", WAVEFORMS)
def test_a_strange_recording_gets_an_accompaniment_of_its_length(pipe, tmp_path, case):
    waveform, rate = WAVEFORMS[case]
    soundfile.write(tmp_path / "take.wav", waveform.T, rate, subtype="FLOAT")
    result = pipe(tmp_path / "take.wav", seed=1, **QUICK)
    check_result(result, waveform.shape[1], rate, waveform.shape[0])


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "float16", "float32", "float64"])
def test_every_sample_type_gets_an_accompaniment_of_its_length(pipe, dtype):
    middle, scale = {"int8": (0, 127), "uint8": (128, 127), "int16": (0, 32_767), "int32": (0, 2**31 - 1)}.get(
        dtype, (0, 1)
    )
    waveform = (middle + scale * tone()[0]).astype(dtype)
    result = pipe(waveform, sampling_rate=RATE, seed=1, **QUICK)
    check_result(result, 3200, RATE, 1)


@pytest.mark.parametrize("name", ["with space.wav", "ü-日本語-🎤.flac", "no_ending", "wrong.mp3"])
def test_whatever_its_name_a_recording_gets_an_accompaniment_of_its_length(pipe, tmp_path, name):
    file_format = "FLAC" if name.endswith("flac") else "WAV"
    soundfile.write(tmp_path / name, tone().T, RATE, format=file_format)
    result = pipe(tmp_path / name, seed=1, **QUICK)
    check_result(result, 3200, RATE, 1)


def write_wav(path: Path, waveform: np.ndarray, rate: int = RATE, subtype: str = "FLOAT") -> None:
    soundfile.write(path, waveform.T, rate, format="WAV", subtype=subtype)


def cut_in_half(path: Path) -> None:
    write_wav(path, tone(2.0))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def state_two_gigahertz(path: Path) -> None:
    write_wav(path, tone())
    content = bytearray(path.read_bytes())
    content[24:28] = (2_000_000_000).to_bytes(4, "little")
    path.write_bytes(content)


def lock(path: Path) -> None:
    write_wav(path, tone())
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")


REFUSED = {
    "empty": (lambda path: path.touch(), "is empty"),
    "a header alone": (lambda path: write_wav(path, np.zeros((1, 0))), "is empty"),
    "under 0.1 s": (lambda path: write_wav(path, tone(0.09)), "at least 0.1 s is needed"),
    "NaN": (lambda path: write_wav(path, np.full((1, 3200), np.nan)), "holds NaN or infinity"),
    "infinity": (lambda path: write_wav(path, np.full((1, 3200), np.inf)), "holds NaN or infinity"),
    "text": (lambda path: path.write_text("la la la " * 100), "is text"),
    "a FIFO": (lambda path: os.mkfifo(path), "not a regular file but a pipe or device"),
    "unreadable": (lock, "cannot be read"),
    "2 GHz": (state_two_gigahertz, "between 4000 and 768000 Hz"),
    "half a file": (cut_in_half, "holds 1.00 s of the 2.00 s that its header declares"),
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs on this system")
@pytest.mark.parametrize("case", REFUSED)
def test_the_command_refuses_in_one_line_with_exit_code_1_and_leaves_nothing(
    pipe, tmp_path, monkeypatch, capsys, case
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "load_pipeline", lambda model, device: pipe)
    make, message = REFUSED[case]
    make(tmp_path / "take.wav")
    assert cli.main(["generate", "take.wav", "--seed", "1", "--quiet"]) == 1
    [line] = [line for line in capsys.readouterr().err.splitlines() if "take.wav" in line]
    assert message in line
    assert not Path("accompgen_out").exists()


def test_the_command_takes_half_a_file_when_allowed(pipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "load_pipeline", lambda model, device: pipe)
    monkeypatch.setattr("accompgen_hf.app.result_folders.draw_picture", lambda path, *_args, **_kwargs: path.touch())
    cut_in_half(tmp_path / "take.wav")
    assert cli.main(["generate", "take.wav", "--seed", "1", "--quiet", "--preview", "--allow-truncated"]) == 0
    info = soundfile.info("accompgen_out/take-seed1/mix.wav")
    assert info.frames == load_audio(tmp_path / "take.wav", allow_truncated=True)[0].shape[1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("moment", ["soundfile.SoundFile.write", "soundfile.SoundFile.close", "os.replace"])
def test_a_kill_while_writing_leaves_the_old_file_whole(tmp_path, monkeypatch, moment):
    path = tmp_path / "mix.wav"
    write_audio(path, tone()[0], RATE)
    before = path.read_bytes()
    child = os.fork()
    if child == 0:
        monkeypatch.setattr(moment, lambda *_args, **_kwargs: os.kill(os.getpid(), signal.SIGKILL))
        write_audio(path, np.zeros(500_000), RATE)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert path.read_bytes() == before
    # What is left over bears no result's name, and a new try is not held up by it.
    assert all(left.name.startswith(".") for left in tmp_path.iterdir() if left != path)
    write_audio(path, np.zeros(500_000), RATE)
    assert soundfile.info(path).frames == 500_000
