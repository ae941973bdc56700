"""The lean loop against transformers' own: the same tokens, the same logits, and only where it applies."""

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from accompgen_hf import (
    AccompGenCoarseConfig,
    AccompGenCoarseForCausalLM,
    AccompGenFineConfig,
    AccompGenFineForCausalLM,
    AccompGenSemanticConfig,
    AccompGenSemanticForCausalLM,
)
from accompgen_hf.accompgen import generation_accompgen as generation
from accompgen_hf.accompgen.codebooks_accompgen import build_stage_inputs
from accompgen_hf.accompgen.fast_decoding_accompgen import FastStageDecoder, fuse_weights
from tiny import CODEBOOK_SIZE, NUM_CLUSTERS, sharpen, tiny_stage_config

STAGES = {
    AccompGenSemanticConfig: AccompGenSemanticForCausalLM,
    AccompGenCoarseConfig: AccompGenCoarseForCausalLM,
    AccompGenFineConfig: AccompGenFineForCausalLM,
}


def make_stage(config_class, **fields):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return sharpen(STAGES[config_class](tiny_stage_config(config_class, **fields)).eval())


def make_conditioning(config, duration_s, batch_size=2):
    generator = torch.Generator().manual_seed(1)
    conditioning = {}
    for segment in config.segments[:-1]:
        num_frames = round(duration_s * segment.frame_rate)
        is_semantic = segment.is_semantic
        shape = (batch_size, num_frames) if is_semantic else (batch_size, segment.num_codebooks, num_frames)
        size = NUM_CLUSTERS if is_semantic else CODEBOOK_SIZE
        conditioning[segment.name] = torch.randint(size, shape, generator=generator)
    return conditioning


@pytest.mark.parametrize("config_class", STAGES)
@pytest.mark.parametrize("axis", ["token", "time"])
@pytest.mark.parametrize("bidirectional_prefix", [False, True])
def test_logits_of_every_slot_equal_one_whole_forward(config_class, axis, bidirectional_prefix):
    stage = make_stage(config_class, relative_position_axis=axis, bidirectional_prefix=bidirectional_prefix)
    target = stage.config.target_segment
    conditioning = make_conditioning(stage.config, 0.24)
    num_frames = round(0.24 * target.frame_rate)
    size = NUM_CLUSTERS if target.num_codebooks == 1 else CODEBOOK_SIZE
    shape = (2, num_frames) if target.num_codebooks == 1 else (2, target.num_codebooks, num_frames)
    codes = torch.randint(size, shape, generator=torch.Generator().manual_seed(2))
    whole = build_stage_inputs(stage.config, conditioning, codes)
    with torch.no_grad():
        names = ("input_ids", "segment_ids", "segment_positions")
        expected = stage(**{name: whole[name] for name in names}, use_cache=False).logits
        prompt_length = int((whole["segment_ids"][0] < len(stage.config.segments) - 1).sum()) + 1
        decoder = FastStageDecoder(stage, whole["segment_positions"][:, :prompt_length], whole["input_ids"].shape[1])
        logits = decoder.prefill(*(whole[name][:, :prompt_length] for name in names))
        for position in range(prompt_length - 1, whole["input_ids"].shape[1] - 1):
            own = slice(decoder.first_code_id, decoder.first_code_id + target.codebook_size)
            torch.testing.assert_close(logits, expected[:, position, own], atol=1e-4, rtol=0)
            logits = decoder.step(whole["input_ids"][:, position + 1])


@pytest.mark.parametrize(
    "settings",
    [
        {"guidance_scale": 3.0, "temperature": 0.9, "top_k": 10, "top_p": 0.95, "seed": 5},
        {"guidance_scale": 0.0, "seed": 5},
        {"guidance_scale": 1.0, "do_sample": False},
    ],
)
def test_tokens_equal_those_of_the_stock_loop(settings):
    stage = make_stage(AccompGenCoarseConfig, relative_position_axis="time")
    conditioning = make_conditioning(stage.config, 0.8)
    fast = stage.generate_codes(**conditioning, **settings, engine="torch")
    stock = stage.generate_codes(**conditioning, **settings, cache_implementation="dynamic")
    assert torch.equal(fast, stock)


@pytest.mark.parametrize(
    ("settings", "is_fast"),
    [
        ({}, True),
        ({"cache_implementation": "dynamic"}, False),
        ({"use_cache": False}, False),
        ({"repetition_penalty": 1.2}, False),
        ({"min_p": 0.05}, False),
    ],
)
def test_the_lean_loop_steps_back_for_what_it_does_not_cover(monkeypatch, settings, is_fast):
    calls = []
    monkeypatch.setattr(generation, "FastStageDecoder", lambda *args: calls.append(1) or FastStageDecoder(*args))
    stage = make_stage(AccompGenSemanticConfig)
    stage.generate_codes(**make_conditioning(stage.config, 0.08), seed=1, engine="torch", **settings)
    assert bool(calls) == is_fast


