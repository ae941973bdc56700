"""Shards go to the Hub with a card, and a stage trains on them from there: the scripts, and a Hub on localhost."""

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

from accompgen_hf.accompgen.training_record_accompgen import read_record
from accompgen_hf.data.shards import Manifest
from accompgen_hf.data.training_tracks import read_shard_tracks
from accompgen_hf.files import hash_file
from accompgen_hf.training.run_files import read_metrics
from tiny import CODEBOOK_SIZE, NUM_CLUSTERS, tiny_model
from tiny_shards import MODEL

ROOT = Path(__file__).resolve().parents[1]
CODE = """
import json, runpy, shutil, sys
from pathlib import Path

def call(script, *words):
    sys.argv = [script, *words]
    runpy.run_path(f"examples/{script}.py", run_name="__main__")

model, config, folder = sys.argv[1:]
shards, run = f"{folder}/shards", f"{folder}/run"
parts = ["--semantic_encoder", model, "--codec", model, "--bandwidth", "2.4"]
songs = ["--num_songs", "6", "--song_duration_s", "1.2", "--tracks_per_shard", "2", "--validation_share", "0.3"]
prepare = ["prepare_dataset", *parts, *songs, "--output_dir", shards, "--push_to_hub", "shards"]
call(*prepare)
call(*prepare)  # nothing is left to do but the upload
print(json.dumps({"mark": "pushed"}), flush=True)
sys.stdin.readline()
train = ["train_stage", "--streaming", "--data", "someone/shards", "--config", config, "--output_dir"]
call(*train, f"{folder}/run")
shutil.copytree(f"{folder}/run", f"{folder}/stopped")
for name in ("checkpoint-00000004", "final"):  # as if the run had been killed after step 2
    shutil.rmtree(f"{folder}/stopped/{name}")
Path(f"{folder}/stopped/summary.json").unlink()
print(json.dumps({"mark": "trained"}), flush=True)
sys.stdin.readline()
call(*train, f"{folder}/stopped")
"""


def losses(folder: Path) -> list[float]:
    return [event["loss"] for event in read_metrics(folder, "train")]


def run_journey(server, folder: Path, *arguments: Path) -> dict[str, list[str]]:
    """Run the code; return what the server was asked up to each mark."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "src"),
        "HF_ENDPOINT": server.address,
        "HF_HOME": str(folder / "home"),
        "HF_TOKEN": "hf_localhost",
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1,localhost",
    }
    logs = {}
    with (
        open(folder / "stderr", "w+") as errors,
        subprocess.Popen(
            [sys.executable, "-c", CODE, *map(str, arguments)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        for line in process.stdout:
            if line.startswith('{"mark"'):
                logs[json.loads(line)["mark"]], server.log = server.log, []
                process.stdin.write("\n")
                process.stdin.flush()
        process.wait(timeout=600)
        errors.seek(0)
        assert process.returncode == 0, errors.read()[-3000:]
    return {**logs, "end": server.log}


def test_shards_go_to_the_hub_and_a_stage_trains_on_them_from_there(server, tmp_path):
    tiny_model().save_pretrained(tmp_path / "model")
    sizes = {"num_clusters": NUM_CLUSTERS, "codebook_size": CODEBOOK_SIZE}
    fields = {"max_steps": 4, "global_batch_size": 2, "save_every": 2, "log_every": 1, "validation_clips": 2}
    (tmp_path / "stage.yaml").write_text(
        yaml.safe_dump({"stage": "semantic", "model": {**MODEL, **sizes}, **fields, "warmup_steps": 1})
    )
    logs = run_journey(server, tmp_path, tmp_path / "model", tmp_path / "stage.yaml", tmp_path)

    shards = tmp_path / "shards"
    files = server.commits[server.repositories["datasets/someone/shards"]["main"]]
    names = [f"shard-0000{index}.parquet" for index in range(3)]
    assert set(files) == {*names, "manifest.json", "rows.parquet", "README.md", "failures.json"}
    assert all(files[name] == ("lfs", hash_file(shards / name)) for name in names)
    card = files["README.md"][1].decode()
    assert yaml.safe_load(card.split("---")[1])["license"] == "cc0-1.0"
    assert f"| CC0-1.0 | {Manifest.load(shards).hours_by_licence['CC0-1.0']:.2f} |" in card
    assert Manifest.load(shards).token_fingerprint in card

    fetched = [entry for entry in logs["trained"] if entry.startswith("GET /storage/")]
    assert len(fetched) >= 3  # index, validation, training
    assert not [entry for entry in logs["trained"] if entry.startswith("PUT")]
    assert [entry for entry in logs["end"] if entry.startswith("GET /storage/")]
    assert losses(tmp_path / "stopped") == losses(tmp_path / "run")
    assert len(losses(tmp_path / "run")) == 4
    weights = [tmp_path / name / "final" / "model.safetensors" for name in ("run", "stopped")]
    assert hash_file(weights[0]) == hash_file(weights[1])
    assert read_record(tmp_path / "run" / "final") == read_shard_tracks(shards)
    assert not list(tmp_path.glob("home/**/*.parquet"))  # a stream keeps nothing
