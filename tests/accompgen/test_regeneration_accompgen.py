"""Made anew: what is inside a span changes with the seed and returns with the old one, everything else stays."""

import functools

import numpy as np
import pytest
import torch

from accompgen_hf import (
    AccompGenCoarseConfig,
    AccompGenFineConfig,
    AccompGenForConditionalGeneration,
    AccompGenSemanticConfig,
)
from accompgen_hf.accompgen.regeneration_accompgen import Span, snap_to_beats
from accompgen_hf.accompgen.stage_chain_accompgen import CODE_NAMES
from accompgen_hf.accompgen.windows_accompgen import frames_per_step
from tiny import FOURIER, tiny_codec, tiny_model, tiny_stage_config

PARTS = ("drums", "bass", "other")
NUM_STEPS, STEP = 64, 640  # 2.56 s: several windows of every stage
SPAN_S = (0.6, 1.48)  # steps 15 to 37; a fine window holds 10, a coarse one 15, a semantic one 25
SPAN = (15, 37)
SETTINGS = {"guidance_scale": 2.0, "window_batch_size": 2}


def make_vocals(num_steps: int = NUM_STEPS, seed: int = 0) -> torch.Tensor:
    noise = torch.randn(num_steps * STEP, generator=torch.Generator().manual_seed(seed))
    return 0.1 * noise * torch.sin(torch.arange(num_steps * STEP) * 0.0004)


@functools.cache
def make_model(with_parts: bool = False):
    if not with_parts:
        return tiny_model()
    named = {"part_names": PARTS}
    return tiny_model(
        semantic_config=tiny_stage_config(AccompGenSemanticConfig, **named),
        coarse_config=tiny_stage_config(AccompGenCoarseConfig, **named),
        fine_config=tiny_stage_config(AccompGenFineConfig, **named),
    )


@functools.cache
def make_whole(with_parts: bool = False):
    return make_model(with_parts).generate(make_vocals()[None], seed=3, **SETTINGS)


def codes_of(output, names=CODE_NAMES) -> dict[str, torch.Tensor]:
    return {name: output[name] for name in names if output[name] is not None}


def regenerate(seed: int, with_parts: bool = False, known=None, vocals=None, span_s=SPAN_S, **settings):
    known = codes_of(make_whole(with_parts)) if known is None else known
    vocals = make_vocals() if vocals is None else vocals
    return make_model(with_parts).generate(
        vocals[None], seed=seed, known_codes=known, regenerate=span_s, **{**SETTINGS, **settings}
    )


def assert_only_inside(codes: torch.Tensor, before: torch.Tensor, name: str, span=SPAN) -> None:
    per_step = frames_per_step(name)
    start, end = (step * per_step for step in span)
    assert codes.shape == before.shape
    assert torch.equal(codes[..., :start], before[..., :start])
    assert torch.equal(codes[..., end:], before[..., end:])
    assert not torch.equal(codes[..., start:end], before[..., start:end])


@pytest.mark.parametrize("settings", [{}, {"engine": "torch"}])
def test_codes_change_inside_the_span_alone_and_return_with_the_old_seed(settings):
    whole, other, again = make_whole(), regenerate(8, **settings), regenerate(3, **settings)
    for name in CODE_NAMES[1:]:
        assert_only_inside(other[name], whole[name], name)
        assert torch.equal(again[name], whole[name])  # no decision of this recording is near a tie
    assert torch.equal(other.vocal_semantic_ids, whole.vocal_semantic_ids)
    assert torch.equal(again.audio, whole.audio)


def test_audio_before_the_span_and_behind_the_codecs_block_is_equal_to_the_bit():
    other, whole = regenerate(8), make_whole()
    start = SPAN[0] * 3 * 320
    assert torch.equal(other.audio[:, :start], whole.audio[:, :start])  # EnCodec: one block of 10 s meets the span
    assert not torch.equal(other.audio[:, start:], whole.audio[:, start:])


@pytest.mark.parametrize(
    ("form", "num_before", "num_after"),
    [
        ({}, 2, 6 * (2 + 1) + 1),  # frames, with 2 layers
        ({"is_causal": False, "istft_padding": "same", "norm_bandwidths": [1.2, 2.4]}, 11, 11),
    ],
)
@pytest.mark.parametrize("block_s", [10.0, 0.8])
def test_with_a_fourier_decoder_audio_changes_within_a_few_frames_of_the_span(form, num_before, num_after, block_s):
    parts = {name: getattr(make_model(), name) for name in ("semantic_encoder", "semantic", "coarse", "fine")}
    model = AccompGenForConditionalGeneration.from_sub_models(
        **parts,
        codec=tiny_codec(**FOURIER, **form),
        bandwidth=2.4,
        preview_bandwidth=1.2,
        codec_block_duration_s=block_s,
        codec_context_duration_s=block_s / 5,
    )
    whole = model.generate(make_vocals()[None], seed=3, **SETTINGS)
    other = model.generate(make_vocals()[None], seed=8, known_codes=codes_of(whole), regenerate=SPAN_S, **SETTINGS)
    first, last = SPAN[0] * 3 - num_before, SPAN[1] * 3 + num_after
    is_other = (other.audio != whole.audio).view(-1, 320).any(1)  # of every frame
    assert not is_other[:first].any()
    assert not is_other[last:].any()
    assert is_other[SPAN[0] * 3 : SPAN[1] * 3].all()
    assert is_other[SPAN[1] * 3 : last].any()


