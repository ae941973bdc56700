"""Clips: the same instants of all streams, a function of (seed, position) alone, batched as the stage takes them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from accompgen_hf.accompgen.configuration_accompgen import (
    AccompGenCoarseConfig,
    AccompGenFineConfig,
    AccompGenSemanticConfig,
)
from accompgen_hf.data.dataset import StageClipDataset, StepPositions
from timed_shards import FINGERPRINT, write_shards

SIZES = {"num_clusters": 500, "codebook_size": 1024, "hidden_size": 8, "num_hidden_layers": 1}


@pytest.fixture
def shards(tmp_path) -> Path:
    return write_shards(tmp_path / "shards", [1.0, 2.0, 3.0, 0.2, 1.2])


@pytest.mark.parametrize("config_class", [AccompGenSemanticConfig, AccompGenCoarseConfig, AccompGenFineConfig])
def test_crops_of_all_streams_start_at_the_same_instant(shards, config_class):
    config = config_class(clip_duration_s=0.4, window_overlap_s=0.0, **SIZES)
    dataset = StageClipDataset(shards, config)
    assert len(dataset) == 4  # the row of 0.2 s is too short
    assert dataset.num_short_rows == 1
    starts = set()
    for position in range(40):
        sample = dataset[position]
        streams = {**sample["conditioning"], config.target_name: sample["target"]}
        grid = round(sample["start_s"] * 25)
        for name, stream in streams.items():
            if name == "vocal_semantic_ids":
                assert stream.tolist() == list(range(2 * grid, 2 * grid + 20))
            elif name == "instrumental_semantic_ids":
                assert stream.tolist() == list(range(2 * grid + 100, 2 * grid + 120))
            else:
                first = 0 if name == "coarse_codes" else 4
                expected = [[100 * (first + k) + 3 * grid + t for t in range(30)] for k in range(4)]
                assert stream.tolist() == expected
        starts.add(grid)
    assert len(starts) > 10


def test_a_position_decides_everything_and_epochs_visit_every_row(shards):
    config = AccompGenSemanticConfig(clip_duration_s=0.4, window_overlap_s=0.0, **SIZES)
    first, second = (StageClipDataset(shards, config, seed=3, condition_dropout=0.5) for _ in range(2))
    forwards = [first[position] for position in range(12)]
    backwards = [second[position] for position in reversed(range(12))][::-1]
    for a, b in zip(forwards, backwards, strict=False):
        assert torch.equal(a["target"], b["target"])
        assert (a["is_dropped"], a["start_s"], a["track_id"]) == (b["is_dropped"], b["start_s"], b["track_id"])
    for epoch in range(3):
        assert sorted(forwards[4 * epoch + entry]["track_id"] for entry in range(4)) == ["t0", "t1", "t2", "t4"]
    others = [StageClipDataset(shards, config, seed=4)[position]["start_s"] for position in range(12)]
    assert others != [sample["start_s"] for sample in forwards]


def test_conditioning_is_dropped_at_the_rate_asked(shards):
    config = AccompGenSemanticConfig(clip_duration_s=0.4, window_overlap_s=0.0, **SIZES)
    dataset = StageClipDataset(shards, config, condition_dropout=0.1)
    share = np.mean([dataset[position]["is_dropped"] for position in range(2000)])
    assert abs(share - 0.1) < 0.03


def test_shuffled_pairs_take_their_conditioning_elsewhere(shards):
    config = AccompGenSemanticConfig(clip_duration_s=0.4, window_overlap_s=0.0, **SIZES)
    aligned, shuffled = StageClipDataset(shards, config), StageClipDataset(shards, config, shuffle_pairs=True)
    assert all(torch.equal(aligned[p]["target"], shuffled[p]["target"]) for p in range(20))
    offsets = {
        int(s["conditioning"]["vocal_semantic_ids"][0] + 100 - s["target"][0])
        for s in map(shuffled.__getitem__, range(40))
    }
    assert len(offsets) > 5


def test_processes_and_micro_batches_divide_each_step_without_overlap():
    whole = list(StepPositions(3, 5, 12, 12))
    assert whole == [list(range(36, 48)), list(range(48, 60))]
    parts = [list(StepPositions(3, 5, 12, 4, process_index, 2)) for process_index in range(2)]
    assert parts[0] == [[36, 37, 38, 39], [40, 41], [48, 49, 50, 51], [52, 53]]
    assert parts[1] == [[42, 43, 44, 45], [46, 47], [54, 55, 56, 57], [58, 59]]
    assert len(StepPositions(3, 5, 12, 4, 0, 2)) == 4


def test_tokens_of_another_space_are_refused_naming_both_sides(shards, tmp_path):
    config = AccompGenSemanticConfig(clip_duration_s=0.4, window_overlap_s=0.0, **SIZES)
    config.token_fingerprint = "a" * 64
    with pytest.raises(ValueError, match=rf"accompgen_semantic config is {'a' * 64}, that of shards .*{FINGERPRINT}"):
        StageClipDataset(shards, config)
    config.token_fingerprint = None
    other = write_shards(tmp_path / "other", [1.0], fingerprint="b" * 64)
    with pytest.raises(ValueError, match=rf"of shards .*shards is {FINGERPRINT}, that of shards .*other is b"):
        StageClipDataset([shards, other], config)
    with pytest.raises(ValueError, match=r"`num_clusters` of the accompgen_semantic config is 7, but the tokens in"):
        StageClipDataset(shards, AccompGenSemanticConfig(**{**SIZES, "num_clusters": 7}))


def test_several_folders_of_one_space_are_joined(shards, tmp_path):
    config = AccompGenSemanticConfig(clip_duration_s=0.4, window_overlap_s=0.0, **SIZES)
    more = write_shards(tmp_path / "more", [1.0, 1.0])
    assert len(StageClipDataset([shards, more], config)) == 6


def test_wrong_arguments_are_refused(shards):
    config = AccompGenSemanticConfig(clip_duration_s=4.0, window_overlap_s=0.0, **SIZES)
    with pytest.raises(ValueError, match=r"`data` has 0 rows in split 'train' of at least 4.0 s \(5 are shorter\)"):
        StageClipDataset(shards, config)
    with pytest.raises(ValueError, match=r"`split` must be 'train' or 'validation', got 'test'"):
        StageClipDataset(shards, config, "test")
    with pytest.raises(ValueError, match=r"`condition_dropout` must be in \[0, 1\], got 2"):
        StageClipDataset(shards, config, condition_dropout=2)


def test_the_hidden_share_is_uniform_up_to_the_one_asked(shards):
    config = AccompGenSemanticConfig(clip_duration_s=0.8, window_overlap_s=0.0, **SIZES)
    dataset = StageClipDataset(shards, config, history_dropout=0.6)
    hidden = torch.stack([dataset[position]["history_dropped"] for position in range(1000)])  # (samples, T)
    assert abs(hidden.float().mean() - 0.3) < 0.03
    assert torch.equal(hidden[:, 0], hidden[:, 19])  # blocks of 0.4 s
    dataset = StageClipDataset(shards, config, history_dropout=1.5)
    hidden = torch.stack([dataset[position]["history_dropped"] for position in range(1000)])
    assert abs(hidden.all(1).float().mean() - 5 / 9) < 0.05  # a third, and of the others both blocks by chance
    with pytest.raises(ValueError, match="`history_dropout` must be a number from 0 on, got -1"):
        StageClipDataset(shards, config, history_dropout=-1)