def test_padded_rows_take_the_stock_loop(monkeypatch):
    monkeypatch.setattr(generation, "FastStageDecoder", None)  # calling it would fail
    stage = make_stage(AccompGenSemanticConfig)
    inputs = build_stage_inputs(stage.config, make_conditioning(stage.config, 0.08))
    inputs.pop("labels")
    padded = {name: torch.nn.functional.pad(inputs[name], (2, 0), value=-1) for name in inputs}
    padded["input_ids"][:, :2] = stage.config.pad_token_id
    sequences = stage.generate(**padded, seed=1)
    plain = stage.generate(**inputs, seed=1, cache_implementation="dynamic")
    assert torch.equal(sequences[:, 2:], plain)


def begin(stage, num_rows=2):
    """A decoder behind its prompt, and the codes that are to follow."""
    config = stage.config
    inputs = build_stage_inputs(config, make_conditioning(config, 0.24, num_rows))
    prompt = [inputs[name] for name in ("input_ids", "segment_ids", "segment_positions")]
    num_slots = round(0.24 * config.target_segment.frame_rate) * config.target_segment.num_codebooks
    decoder = FastStageDecoder(stage, prompt[2], prompt[0].shape[1] + num_slots - 1)
    decoder.prefill(*prompt)
    codes = torch.randint(CODEBOOK_SIZE, (num_slots, num_rows), generator=torch.Generator().manual_seed(3))
    return decoder, [decoder.target.offset + of_slot for of_slot in codes[: num_slots - 1]]


@pytest.mark.parametrize("axis", ["token", "time"])
def test_a_step_recorded_once_is_the_step_of_every_later_slot(axis):
    """What a CUDA graph does, on the CPU: operations recorded at one slot, replayed on the same buffers."""
    stage = make_stage(AccompGenCoarseConfig, relative_position_axis=axis)
    with torch.no_grad():
        decoder, ids = begin(stage)
        recorded_decoder, _ = begin(stage)
        state = recorded_decoder.state
        state._show(state.num_keys)  # a graph always attends to whole buffers

        def compute(input_ids, index, bias, caches):
            state.input_ids, state.index, state.bias, state.caches = input_ids, index, bias, caches
            state._show(state.num_keys)
            return state.compute()

        buffers = state.input_ids, state.index, state.bias, state.caches
        copies = tuple(tensor.clone() for tensor in buffers[:3])
        recorded = make_fx(compute)(*copies, [tuple(tensor.clone() for tensor in pair) for pair in state.caches])
        state.input_ids, state.index, state.bias, state.caches = buffers
        state.compute = lambda: recorded(*buffers)
        for of_slot in ids:
            torch.testing.assert_close(recorded_decoder.step(of_slot), decoder.step(of_slot), atol=1e-5, rtol=1e-5)


def test_a_changed_weight_is_heard_in_the_next_call():
    stage = make_stage(AccompGenSemanticConfig)
    weights = fuse_weights(stage)
    assert fuse_weights(stage) is weights
    conditioning = make_conditioning(stage.config, 0.24)
    with torch.no_grad():
        stage.model.layers[0].mlp.up_proj.weight.mul_(-1)
    assert fuse_weights(stage) is not weights
    fast = stage.generate_codes(**conditioning, seed=5, engine="torch")
    assert torch.equal(fast, stage.generate_codes(**conditioning, seed=5, cache_implementation="dynamic"))


def test_autocast_around_the_call_changes_nothing():
    stage = make_stage(AccompGenSemanticConfig)
    conditioning = make_conditioning(stage.config, 0.24)
    for engine in ("numba", "torch"):
        plain = stage.generate_codes(**conditioning, seed=5, engine=engine)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(stage.generate_codes(**conditioning, seed=5, engine=engine), plain)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_graph_gives_the_tokens_of_the_stock_loop(dtype):
    stage = make_stage(AccompGenCoarseConfig, relative_position_axis="time").to("cuda", dtype)
    conditioning = make_conditioning(stage.config, 1.2)
    settings = {"guidance_scale": 3.0, "top_k": 10, "seed": 5}
    fast = stage.generate_codes(**conditioning, **settings)
    assert torch.equal(fast, stage.generate_codes(**conditioning, **settings))  # windows and calls replay one graph
    [states] = fuse_weights(stage)._idle_states.values()
    assert len(states) == 1
    stock = stage.generate_codes(**conditioning, **settings, cache_implementation="dynamic")
    share = (fast == stock).float().mean()
    assert share == 1 if dtype == torch.float32 else share > 0.5
