"""Stages with parts and styles: their layout, their equations, and every way to decode them."""

import copy
import functools

import pytest
import torch
import torch.nn.functional as F

from accompgen_hf import (
    AccompGenCoarseConfig,
    AccompGenFineConfig,
    AccompGenSemanticConfig,
    AccompGenSemanticForCausalLM,
)
from accompgen_hf.accompgen.codebooks_accompgen import build_stage_inputs, ids_to_codes
from accompgen_hf.accompgen.seeds_accompgen import draw_uniforms
from reference import assert_equal_up_to_ties, reference_decode, reference_logits
from tiny import random_clip, tiny_stage, tiny_stage_config

PARTS = ("drums", "bass", "other")
STYLES = ("bossa_nova", "rock")
STAGE_CONFIGS = (AccompGenSemanticConfig, AccompGenCoarseConfig, AccompGenFineConfig)
SAMPLING = {"do_sample": True, "temperature": 0.9, "top_k": 12, "top_p": 0.95}

stage_of = functools.cache(functools.partial(tiny_stage, part_names=PARTS, style_names=STYLES))


def rows_of(config, part_ids=(2, 0), style_ids=(1, 2)) -> dict[str, torch.Tensor]:
    rows = {"style_ids": torch.tensor(style_ids)}
    return {"part_ids": torch.tensor(part_ids), **rows} if config.num_part_rows else rows


def prompt(config, duration_s: float = 0.12, num_prefix_frames: int = 0, seed: int = 0) -> dict[str, torch.Tensor]:
    conditioning, target = random_clip(config, 2, duration_s, seed)
    inputs = build_stage_inputs(config, conditioning, target[..., :num_prefix_frames], **rows_of(config))
    inputs.pop("labels")
    return inputs


# ---- layout and equations ------------------------------------------------------------------------------------------


def test_the_layout_of_two_frames_of_three_parts():
    config = tiny_stage_config(AccompGenSemanticConfig, part_names=PARTS)  # ids: 20 vocal, then 20 of each part
    plan = torch.tensor([[[4, 5], [6, 7], [8, 9]]])
    batch = build_stage_inputs(config, {"vocal_semantic_ids": torch.tensor([[1, 2]])}, plan)
    assert batch["input_ids"].tolist() == [[3 + 1, 3 + 2, 1, 23 + 4, 43 + 6, 63 + 8, 23 + 5, 43 + 7, 63 + 9]]
    assert batch["segment_ids"].tolist() == [[0, 0, 1, 1, 1, 1, 1, 1, 1]]
    assert batch["segment_positions"].tolist() == [[0, 1, 0, 1, 2, 3, 4, 5, 6]]
    assert batch["labels"].tolist() == [[-100, -100, -100, 27, 49, 71, 28, 50, 72]]
    assert "part_ids" not in batch
    # On the time axis the slot that predicts a part's code of frame 1 hears vocal frame 1 as its own instant.
    model = tiny_stage(AccompGenSemanticConfig, part_names=PARTS, relative_position_axis="time")
    bias = model.model.relative_bias
    rows = bias.bucket_rows(batch["segment_ids"], batch["segment_positions"], 7)[0, :, :2] - bias.first_cross_row
    # Query frames 0 0 0 1 1 1 2; distance 0 has bucket 0, one frame later bucket 32 + 1, earlier 1 and 2.
    assert rows.tolist() == [[0, 33], [0, 33], [0, 33], [1, 0], [1, 0], [1, 0], [2, 1]]


@pytest.mark.parametrize("config_class", STAGE_CONFIGS)
@pytest.mark.parametrize("axis", ["token", "time"])
def test_logits_are_those_of_the_equations_with_part_and_style(config_class, axis):
    model = stage_of(config_class, relative_position_axis=axis)
    conditioning, target = random_clip(model.config, 2)
    rows = rows_of(model.config)
    batch = build_stage_inputs(model.config, conditioning, target, **rows)
    batch.pop("labels")
    with torch.no_grad():
        logits = model(**batch, use_cache=False).logits
    segment = model.config.target_segment
    layout = (batch["segment_ids"][0], batch["segment_positions"][0])
    for row in range(2):
        part = int(rows["part_ids"][row]) if "part_ids" in rows else None
        own = reference_logits(model, batch["input_ids"][row], *layout, part, int(rows["style_ids"][row]))
        for index, expected in enumerate(own):
            if expected is not None:
                first = segment.offset + int(layout[1][index]) % segment.num_codebooks * segment.codebook_size
                found = logits[row, index, first : first + segment.codebook_size]
                torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_tables_are_there_only_for_what_can_be_chosen():
    names = {name for name, _ in tiny_stage(AccompGenCoarseConfig).named_parameters()}
    with_both = {name: tuple(each.shape) for name, each in stage_of(AccompGenCoarseConfig).named_parameters()}
    tables = {name: shape for name, shape in with_both.items() if name not in names}
    assert names < set(with_both)
    assert tables == {"model.embed_rows.parts.weight": (3, 32), "model.embed_rows.styles.weight": (3, 32)}
    plan = {name for name, _ in stage_of(AccompGenSemanticConfig).named_parameters()}
    assert {name for name in plan if "embed_rows" in name} == {"model.embed_rows.styles.weight"}
    assert {name for name in plan if name.startswith("heads.")} == {f"heads.{part}.weight" for part in range(3)}


