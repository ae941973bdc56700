"""Generation: every way to run it gives the tokens of one uncached forward per slot; windows follow their rules.

Two runs are equal when their tokens agree up to the first decision that float rounding could turn (reference.py).
"""

import functools
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import GenerationConfig
from transformers.generation import BaseStreamer

from accompgen_hf import AccompGenCoarseConfig, AccompGenFineConfig, AccompGenSemanticConfig
from accompgen_hf.accompgen.codebooks_accompgen import build_stage_inputs, codes_to_ids, ids_to_codes, interleave_codes
from accompgen_hf.accompgen.seeds_accompgen import draw_uniforms
from reference import assert_equal_up_to_ties, reference_decode
from tiny import random_clip, random_codes, tiny_stage

STAGE_CONFIGS = (AccompGenSemanticConfig, AccompGenCoarseConfig, AccompGenFineConfig)
LAYOUTS = [(axis, both_ways) for axis in ("token", "time") for both_ways in (False, True)]
SAMPLING = {"do_sample": True, "temperature": 0.9, "top_k": 12, "top_p": 0.95}
REFERENCE_SAMPLING = {name: value for name, value in SAMPLING.items() if name != "do_sample"}

stage_of = functools.cache(tiny_stage)


def prompt(config, batch_size: int = 2, duration_s: float = 0.12, num_prefix_frames: int = 0, seed: int = 0) -> dict:
    conditioning, target = random_clip(config, batch_size, duration_s, seed)
    inputs = build_stage_inputs(config, conditioning, target[..., :num_prefix_frames])
    return {name: value for name, value in inputs.items() if name != "labels"}


def new_ids(sequences: torch.Tensor, inputs: dict) -> torch.Tensor:
    return sequences[:, inputs["input_ids"].shape[1] :]


def numbers_of(config, seeds: list[int], num_slots: int, start_s: float = 0.0) -> torch.Tensor:
    return draw_uniforms(seeds, config.target_name, [start_s] * len(seeds), num_slots)


# ---- one window: all ways to compute it ----------------------------------------------------------------------------


@pytest.mark.parametrize(("axis", "both_ways"), LAYOUTS)
@pytest.mark.parametrize("config_class", STAGE_CONFIGS)
def test_every_cache_gives_the_uncached_tokens(config_class, axis, both_ways):
    model = stage_of(config_class, relative_position_axis=axis, bidirectional_prefix=both_ways)
    inputs = prompt(model.config, num_prefix_frames=1)
    num_new = 10
    prefix = model.config.target_segment.num_codebooks
    uniforms = numbers_of(model.config, [5, 6], prefix + num_new)[:, prefix:]
    cases = [
        ({"guidance_scale": 1.0, "do_sample": False}, {"guidance_scale": 1.0}),
        ({"guidance_scale": 3.0, **SAMPLING}, {"guidance_scale": 3.0, "uniforms": uniforms, **REFERENCE_SAMPLING}),
    ]
    for settings, reference_settings in cases:
        expected, margins = reference_decode(model, inputs, num_new, **reference_settings)
        for how in (
            {},
            {"cache_implementation": "dynamic"},
            {"use_cache": False},
            {"cache_implementation": "static"},
        ):
            sequences = model.generate(**inputs, max_new_tokens=num_new, seed=5, **settings, **how)
            assert torch.equal(sequences[:, :-num_new], inputs["input_ids"])
            assert_equal_up_to_ties(new_ids(sequences, inputs), expected, margins)


