"""Token shards with a known rule in them, and the smallest stage that can learn it."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from accompgen_hf.data.shards import Manifest, TokenRow, shard_name, write_rows
from accompgen_hf.training.run_files import read_metrics
from accompgen_hf.training.stages.arguments import StageTrainingArguments
from accompgen_hf.training.stages.loop import StageTrainer

MODEL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "head_dim": 16,
    "intermediate_size": 48,
    "num_clusters": 12,
    "codebook_size": 8,
    "clip_duration_s": 0.4,
    "window_overlap_s": 0.0,
    "condition_dropout": 0.1,
    "relative_position_axis": "time",
}


def make_arguments(shards: Path, output_dir: Path, **fields) -> StageTrainingArguments:
    """A short run of the semantic stage; `fields` change it."""
    values = {
        "stage": "semantic",
        "model": MODEL,
        "max_steps": 6,
        "global_batch_size": 4,
        "learning_rate": 3e-3,
        "warmup_steps": 2,
        "log_every": 1,
        "validate_every": 100,
        "validation_clips": 4,
        "save_every": 100,
        **fields,
    }
    return StageTrainingArguments(data=str(shards), output_dir=str(output_dir), **values)


def write_shards(
    folder: Path,
    num_rows: int = 40,
    is_listening: bool = True,
    duration_s: float = 0.8,
    num_clusters: int = 12,
    codebook_size: int = 8,
    num_shards: int = 1,
) -> Path:
    """Rows whose instrumental repeats the vocals plus one, or is unrelated; codes follow their frame."""
    folder.mkdir()
    generator = np.random.default_rng(5)
    rows = []
    for index in range(num_rows):
        vocal_ids = generator.integers(0, num_clusters, round(50 * duration_s))
        instrumental_ids = (vocal_ids + 1) % num_clusters
        if not is_listening:
            instrumental_ids = generator.integers(0, num_clusters, len(vocal_ids))
        codes = generator.integers(0, codebook_size, (8, round(75 * duration_s)))
        codes[4:] = codebook_size - 1 - codes[:4]
        streams = [stream.astype(np.int16) for stream in (vocal_ids, instrumental_ids, codes)]
        split = "validation" if index % 5 == 0 else "train"
        rows.append(TokenRow(f"t{index:03d}", "CC0-1.0", split, 0.0, 1.0, *streams))
    settings = {"num_clusters": num_clusters, "codebook_size": codebook_size}
    shards, size = [], -(-num_rows // num_shards)
    for index in range(num_shards):
        of_shard = rows[index * size : (index + 1) * size]
        sha256 = write_rows(folder / shard_name(index), of_shard)
        shards.append({"file": shard_name(index), "sha256": sha256, "num_rows": len(of_shard)})
    hours = {"CC0-1.0": duration_s * num_rows / 3600}
    Manifest("f" * 64, settings, shards, {}, num_rows, [], duration_s * num_rows, hours).save(folder)
    return folder


def read_losses(output_dir: Path) -> list[float]:
    """Training losses that a run wrote down."""
    return [event["loss"] for event in read_metrics(output_dir) if event["kind"] == "train"]


def receive_sigterm_in_third_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the trainer get a SIGTERM when two steps are done and the third begins."""
    take_step = StageTrainer._take_step

    def receive_sigterm(self, window):
        if self.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return take_step(self, window)

    monkeypatch.setattr(StageTrainer, "_take_step", receive_sigterm)
