"""Training from a stream of shards: it learns, resumes to the bit, and is told apart from another order."""

from pathlib import Path

import pytest
import torch

from accompgen_hf.accompgen.training_record_accompgen import read_record
from accompgen_hf.data.training_tracks import read_shard_tracks
from accompgen_hf.training.stages.loop import train_stage
from tiny_shards import make_arguments, read_losses, receive_sigterm_in_third_step, write_shards


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    return write_shards(tmp_path_factory.mktemp("data") / "shards", num_shards=8)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_stopped_stream_goes_on_to_the_bit(shards, tmp_path, monkeypatch, num_workers):
    fields = {"streaming": True, "shuffle_buffer": 5, "num_workers": num_workers, "micro_batch_size": 3}
    summary = train_stage(make_arguments(shards, tmp_path / "whole", **fields))
    receive_sigterm_in_third_step(monkeypatch)
    assert train_stage(make_arguments(shards, tmp_path / "stopped", **fields))["step"] == 3
    monkeypatch.undo()
    torch.manual_seed(99)
    train_stage(make_arguments(shards, tmp_path / "stopped", **fields))
    assert read_losses(tmp_path / "stopped") == read_losses(tmp_path / "whole")
    assert summary["validation"]["num_tracks"] == 4
    assert summary["hours_by_licence"] == {"CC0-1.0": pytest.approx(0.8 * 40 / 3600, abs=1e-4)}
    assert read_record(tmp_path / "whole" / "final") == read_shard_tracks(shards)


def test_a_stream_in_another_order_is_another_run(shards, tmp_path):
    fields = {"save_every": 2, "streaming": True}
    train_stage(make_arguments(shards, tmp_path, **fields))
    for change in ({"num_workers": 2}, {"shuffle_buffer": 3}, {"streaming": False}):
        with pytest.raises(ValueError, match=r"holds a run with \{'stream': \{'num_readers': 1, 'shuffle_buffer'"):
            train_stage(make_arguments(shards, tmp_path, **{**fields, **change}))


def test_what_a_stream_cannot_do_is_refused(shards, tmp_path):
    with pytest.raises(ValueError, match="`shuffle_pairs` draws among all rows, which `streaming` never has"):
        make_arguments(shards, tmp_path, streaming=True, shuffle_pairs=True)
    with pytest.raises(ValueError, match="`codec` needs `validation_clips` with `streaming`"):
        make_arguments(shards, tmp_path, streaming=True, codec="codec", validation_clips=0)
    with pytest.raises(ValueError, match="`shuffle_buffer` must be at least 1, got 0"):
        make_arguments(shards, tmp_path, shuffle_buffer=0)
    with pytest.raises(ValueError, match="fewer than the 33 readers"):
        train_stage(make_arguments(shards, tmp_path, streaming=True, num_workers=33))
