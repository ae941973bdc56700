"""The codec in both forms: EnCodec to the bit, or a Fourier decoder on the same codes; nothing is drawn at random."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, EncodecModel

from accompgen_hf import AccompGenCodec, AccompGenForConditionalGeneration
from accompgen_hf.accompgen.codec_accompgen import decode_in_blocks, decode_stream, encode_in_blocks
from accompgen_hf.accompgen.modeling_accompgen import equivalent_fingerprints, fingerprint_of_parts
from tiny import FOURIER, init_codebooks, tiny_codec, tiny_codec_config, tiny_config, tiny_model

HOP = 320
BLOCK_S, CONTEXT_S = 0.8, 0.16  # 60 and 12 frames: the recipe in small
VOCOS = {"is_causal": False, "istft_padding": "same", "norm_bandwidths": [1.2, 2.4]}


@pytest.fixture(scope="module")
def plain_codec() -> EncodecModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        codec = EncodecModel(tiny_codec_config()).eval()
    init_codebooks(codec)
    return codec


def make_waveform(num_samples: int, batch_size: int = 1) -> torch.Tensor:
    return 0.3 * torch.randn(batch_size, num_samples, generator=torch.Generator().manual_seed(7))


def random_codes(num_frames: int, batch_size: int = 1, num_codebooks: int = 8) -> torch.Tensor:
    return torch.randint(0, 16, (batch_size, num_codebooks, num_frames), generator=torch.Generator().manual_seed(3))


def test_a_plain_encodec_folder_gives_its_codes_and_audio_to_the_bit(plain_codec, tmp_path):
    plain_codec.save_pretrained(tmp_path)
    codec = AccompGenCodec.from_pretrained(tmp_path)
    assert codec.config.decoder_type == "encodec"
    waveform = make_waveform(100 * HOP, batch_size=2)
    codes = encode_in_blocks(plain_codec, waveform, 2.4, BLOCK_S, CONTEXT_S)
    assert len(codes.unique()) > 4
    assert torch.equal(encode_in_blocks(codec, waveform, 2.4, BLOCK_S, CONTEXT_S), codes)
    audio = decode_in_blocks(plain_codec, codes, BLOCK_S, CONTEXT_S)
    assert torch.equal(decode_in_blocks(codec, codes, BLOCK_S, CONTEXT_S), audio)
    streams = [list(decode_stream(part, codes.split(17, -1), BLOCK_S, CONTEXT_S)) for part in (plain_codec, codec)]
    assert all(torch.equal(*pieces) for pieces in zip(*streams, strict=True))
    names = [name for name, _ in codec.named_parameters()]
    assert names == [name for name, _ in plain_codec.named_parameters()]


def test_both_forms_make_the_same_codes(plain_codec):
    codec = tiny_codec(**FOURIER)
    codec.encoder.load_state_dict(plain_codec.encoder.state_dict())
    codec.quantizer.load_state_dict(plain_codec.quantizer.state_dict())
    waveform = make_waveform(50 * HOP)
    assert torch.equal(encode_in_blocks(codec, waveform, 2.4), encode_in_blocks(plain_codec, waveform, 2.4))


@pytest.mark.parametrize("fields", [{}, VOCOS], ids=["ours", "vocos"])
def test_blocks_and_streams_equal_the_whole_fourier_decode(fields):
    codec = tiny_codec(**FOURIER, **fields)
    codes = random_codes(170, batch_size=2)
    with torch.no_grad():
        whole = codec.decode(codes[None], [None]).audio_values[:, 0]
    assert whole.shape == (2, 170 * HOP)
    blocks = decode_in_blocks(codec, codes, BLOCK_S, CONTEXT_S)
    torch.testing.assert_close(blocks, whole, atol=1e-5, rtol=1e-4)
    pieces = list(decode_stream(codec, codes.split([7, 60, 1, 100, 2], dim=-1), BLOCK_S, CONTEXT_S))
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, atol=1e-5, rtol=1e-4)


def test_a_fourier_stream_holds_two_frames_back_and_flushes_them():
    codec = tiny_codec(**FOURIER)
    chunks = random_codes(9).split([1, 4, 4], dim=-1)
    pieces = list(decode_stream(codec, chunks))
    assert [piece.shape[1] // HOP for piece in pieces] == [3, 4, 2]
    assert list(decode_stream(codec, [])) == []


def test_missing_decoder_weights_are_refused(plain_codec, tmp_path):
    plain_codec.save_pretrained(tmp_path)
    with pytest.raises(
        ValueError, match=r"`codec` must hold all weights of an EnCodec with a Fourier decoder, .* lacks"
    ):
        AccompGenCodec.from_pretrained(tmp_path, **FOURIER)


def test_a_missing_or_broken_weight_is_refused_and_running_sums_may_be_missing(tmp_path):
    codec = tiny_codec(**FOURIER)
    codec.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    kept = {
        name: value for name, value in tensors.items() if not name.endswith(("cluster_size", "embed_avg", "inited"))
    }
    assert len(kept) < len(tensors)
    save_file(kept, tmp_path / "model.safetensors", {"format": "pt"})
    loaded, info = AccompGenCodec.from_pretrained(tmp_path, output_loading_info=True)
    codes = random_codes(5)
    assert torch.equal(decode_in_blocks(loaded, codes), decode_in_blocks(codec, codes))
    assert not info["unexpected_keys"]
    damaged = {**kept, "decoder.output.bias": torch.full_like(kept["decoder.output.bias"], torch.nan)}
    save_file(damaged, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"`decoder.output.bias` must be finite"):
        AccompGenCodec.from_pretrained(tmp_path)
    save_file({name: kept[name] for name in kept if name != "decoder.output.bias"}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"lacks decoder.output.bias"):
        AccompGenCodec.from_pretrained(tmp_path)


def test_a_number_of_codebooks_without_a_row_is_refused():
    codec = tiny_codec(**FOURIER, **VOCOS)
    with pytest.raises(ValueError, match=r"`codes` must have one of \[4, 8\] codebooks"):
        decode_in_blocks(codec, random_codes(5, num_codebooks=3))


def test_scales_of_normalised_codecs_are_applied():
    codec = tiny_codec(**FOURIER)
    codes = random_codes(5)[None]
    with torch.no_grad():
        plain, scaled = (codec.decode(codes, [scale]).audio_values for scale in (None, torch.tensor([[2.0]])))
    torch.testing.assert_close(scaled, 2 * plain)


def test_auto_classes_know_the_codec(tmp_path):
    tiny_codec(**FOURIER).save_pretrained(tmp_path)
    assert isinstance(AutoModel.from_pretrained(tmp_path), AccompGenCodec)


# ---- inside the composite ------------------------------------------------------------------------------------------


def parts_of(model) -> dict:
    return {name: getattr(model, name) for name in ("semantic_encoder", "semantic", "coarse", "fine", "codec")}


def test_the_composite_holds_a_fourier_codec(tmp_path):
    codec = tiny_codec(**FOURIER)
    parts = {**parts_of(tiny_model()), "codec": codec}
    model = AccompGenForConditionalGeneration.from_sub_models(**parts, bandwidth=2.4, preview_bandwidth=1.2)
    model.save_pretrained(tmp_path)
    loaded = AccompGenForConditionalGeneration.from_pretrained(tmp_path)
    assert loaded.config.codec_config.decoder_type == "fourier"
    codes = random_codes(30)
    assert torch.equal(loaded.decode(codes), decode_in_blocks(codec, codes))
    vocals = make_waveform(640 * 25)
    assert torch.equal(loaded.generate(vocals, seed=3).audio, model.generate(vocals, seed=3).audio)


def test_a_stream_through_a_fourier_codec_equals_the_whole():
    parts = {**parts_of(tiny_model()), "codec": tiny_codec(**FOURIER)}
    model = AccompGenForConditionalGeneration.from_sub_models(**parts, bandwidth=2.4, preview_bandwidth=1.2)
    vocals = make_waveform(640 * 60)
    whole = model.generate(vocals, seed=3).audio
    pieces = list(model.stream(vocals[0].split(640 * 7), seed=3))
    assert len(pieces) > 1
    streamed = torch.cat(pieces)[None]
    assert streamed.shape == whole.shape
    torch.testing.assert_close(streamed, whole, atol=1e-5, rtol=1e-4)


def test_the_fingerprint_covers_encoder_and_quantizer_alone():
    codec = tiny_codec(**FOURIER)
    model = tiny_model()
    before = fingerprint_of_parts(model.config, model.semantic_encoder, codec)
    with torch.no_grad():
        codec.decoder.output.bias.add_(1)
    assert fingerprint_of_parts(model.config, model.semantic_encoder, codec) == before
    with torch.no_grad():
        codec.quantizer.layers[0].codebook.embed.add_(1)
    assert fingerprint_of_parts(model.config, model.semantic_encoder, codec) != before


def test_stages_of_the_former_fingerprint_are_accepted_for_the_unchanged_codec():
    model = tiny_model()
    today, former = equivalent_fingerprints(model.config, model.semantic_encoder, model.codec)
    assert today != former
    parts = parts_of(model)
    for name in ("semantic", "coarse"):
        parts[name].config.token_fingerprint = former
    bandwidths = {"bandwidth": 2.4, "preview_bandwidth": 1.2}
    whole = AccompGenForConditionalGeneration.from_sub_models(**parts, **bandwidths)
    assert whole.config.token_fingerprint == whole.semantic.config.token_fingerprint == today
    assert parts["semantic"].config.token_fingerprint == former
    with torch.no_grad():
        parts["codec"].decoder.layers[0].conv.bias.add_(1)
    with pytest.raises(ValueError, match="stage `semantic`"):
        AccompGenForConditionalGeneration.from_sub_models(**parts, **bandwidths)


def test_a_composite_config_from_before_loads_as_the_encodec_form():
    settings = tiny_config().to_dict()
    settings["codec_config"] = tiny_codec_config().to_dict()
    config = type(tiny_config()).from_dict(settings)
    assert config.codec_config.decoder_type == "encodec"
    assert config.codec_config.num_filters == 2
