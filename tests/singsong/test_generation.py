"""What SingSong generates, against teacher-forced forwards of the same model and hand-made choices."""

import pytest
import torch

from accompgen_hf.singsong.batches import build_singsong_inputs
from accompgen_hf.singsong.configuration import SingSongConfig, SingSongFineConfig
from tiny import CODEBOOK_SIZE, NUM_CLUSTERS
from tiny_singsong import random_streams, tiny_singsong


def random_vocals(model, num_steps: int, batch_size: int = 2, seed: int = 0) -> torch.Tensor:
    return random_streams(model.config, batch_size, num_steps, seed)[0]["vocal_semantic_ids"]


def assert_equal_codes(first: dict, second: dict) -> None:
    assert set(first) == set(second)
    assert all(torch.equal(first[name], second[name]) for name in first)


def teacher_forced_choices(model, conditioning: dict, codes: dict, guidance_scale: float = 1.0) -> torch.Tensor:
    """The likeliest id of its own codebook at every position, given the codes before it."""
    batch = build_singsong_inputs(model.config, conditioning, codes)
    deaf = build_singsong_inputs(model.config, conditioning, codes, torch.ones(len(batch["labels"]), dtype=torch.bool))
    with torch.no_grad():
        unconditional = model(**deaf).logits
        logits = unconditional + guidance_scale * (model(**batch).logits - unconditional)
    allowed = torch.full_like(logits, -torch.inf)
    num_semantic = codes["instrumental_semantic_ids"].shape[1]
    for position in range(logits.shape[1]):
        first, size = 3 + NUM_CLUSTERS, NUM_CLUSTERS
        if position >= num_semantic:
            first = 3 + 2 * NUM_CLUSTERS + (position - num_semantic) % 4 * CODEBOOK_SIZE
            size = CODEBOOK_SIZE
        allowed[:, position, first : first + size] = 0
    return (logits + allowed).argmax(-1)


@pytest.mark.parametrize("guidance_scale", [0.0, 1.0, 3.0])
def test_greedy_codes_are_what_teacher_forcing_would_choose(guidance_scale):
    """One check of the layout, the cache, the mask and the guidance."""
    model = tiny_singsong()
    vocals = random_vocals(model, num_steps=5)  # one window
    codes = model.generate_codes(vocal_semantic_ids=vocals, do_sample=False, guidance_scale=guidance_scale)
    chosen = teacher_forced_choices(model, {"vocal_semantic_ids": vocals}, codes, guidance_scale)
    conditioning = {"vocal_semantic_ids": vocals}
    assert torch.equal(build_singsong_inputs(model.config, conditioning, codes)["labels"], chosen)


def test_a_window_goes_on_where_the_one_before_it_ended():
    model = tiny_singsong()  # windows of 5 steps, 2 of them shared
    vocals = random_vocals(model, num_steps=8)
    codes = model.generate_codes(vocal_semantic_ids=vocals, do_sample=False)
    first = model.generate_codes(vocal_semantic_ids=vocals[:, :10], do_sample=False)
    assert torch.equal(codes["instrumental_semantic_ids"][:, :10], first["instrumental_semantic_ids"])
    assert torch.equal(codes["coarse_codes"][..., :15], first["coarse_codes"])
    conditioning = {"vocal_semantic_ids": vocals[:, 6:]}
    second = {
        "instrumental_semantic_ids": codes["instrumental_semantic_ids"][:, 6:],
        "coarse_codes": codes["coarse_codes"][..., 9:],
    }
    labels = build_singsong_inputs(model.config, conditioning, second)["labels"]
    chosen = teacher_forced_choices(model, conditioning, second)
    assert torch.equal(labels[:, 4:10], chosen[:, 4:10])  # semantic ids behind the shared ones
    assert torch.equal(labels[:, 34:], chosen[:, 34:])  # 10 semantic ids, 6 shared frames of 4 codes