@pytest.mark.parametrize(("axis", "both_ways"), LAYOUTS)
@pytest.mark.parametrize("config_class", STAGE_CONFIGS)
def test_left_padded_rows_give_the_tokens_of_each_row_alone(config_class, axis, both_ways):
    """Rows differ in the length of their conditioning and of their target prefix."""
    model = stage_of(config_class, relative_position_axis=axis, bidirectional_prefix=both_ways)
    config = model.config
    rows = [prompt(config, 1, 0.2, 0, seed=1), prompt(config, 1, 0.08, 2, seed=2)]
    longest = max(row["input_ids"].shape[1] for row in rows)
    padding = [longest - row["input_ids"].shape[1] for row in rows]
    assert sorted(padding) != [0, 0]
    inputs = {
        name: torch.cat([F.pad(row[name], (pad, 0), value=fill) for row, pad in zip(rows, padding, strict=True)])
        for name, fill in (("input_ids", 0), ("segment_ids", -1), ("segment_positions", -1))
    }
    num_new, num_prefix = 10, 2 * config.target_segment.num_codebooks
    numbers = numbers_of(config, [8, 9], num_prefix + num_new)
    uniforms = torch.stack([numbers[0, :num_new], numbers[1, num_prefix:]])  # a number belongs to its slot
    expected, margins = reference_decode(
        model, inputs, num_new, guidance_scale=3.0, uniforms=uniforms, **REFERENCE_SAMPLING
    )
    settings = {"max_new_tokens": num_new, "seed": 8, "guidance_scale": 3.0, **SAMPLING}
    masked = {
        **inputs,
        "segment_ids": inputs["segment_ids"].clamp(min=0),
        "segment_positions": inputs["segment_positions"].clamp(min=0),
        "attention_mask": (inputs["segment_ids"] >= 0).long(),
    }
    for each in (inputs, masked):
        for how in ({}, {"use_cache": False}, {"cache_implementation": "static"}):
            sequences = model.generate(**each, **settings, **how)
            assert_equal_up_to_ties(new_ids(sequences, inputs), expected, margins)


@pytest.mark.parametrize("config_class", STAGE_CONFIGS)
def test_a_fine_stage_with_semantics_and_long_distances_decodes_alike(config_class):
    fields = {"condition_on_semantics": True} if config_class is AccompGenFineConfig else {}
    # Few buckets and short distances: 0.2 s reach the last bucket on both axes.
    small = {"relative_attention_num_buckets": 8, "relative_attention_max_distance": 10}
    cross = {"cross_segment_num_buckets": 8, "cross_segment_max_distance": 6}
    model = stage_of(config_class, relative_position_axis="time", **small, **cross, **fields)
    inputs = prompt(model.config, 1, 0.2)
    expected, margins = reference_decode(model, inputs, 10)
    sequences = model.generate(**inputs, do_sample=False, guidance_scale=1.0, max_new_tokens=10)
    assert_equal_up_to_ties(new_ids(sequences, inputs), expected, margins)


@pytest.mark.parametrize("axis", ["token", "time"])
def test_scores_while_decoding_are_the_teacher_forced_logits(axis):
    model = stage_of(AccompGenCoarseConfig, relative_position_axis=axis)
    inputs = prompt(model.config)
    output = model.generate(
        **inputs,
        do_sample=False,
        guidance_scale=2.0,
        max_new_tokens=10,
        return_dict_in_generate=True,
        output_logits=True,
    )
    num_prompt = inputs["input_ids"].shape[1]
    segments = F.pad(inputs["segment_ids"], (0, 10), value=2)
    positions = torch.cat([inputs["segment_positions"], torch.arange(1, 11)[None]], 1)
    deaf = torch.where(segments < 2, 2, output.sequences)
    with torch.no_grad():
        rows = torch.cat([output.sequences, deaf])
        expected = model(rows, segments, positions, use_cache=False).logits[:, num_prompt - 1 : -1]
    decoded = torch.stack(output.logits, 1)
    torch.testing.assert_close(decoded, expected, atol=1e-4, rtol=1e-4)


