"""The three stages: equal to their equations written down again, causal, and trained on the loss of Eq. 6."""

import copy
import functools
import math

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM
from transformers.cache_utils import DynamicCache

from accompgen_hf import (
    AccompGenCoarseConfig,
    AccompGenCoarseForCausalLM,
    AccompGenFineConfig,
    AccompGenFineForCausalLM,
    AccompGenSemanticConfig,
    AccompGenSemanticForCausalLM,
)
from accompgen_hf.accompgen.codebooks_accompgen import build_stage_inputs
from reference import reference_logits
from tiny import random_clip, tiny_stage, tiny_stage_config

STAGE_CONFIGS = (AccompGenSemanticConfig, AccompGenCoarseConfig, AccompGenFineConfig)
LAYOUTS = [(axis, both_ways) for axis in ("token", "time") for both_ways in (False, True)]
LOWEST = torch.finfo(torch.float32).min

stage_of = functools.cache(tiny_stage)  # tests that train or save make their own


def clip_inputs(config, batch_size: int = 2, duration_s: float = 0.12, **kwargs) -> dict[str, torch.Tensor]:
    return build_stage_inputs(config, *random_clip(config, batch_size, duration_s), **kwargs)


def layout_of(inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: inputs[name] for name in ("segment_ids", "segment_positions")}


def without_labels(inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in inputs.items() if name != "labels"}


# ---- size ----------------------------------------------------------------------------------------------------------


def test_the_papers_base_has_250_million_parameters():
    with torch.device("meta"):
        stages = [
            AccompGenSemanticForCausalLM(AccompGenSemanticConfig()),
            AccompGenCoarseForCausalLM(AccompGenCoarseConfig()),
            AccompGenFineForCausalLM(AccompGenFineConfig()),
        ]
    counts = [sum(parameter.numel() for parameter in stage.parameters()) for stage in stages]
    width, inner = 1024, 2730
    layer = 4 * width * width + 3 * width * inner + 2 * width + 2 * 64
    shared = 6 * layer + width + 32 * 16  # the final norm and one bias table
    expected = [
        shared + (1003 + 2 + 500) * width,
        shared + (5099 + 3 + 4096) * width,
        shared + (8195 + 2 + 4096) * width,
    ]
    assert counts == expected
    assert abs(sum(counts) - 250.0e6) < 0.5e6


# ---- forward -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("axis", "both_ways"), LAYOUTS)
@pytest.mark.parametrize("config_class", STAGE_CONFIGS)
def test_logits_follow_from_the_equations(config_class, axis, both_ways):
    model = stage_of(config_class, relative_position_axis=axis, bidirectional_prefix=both_ways)
    inputs = clip_inputs(model.config, 1, 0.08)
    with torch.no_grad():
        logits = model(**without_labels(inputs)).logits[0]
    expected = reference_logits(model, inputs["input_ids"][0], **{k: v[0] for k, v in layout_of(inputs).items()})
    target = model.config.target_segment
    for position, own in enumerate(expected):
        row = logits[position]
        if own is None:
            assert (row == LOWEST).all()
            continue
        codebook = int(inputs["segment_positions"][0, position]) % target.num_codebooks
        start = target.offset + codebook * target.codebook_size
        torch.testing.assert_close(row[start : start + target.codebook_size], own, atol=1e-4, rtol=1e-4)