def test_no_style_is_any_style_and_dropped_conditioning_has_any_style():
    model = stage_of(AccompGenCoarseConfig)
    inputs = prompt(model.config)
    with torch.no_grad():
        any_style = model(**{**inputs, "style_ids": torch.tensor([0, 0])}, use_cache=False).logits
        del inputs["style_ids"]
        assert torch.equal(model(**inputs, use_cache=False).logits, any_style)
    conditioning, target = random_clip(model.config, 2)
    dropped = torch.tensor([True, False])
    batch = build_stage_inputs(model.config, conditioning, target, dropped, **rows_of(model.config))
    assert batch["style_ids"].tolist() == [0, 2]
    assert batch["part_ids"].tolist() == [2, 0]


def test_rows_without_a_part_and_parts_without_a_table_are_refused():
    coarse, plan, plain = (
        stage_of(AccompGenCoarseConfig),
        stage_of(AccompGenSemanticConfig),
        tiny_stage(AccompGenCoarseConfig),
    )
    inputs = prompt(coarse.config)
    with pytest.raises(ValueError, match=r"`part_ids` must say which of drums, bass, other each row plays"):
        coarse(**{**inputs, "part_ids": None})
    with pytest.raises(ValueError, match=r"`part_ids` must have the shape \(2,\), got \(1,\)"):
        coarse(**{**inputs, "part_ids": torch.tensor([1])})
    with pytest.raises(ValueError, match="`part_ids` must be left out: this stage has no embedding of them"):
        plan(**{**prompt(plan.config), "part_ids": torch.tensor([0, 0])})
    with pytest.raises(ValueError, match="`style_ids` must be left out: this stage has no embedding of them"):
        plain(**{**inputs, "part_ids": None})
    conditioning = random_clip(coarse.config, 2, 0.4)[0]
    with pytest.raises(ValueError, match="`part` must be one of drums, bass, other, or a list of 2 of them, got None"):
        coarse.generate_codes(**conditioning)
    with pytest.raises(ValueError, match="`part` must be left out: a row of this stage is no single part; got 'bass'"):
        plain.generate_codes(**conditioning, part="bass")


# ---- decoding ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", ["token", "time"])
@pytest.mark.parametrize("config_class", STAGE_CONFIGS)
def test_every_way_to_decode_gives_the_uncached_tokens(config_class, axis):
    model = stage_of(config_class, relative_position_axis=axis)
    config = model.config
    inputs, num_new, prefix = prompt(config, num_prefix_frames=1), 10, config.target_segment.num_codebooks
    parts = ["other", "drums"] if config.num_part_rows else None
    uniforms = draw_uniforms([5, 6], config.target_name, [0.0, 0.0], prefix + num_new, parts=parts)[:, prefix:]
    reference = {name: value for name, value in SAMPLING.items() if name != "do_sample"}
    expected, margins = reference_decode(model, inputs, num_new, guidance_scale=3.0, uniforms=uniforms, **reference)
    for how in (
        {},  # compiled steps, if numba is here
        {"engine": "torch"},
        {"cache_implementation": "dynamic"},
        {"use_cache": False},
        {"cache_implementation": "static"},
    ):
        sequences = model.generate(**inputs, max_new_tokens=num_new, seed=5, guidance_scale=3.0, **SAMPLING, **how)
        assert_equal_up_to_ties(sequences[:, -num_new:], expected, margins)
    padded = {
        name: F.pad(value, (3, 0), value=0 if name == "input_ids" else -1) if value.ndim == 2 else value
        for name, value in inputs.items()
    }
    sequences = model.generate(**padded, max_new_tokens=num_new, seed=5, guidance_scale=3.0, **SAMPLING)
    assert_equal_up_to_ties(sequences[:, -num_new:], expected, margins)


