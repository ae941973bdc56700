"""Block recipe of the codec: equal to plain EnCodec where it must be, consistent where it cannot be."""

import pytest
import torch
from transformers import EncodecConfig, EncodecModel

from accompgen_hf.accompgen.codec_accompgen import (
    decode_in_blocks,
    decode_stream,
    encode_in_blocks,
    iter_decoded_blocks,
)

HOP = 320
BLOCK_S, CONTEXT_S = 0.8, 0.16  # 60 and 12 frames: the recipe in small


@pytest.fixture(scope="module")
def codec() -> EncodecModel:
    """A small 24 kHz codec whose codebooks are taken from encoder outputs, so that codes depend on the audio."""
    config = EncodecConfig(
        target_bandwidths=[3.0, 6.0], num_filters=2, hidden_size=16, codebook_dim=16, num_residual_layers=1
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = EncodecModel(config).eval()
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            residual = model.encoder(0.3 * torch.randn(1, 1, 2000 * HOP, generator=generator))
            for layer in model.quantizer.layers:
                chosen = torch.randperm(residual.shape[-1], generator=generator)[: config.codebook_size]
                layer.codebook.embed.copy_(residual[0, :, chosen].T)
                residual = residual - layer.decode(layer.encode(residual))
    return model


def make_waveform(num_samples: int, batch_size: int = 1) -> torch.Tensor:
    return 0.3 * torch.randn(batch_size, num_samples, generator=torch.Generator().manual_seed(7))


def test_up_to_one_block_equals_plain_encodec(codec):
    waveform = make_waveform(10 * 24000 - 100, batch_size=2)
    codes = encode_in_blocks(codec, waveform)
    with torch.no_grad():
        expected = codec.encode(waveform[:, None], bandwidth=6.0).audio_codes[0]
        audio = codec.decode(expected[None], [None]).audio_values[:, 0]
    assert codes.shape == (2, 8, 750)
    assert torch.equal(codes, expected)
    assert torch.equal(decode_in_blocks(codec, codes), audio[:, : 750 * HOP])


def test_blocks_equal_a_hand_cut_long_signal(codec):
    waveform = make_waveform(150 * HOP + 17)
    codes = encode_in_blocks(codec, waveform, block_duration_s=BLOCK_S, context_duration_s=CONTEXT_S)
    pieces = []
    with torch.no_grad():
        for start, kept, end in [(0, 0, 60), (48, 60, 108), (96, 108, 151)]:
            block = codec.encode(waveform[:, None, start * HOP : end * HOP], bandwidth=6.0).audio_codes[0]
            pieces.append(block[..., kept - start :])
        assert torch.equal(codes, torch.cat(pieces, dim=-1))
        audio = decode_in_blocks(codec, codes, BLOCK_S, CONTEXT_S)
        second = codec.decode(codes[None, ..., 48:108], [None]).audio_values[:, 0, 12 * HOP :]
    assert audio.shape == (1, 151 * HOP)
    assert torch.equal(audio[:, 60 * HOP : 108 * HOP], second)


def test_the_start_of_long_audio_does_not_depend_on_what_follows(codec):
    waveform = make_waveform(200 * HOP)
    whole = encode_in_blocks(codec, waveform, block_duration_s=BLOCK_S, context_duration_s=CONTEXT_S)
    start = encode_in_blocks(codec, waveform[:, : 108 * HOP], block_duration_s=BLOCK_S, context_duration_s=CONTEXT_S)
    assert torch.equal(whole[..., :108], start)


def test_pieces_join_to_the_whole_and_streams_agree_for_any_chunking(codec):
    codes = torch.randint(0, 1024, (2, 8, 170), generator=torch.Generator().manual_seed(3))
    whole = decode_in_blocks(codec, codes, BLOCK_S, CONTEXT_S)
    pieces = list(iter_decoded_blocks(codec, codes, BLOCK_S, CONTEXT_S))
    assert [piece.shape[1] // HOP for piece in pieces] == [60, 48, 48, 14]
    assert torch.equal(torch.cat(pieces, dim=1), whole)
    chunks = codes.split([7, 60, 1, 100, 2], dim=-1)
    streamed = list(decode_stream(codec, chunks, BLOCK_S, CONTEXT_S))
    assert [piece.shape[1] // HOP for piece in streamed] == [7, 60, 1, 100, 2]
    torch.testing.assert_close(torch.cat(streamed, dim=1), whole, atol=1e-5, rtol=0)


def test_preview_decodes_the_coarse_codebooks_alone(codec):
    codes = encode_in_blocks(codec, make_waveform(30 * HOP))
    assert torch.equal(encode_in_blocks(codec, make_waveform(30 * HOP), bandwidth=3.0), codes[:, :4])
    preview = decode_in_blocks(codec, codes[:, :4])
    assert preview.shape == (1, 30 * HOP)
    assert not torch.equal(preview, decode_in_blocks(codec, codes))


def test_a_forward_never_sees_more_than_one_block(codec, monkeypatch):
    lengths = []
    plain_encode = codec.encoder.forward
    monkeypatch.setattr(codec.encoder, "forward", lambda x: lengths.append(x.shape[-1]) or plain_encode(x))
    encode_in_blocks(codec, make_waveform(400 * HOP), block_duration_s=BLOCK_S, context_duration_s=CONTEXT_S)
    assert len(lengths) == 9
    assert max(lengths) == 60 * HOP


def test_wrong_inputs_are_refused(codec):
    with pytest.raises(ValueError, match=r"`waveform` must be .batch_size, num_samples. with at least one sample"):
        encode_in_blocks(codec, torch.zeros(1, 1, 320))
    with pytest.raises(ValueError, match=r"`bandwidth` must be one of .3.0, 6.0. kbps, got 1.5"):
        encode_in_blocks(codec, torch.zeros(1, 320), bandwidth=1.5)
    with pytest.raises(ValueError, match=r"`codes` must be .batch_size, 1 to 8 codebooks, num_frames."):
        decode_in_blocks(codec, torch.zeros(1, 9, 4, dtype=torch.long))
    with pytest.raises(ValueError, match=r"`context_duration_s` must be at least 0 and less than `block_duration_s`"):
        encode_in_blocks(codec, torch.zeros(1, 320), block_duration_s=1.0, context_duration_s=1.0)
    config = EncodecConfig(num_filters=2, hidden_size=16, codebook_dim=16, normalize=True, chunk_length_s=1.0)
    with pytest.raises(ValueError, match=r"`codec` must be a causal mono EnCodec model"):
        encode_in_blocks(EncodecModel(config), torch.zeros(1, 320))
