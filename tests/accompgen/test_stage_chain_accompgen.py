"""Recordings: a stream has the bits of the whole, whatever the pieces; those of any length run together."""

import pytest
import torch

from accompgen_hf.accompgen.stage_chain_accompgen import CODE_NAMES, stream_semantic_ids
from tiny import tiny_model

SETTINGS = {"guidance_scale": 1.0}
STEP = 640


def make_vocals(num_steps: int, seed: int = 0) -> torch.Tensor:
    noise = torch.randn(num_steps * STEP, generator=torch.Generator().manual_seed(seed))
    return 0.1 * noise * torch.sin(torch.arange(num_steps * STEP) * 0.0004)


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def whole(model):
    return model.generate(make_vocals(41)[None], seed=3, window_batch_size=1, **SETTINGS)


def stream(model, vocals: torch.Tensor, piece_steps: int, **kwargs) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    codes: dict[str, list] = {}
    audio = model.stream(
        vocals.split(piece_steps * STEP),
        seed=3,
        **SETTINGS,
        on_codes=lambda name, piece: codes.setdefault(name, []).append(piece),
        **kwargs,
    )
    return torch.cat(list(audio)), {name: torch.cat(pieces, -1) for name, pieces in codes.items()}


@pytest.mark.parametrize("piece_steps", [3, 1000])
def test_a_stream_is_the_whole_bit_for_bit(model, whole, piece_steps):
    audio, codes = stream(model, make_vocals(41), piece_steps)
    assert torch.equal(audio, whole.audio[0])
    for name in CODE_NAMES:
        assert torch.equal(codes[name], whole[name])


def test_a_stream_in_shared_batches_has_the_same_codes(model, whole):
    _, codes = stream(model, make_vocals(41), 5, window_batch_size=3)
    for name in CODE_NAMES:
        assert torch.equal(codes[name], whole[name])  # no decision of this recording is near a tie


def test_codes_that_are_known_are_not_made_again(model, whole, monkeypatch):
    known = {name: whole[name] for name in CODE_NAMES[:3]}
    monkeypatch.setattr(model.coarse, "generate", None)
    monkeypatch.setattr(model.semantic, "generate", None)
    monkeypatch.setattr(model.semantic_encoder, "extract_block_features", None)
    again = model.generate(make_vocals(41)[None], seed=3, window_batch_size=1, known_codes=known, **SETTINGS)
    assert torch.equal(again.audio, whole.audio)
    audio, _ = stream(model, make_vocals(41), 7, known_codes=known)
    assert torch.equal(audio, whole.audio[0])


def test_the_first_audio_waits_for_one_window_of_each_stage(model):
    windows: list[str] = []
    asked = []

    def pieces():
        for index, piece in enumerate(make_vocals(1000).split(25 * STEP)):
            asked.append(index)
            yield piece

    def note(stage, seconds):
        if windows[-1:] != [stage]:
            windows.append(stage)

    next(model.stream(pieces(), seed=3, **SETTINGS, callback=note))
    assert windows == ["semantic", "coarse", "fine"]
    assert len(asked) == 10  # seconds of vocals: one block of the encoder


def test_recordings_of_any_length_run_together(model):
    lengths = (41, 9, 23)
    vocals = [make_vocals(num_steps, seed) for seed, num_steps in enumerate(lengths)]
    together = model.generate(vocals, [3, 4, 5], window_batch_size=8, **SETTINGS)
    for output, own, seed in zip(together, vocals, (3, 4, 5), strict=True):
        [alone] = model.generate([own], [seed], window_batch_size=1, **SETTINGS)
        for name in CODE_NAMES:
            assert torch.equal(output[name], alone[name])
        torch.testing.assert_close(output["audio"], alone["audio"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("seconds", [9, 10, 18, 19, 27])
@pytest.mark.parametrize("piece_s", [1, 100])
def test_blocks_of_a_stream_keep_the_frames_of_the_recipe(model, seconds, piece_s):
    vocals = make_vocals(25 * seconds)
    expected = model.semantic_encoder(vocals[None]).semantic_ids
    pieces = list(stream_semantic_ids(model.semantic_encoder, vocals.split(piece_s * 16_000)))
    assert torch.equal(torch.cat(pieces, -1), expected)
    known = expected[:, : pieces[0].shape[1]]
    again = stream_semantic_ids(model.semantic_encoder, vocals.split(piece_s * 16_000), known)
    assert torch.equal(torch.cat(list(again), -1), expected)
