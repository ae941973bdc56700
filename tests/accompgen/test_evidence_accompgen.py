"""Evidence of the conditioning: its values, its place in every decoding loop, and what is refused."""

import functools

import pytest
import torch
import torch.nn.functional as F

from accompgen_hf import AccompGenCoarseConfig, AccompGenSemanticConfig
from accompgen_hf.accompgen.codebooks_accompgen import build_stage_inputs
from accompgen_hf.accompgen.evidence_accompgen import find_evidence
from tiny import random_clip, tiny_stage

NUM_SLOTS = 12
ENGINES = ({}, {"engine": "torch"}, {"cache_implementation": "dynamic"})


@functools.cache
def make_stage(config_class=AccompGenCoarseConfig):
    return tiny_stage(config_class, history_dropout=1.5)


def make_prompt(stage, num_frames: int = 1) -> dict[str, torch.Tensor]:
    conditioning, codes = random_clip(stage.config, 2, 0.12)
    inputs = build_stage_inputs(stage.config, conditioning, codes[..., :num_frames])
    inputs.pop("labels")
    return inputs


def generate(stage=None, **settings) -> torch.Tensor:
    inputs = make_prompt(stage or make_stage())
    ids = (stage or make_stage()).generate(**inputs, seed=5, max_new_tokens=NUM_SLOTS, **settings)
    return ids[:, inputs["input_ids"].shape[1] :]


@pytest.mark.parametrize("config_class", [AccompGenCoarseConfig, AccompGenSemanticConfig])
def test_evidence_is_what_training_calls_a_hidden_past(config_class):
    stage = make_stage(config_class)
    conditioning, codes = random_clip(stage.config, 2, 0.12)
    target, num_kept = stage.config.target_segment, stage.config.target_segment.num_codebooks
    is_hidden = torch.ones(2, codes.shape[-1], dtype=torch.bool)
    expected = []
    for is_deaf in (False, True):
        inputs = build_stage_inputs(stage.config, conditioning, codes, torch.tensor([is_deaf] * 2), is_hidden)
        inputs.pop("labels")
        logits = stage(**inputs).logits[:, -1 - codes[0].numel() : -1]  # of all slots of the clip
        slots = torch.arange(codes[0].numel())
        starts = target.offset + slots % target.num_codebooks * target.codebook_size
        ids = (starts[:, None] + torch.arange(target.codebook_size)).expand(2, -1, -1)
        expected.append(logits.gather(2, ids).log_softmax(-1)[:, num_kept:])
    prompt = make_prompt(stage)
    evidence = find_evidence(stage, **prompt, num_slots=codes[0].numel() - num_kept)
    torch.testing.assert_close(evidence, expected[0] - expected[1], rtol=1e-5, atol=1e-5)


def test_a_padded_prompt_has_the_evidence_of_the_plain_one():
    prompt = make_prompt(make_stage())
    plain = find_evidence(make_stage(), **prompt, num_slots=NUM_SLOTS)
    padding = {"input_ids": 0, "segment_ids": -1, "segment_positions": -1}
    padded = {name: F.pad(prompt[name].expand(2, -1), (3, 0), value=value) for name, value in padding.items()}
    found = find_evidence(make_stage(), **padded, num_slots=NUM_SLOTS)
    torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-5)


def test_a_style_is_left_to_guidance():
    stage = tiny_stage(AccompGenSemanticConfig, history_dropout=1.5, style_names=("waltz", "swing"))
    prompt = make_prompt(stage)
    given = {
        **prompt,
        "style_ids": torch.tensor([2, 0]),
        "max_new_tokens": NUM_SLOTS,
        "seed": 5,
        "guidance_scale": 1.0,
    }
    evidence = 3.0 * find_evidence(stage, **prompt, num_slots=NUM_SLOTS)
    assert torch.equal(stage.generate(**given, evidence_scale=3.0), stage.generate(**given, evidence=evidence))