@pytest.mark.parametrize("name", CODE_NAMES[1:])
def test_target_codes_after_the_span_are_not_heard_and_those_before_are(name):
    per_step, expected = frames_per_step(name), regenerate(8)
    inside = slice(SPAN[0] * per_step, SPAN[1] * per_step)

    def with_other_codes(first: int, end: int) -> torch.Tensor:
        known = {key: codes.clone() for key, codes in codes_of(make_whole()).items()}
        changed = known[name][..., first * per_step : end * per_step]
        changed.copy_((changed + 1) % 16)
        return regenerate(8, known=known)[name][..., inside]

    assert torch.equal(with_other_codes(SPAN[1], NUM_STEPS), expected[name][..., inside])
    assert not torch.equal(with_other_codes(SPAN[0] - 4, SPAN[0]), expected[name][..., inside])


def test_nothing_but_windows_that_meet_the_span_runs_again():
    seconds: dict[str, float] = {}
    regenerate(8, callback=lambda stage, s: seconds.update({stage: seconds.get(stage, 0.0) + s}))
    assert seconds == pytest.approx(dict.fromkeys(("semantic", "coarse", "fine"), SPAN_S[1] - SPAN_S[0]))


def test_a_preview_is_regenerated_too():
    known = codes_of(make_whole(), CODE_NAMES[:3])
    preview = regenerate(8, known=known, preview=True)
    assert_only_inside(preview.coarse_codes, make_whole().coarse_codes, "coarse_codes")
    assert preview.fine_codes is None


def test_a_batch_has_a_span_for_each_recording_or_none():
    known = [codes_of(make_whole()), codes_of(make_model().generate(make_vocals(40)[None], seed=4, **SETTINGS))]
    whole, short = make_model().generate(
        [make_vocals(), make_vocals(40)],
        seed=[8, 9],
        known_codes=known,
        regenerate=[SPAN_S, None],
        **SETTINGS,
    )
    assert_only_inside(whole.coarse_codes, known[0]["coarse_codes"], "coarse_codes")
    assert torch.equal(short.coarse_codes, known[1]["coarse_codes"])
    for name in CODE_NAMES[1:]:
        assert torch.equal(whole[name], regenerate(8)[name])


@pytest.mark.parametrize("num_steps", [33, 50])
def test_a_longer_recording_is_continued(num_steps):
    short = codes_of(make_model().generate(make_vocals(num_steps)[None], seed=3, **SETTINGS))
    longer = regenerate(3, known=short, span_s=(num_steps / 25, None))
    for name in CODE_NAMES[1:]:
        num_known = short[name].shape[-1]
        assert longer[name].shape == make_whole()[name].shape
        assert torch.equal(longer[name][..., :num_known], short[name])
        assert longer[name][..., num_known:].unique().numel() > 1
    assert torch.equal(longer.vocal_semantic_ids, make_whole().vocal_semantic_ids)


@pytest.mark.parametrize("settings", [{}, {"engine": "torch"}])
def test_some_parts_change_and_the_others_stay(settings):
    whole = make_whole(True)
    other = regenerate(8, True, regenerate_parts=["drums", "other"], **settings)
    for name in CODE_NAMES[1:]:
        for row, part in enumerate(PARTS):
            if part == "bass":
                assert torch.equal(other[name][:, row], whole[name][:, row])
            else:
                assert_only_inside(other[name][:, row], whole[name][:, row], name)
    assert torch.equal(other.stems[:, 1], whole.stems[:, 1])
    again = regenerate(3, True, regenerate_parts=["drums", "other"], **settings)
    for name in CODE_NAMES[1:]:
        assert torch.equal(again[name], whole[name])


def test_the_loop_of_transformers_makes_the_same():
    asked = {"span_s": (0.6, 0.72), "regenerate_parts": ["drums"]}  # it is slow
    expected = regenerate(8, True, **asked)
    stock = regenerate(8, True, cache_implementation="dynamic", **asked)
    for name in CODE_NAMES:
        assert torch.equal(stock[name], expected[name])


