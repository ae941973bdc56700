"""A whole run: resume to the bit, a folder that loads, samples to hear and see."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor

from accompgen_hf import AccompGenCodec
from accompgen_hf.training.codec.material import read_songs
from accompgen_hf.training.codec.run import resume_run, save_codec, train_codec
from accompgen_hf.training.codec.trainer import CodecTrainer, build_codec_config
from accompgen_hf.training.run_files import list_checkpoints, read_metrics
from tiny_codec_training import TINY_MODEL, tiny_arguments

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


@pytest.mark.parametrize("stop", [2, 4])
def test_resumed_run_equals_unbroken_run_bit_for_bit(tmp_path, monkeypatch, stop):
    phases = {"freeze_step": 5, "discriminator_step": 3}
    unbroken = train_codec(tiny_arguments(tmp_path / "a", **phases))
    arguments = tiny_arguments(tmp_path / "b", **phases)
    step = CodecTrainer.step

    def fail_after_the_checkpoint(trainer):
        if trainer.completed_steps == stop + 1:
            raise KeyboardInterrupt
        return step(trainer)

    monkeypatch.setattr(CodecTrainer, "step", fail_after_the_checkpoint)
    with pytest.raises(KeyboardInterrupt):
        train_codec(arguments)
    monkeypatch.setattr(CodecTrainer, "step", step)
    resumed = train_codec(arguments)
    for name, value in unbroken.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    metrics = [(tmp_path / name / "run" / "metrics.jsonl").read_text() for name in "ab"]
    assert metrics[0] == metrics[1]
    assert (tmp_path / "b" / "run" / "curves.png").stat().st_size > 1000
    assert [step for step, _ in list_checkpoints(tmp_path / "b" / "run")] == [6]


def test_finished_run_only_loads(tmp_path, monkeypatch):
    first = train_codec(tiny_arguments(tmp_path))
    monkeypatch.setattr(CodecTrainer, "step", None)
    second = train_codec(tiny_arguments(tmp_path))
    assert torch.equal(first.decoder.output.weight, second.decoder.output.weight)


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path):
    train_codec(tiny_arguments(tmp_path))
    with pytest.raises(ValueError, match=r"`output_dir` .* holds a run with .*'batch_size': 2.* now asked"):
        train_codec(tiny_arguments(tmp_path, batch_size=3))


def test_the_schedule_may_change_as_long_as_it_is_ahead(tmp_path, monkeypatch):
    step = CodecTrainer.step

    def stop_at_the_sixth(trainer):
        if trainer.completed_steps == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(trainer)

    monkeypatch.setattr(CodecTrainer, "step", stop_at_the_sixth)
    before = {"max_steps": 12, "decay_share": 0.25, "freeze_step": 10}
    assert train_codec(tiny_arguments(tmp_path, **before)) is None
    monkeypatch.setattr(CodecTrainer, "step", step)
    later = {"max_steps": 11, "decay_share": 0.2, "freeze_step": 7, "discriminator_step": 8}
    for changed, name in (({"discriminator_step": 5}, "discriminator_step"), ({"decay_share": 0.8}, "max_steps")):
        with pytest.raises(ValueError, match=f"now asked: .*'{name}'"):
            resume_run(CodecTrainer(*run_of(tmp_path, **{**later, **changed})))
    assert train_codec(tiny_arguments(tmp_path, **later)) is not None
    assert [event["step"] for event in read_metrics(tmp_path / "run")] == list(range(1, 12))


def run_of(tmp_path, **fields) -> tuple:
    arguments = tiny_arguments(tmp_path, **fields)
    return arguments, read_songs(arguments.songs_dir)


def test_saved_folder_loads_with_eight_codebooks_at_75_hz_and_is_small(tmp_path):
    model = AccompGenCodec(build_codec_config())
    save_codec(model, tmp_path / "codec")
    size = sum(path.stat().st_size for path in (tmp_path / "codec").iterdir())
    assert size < 12_000_000
    assert json.loads((tmp_path / "codec" / "config.json").read_text())["dtype"] == "float32"
    loaded = AccompGenCodec.from_pretrained(tmp_path / "codec")
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path / "codec")
    audio = 0.1 * np.sin(np.arange(48_000) / 20).astype(np.float32)
    inputs = extractor(audio, sampling_rate=24_000, return_tensors="pt")
    codes = loaded.encode(inputs["input_values"], inputs["padding_mask"], bandwidth=6.0).audio_codes
    assert codes.shape == (1, 1, 8, 150)
    assert loaded.decode(codes, [None]).audio_values.shape == (1, 1, 48_000)


def test_saved_weights_are_the_float16_values_of_the_trained_ones(tmp_path):
    model = AccompGenCodec(build_codec_config(**TINY_MODEL))
    save_codec(model, tmp_path / "codec")
    loaded = AccompGenCodec.from_pretrained(tmp_path / "codec").state_dict()
    for name, value in model.state_dict().items():
        if not name.endswith(("cluster_size", "embed_avg", "inited")):
            assert torch.equal(loaded[name], value.half().float()), name


def test_the_script_takes_numbers_switches_and_json(tmp_path):
    script = [sys.executable, EXAMPLES / "train_codec.py", "--output_dir", tmp_path, "--max_steps", "nine"]
    result = subprocess.run(script, capture_output=True, text=True, timeout=300)
    assert "argument --max_steps: invalid int value: 'nine'" in result.stderr
    result = subprocess.run([*script[:4], "--help"], capture_output=True, text=True, timeout=300)
    for name in ("--init_from", "--no-freeze_encoder", "--clip_shares JSON", "--freeze_step"):
        assert name in result.stdout