@torch.no_grad()
def test_what_is_said_without_conditioning_is_asked_once():
    stage = tiny_stage(AccompGenCoarseConfig, history_dropout=1.5, part_names=("drums", "bass"))
    num_rows = []
    stage.model.norm.register_forward_hook(lambda _norm, _inputs, states: num_rows.append(len(states)))
    whole, parts = make_prompt(stage), torch.tensor([1, 1])
    first = find_evidence(stage, **whole, num_slots=NUM_SLOTS, part_ids=parts)
    assert num_rows == [2, 1]  # both rows are one part
    torch.testing.assert_close(find_evidence(stage, **whole, num_slots=NUM_SLOTS, part_ids=parts), first)
    later = make_prompt(stage, num_frames=2)  # the same window, of which more is known
    found = find_evidence(stage, **later, num_slots=NUM_SLOTS - 4, part_ids=parts)
    torch.testing.assert_close(found, first[:, 4:], rtol=1e-5, atol=1e-5)
    assert num_rows == [2, 1, 2, 2]
    find_evidence(stage, **whole, num_slots=NUM_SLOTS, part_ids=torch.tensor([0, 1]))  # another part
    stage.model.norm.weight.mul_(2)
    changed = find_evidence(stage, **whole, num_slots=NUM_SLOTS, part_ids=torch.tensor([0, 1]))
    assert num_rows == [2, 1, 2, 2, 2, 2, 2, 2]
    assert not torch.allclose(changed[1], first[1])


@pytest.mark.parametrize("settings", ENGINES)
def test_much_evidence_decides_alone(settings):
    target = make_stage().config.target_segment
    codes = find_evidence(make_stage(), **make_prompt(make_stage()), num_slots=NUM_SLOTS).argmax(-1)
    ids = codes + target.offset + torch.arange(NUM_SLOTS) % target.num_codebooks * target.codebook_size
    assert torch.equal(generate(evidence_scale=1e6, **settings), ids)


@pytest.mark.parametrize("asked", [{"guidance_scale": 2.0, "top_k": 5}, {"guidance_scale": 1.0, "do_sample": False}])
def test_every_loop_chooses_the_same(asked):
    chosen = [generate(evidence_scale=3.0, **asked, **settings) for settings in ENGINES]
    assert torch.equal(chosen[0], chosen[1])
    assert torch.equal(chosen[0], chosen[2])
    assert not torch.equal(chosen[0], generate(**asked))
    assert torch.equal(generate(evidence_scale=0, **asked), generate(**asked))


def test_the_scale_of_the_generation_config_holds_and_is_saved(tmp_path):
    stage = tiny_stage(AccompGenCoarseConfig, history_dropout=1.0)
    stage.generation_config.evidence_scale = 3.0
    stage.save_pretrained(tmp_path)
    loaded = type(stage).from_pretrained(tmp_path)
    assert torch.equal(generate(loaded), generate(loaded, evidence_scale=3.0))
    assert not torch.equal(generate(loaded), generate(loaded, evidence_scale=0.0))


def test_windows_of_a_recording_take_it():
    stage = tiny_stage(AccompGenCoarseConfig, history_dropout=1.0, clip_duration_s=0.12, window_overlap_s=0.04)
    conditioning, _ = random_clip(stage.config, 2, 0.4)
    together = stage.generate_codes(**conditioning, seed=3, evidence_scale=3.0)
    alone = stage.generate_codes(
        **{name: codes[1:] for name, codes in conditioning.items()}, seed=4, evidence_scale=3.0
    )
    assert torch.equal(together[1:], alone)
    assert not torch.equal(together, stage.generate_codes(**conditioning, seed=3))


@pytest.mark.parametrize("scale", [-1.0, float("inf"), "much"])
def test_another_scale_is_refused(scale):
    with pytest.raises(ValueError, match="`evidence_scale` must be a number from 0 on, got"):
        generate(evidence_scale=scale)


def test_a_stage_that_never_missed_its_past_is_refused():
    with pytest.raises(ValueError, match="must be 0 for a stage that was trained without a hidden past"):
        generate(tiny_stage(AccompGenCoarseConfig, history_dropout=0.0), evidence_scale=1.0)
