"""Real processes: two on gloo follow the curve of one, and resume to the bit; kill -9 loses at most an interval.

Minutes; alone by `python -m pytest -m slow tests/training/test_processes.py`.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.torch import load_file

from accompgen_hf.training.run_files import read_metrics
from tiny import tiny_model
from tiny_shards import MODEL, write_shards

ROOT = Path(__file__).parents[3]
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


@pytest.fixture(scope="module")
def unbroken(config, tmp_path_factory) -> Path:
    """Folder of a run on two processes that nothing disturbed."""
    output_dir = tmp_path_factory.mktemp("unbroken")
    assert start(config, output_dir, 2, "--num_processes", "2").wait() == 0
    return output_dir


def find_children(process_id: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()]


def losses(output_dir: Path) -> list[float]:
    return [event["loss"] for event in read_metrics(output_dir) if event["kind"] == "train"]


def final_weights(output_dir: Path) -> dict:
    return load_file(output_dir / "final" / "model.safetensors")


def assert_equal_weights(first: Path, second: Path) -> None:
    ours, theirs = final_weights(first), final_weights(second)
    assert all((ours[name] == theirs[name]).all() for name in theirs)


def test_two_processes_follow_the_curve_of_one_and_resume_to_the_bit(config, unbroken, tmp_path):
    assert start(config, tmp_path / "one").wait() == 0
    np.testing.assert_allclose(losses(unbroken), losses(tmp_path / "one"), atol=1e-5)
    folders = (tmp_path / "one", unbroken)
    validations = [json.loads((folder / "summary.json").read_text())["validation"] for folder in folders]
    assert validations[0]["loss"] == pytest.approx(validations[1]["loss"], abs=1e-5)
    process = start(config, tmp_path / "stopped", 2)
    while not list(tmp_path.glob("stopped/checkpoint-*")):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.wait()
    assert start(config, tmp_path / "stopped", 2).wait() == 0
    assert_equal_weights(tmp_path / "stopped", unbroken)


def test_a_killed_rank_ends_the_launch_and_a_rerun_ends_with_the_same_weights(config, unbroken, tmp_path):
    launcher = start(config, tmp_path / "run", 2)
    while not list(tmp_path.glob("run/checkpoint-*")):
        time.sleep(0.05)
    os.kill(find_children(launcher.pid)[1], signal.SIGKILL)
    assert launcher.wait(timeout=300) != 0
    assert not (tmp_path / "run" / "final").exists()
    assert start(config, tmp_path / "run", 2).wait() == 0
    assert_equal_weights(tmp_path / "run", unbroken)


def test_two_agents_find_each_other_by_the_file_for_several_machines(config, unbroken, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = [sys.executable, "-m", "accelerate.commands.launch"]
    launcher += ["--config_file", str(ROOT / "examples" / "configs" / "accelerate" / "ddp_multi_node.yaml")]
    launcher += ["--num_processes", "2", "--main_process_ip", "127.0.0.1", "--main_process_port", str(port)]
    script = [str(ROOT / "examples" / "train_stage.py"), "--config", str(config), "--num_processes", "2"]
    script += ["--output_dir", str(tmp_path / "run")]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    agents = []
    for rank in ("0", "1"):
        agents.append(subprocess.Popen([*launcher, "--machine_rank", rank, *script], env=environment))
        while rank == "0" and not is_listening(port):  # accelerate takes a port in use by rank 0 for an error
            time.sleep(0.1)
    assert [agent.wait(timeout=600) for agent in agents] == [0, 0]
    assert_equal_weights(tmp_path / "run", unbroken)


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_sharded_by_fsdp2_a_stage_computes_what_it_computes_whole(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "tests")}
    result = subprocess.run(
        [*command, str(ROOT / "tests" / "sharded_stage.py")], env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("sharded equals whole") == 2


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
    config = ROOT / "examples" / "configs" / "tiny_second_edition" / "fine.yaml"
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
    assert_equal_weights(tmp_path / "killed", tmp_path / "whole")
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
