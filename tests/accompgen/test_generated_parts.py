"""Whole generation of several parts in a style: their sum, a choice of them, streams, batches and what is refused."""

import collections
import functools

import pytest
import torch

from accompgen_hf import AccompGenCoarseConfig, AccompGenFineConfig, AccompGenSemanticConfig
from accompgen_hf.accompgen.stage_chain_accompgen import CODE_NAMES, add_batch_axis
from tiny import tiny_model, tiny_stage_config

PARTS = ("drums", "bass", "other")
NAMED = {"part_names": PARTS, "style_names": ("bossa_nova", "rock")}
SETTINGS = {"guidance_scale": 2.0, "seed": 3, "window_batch_size": 1}
STEP = 640


def make_vocals(num_steps: int = 41, seed: int = 0) -> torch.Tensor:
    noise = torch.randn(num_steps * STEP, generator=torch.Generator().manual_seed(seed))
    return 0.1 * noise * torch.sin(torch.arange(num_steps * STEP) * 0.0004)


@functools.cache
def make_model(axis: str = "token", dtype: torch.dtype = torch.float32):
    fields = {**NAMED, "relative_position_axis": axis}
    model = tiny_model(
        semantic_config=tiny_stage_config(AccompGenSemanticConfig, **fields),
        coarse_config=tiny_stage_config(AccompGenCoarseConfig, **fields),
        fine_config=tiny_stage_config(AccompGenFineConfig, condition_on_semantics=True, **fields),
    )
    for stage in (model.semantic, model.coarse, model.fine):  # encoder and codec stay float32, as when loaded
        stage.to(dtype)
    return model


@functools.cache
def make_whole(axis: str = "token", dtype: torch.dtype = torch.float32):
    return make_model(axis, dtype).generate(make_vocals()[None], style="rock", **SETTINGS)


