"""Batches of a stage's clips."""

from pathlib import Path

import pytest
import torch

from accompgen_hf.accompgen.configuration_accompgen import (
    AccompGenCoarseConfig,
    AccompGenSemanticConfig,
)
from accompgen_hf.data.collator import StageCollator
from accompgen_hf.data.dataset import StageClipDataset
from timed_shards import write_shards

SIZES = {"num_clusters": 500, "codebook_size": 1024, "hidden_size": 8, "num_hidden_layers": 1}


@pytest.fixture
def shards(tmp_path) -> Path:
    return write_shards(tmp_path / "shards", [1.0, 2.0, 3.0, 0.2, 1.2])


def test_batches_are_laid_out_and_dropped_rows_hide_their_conditioning(shards):
    config = AccompGenSemanticConfig(clip_duration_s=0.4, window_overlap_s=0.0, **SIZES)
    dataset = StageClipDataset(shards, config)
    samples = [dataset[0], {**dataset[1], "is_dropped": True}]
    batch = StageCollator(config)(samples)
    assert batch["input_ids"].shape == batch["labels"].shape == (2, 41)
    assert batch["segment_ids"].shape == batch["segment_positions"].shape == (1, 41)
    assert (batch["input_ids"][1, :20] == config.null_token_id).all()
    assert not (batch["input_ids"][0, :20] == config.null_token_id).any()
    assert (batch["labels"] != -100).sum(1).tolist() == [20, 20]
    offset = config.target_segment.offset
    assert torch.equal(batch["labels"][1, 21:] - offset, samples[1]["target"])


def test_hidden_history_keeps_its_labels_and_hides_whole_blocks(shards):
    config = AccompGenCoarseConfig(clip_duration_s=0.4, window_overlap_s=0.0, **SIZES)
    sample = StageClipDataset(shards, config)[0]
    assert not sample["history_dropped"].any()
    hidden = torch.zeros(30, dtype=torch.bool)
    hidden[3:6] = True
    plain = StageCollator(config)([sample])
    batch = StageCollator(config)([{**sample, "history_dropped": hidden}])
    assert torch.equal(batch["labels"], plain["labels"])
    is_null = batch["input_ids"][0, -120:] == config.null_token_id
    assert is_null.nonzero()[:, 0].tolist() == list(range(12, 24))  # frames 3 to 5, four codebooks each