def test_fine_with_semantics_follows_from_the_equations():
    model = stage_of(AccompGenFineConfig, condition_on_semantics=True, relative_position_axis="time")
    inputs = clip_inputs(model.config, 1, 0.04)
    with torch.no_grad():
        logits = model(**without_labels(inputs)).logits[0]
    expected = reference_logits(model, inputs["input_ids"][0], **{k: v[0] for k, v in layout_of(inputs).items()})
    start = model.config.target_segment.offset  # of BOS, which predicts codebook 0
    bos = int((inputs["segment_ids"][0] == 3).nonzero()[0])
    torch.testing.assert_close(logits[bos, start : start + 16], expected[bos], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("config_class", STAGE_CONFIGS)
def test_logits_are_finite_and_lowest_outside_the_slots_codebook(config_class):
    model = stage_of(config_class)
    inputs = clip_inputs(model.config)
    with torch.no_grad():
        logits = model(**without_labels(inputs)).logits
    assert logits.shape == (*inputs["input_ids"].shape, model.config.vocab_size)
    assert torch.isfinite(logits).all()
    target = model.config.target_segment
    num_allowed = (logits > LOWEST).sum(-1)
    is_target = inputs["segment_ids"].expand_as(inputs["input_ids"]) == len(model.config.segments) - 1
    assert (num_allowed[is_target] == target.codebook_size).all()
    assert (num_allowed[~is_target] == 0).all()
    # The next id of the clip is always allowed where it is predicted.
    predicted = logits[:, :-1].gather(2, inputs["input_ids"][:, 1:, None])[..., 0]
    assert (predicted[is_target[:, :-1]] > LOWEST).all()


def test_logits_to_keep_selects_slots_and_computes_the_same():
    model = stage_of(AccompGenCoarseConfig)
    inputs = without_labels(clip_inputs(model.config))
    with torch.no_grad():
        every = model(**inputs).logits
        assert torch.equal(model(**inputs, logits_to_keep=0).logits, every)
        torch.testing.assert_close(model(**inputs, logits_to_keep=3).logits, every[:, -3:], atol=1e-5, rtol=1e-5)
        indices = torch.tensor([13, 14, 20])
        torch.testing.assert_close(
            model(**inputs, logits_to_keep=indices).logits, every[:, indices], atol=1e-5, rtol=1e-5
        )


def test_the_training_loss_builds_no_logits_of_the_vocabulary():
    model = stage_of(AccompGenFineConfig)
    inputs = clip_inputs(model.config)
    assert model(**inputs).logits is None
    both = model(**inputs, logits_to_keep=2)
    assert both.loss is not None
    assert both.logits.shape == (2, 2, model.config.vocab_size)


@pytest.mark.parametrize(("axis", "both_ways"), LAYOUTS)
def test_nothing_is_heard_before_it_stands_in_the_sequence(axis, both_ways):
    model = stage_of(AccompGenSemanticConfig, relative_position_axis=axis, bidirectional_prefix=both_ways)
    inputs = clip_inputs(model.config, 1)  # 6 conditioning slots, BOS, 6 targets
    changed = {name: value.clone() for name, value in inputs.items()}
    changed["input_ids"][0, 10] = inputs["input_ids"][0, 10] % 20 + 23  # another target code
    with torch.no_grad():
        states = [
            model(**without_labels(each), output_hidden_states=True).hidden_states[-1][0] for each in (inputs, changed)
        ]
        assert torch.equal(states[0][:10], states[1][:10])
        assert not torch.allclose(states[0][10:], states[1][10:])
        changed = {name: value.clone() for name, value in inputs.items()}
        changed["input_ids"][0, 4] = (inputs["input_ids"][0, 4] - 2) % 20 + 3  # another vocal code
        states[1] = model(**without_labels(changed), output_hidden_states=True).hidden_states[-1][0]
    if both_ways:
        assert not torch.allclose(states[0][0], states[1][0])
    else:
        assert torch.equal(states[0][:4], states[1][:4])
    assert not torch.allclose(states[0][12], states[1][12])


@pytest.mark.parametrize("config_class", STAGE_CONFIGS)
def test_every_conditioning_stream_is_heard(config_class):
    model = stage_of(config_class)
    conditioning, target = random_clip(model.config, 1)
    with torch.no_grad():
        own = model(**without_labels(build_stage_inputs(model.config, conditioning, target)), logits_to_keep=1).logits
        for name, codes in conditioning.items():
            other = build_stage_inputs(model.config, {**conditioning, name: (codes + 1) % 16}, target)
            assert not torch.allclose(model(**without_labels(other), logits_to_keep=1).logits, own, atol=1e-4)


def test_a_null_condition_is_deaf_to_the_codes_but_not_to_their_number():
    model = stage_of(AccompGenCoarseConfig)
    config = model.config
    _, target = random_clip(config, 1)
    dropped = torch.tensor([True])

    def logits(seed: int, duration_s: float = 0.08) -> torch.Tensor:
        conditioning, _ = random_clip(config, 1, duration_s, seed)
        inputs = build_stage_inputs(config, conditioning, target, dropped)
        with torch.no_grad():
            return model(**without_labels(inputs), logits_to_keep=4).logits

    assert torch.equal(logits(1), logits(2))
    assert not torch.allclose(logits(1), logits(1, 0.16))


@pytest.mark.parametrize(("axis", "both_ways"), LAYOUTS)
@pytest.mark.parametrize("config_class", STAGE_CONFIGS)
def test_left_padding_changes_nothing(config_class, axis, both_ways):
    model = stage_of(config_class, relative_position_axis=axis, bidirectional_prefix=both_ways)
    inputs = clip_inputs(model.config)
    num_positions = inputs["input_ids"].shape[1]
    padding = 5
    padded = {
        "input_ids": F.pad(inputs["input_ids"], (padding, 0), value=model.config.pad_token_id),
        "segment_ids": F.pad(inputs["segment_ids"], (padding, 0), value=-1),
        "segment_positions": F.pad(inputs["segment_positions"], (padding, 0), value=-1),
    }
    masked = {
        "input_ids": padded["input_ids"],
        "segment_ids": F.pad(inputs["segment_ids"], (padding, 0), value=0).expand(2, -1),
        "segment_positions": F.pad(inputs["segment_positions"], (padding, 0), value=7).expand(2, -1),
        "attention_mask": F.pad(torch.ones(2, num_positions), (padding, 0)),
    }
    with torch.no_grad():
        expected = model(**without_labels(inputs)).logits
        for each in (padded, masked):
            torch.testing.assert_close(model(**each).logits[:, padding:], expected, atol=1e-4, rtol=1e-4)


def test_left_padding_changes_no_loss():
    model = stage_of(AccompGenCoarseConfig)
    inputs = clip_inputs(model.config)
    fill = {"input_ids": 0, "segment_ids": -1, "segment_positions": -1, "labels": -100}
    padded = {name: F.pad(value, (3, 0), value=fill[name]) for name, value in inputs.items()}
    with torch.no_grad():
        torch.testing.assert_close(model(**padded).loss, model(**inputs).loss)


@pytest.mark.parametrize("axis", ["token", "time"])
@pytest.mark.parametrize("both_ways", [False, True])
def test_a_cache_filled_in_three_pieces_gives_the_uncached_logits(axis, both_ways):
    model = stage_of(AccompGenCoarseConfig, relative_position_axis=axis, bidirectional_prefix=both_ways)
    inputs = without_labels(clip_inputs(model.config))
    num_conditioning = int((inputs["segment_ids"] < 2).sum())
    cache = DynamicCache(config=model.config)
    pieces = []
    with torch.no_grad():
        expected = model(**inputs, use_cache=False).logits
        for start, end in ((0, num_conditioning + 1), (num_conditioning + 1, num_conditioning + 2)):
            layout = {name: value[:, :end] for name, value in layout_of(inputs).items()}
            piece = model(inputs["input_ids"][:, start:end], **layout, past_key_values=cache, use_cache=True)
            pieces.append(piece.logits)
        rest = model(inputs["input_ids"][:, num_conditioning + 2 :], **layout_of(inputs), past_key_values=cache)
    torch.testing.assert_close(torch.cat([*pieces, rest.logits], 1), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("axis", ["token", "time"])
def test_sdpa_and_eager_attention_agree(axis):
    model = stage_of(AccompGenCoarseConfig, relative_position_axis=axis)
    assert model.config._attn_implementation == "sdpa"
    eager_model = type(model)._from_config(copy.deepcopy(model.config), attn_implementation="eager").eval()
    eager_model.load_state_dict(model.state_dict())
    inputs = without_labels(clip_inputs(model.config))
    num_positions = inputs["input_ids"].shape[1]
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    inputs["attention_mask"][1, :2] = 0  # padding, too
    with torch.no_grad():
        sdpa = model(**inputs).logits
        eager = eager_model(**inputs, output_attentions=True)
    torch.testing.assert_close(eager.logits, sdpa, atol=1e-4, rtol=1e-4)
    assert [weights.shape for weights in eager.attentions] == [(2, 2, num_positions, num_positions)] * 2
    torch.testing.assert_close(eager.attentions[0].sum(-1), torch.ones(2, 2, num_positions))
    assert (eager.attentions[0][1, :, 2:, :2] == 0).all()


@pytest.mark.parametrize("implementation", ["flash_attention_2", "flex_attention"])
def test_attention_that_cannot_take_the_bias_is_refused(implementation):
    with pytest.raises((ValueError, ImportError), match="not support"):
        AccompGenSemanticForCausalLM._from_config(
            tiny_stage_config(AccompGenSemanticConfig), attn_implementation=implementation
        )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("axis", ["token", "time"])
def test_half_precision_runs_and_stays_near(dtype, axis):
    model = tiny_stage(AccompGenCoarseConfig, relative_position_axis=axis)
    inputs = clip_inputs(model.config)
    with torch.no_grad():
        expected = model(**inputs, logits_to_keep=0)
        half = model.to(dtype)(**inputs, logits_to_keep=0)
    assert half.logits.dtype == dtype
    assert torch.isfinite(half.logits).all()
    assert half.loss.dtype == torch.float32
    torch.testing.assert_close(half.loss, expected.loss, atol=0.05, rtol=0.02)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_gives_finite_loss_and_gradients_with_padding(dtype):
    model = tiny_stage(AccompGenCoarseConfig)
    inputs = clip_inputs(model.config)
    inputs = {**inputs, "attention_mask": torch.ones_like(inputs["input_ids"])}
    inputs["attention_mask"][1, :4] = 0
    with torch.autocast("cpu", dtype):
        loss = model(**inputs).loss
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


# ---- loss ----------------------------------------------------------------------------------------------------------


def hand_computed_losses(model, inputs: dict[str, torch.Tensor]) -> dict[int, list[torch.Tensor]]:
    """Negative log probabilities by codebook, from the logits, one target code at a time."""
    with torch.no_grad():
        logits = model(**without_labels(inputs)).logits
    target = model.config.target_segment
    losses = {codebook: [] for codebook in range(target.num_codebooks)}
    for row, row_labels in enumerate(inputs["labels"].tolist()):
        for position, label in enumerate(row_labels):
            if label == -100:
                continue
            scores = logits[row, position - 1]
            codebook = (label - target.offset) // target.codebook_size
            start = target.offset + codebook * target.codebook_size
            own = scores[start : start + target.codebook_size]
            losses[codebook].append(own.exp().sum().log() - scores[label])
    return losses


@pytest.mark.parametrize("config_class", STAGE_CONFIGS)
def test_loss_is_the_mean_over_quantizers_of_their_means(config_class):
    model = stage_of(config_class)
    inputs = clip_inputs(model.config)
    inputs["labels"][0, -3:] = -100  # the last codebooks have fewer targets now: mean of means, not mean of all
    means = [torch.stack(losses).mean() for losses in hand_computed_losses(model, inputs).values()]
    with torch.no_grad():
        output = model(**inputs)
    torch.testing.assert_close(output.loss, torch.stack(means).mean(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(output.codebook_losses, torch.stack(means), atol=1e-5, rtol=1e-5)
    if model.config.target_segment.num_codebooks > 1:
        every = torch.stack([loss for losses in hand_computed_losses(model, inputs).values() for loss in losses])
        assert abs(output.loss - every.mean()) > 1e-4


def test_a_model_that_knows_nothing_has_the_loss_of_a_uniform_guess():
    model = tiny_stage(AccompGenCoarseConfig)
    with torch.no_grad():
        for head in model.heads:
            head.weight.zero_()
        assert model(**clip_inputs(model.config)).loss.item() == pytest.approx(math.log(16), abs=1e-5)


def test_two_micro_batches_with_the_steps_count_equal_one_batch():
    model = tiny_stage(AccompGenFineConfig)
    inputs = clip_inputs(model.config, 3)
    num_items = int((inputs["labels"] != -100).sum())
    model(**inputs).loss.backward()
    expected = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    losses = []
    for rows in (slice(0, 1), slice(1, 3)):  # of unequal size
        part = {name: value if value.shape[0] == 1 else value[rows] for name, value in inputs.items()}
        loss = model(**part, num_items_in_batch=torch.tensor(num_items)).loss
        loss.backward()
        losses.append(loss.detach())
    torch.testing.assert_close(sum(losses), model(**inputs).loss.detach(), atol=1e-5, rtol=1e-5)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("config_class", STAGE_CONFIGS)
def test_target_losses_are_the_loss_code_by_code(config_class):
    model = stage_of(config_class)
    inputs = clip_inputs(model.config)
    target = model.config.target_segment
    with torch.no_grad():
        losses, hits = model.target_losses(**inputs)
        output = model(**inputs, logits_to_keep=0)
    num_frames = 6 if config_class is AccompGenSemanticConfig else 9
    assert losses.shape == hits.shape == (2, target.num_codebooks, num_frames)
    torch.testing.assert_close(losses.mean(), output.loss)
    torch.testing.assert_close(losses.mean((0, 2)), output.codebook_losses)
    by_hand = hand_computed_losses(model, inputs)
    for codebook in range(target.num_codebooks):
        torch.testing.assert_close(losses[:, codebook].flatten(), torch.stack(by_hand[codebook]), atol=1e-5, rtol=1e-5)
    best = output.logits[:, :-1].argmax(-1)
    is_hit = (best == inputs["input_ids"][:, 1:])[:, -num_frames * target.num_codebooks :]
    assert torch.equal(hits, is_hit.unflatten(1, (num_frames, -1)).transpose(1, 2))


@pytest.mark.parametrize("config_class", STAGE_CONFIGS)
def test_gradient_checkpointing_changes_no_gradient(config_class):
    model = tiny_stage(config_class)
    inputs = clip_inputs(model.config)
    model.train()
    model(**inputs).loss.backward()
    expected = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    assert all(gradient.abs().sum() > 0 for gradient in expected.values())  # every weight is trained
    model.zero_grad()
    model.gradient_checkpointing_enable()
    assert any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
    model(**inputs).loss.backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], atol=1e-6, rtol=1e-5)


def test_dropout_acts_in_training_alone():
    model = tiny_stage(AccompGenSemanticConfig, dropout=0.5)
    inputs = clip_inputs(model.config)
    with torch.no_grad(), torch.random.fork_rng():
        assert torch.equal(model(**inputs).loss, model(**inputs).loss)
        model.train()
        assert not torch.equal(model(**inputs).loss, model(**inputs).loss)


# ---- the outside ---------------------------------------------------------------------------------------------------


def test_segments_are_never_guessed():
    model = stage_of(AccompGenSemanticConfig)
    inputs = without_labels(clip_inputs(model.config))
    with pytest.raises(ValueError, match="`segment_ids` and `segment_positions` are required: they are never"):
        model(inputs["input_ids"])
    with pytest.raises(ValueError, match="must cover `input_ids` and have one shape, got"):
        model(inputs["input_ids"], inputs["segment_ids"][:, :-1], inputs["segment_positions"][:, :-1])
    with pytest.raises(ValueError, match="must cover `input_ids` and have one shape, got"):
        model(inputs["input_ids"], inputs["segment_ids"], inputs["segment_positions"][:, :-1])


def test_outputs_as_a_tuple_are_the_same():
    model = stage_of(AccompGenSemanticConfig)
    inputs = clip_inputs(model.config)
    with torch.no_grad():
        loss, *_ = model(**inputs, return_dict=False)
        assert torch.equal(loss, model(**inputs).loss)
        states = model(**without_labels(inputs), output_hidden_states=True).hidden_states
    assert len(states) == model.config.num_hidden_layers + 1


@pytest.mark.parametrize("config_class", STAGE_CONFIGS)
@pytest.mark.parametrize("auto_class", [None, AutoModelForCausalLM])
def test_a_saved_stage_gives_the_same_logits(config_class, auto_class, tmp_path):
    model = tiny_stage(config_class, relative_position_axis="time")
    inputs = without_labels(clip_inputs(model.config))
    model.save_pretrained(tmp_path)
    loaded = (auto_class or type(model)).from_pretrained(tmp_path)
    assert type(loaded) is type(model)
    with torch.no_grad():
        assert torch.equal(loaded(**inputs).logits, model(**inputs).logits)


def test_new_weights_follow_the_config():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AccompGenSemanticForCausalLM(tiny_stage_config(AccompGenSemanticConfig, hidden_size=256))
    for name in ("model.relative_bias.weight", "model.embed_tokens.weight", "heads.0.weight"):
        assert model.state_dict()[name].std().item() == pytest.approx(0.02, rel=0.3)
    assert (model.model.norm.weight == 1).all()


@pytest.mark.parametrize("config_class", STAGE_CONFIGS)
def test_a_stage_generates_with_the_authors_settings_unless_saved_otherwise(config_class, tmp_path):
    model = tiny_stage(config_class)
    settings = model.generation_config
    assert (settings.guidance_scale, settings.temperature, settings.top_k) == (3.0, 0.9, 250)
    assert settings.do_sample is True
    settings.temperature = 0.7
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).generation_config
    assert (loaded.guidance_scale, loaded.temperature, loaded.top_k, loaded.do_sample) == (3.0, 0.7, 250, True)


def test_the_input_embeddings_can_be_read_and_set():
    model = tiny_stage(AccompGenSemanticConfig)
    embeddings = torch.nn.Embedding(model.config.vocab_size, 32)
    model.set_input_embeddings(embeddings)
    assert model.get_input_embeddings() is embeddings
    assert model.model.embed_tokens is embeddings


@pytest.mark.slow
@pytest.mark.parametrize("axis", ["token", "time"])
def test_a_compiled_training_step_has_the_same_loss_and_gradients(axis):
    model = tiny_stage(AccompGenCoarseConfig, relative_position_axis=axis).train()
    inputs = clip_inputs(model.config)
    model(**inputs).loss.backward()
    expected = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    loss = torch.compile(model)(**inputs).loss
    loss.backward()
    torch.testing.assert_close(loss.detach(), model(**inputs).loss.detach(), atol=1e-5, rtol=1e-5)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], atol=1e-5, rtol=1e-4)


def test_a_slope_starts_every_table_at_its_own_instant_and_leaves_the_last_head_alone():
    config = tiny_stage_config(AccompGenCoarseConfig, relative_position_axis="time", relative_bias_slope=2.0)
    fall = AccompGenCoarseForCausalLM(config).model.relative_bias.initial_fall()
    assert fall.shape == (32 + 3 * 64, 2)
    assert fall[:3, 0].tolist() == [0.0, 2.0, 4.0]  # same segment: bucket of distance 0, 1, 2
    first_cross = fall[32 : 32 + 64, 0].tolist()
    assert first_cross[:3] == [0.0, 2.0, 4.0]  # keys 0, 1, 2 frames before
    assert first_cross[33:35] == [2.0, 4.0]  # keys 1, 2 frames after
    assert not fall[:, -1].any()
