"""The card of a trained stage, and its way to a Hub on localhost by the script's own option."""

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml
from huggingface_hub import ModelCard

from accompgen_hf.accompgen.manifest_accompgen import verify_manifest
from accompgen_hf.training.stages.publishing import describe_hours, describe_training
from tiny_shards import MODEL, write_shards

ROOT = Path(__file__).parents[3]
VALIDATION = {
    "loss": 2.5,
    "perplexity": [12.2, 13.9],
    "conditioning_gain": 0.05,
    "conditioning_gain_interval": 0.02,
    "num_tracks": 7,
}
ARGUMENTS = {"max_steps": 10, "global_batch_size": 4, "learning_rate": 1e-3}


def test_a_card_tells_hours_per_licence_and_what_was_measured():
    values = describe_training(
        {"arguments": ARGUMENTS, "validation": VALIDATION, "hours_by_licence": {"CC-BY-4.0": 1.5, "CC0-1.0": 2.0}}
    )
    assert values["training_data"] == "3.50 h of music as tokens (1.50 h CC-BY-4.0, 2.00 h CC0-1.0)"
    assert values["conditioning_gain"] == "0.0500 ± 0.0200 over 7 tracks"
    assert values["codebook_perplexities"] == "12 / 14"
    assert "does not listen" not in values["limits"]
    assert describe_hours({}) is None


def test_a_card_says_when_a_stage_does_not_listen():
    validation = {**VALIDATION, "conditioning_gain": 0.01}
    assert "**It does not listen**" in describe_training({"arguments": ARGUMENTS, "validation": validation})["limits"]


def test_the_script_uploads_the_finished_stage_with_its_card(server, tmp_path):
    fields = {"stage": "coarse", "model": MODEL, "max_steps": 2, "global_batch_size": 2, "validation_clips": 4}
    (tmp_path / "coarse.yaml").write_text(yaml.safe_dump(fields))
    command = [sys.executable, str(ROOT / "examples" / "train_stage.py"), "--config", str(tmp_path / "coarse.yaml")]
    command += ["--data", str(write_shards(tmp_path / "shards")), "--output_dir", str(tmp_path / "run")]
    hub = {"HF_ENDPOINT": server.address, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": "hf_localhost"}
    environment = {**os.environ, **hub, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"}
    result = subprocess.run([*command, "--push_to_hub", "band"], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert f"{server.address}/someone/band/commit/" in result.stdout
    files = server.commits[server.repositories["someone/band"]["main"]]
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= set(files)
    card = ModelCard(files["README.md"][1].decode())
    assert {"accompgen", "coarse"} <= set(card.data.tags)
    assert "0.01 h CC0-1.0" in card.text
    assert 'from_pretrained("band")' in card.text
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert f"{summary['validation']['loss']:.3f}" in card.text
    assert "{{" not in card.text
    assert verify_manifest(tmp_path / "run" / "repository") == []