@pytest.mark.parametrize("parts", [["other"], ["bass", "other"], ["drums", "other"]])
def test_guidance_of_some_parts_enlarges_the_style_alone(parts):
    model = stage_of(AccompGenCoarseConfig, relative_position_axis="time")
    config, num_new = model.config, 10
    inputs, prefix = prompt(config, num_prefix_frames=1), config.target_segment.num_codebooks  # other and drums
    uniforms = draw_uniforms([5, 6], config.target_name, [0.0, 0.0], prefix + num_new, parts=["other", "drums"])
    reference = {name: value for name, value in SAMPLING.items() if name != "do_sample"}
    reference |= {"guidance_scale": 3.0, "uniforms": uniforms[:, prefix:]}
    guided = tuple(row for row, name in enumerate(("other", "drums")) if name in parts)
    expected, margins = reference_decode(model, inputs, num_new, style_guided_rows=guided, **reference)
    usual, _ = reference_decode(model, inputs, num_new, **reference)
    assert not torch.equal(expected, usual)
    asked = {**inputs, **SAMPLING, "max_new_tokens": num_new, "seed": 5, "guidance_scale": 3.0}
    for how in ({}, {"engine": "torch"}, {"cache_implementation": "dynamic"}, {"use_cache": False}):
        sequences = model.generate(**asked, style_guided_parts=parts, **how)
        assert_equal_up_to_ties(sequences[:, -num_new:], expected, margins)
    settings = copy.deepcopy(model.generation_config)
    settings.style_guided_parts = parts
    saved = {name: value for name, value in asked.items() if name not in SAMPLING}
    settings.update(**SAMPLING)
    sequences = model.generate(**saved, generation_config=settings)
    assert_equal_up_to_ties(sequences[:, -num_new:], expected, margins)
    # Without a style there is nothing to enlarge.
    asked["style_ids"] = torch.zeros(2, dtype=torch.long)
    assert torch.equal(model.generate(**asked, style_guided_parts=parts), model.generate(**asked))


def test_other_parts_to_guide_by_style_are_refused():
    coarse, plan = stage_of(AccompGenCoarseConfig), stage_of(AccompGenSemanticConfig)
    for given in (["guitar"], "other"):
        with pytest.raises(ValueError, match="`style_guided_parts` must be a list of names out of drums, bass, other"):
            coarse.generate(**prompt(coarse.config), style_guided_parts=given)
    with pytest.raises(ValueError, match="`style_guided_parts` must be left out: no row is a single part"):
        plan.generate(**prompt(plan.config), style_guided_parts=["other"])


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_one_branch_alone_decodes_alike_and_without_guidance_no_style_is_heard(scale):
    model = stage_of(AccompGenCoarseConfig, relative_position_axis="time")
    conditioning, _ = random_clip(model.config, 2, 0.6)
    asked = {"part": ["other", "drums"], "seed": 5, "guidance_scale": scale, **SAMPLING}
    fast = model.generate_codes(**conditioning, **asked, style=["rock", "bossa_nova"])
    stock = model.generate_codes(**conditioning, **asked, style=["rock", "bossa_nova"], cache_implementation="dynamic")
    assert torch.equal(fast, stock)
    any_style = model.generate_codes(**conditioning, **asked)
    assert torch.equal(fast, any_style) == (scale == 0.0)


@pytest.mark.parametrize("axis", ["token", "time"])
@pytest.mark.parametrize("config_class", STAGE_CONFIGS)
def test_windows_continue_all_parts_alike_however_they_are_decoded(config_class, axis):
    model = stage_of(config_class, relative_position_axis=axis)
    conditioning = random_clip(model.config, 1, 1.4)[0]  # two windows or more
    asked = {"seed": 3, "style": "rock", "guidance_scale": 2.0}
    asked |= {"part": "bass"} if model.config.num_part_rows else {}
    codes = model.generate_codes(**conditioning, **asked)  # compiled steps, if numba is here
    assert codes.shape == ((1, 3, 70) if model.config.plans_all_parts else (1, 4, 105))
    for how in ({"engine": "torch"}, {"cache_implementation": "dynamic"}):
        assert torch.equal(model.generate_codes(**conditioning, **asked, **how), codes)  # no decision is near a tie


# ---- training ------------------------------------------------------------------------------------------------------


def test_the_style_alone_swaps_what_two_overfitted_clips_become():
    """One voice, two styles, two accompaniments."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = tiny_stage_config(AccompGenSemanticConfig, part_names=PARTS, style_names=STYLES)
        model = AccompGenSemanticForCausalLM(config).train()
        vocals = torch.randint(20, (1, 10), generator=torch.Generator().manual_seed(1)).expand(2, 10)
        plans = torch.randint(20, (2, 3, 10), generator=torch.Generator().manual_seed(2))
        batch = build_stage_inputs(config, {"vocal_semantic_ids": vocals}, plans, style_ids=torch.tensor([1, 2]))
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        for _ in range(120):
            model(**batch).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    model.eval()
    prompt_of = build_stage_inputs(config, {"vocal_semantic_ids": vocals[:1]})
    prompt_of.pop("labels")
    for style_id, plan in enumerate(plans, start=1):
        ids = model.generate(
            **prompt_of, style_ids=torch.tensor([style_id]), do_sample=False, guidance_scale=1.0, max_new_tokens=30
        )
        assert torch.equal(ids_to_codes(config.target_segment, ids[:, -30:])[0], plan)