def test_a_part_is_regenerated_among_those_that_are_played():
    played = make_model(True).generate(make_vocals()[None], seed=3, parts=["drums", "bass"], **SETTINGS)
    other = regenerate(8, True, known=codes_of(played), parts=["drums", "bass"], regenerate_parts=["bass"])
    assert torch.equal(other.coarse_codes[:, 0], played.coarse_codes[:, 0])
    assert_only_inside(other.coarse_codes[:, 1], played.coarse_codes[:, 1], "coarse_codes")
    assert_only_inside(
        other.instrumental_semantic_ids[:, 1], played.instrumental_semantic_ids[:, 1], "instrumental_semantic_ids"
    )
    with pytest.raises(ValueError, match="`regenerate_parts` must be among the parts that are played, got"):
        regenerate(8, True, known=codes_of(played), parts=["drums", "bass"], regenerate_parts=["other"])


@pytest.mark.parametrize(
    ("span_s", "message"),
    [
        ((0.5, 0.5), "`regenerate` must begin at 0 s or later and end behind its start, got 0.5 to 0.5"),
        ((-1, 0.5), "`regenerate` must begin at 0 s or later"),
        ((float("nan"), 0.5), "`regenerate` must begin at 0 s or later"),
        ((2.0, 3.0), "`regenerate` must begin inside the 2.56 s whose codes are known and end by 2.56 s, got 2 s to"),
        ((2.56, None), "`regenerate` must hold at least one step of 0.04 s"),
        ([(0.1, 0.2)] * 2, "`regenerate` must be one pair or a list of 1, got 2"),
    ],
)
def test_spans_outside_the_known_codes_are_refused(span_s, message):
    with pytest.raises(ValueError, match=message):
        regenerate(8, span_s=span_s)


@pytest.mark.parametrize("span_s", [3.0, (1.0,), ("a", 2.0), (None, 2.0)])
def test_what_is_no_pair_of_seconds_is_refused(span_s):
    with pytest.raises(TypeError, match=r"`regenerate` must be a pair \(start_s, end_s\) of seconds"):
        regenerate(8, span_s=span_s)


def test_codes_that_are_missing_or_do_not_fit_are_refused():
    known = codes_of(make_whole())
    with pytest.raises(ValueError, match="`regenerate` needs `known_codes`"):
        regenerate(8, known={})
    with pytest.raises(ValueError, match="`known_codes` must be equally long"):
        regenerate(8, known={**known, "coarse_codes": known["coarse_codes"][..., :-3]})
    with pytest.raises(ValueError, match="`known_codes` must belong to this recording"):
        make_model().generate([make_vocals(60)], seed=8, known_codes=[known], regenerate=SPAN_S)
    with pytest.raises(ValueError, match="`regenerate` must reach the end of a recording that is longer"):
        regenerate(8, vocals=make_vocals(80))
    with pytest.raises(ValueError, match="`regenerate_parts` must be left out: this model plays one part"):
        regenerate(8, regenerate_parts=["drums"])
    with pytest.raises(ValueError, match="`regenerate_parts` needs `regenerate`"):
        regenerate(8, span_s=None, regenerate_parts=["drums"])
    with pytest.raises(ValueError, match="`regenerate_parts` must be a list of names out of drums, bass, other"):
        regenerate(8, True, regenerate_parts=["flute"])
    with pytest.raises(ValueError, match="`regenerate_parts` must be left out where a recording is longer"):
        regenerate(8, True, vocals=make_vocals(80), span_s=(1.0, None), regenerate_parts=["drums"])


def test_a_span_within_a_window():
    span = Span(15, 37)
    assert [span.within(*window) for window in ((0, 10), (10, 20), (20, 30), (30, 40), (40, 50))] == [
        (10, 10),
        (15, 20),
        (20, 30),
        (30, 37),
        (50, 50),
    ]
    assert Span(15).within(10, 20) == (15, 20)
    assert Span(0, 9, (1,)).of_part(0).within(0, 9) == (9, 9)


@pytest.mark.parametrize(
    ("span_s", "expected"),
    [
        ((0.9, 2.1), (1.0, 2.0)),
        ((0.1, 3.9), (0.0, 4.0)),  # the recording's own ends
        ((3.2, None), (3.0, 4.0)),
        ((1.1, 1.2), (1.0, 2.0)),  # both nearest to one beat: the beat that holds them
        ((1.8, 1.9), (1.0, 2.0)),
        ((3.8, 3.9), (3.0, 4.0)),
    ],
)
def test_spans_snap_to_beats(span_s, expected):
    assert snap_to_beats(*span_s, np.array([1.0, 2.0, 3.0]), 4.0) == expected


def test_without_beats_a_span_snaps_to_the_whole_recording():
    assert snap_to_beats(1.0, 2.0, [], 4.0) == (0.0, 4.0)
