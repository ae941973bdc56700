"""Real processes: two on gloo follow the curve of one, and resume to the bit; kill -9 loses at most an interval."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.torch import load_file

from accompgen_hf.training.metrics import read_metrics
from tiny import tiny_model
from tiny_shards import MODEL, write_shards

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("config")
    shards = write_shards(folder / "shards")
    fields = {
        "stage": "coarse",
        "data": str(shards),
        "model": MODEL,
        "max_steps": 100,
        "global_batch_size": 4,
        "learning_rate": 3e-4,
        "warmup_steps": 10,
        "log_every": 1,
        "validate_every": 1000,
        "validation_clips": 4,
        "save_every": 10,
    }
    path = folder / "coarse.yaml"
    path.write_text(yaml.safe_dump(fields))
    return path


def start(config: Path, output_dir: Path, num_processes: int = 1, *options: str) -> subprocess.Popen:
    command = [str(ROOT / "examples" / "train_stage.py"), "--config", str(config), "--output_dir", str(output_dir)]
    launcher = [sys.executable]
    if num_processes > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={num_processes}"]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen([*launcher, *command, *options], env=environment, stdout=subprocess.DEVNULL)


def losses(output_dir: Path) -> list[float]:
    return [event["loss"] for event in read_metrics(output_dir) if event["kind"] == "train"]


def final_weights(output_dir: Path) -> dict:
    return load_file(output_dir / "final" / "model.safetensors")


def test_two_processes_follow_the_curve_of_one_and_resume_to_the_bit(config, tmp_path):
    assert start(config, tmp_path / "one").wait() == 0
    assert start(config, tmp_path / "two", 2, "--num_processes", "2").wait() == 0
    np.testing.assert_allclose(losses(tmp_path / "two"), losses(tmp_path / "one"), atol=1e-5)
    validations = [json.loads((tmp_path / name / "summary.json").read_text())["validation"] for name in ("one", "two")]
    assert validations[0]["loss"] == pytest.approx(validations[1]["loss"], abs=1e-5)
    process = start(config, tmp_path / "stopped", 2)
    while not list(tmp_path.glob("stopped/checkpoint-*")):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.wait()
    assert start(config, tmp_path / "stopped", 2).wait() == 0
    ours, theirs = final_weights(tmp_path / "stopped"), final_weights(tmp_path / "two")
    assert all((ours[name] == theirs[name]).all() for name in theirs)


def test_the_scripts_take_songs_to_a_trained_stage(tmp_path):
    parts = tiny_model()
    parts.semantic_encoder.save_pretrained(tmp_path / "encoder")
    parts.codec.save_pretrained(tmp_path / "codec")
    command = [sys.executable, str(ROOT / "examples" / "prepare_dataset.py"), "--output_dir", str(tmp_path / "shards")]
    command += ["--semantic_encoder", str(tmp_path / "encoder"), "--codec", str(tmp_path / "codec")]
    command += ["--bandwidth", "2.4", "--num_songs", "6", "--song_duration_s", "1.2", "--validation_share", "0.5"]
    command += ["--tracks_per_shard", "2", "--songs_dir", str(tmp_path / "songs")]
    assert "6 tracks" in subprocess.run([*command, "--dry_run"], capture_output=True, text=True, check=True).stdout
    for share in ("0/2", "1/2"):
        subprocess.run([*command, "--shard", share], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    config = ROOT / "examples" / "configs" / "tiny" / "fine.yaml"
    options = ["--data", str(tmp_path / "shards"), "--max_steps", "2", "--validation_clips", "2"]
    for name, value in {
        "clip_duration_s": 0.4,
        "window_overlap_s": 0.0,
        "num_clusters": 20,
        "codebook_size": 16,
    }.items():
        options += [f"--model.{name}", str(value)]
    assert start(config, tmp_path / "run", 1, *options).wait() == 0
    assert final_weights(tmp_path / "run")


def test_fewer_processes_than_asked_and_a_failing_rank_end_the_run(config, tmp_path):
    assert start(config, tmp_path / "a", 1, "--num_processes", "2").wait() == 1
    assert start(config, tmp_path / "b", 2, "--global_batch_size", "3").wait() == 1


def test_sigkill_at_random_instants_ends_with_the_weights_of_an_unbroken_run(config, tmp_path):
    options = ("--micro_batch_size", "1")
    assert start(config, tmp_path / "whole", 1, *options).wait() == 0
    generator = np.random.default_rng(0)
    for _ in range(5):
        process = start(config, tmp_path / "killed", 1, *options)
        metrics = tmp_path / "killed" / "metrics.jsonl"
        known = metrics.stat().st_size if metrics.exists() else 0
        while process.poll() is None and (not metrics.exists() or metrics.stat().st_size <= known):
            time.sleep(0.02)  # until it trains: a kill while libraries load proves nothing
        time.sleep(generator.uniform(0, 0.6))
        process.kill()
        process.wait()
    assert start(config, tmp_path / "killed", 1, *options).wait() == 0
    ours, theirs = final_weights(tmp_path / "killed"), final_weights(tmp_path / "whole")
    assert all((ours[name] == theirs[name]).all() for name in theirs)
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
