"""Ids that are given instead of chosen: the same in every decoding loop, and heard by what follows."""

import functools

import pytest
import torch

from accompgen_hf import AccompGenCoarseConfig
from accompgen_hf.accompgen.codebooks_accompgen import build_stage_inputs
from tiny import random_clip, tiny_stage

NUM_SLOTS = 12
ENGINES = ({}, {"engine": "torch"}, {"cache_implementation": "dynamic"})
make_stage = functools.cache(tiny_stage)


def generate(forced_ids=None, **settings) -> torch.Tensor:
    stage = make_stage(AccompGenCoarseConfig)
    conditioning, codes = random_clip(stage.config, 2, 0.12)
    inputs = build_stage_inputs(stage.config, conditioning, codes[..., :1])
    inputs.pop("labels")
    ids = stage.generate(**inputs, seed=5, forced_ids=forced_ids, max_new_tokens=NUM_SLOTS, **settings)
    return ids[:, inputs["input_ids"].shape[1] :]


def force_every_other_slot() -> torch.Tensor:
    target = make_stage(AccompGenCoarseConfig).config.target_segment
    ids = torch.full((2, NUM_SLOTS), -1)
    slots = torch.arange(1, NUM_SLOTS, 2)
    ids[0, 1::2] = target.offset + slots % target.num_codebooks * target.codebook_size + slots
    return ids


@pytest.mark.parametrize("settings", ENGINES)
@pytest.mark.parametrize("asked", [{"guidance_scale": 2.0}, {"guidance_scale": 1.0, "do_sample": False}])
def test_a_forced_id_stands_in_its_slot_and_is_heard_behind_it(settings, asked):
    forced, free = force_every_other_slot(), generate(engine="torch", **asked)
    ids = generate(forced, **settings, **asked)
    assert torch.equal(ids[0, 1::2], forced[0, 1::2])
    assert torch.equal(ids[1], free[1])  # nothing is forced in this row
    assert torch.equal(ids[0, :1], free[0, :1])
    assert not torch.equal(ids[0, 2::2], free[0, 2::2])


@pytest.mark.parametrize("settings", ENGINES)
def test_forcing_what_would_be_chosen_changes_nothing(settings):
    free = generate(engine="torch", guidance_scale=2.0)
    assert torch.equal(generate(free, guidance_scale=2.0, **settings), free)


def test_ids_of_another_shape_or_codebook_are_refused():
    forced = force_every_other_slot()
    with pytest.raises(ValueError, match=r"`forced_ids` must be \(2, max_new_tokens\), got \(1, 12\)"):
        generate(forced[:1])
    with pytest.raises(ValueError, match="`forced_ids` must be -1 or ids of the slot's own codebook, got"):
        generate(forced.roll(1, dims=1))