@pytest.mark.parametrize("num_steps", [1, 5, 9])
def test_every_length_gets_its_exact_number_of_codes(num_steps):
    model = tiny_singsong()
    heard = []
    vocals = random_vocals(model, num_steps)
    codes = model.generate_codes(vocal_semantic_ids=vocals, seed=1, callback=heard.append)
    assert codes["instrumental_semantic_ids"].shape == (2, 2 * num_steps)
    assert codes["coarse_codes"].shape == (2, 4, 3 * num_steps)
    for stream, size in ((codes["instrumental_semantic_ids"], NUM_CLUSTERS), (codes["coarse_codes"], CODEBOOK_SIZE)):
        assert stream.min() >= 0
        assert stream.max() < size
    assert sum(heard) == pytest.approx(2 * num_steps / 25)


def test_a_short_input_is_heard_as_followed_by_silence():
    model = tiny_singsong(silence_codes={"vocal_semantic_ids": [7]})
    vocals = random_vocals(model, num_steps=2)
    padded = torch.cat([vocals, torch.full((2, 6), 7)], dim=1)
    short = model.generate_codes(vocal_semantic_ids=vocals, seed=5)
    whole = model.generate_codes(vocal_semantic_ids=padded, seed=5)
    assert torch.equal(short["instrumental_semantic_ids"], whole["instrumental_semantic_ids"][:, :4])
    assert torch.equal(short["coarse_codes"], whole["coarse_codes"][..., :6])


def test_a_seed_decides_and_a_batch_changes_nothing():
    model = tiny_singsong()
    vocals = random_vocals(model, num_steps=7)
    state = torch.random.get_rng_state()
    codes = model.generate_codes(vocal_semantic_ids=vocals, seed=11, guidance_scale=2.0)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert_equal_codes(codes, model.generate_codes(vocal_semantic_ids=vocals, seed=[11, 12], guidance_scale=2.0))
    # None of these choices is near a tie, so the other batch shape moves none.
    alone = model.generate_codes(vocal_semantic_ids=vocals[1:], seed=12, guidance_scale=2.0)
    assert_equal_codes({name: stream[1:] for name, stream in codes.items()}, alone)
    other = model.generate_codes(vocal_semantic_ids=vocals, seed=13, guidance_scale=2.0)
    assert not torch.equal(codes["coarse_codes"], other["coarse_codes"])


def test_only_the_conditional_model_hears_the_vocals():
    model = tiny_singsong()
    one, another = random_vocals(model, 5), random_vocals(model, 5, seed=1)
    deaf = [model.generate_codes(vocal_semantic_ids=vocals, seed=2, guidance_scale=0.0) for vocals in (one, another)]
    assert_equal_codes(*deaf)
    hearing = [model.generate_codes(vocal_semantic_ids=vocals, seed=2) for vocals in (one, another)]
    assert not torch.equal(hearing[0]["coarse_codes"], hearing[1]["coarse_codes"])


def test_fine_windows_share_batches():
    model = tiny_singsong(SingSongFineConfig)  # windows of 3 steps
    coarse = random_streams(model.config, 2, 7)[0]["coarse_codes"]
    together = model.generate_codes(coarse_codes=coarse, seed=3)
    one_by_one = model.generate_codes(coarse_codes=coarse, seed=3, window_batch_size=1)
    assert together["fine_codes"].shape == (2, 4, 21)
    assert_equal_codes(together, one_by_one)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"`generate_codes` needs \['vocal_semantic_ids'\] by name, missing"),
        ({"vocal_semantic_ids": torch.zeros(1, 3, dtype=torch.long)}, "must last a multiple of 40 ms, got 3 frames"),
        ({"vocal_semantic_ids": torch.full((1, 4), 99)}, r"`vocal_semantic_ids` must be in \[0, 20\)"),
        ({"vocal_semantic_ids": torch.zeros(1, 4, dtype=torch.long), "num_beams": 4}, "`num_beams` must be left out"),
        (
            {"vocal_semantic_ids": torch.zeros(1, 4, dtype=torch.long), "seed": [1, 2]},
            "`seed` must be .* a list of 1 of",
        ),
    ],
)
def test_inputs_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        tiny_singsong().generate_codes(**arguments)


def test_the_window_of_the_class_is_spec_7s():
    assert (SingSongConfig().clip_duration_s, SingSongFineConfig().clip_duration_s) == (10.0, 3.0)
