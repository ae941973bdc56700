"""SingSong's batches: what is hidden is hidden, what does not fit is refused."""

import pytest
import torch

from accompgen_hf.singsong.batches import SingSongClipDataset, SingSongCollator, build_singsong_inputs
from accompgen_hf.singsong.configuration import SingSongConfig
from tiny_shards import write_shards
from tiny_singsong import random_streams, tiny_singsong


def test_dropped_rows_hear_null_and_keep_their_labels():
    config = tiny_singsong().config
    conditioning, target = random_streams(config)
    whole = build_singsong_inputs(config, conditioning, target)
    dropped = build_singsong_inputs(config, conditioning, target, torch.tensor([False, True]))
    assert torch.equal(dropped["input_ids"][0], whole["input_ids"][0])
    assert (dropped["input_ids"][1] == config.null_token_id).all()
    assert torch.equal(dropped["labels"], whole["labels"])


def test_hidden_history_is_that_of_the_semantic_ids_alone():
    config = tiny_singsong().config
    conditioning, target = random_streams(config)  # 10 steps of 40 ms
    is_hidden = torch.zeros(2, 30, dtype=torch.bool)
    is_hidden[0, 9:15] = True  # steps 3 and 4: semantic frames 6 to 9, which stand behind BOS
    whole = build_singsong_inputs(config, conditioning, target)
    hidden = build_singsong_inputs(config, conditioning, target, history_dropped=is_hidden)
    expected = whole["decoder_input_ids"].clone()
    expected[0, 7:11] = config.null_token_id
    assert torch.equal(hidden["decoder_input_ids"], expected)
    assert torch.equal(hidden["labels"], whole["labels"])


def test_streams_that_do_not_belong_together_are_refused():
    config = tiny_singsong().config
    conditioning, target = random_streams(config)
    with pytest.raises(ValueError, match=r"`target` must have the keys .*coarse_codes"):
        build_singsong_inputs(config, conditioning, {"coarse_codes": target["coarse_codes"]})
    with pytest.raises(ValueError, match="must cover one duration"):
        build_singsong_inputs(config, conditioning, {**target, "coarse_codes": target["coarse_codes"][..., :-3]})
    with pytest.raises(ValueError, match=r"`vocal_semantic_ids` must be in \[0, 20\)"):
        build_singsong_inputs(config, {"vocal_semantic_ids": conditioning["vocal_semantic_ids"] + 20}, target)


def test_clips_of_shards_become_batches_at_one_instant(tmp_path):
    config = SingSongConfig(num_clusters=12, codebook_size=8, clip_duration_s=0.4, window_overlap_s=0.0)
    dataset = SingSongClipDataset(str(write_shards(tmp_path / "shards")), config)
    batch = SingSongCollator(config)([dataset[0], dataset[1]])
    assert {name: tuple(tensor.shape) for name, tensor in batch.items()} == {
        "input_ids": (2, 20),
        "decoder_input_ids": (2, 140),
        "labels": (2, 140),
    }
    # These shards' instrumental ids are the vocal ones plus one.
    assert torch.equal((batch["input_ids"] - 3 + 1) % 12, batch["labels"][:, :20] - 15)