def test_every_part_has_codes_of_its_own_and_the_accompaniment_is_their_sum():
    whole = make_whole()
    assert whole.vocal_semantic_ids.shape == (1, 82)
    assert whole.instrumental_semantic_ids.shape == (1, 3, 82)
    assert whole.coarse_codes.shape == whole.fine_codes.shape == (1, 3, 4, 123)
    assert whole.stems.shape == (1, 3, 123 * 320)
    torch.testing.assert_close(whole.audio, whole.stems.sum(1))
    for name in CODE_NAMES[1:]:
        drums, bass, other = whole[name][0]
        assert not torch.equal(drums, bass)
        assert not torch.equal(bass, other)
    decoded = make_model().decode(torch.cat([whole.coarse_codes[0], whole.fine_codes[0]], dim=1))
    torch.testing.assert_close(whole.stems[0], decoded, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("parts", [["bass"], ["other", "drums"]])
def test_a_part_that_is_asked_for_has_the_codes_it_has_among_the_others(parts, dtype):
    """Of other batch shapes sums are rounded otherwise: on some processors that decides near ties of float16."""
    whole, model = make_whole(dtype=dtype), make_model(dtype=dtype)
    chosen = model.generate(make_vocals()[None], style="rock", parts=parts, **SETTINGS)
    rows = [index for index, name in enumerate(PARTS) if name in parts]
    assert torch.equal(chosen.instrumental_semantic_ids, whole.instrumental_semantic_ids)  # all are planned
    for name in CODE_NAMES[2:]:
        share_of_same = (chosen[name] == whole[name][:, rows]).float().mean()
        assert share_of_same == 1 if dtype == torch.float32 else share_of_same > 0.8  # another part's: below 0.3
    if dtype == torch.float32:
        torch.testing.assert_close(chosen.stems, whole.stems[:, rows], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(chosen.audio, chosen.stems.sum(1))


@pytest.mark.parametrize("axis", ["token", "time"])
@pytest.mark.parametrize("parts", [None, ["other", "drums"]])
def test_a_stream_of_parts_is_the_whole_bit_for_bit(parts, axis):
    model = make_model(axis)
    whole = model.generate(make_vocals()[None], style="rock", parts=parts, **SETTINGS)
    codes: dict[str, list] = {}
    stems: list = []
    pieces = model.stream(
        make_vocals().split(3 * STEP),
        style="rock",
        parts=parts,
        on_codes=lambda name, piece: codes.setdefault(name, []).append(piece),
        on_stems=stems.append,
        **SETTINGS,
    )
    assert torch.equal(torch.cat(list(pieces)), whole.audio[0])
    assert torch.equal(torch.cat(stems, dim=-1), whole.stems[0])
    for name in CODE_NAMES:
        assert torch.equal(torch.cat(codes[name], dim=-1), whole[name])


def test_recordings_of_different_styles_and_lengths_share_batches():
    vocals, styles = [make_vocals(), make_vocals(20, seed=1)], ["rock", None]
    together = make_model().generate(vocals, style=styles, guidance_scale=2.0, seed=3)
    for index, each in enumerate(together):
        alone = make_model().generate(vocals[index][None], style=styles[index], guidance_scale=2.0, seed=3 + index)
        for name in CODE_NAMES:
            assert torch.equal(each[name], alone[name])  # no decision of these is near a tie


def test_the_style_is_heard_in_every_stage():
    any_style = make_model().generate(make_vocals()[None], style="any", **SETTINGS)
    plan = {name: make_whole()[name] for name in CODE_NAMES[:2]}
    known = make_model().generate(make_vocals()[None], known_codes=plan, **SETTINGS)
    assert not torch.equal(any_style.instrumental_semantic_ids, make_whole().instrumental_semantic_ids)
    assert torch.equal(known.instrumental_semantic_ids, make_whole().instrumental_semantic_ids)
    assert not torch.equal(known.coarse_codes, make_whole().coarse_codes)


def test_known_codes_of_parts_are_not_made_again():
    known = {name: make_whole()[name] for name in CODE_NAMES}
    again = make_model().generate(make_vocals()[None], known_codes=known, **{**SETTINGS, "seed": 99})
    assert torch.equal(again.audio, make_whole().audio)
    with pytest.raises(ValueError, match=r"`known_codes` must have `coarse_codes` of the 1 parts that are asked for"):
        make_model().generate(make_vocals()[None], known_codes=known, parts=["bass"], **SETTINGS)


def test_a_preview_of_parts_and_progress_of_all_parts_together():
    seconds = collections.Counter()
    preview = make_model().generate(
        make_vocals()[None],
        style="rock",
        preview=True,
        callback=lambda stage, s: seconds.update({stage: s}),
        **SETTINGS,
    )
    assert torch.equal(preview.coarse_codes, make_whole().coarse_codes)
    assert preview.fine_codes is None
    assert dict(seconds) == pytest.approx({"semantic": 1.64, "coarse": 1.64})


@pytest.mark.parametrize("method", ["generate", "stream"])
def test_parts_and_styles_that_a_model_has_not_are_refused(method):
    def call(model, **asked):
        list(getattr(model, method)(make_vocals(25)[None], **asked))

    with pytest.raises(ValueError, match="`parts` must be a list of names out of drums, bass, other"):
        call(make_model(), parts=["guitar"])
    with pytest.raises(ValueError, match="`style` must be one of any, bossa_nova, rock, got 'polka'"):
        call(make_model(), style="polka")
    with pytest.raises(ValueError, match="`parts` must be left out: this model plays one part, 'instrumental'"):
        call(tiny_model(), parts=["drums"])
    with pytest.raises(ValueError, match="`style` must be left out: this model knows no styles; got 'rock'"):
        call(tiny_model(), style="rock")


def test_a_batch_axis_is_added_before_an_axis_of_parts():
    shapes = {
        ("vocal_semantic_ids", (5,)): (1, 5),
        ("instrumental_semantic_ids", (3, 5)): (1, 3, 5),
        ("coarse_codes", (3, 4, 6)): (1, 3, 4, 6),
        ("coarse_codes", (1, 3, 4, 6)): (1, 3, 4, 6),
    }
    for (name, shape), expected in shapes.items():
        assert add_batch_axis(name, torch.zeros(shape), num_parts=3).shape == expected