def test_tokens_do_not_depend_on_the_number_of_threads():
    model = stage_of(AccompGenCoarseConfig)
    inputs = prompt(model.config)
    uniforms = numbers_of(model.config, [3, 4], 20)
    _, margins = reference_decode(model, inputs, 20, uniforms, 3.0, **REFERENCE_SAMPLING)
    num_threads = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            sequences = model.generate(**inputs, seed=3, max_new_tokens=20, guidance_scale=3.0, **SAMPLING)
            assert torch.get_num_threads() == threads
            results.append(new_ids(sequences, inputs))
    finally:
        torch.set_num_threads(num_threads)
    assert_equal_up_to_ties(results[0], results[1], margins)


@pytest.mark.slow
@pytest.mark.parametrize("config_class", STAGE_CONFIGS)
def test_twenty_five_seconds_do_not_depend_on_threads_or_batches(config_class):
    """Windows without overlap stand alone: where one differs, its first difference has to be a tie."""
    model = stage_of(config_class, clip_duration_s=0.4, window_overlap_s=0.0, num_codebooks=2)
    target, num_steps = model.config.target_segment, 25 * 25
    conditioning, _ = random_clip(model.config, 1, 25)
    settings = {"seed": 1, "guidance_scale": 1.0, **SAMPLING}
    num_threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        expected = model.generate_codes(**conditioning, **settings, window_batch_size=63)
        torch.set_num_threads(2)
        codes = model.generate_codes(**conditioning, **settings, window_batch_size=32)
    finally:
        torch.set_num_threads(num_threads)
    assert codes.shape[-1] == num_steps * target.frame_rate // 25
    num_different = 0
    for start in range(0, num_steps, 10):
        end = min(start + 10, num_steps)
        frames = slice(start * target.frame_rate // 25, end * target.frame_rate // 25)
        if torch.equal(codes[..., frames], expected[..., frames]):
            continue
        num_different += 1
        cut = {
            segment.name: conditioning[segment.name][
                ..., start * segment.frame_rate // 25 : end * segment.frame_rate // 25
            ]
            for segment in model.config.segments[:-1]
        }
        inputs = build_stage_inputs(model.config, cut)
        ids = [codes_to_ids(target, each[..., frames]) for each in (codes, expected)]
        numbers = numbers_of(model.config, [1], ids[0].shape[1], start / 25)
        _, margins = reference_decode(model, inputs, ids[0].shape[1], numbers, 1.0, **REFERENCE_SAMPLING)
        first = int((ids[0] != ids[1]).nonzero()[0, 1])
        assert margins[0, : first + 1].min() < 1e-4
    assert num_different <= 3


# ---- guidance ------------------------------------------------------------------------------------------------------


def rows_run(model, **settings) -> set[int]:
    """Batch sizes that the decoder is run with while one row is generated."""
    sizes = set()

    def note(module, args, kwargs):
        sizes.add((args[0] if args else kwargs["input_ids"]).shape[0])

    hook = model.model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        model.generate(**prompt(model.config, 1), max_new_tokens=2, cache_implementation="dynamic", **settings)
    finally:
        hook.remove()
    return sizes


def test_guidance_1_and_0_run_one_branch_and_others_two():
    model = stage_of(AccompGenCoarseConfig)
    assert rows_run(model, guidance_scale=1.0) == rows_run(model, guidance_scale=0.0) == {1}
    assert rows_run(model, guidance_scale=3.0) == {2}
    assert rows_run(model, guidance_scale=1) == {1}


@pytest.mark.parametrize("config_class", STAGE_CONFIGS)
@pytest.mark.parametrize("how", [{}, {"cache_implementation": "dynamic"}])
def test_guidance_0_is_deaf_and_guidance_1_is_not(config_class, how):
    model = stage_of(config_class, relative_position_axis="time")
    settings = {"max_new_tokens": 12, "seed": 5, **SAMPLING, **how}

    def tokens(scale: float, clip: int) -> torch.Tensor:
        inputs = prompt(model.config, 1, seed=clip)
        return new_ids(model.generate(**inputs, guidance_scale=scale, **settings), inputs)

    assert torch.equal(tokens(0.0, 1), tokens(0.0, 2))
    assert not torch.equal(tokens(1.0, 1), tokens(1.0, 2))
    inputs = prompt(model.config, 1)
    uniforms = numbers_of(model.config, [5], 12)
    for scale in (0.0, 1.0):
        expected, margins = reference_decode(model, inputs, 12, uniforms, scale, **REFERENCE_SAMPLING)
        assert_equal_up_to_ties(tokens(scale, 0), expected, margins)


def test_more_guidance_follows_the_condition_more():
    """Under growing guidance the likelihood ratio of the tokens, given against without condition, grows."""
    model = stage_of(AccompGenSemanticConfig)
    conditioning, _ = random_clip(model.config, 1, 0.4)

    def ratio(scale: float) -> float:
        codes = model.generate_codes(**conditioning, seed=2, do_sample=False, guidance_scale=scale)
        gains = []
        for dropped in (True, False):
            inputs = build_stage_inputs(model.config, conditioning, codes, torch.tensor([dropped]))
            with torch.no_grad():
                gains.append(model.target_losses(**inputs)[0].sum())
        return float(gains[0] - gains[1])

    assert ratio(0.0) < ratio(1.0) < ratio(4.0)


# ---- settings ------------------------------------------------------------------------------------------------------


def test_settings_come_from_the_models_generation_config_unless_given():
    model = tiny_stage(AccompGenSemanticConfig)
    inputs = prompt(model.config, 1, 0.4)
    own = {"temperature": 0.5, "top_k": 3, "guidance_scale": 2.0}
    given = model.generate(**inputs, seed=1, **own)
    default = model.generate(**inputs, seed=1)
    model.generation_config.update(**own)
    assert torch.equal(model.generate(**inputs, seed=1), given)
    assert not torch.equal(default, given)
    config = GenerationConfig(do_sample=True, temperature=0.9, top_k=250, guidance_scale=3.0)
    assert torch.equal(model.generate(**inputs, seed=1, generation_config=config), default)
    assert (model.generation_config.guidance_scale, model.generation_config.top_k) == (2.0, 3)  # not changed in place
    assert config.guidance_scale == 3.0


@pytest.mark.parametrize("config_class", STAGE_CONFIGS)
def test_a_stage_produces_exactly_its_tokens_each_in_its_codebook(config_class):
    model = stage_of(config_class)
    target = model.config.target_segment
    for num_prefix_frames in (0, 1):
        inputs = prompt(model.config, 3, 0.12, num_prefix_frames)
        sequences = model.generate(**inputs, seed=1, temperature=5.0)  # hot: any code may come
        num_frames = round(0.12 * target.frame_rate) - num_prefix_frames
        ids = new_ids(sequences, inputs)
        assert ids.shape == (3, num_frames * target.num_codebooks)
        codes = ids_to_codes(target, ids)
        assert codes.min() >= 0
        assert codes.max() < target.codebook_size


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_generates_valid_codes(dtype):
    model = tiny_stage(AccompGenCoarseConfig, relative_position_axis="time").to(dtype)
    for how in ({}, {"cache_implementation": "dynamic"}):
        inputs = prompt(model.config, 1, 0.08)
        codes = ids_to_codes(
            model.config.target_segment, new_ids(model.generate(**inputs, seed=1, **SAMPLING, **how), inputs)
        )
        assert codes.shape == (1, 4, 6)
        assert 0 <= codes.min() <= codes.max() < 16


def test_a_streamer_sees_the_prompt_and_every_token():
    class Collector(BaseStreamer):
        def __init__(self):
            self.values, self.is_ended = [], False

        def put(self, value):
            self.values.append(value.clone())

        def end(self):
            self.is_ended = True

    model = stage_of(AccompGenSemanticConfig)
    inputs = prompt(model.config, 2)
    for how in ({}, {"cache_implementation": "dynamic"}):
        collector = Collector()
        sequences = model.generate(**inputs, seed=1, streamer=collector, **how)
        assert collector.is_ended
        assert torch.equal(collector.values[0], inputs["input_ids"])
        assert torch.equal(torch.stack(collector.values[1:], 1), new_ids(sequences, inputs))


# ---- randomness ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config_class", STAGE_CONFIGS)
def test_item_i_of_a_batch_is_that_item_alone_with_seed_plus_i(config_class):
    model = stage_of(config_class)
    conditioning, _ = random_clip(model.config, 3, 0.12)
    together = model.generate_codes(**conditioning, seed=20)
    by_list = model.generate_codes(**conditioning, seed=[20, 21, 22])
    assert torch.equal(together, by_list)
    for item in range(3):
        alone = {name: codes[item : item + 1] for name, codes in conditioning.items()}
        assert torch.equal(model.generate_codes(**alone, seed=20 + item)[0], together[item])


def test_equal_seeds_give_equal_items_and_other_seeds_other_ones():
    model = stage_of(AccompGenSemanticConfig)
    conditioning = {name: codes.expand(4, -1) for name, codes in random_clip(model.config, 1, 0.4)[0].items()}
    codes = model.generate_codes(**conditioning, seed=[3, 9, 3, 4])
    assert torch.equal(codes[0], codes[2])
    assert len({tuple(row.tolist()) for row in codes}) == 3
    assert torch.equal(model.generate_codes(**conditioning, seed=[3, 9, 3, 4]), codes)
    assert not torch.equal(
        model.generate_codes(**conditioning), model.generate_codes(**conditioning)
    )  # no seed: a new one


def test_generation_leaves_global_random_state_and_threads_alone():
    model = stage_of(AccompGenCoarseConfig)
    conditioning, _ = random_clip(model.config, 1, 0.08)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    num_threads = torch.get_num_threads()
    expected = model.generate_codes(**conditioning, seed=1)
    for how in ({}, {"cache_implementation": "dynamic"}):
        model.generate_codes(**conditioning, seed=2, **how)
        assert random.getstate() == states[2]
        model.generate_codes(**conditioning, seed=None, **how)  # draws one from Python's random, so `set_seed` decides
        random.setstate(states[2])
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    assert torch.get_num_threads() == num_threads
    torch.rand(7)
    assert torch.equal(model.generate_codes(**conditioning, seed=1), expected)  # and does not depend on it


def test_randomness_does_not_depend_on_how_much_is_generated():
    model = stage_of(AccompGenCoarseConfig)
    inputs = prompt(model.config, 1, 0.2)
    long = new_ids(model.generate(**inputs, seed=4, max_new_tokens=40), inputs)
    short = new_ids(model.generate(**inputs, seed=4, max_new_tokens=9), inputs)
    assert torch.equal(long[:, :9], short)


# ---- windows -------------------------------------------------------------------------------------------------------

# Per stage: fields, steps of 40 ms of the song, and by hand its windows as (start, end, steps already there).
SONGS = {
    AccompGenSemanticConfig: (
        {"clip_duration_s": 0.4, "window_overlap_s": 0.16},
        18,
        [(0, 10, 0), (6, 16, 4), (8, 18, 8)],  # hop 6; the last moves left to end with the song
    ),
    AccompGenCoarseConfig: (
        {"clip_duration_s": 0.2, "window_overlap_s": 0.08},
        9,
        [(0, 5, 0), (3, 8, 2), (4, 9, 4)],
    ),
    AccompGenFineConfig: (
        {"clip_duration_s": 0.12, "window_overlap_s": 0.0},
        8,
        [(0, 3, 0), (3, 6, 0), (6, 8, 0)],
    ),
}
SHORT_SONGS = {
    AccompGenSemanticConfig: (*SONGS[AccompGenSemanticConfig][:1], 4, [(0, 4, 0)]),
    AccompGenCoarseConfig: (*SONGS[AccompGenCoarseConfig][:1], 3, [(0, 3, 0)]),
    AccompGenFineConfig: (*SONGS[AccompGenFineConfig][:1], 1, [(0, 1, 0)]),
}
SEED = 32  # no decision of these songs is near a tie
SILENCE = {"vocal_semantic_ids": [7], "instrumental_semantic_ids": [8], "coarse_codes": [1, 2, 3, 4]}


def decode_windows(model, conditioning, windows, seeds, guidance_scale) -> tuple[torch.Tensor, torch.Tensor]:
    """Windows one after another by the uncached reference; ids in time order, and margins."""
    config, target = model.config, model.config.target_segment
    window_steps = round(config.clip_duration_s * 25)
    slots_per_step = target.frame_rate // 25 * target.num_codebooks
    num_rows = len(seeds)
    ids, margins = torch.zeros(num_rows, 0, dtype=torch.long), torch.zeros(num_rows, 0)
    for start, end, num_kept in windows:
        cut = {}
        for segment in config.segments[:-1]:
            frames_per_step = segment.frame_rate // 25
            codes = conditioning[segment.name]
            codes = codes[..., start * frames_per_step : (start + window_steps) * frames_per_step]
            while codes.shape[-1] < window_steps * frames_per_step:  # past the song's end stands silence
                silence = torch.tensor(SILENCE[segment.name])
                silence = silence if codes.ndim == 2 else silence[:, None]
                codes = torch.cat([codes, silence.expand(*codes.shape[:-1], 1)], -1)
            cut[segment.name] = codes
        prefix = ids[:, start * slots_per_step : (start + num_kept) * slots_per_step]
        inputs = build_stage_inputs(config, cut, ids_to_codes(target, prefix))
        numbers = numbers_of(config, seeds, (end - start) * slots_per_step, start / 25)
        window_ids, window_margins = reference_decode(
            model,
            inputs,
            (end - start - num_kept) * slots_per_step,
            numbers[:, num_kept * slots_per_step :],
            guidance_scale,
            **REFERENCE_SAMPLING,
        )
        ids, margins = torch.cat([ids, window_ids], 1), torch.cat([margins, window_margins], 1)
    return ids, margins


@pytest.mark.parametrize(("song", "batch_size"), [(SONGS, 1), (SHORT_SONGS, 2)], ids=["long", "short"])
@pytest.mark.parametrize("config_class", STAGE_CONFIGS)
def test_a_song_is_generated_window_by_window_as_written_by_hand(config_class, song, batch_size):
    fields, num_steps, windows = song[config_class]
    model = tiny_stage(config_class, relative_position_axis="time", **fields)
    model.config.silence_codes = {name: SILENCE[name] for name in model.config.conditioning_names}
    conditioning, _ = random_clip(model.config, batch_size, num_steps / 25)
    seeds = [SEED, SEED + 1][:batch_size]
    expected, margins = decode_windows(model, conditioning, windows, seeds, 3.0)
    codes = model.generate_codes(**conditioning, seed=SEED, guidance_scale=3.0, **SAMPLING)
    assert codes.shape[-1] == num_steps * model.config.target_segment.frame_rate // 25
    assert_equal_up_to_ties(codes_to_ids(model.config.target_segment, codes), expected, margins)


@pytest.mark.parametrize("config_class", STAGE_CONFIGS)
def test_codes_once_kept_are_never_changed(config_class):
    """The first windows of a longer song are those of the song cut at their end."""
    fields, num_steps, windows = SONGS[config_class]
    model = stage_of(config_class, **fields)
    conditioning, _ = random_clip(model.config, 1, num_steps / 25)
    whole = model.generate_codes(**conditioning, seed=2)
    for _, end, _ in windows[:2]:
        cut = {
            segment.name: conditioning[segment.name][..., : end * segment.frame_rate // 25]
            for segment in model.config.segments[:-1]
        }
        codes = model.generate_codes(**cut, seed=2)
        assert torch.equal(whole[..., : codes.shape[-1]], codes)


def test_fine_windows_in_one_batch_are_the_windows_one_by_one():
    fields, num_steps, _ = SONGS[AccompGenFineConfig]
    model = stage_of(AccompGenFineConfig, **fields)
    conditioning, _ = random_clip(model.config, 2, num_steps / 25)
    num_calls = {}
    codes = {}
    for window_batch_size in (1, 4, 16):
        calls = []
        codes[window_batch_size] = model.generate_codes(
            **conditioning, seed=2, window_batch_size=window_batch_size, callback=calls.append
        )
        num_calls[window_batch_size] = len(calls)
    assert torch.equal(codes[1], codes[16])
    assert torch.equal(codes[4], codes[16])
    # Slots that were run: 3 steps of 12 slots, and 2 for an item's last window; two items have six windows.
    assert num_calls == {1: 2 * (36 + 36 + 24), 4: 36 + 36, 16: 36}


def test_without_silence_codes_a_short_song_is_filled_with_code_zero():
    fields, _, _ = SHORT_SONGS[AccompGenSemanticConfig]
    model = tiny_stage(AccompGenSemanticConfig, **fields)
    conditioning, _ = random_clip(model.config, 1, 0.16)
    codes = model.generate_codes(**conditioning, seed=1)
    model.config.silence_codes = {"vocal_semantic_ids": [0]}
    assert torch.equal(model.generate_codes(**conditioning, seed=1), codes)


@pytest.mark.parametrize("num_codebooks", [1, 2, 3])
def test_any_number_of_codebooks_is_generated(num_codebooks):
    for config_class in (AccompGenCoarseConfig, AccompGenFineConfig):
        fields = {**SONGS[config_class][0], "num_codebooks": num_codebooks}
        model = stage_of(config_class, **fields)
        conditioning, _ = random_clip(model.config, 2, 0.32)
        assert model.generate_codes(**conditioning, seed=1).shape == (2, num_codebooks, 24)


@pytest.mark.parametrize("config_class", STAGE_CONFIGS)
def test_the_callback_hears_of_every_second_once(config_class):
    fields, num_steps, _ = SONGS[config_class]
    model = stage_of(config_class, **fields)
    conditioning, _ = random_clip(model.config, 2, num_steps / 25)
    seconds = []
    model.generate_codes(**conditioning, seed=2, callback=seconds.append)
    assert min(seconds) > 0
    assert sum(seconds) == pytest.approx(2 * num_steps / 25)


def test_what_the_callback_raises_stops_the_work():
    model = stage_of(AccompGenSemanticConfig)
    conditioning, _ = random_clip(model.config, 1, 0.4)
    calls = []

    def stop_at_third(seconds):
        calls.append(seconds)
        if len(calls) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.generate_codes(**conditioning, callback=stop_at_third)
    assert len(calls) == 3


def test_inputs_are_not_changed_in_place():
    model = stage_of(AccompGenCoarseConfig)
    conditioning, _ = random_clip(model.config, 1, 0.08)
    before = {name: codes.clone() for name, codes in conditioning.items()}
    seeds = [4]
    model.generate_codes(**conditioning, seed=seeds)
    assert all(torch.equal(codes, before[name]) for name, codes in conditioning.items())
    assert seeds == [4]


# ---- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [{"num_beams": 4}, {"num_return_sequences": 2}, {"prompt_lookup_num_tokens": 3}, {"assistant_model": object()}],
    ids=lambda settings: next(iter(settings)),
)
def test_other_decoding_modes_are_refused(settings):
    model = stage_of(AccompGenSemanticConfig)
    name = next(iter(settings))
    message = rf"`{name}` is not supported by AccompGenSemanticForCausalLM: .* For variations repeat the rows"
    with pytest.raises(ValueError, match=message):
        model.generate(**prompt(model.config, 1), **settings)
    with pytest.raises(ValueError, match=message):
        model.generate_codes(**random_clip(model.config, 1)[0], **settings)


def test_beams_in_a_generation_config_are_refused():
    model = stage_of(AccompGenSemanticConfig)
    with pytest.raises(ValueError, match="`num_beams` is not supported"):
        model.generate(**prompt(model.config, 1), generation_config=GenerationConfig(num_beams=2))


def test_conditioning_is_given_once_and_completely():
    model = stage_of(AccompGenCoarseConfig)
    conditioning, _ = random_clip(model.config, 1)
    inputs = prompt(model.config, 1)
    message = (
        r"`generate` needs `input_ids` with `segment_ids` .* To give "
        r"\['vocal_semantic_ids', 'instrumental_semantic_ids'\] by name, call `generate_codes`"
    )
    with pytest.raises(ValueError, match=message):
        model.generate(**inputs, **conditioning)
    with pytest.raises(ValueError, match=message):
        model.generate(**conditioning)
    with pytest.raises(ValueError, match=message):
        model.generate()
    with pytest.raises(ValueError, match=message):
        model.generate(input_ids=inputs["input_ids"])
    with pytest.raises(ValueError, match="`conditioning` must have exactly the keys"):
        model.generate_codes()
    with pytest.raises(ValueError, match="`conditioning` must have exactly the keys"):
        model.generate_codes(vocal_semantic_ids=conditioning["vocal_semantic_ids"])
    longer = random_codes(model.config.segments[1], 1, 0.12)
    with pytest.raises(ValueError, match="must cover one duration"):
        model.generate_codes(**{**conditioning, "instrumental_semantic_ids": longer})
    with pytest.raises(ValueError, match=r"`seed` must be .* a list of 1 of them, got \[1, 2, 3\]"):
        model.generate_codes(**conditioning, seed=[1, 2, 3])


def test_conditioning_off_the_40_ms_grid_is_refused():
    model = stage_of(AccompGenSemanticConfig)
    with pytest.raises(ValueError, match="`vocal_semantic_ids` must last one or more steps of 40 ms, got 5 frames"):
        model.generate_codes(vocal_semantic_ids=torch.zeros(1, 5).long())
    with pytest.raises(ValueError, match="`vocal_semantic_ids` must last one or more steps of 40 ms, got 0 frames"):
        model.generate_codes(vocal_semantic_ids=torch.zeros(1, 0).long())


def test_conditioning_from_another_codebook_is_refused():
    model = stage_of(AccompGenSemanticConfig)
    with pytest.raises(ValueError, match=r"`vocal_semantic_ids` must be in .* made with another codebook"):
        model.generate_codes(vocal_semantic_ids=torch.full((1, 4), 20))


def test_an_unknown_setting_is_refused():
    model = stage_of(AccompGenSemanticConfig)
    with pytest.raises((ValueError, TypeError), match="guidance_scal"):
        model.generate_codes(**random_clip(model.config, 1)[0], guidance_scal=3.0)


def test_target_ids_come_back_in_sequence_order():
    """`generate` by name and by ids are one computation: codes are the new ids, de-interleaved."""
    model = stage_of(AccompGenCoarseConfig, clip_duration_s=0.12, window_overlap_s=0.0)
    conditioning, _ = random_clip(model.config, 1, 0.12)
    inputs = build_stage_inputs(model.config, conditioning)
    inputs.pop("labels")
    codes = model.generate_codes(**conditioning, seed=1)
    ids = new_ids(model.generate(**inputs, seed=1), inputs)
    slots = interleave_codes(codes)[0]
    assert [int(i) for i in ids[0]] == [43 + 16 * (j % 4) + int(code) for j, code in enumerate(slots)]
