"""Tokens of one pair: aligned, levelled and noised as inference does it."""

import numpy as np
import pytest
import torch
from transformers import EncodecConfig, EncodecModel

from accompgen_hf.accompgen.configuration_accompgen import AccompGenSemanticEncoderConfig
from accompgen_hf.accompgen.modeling_accompgen_semantic_encoder import AccompGenSemanticEncoder
from accompgen_hf.accompgen.processing_accompgen import AccompGenProcessor
from accompgen_hf.data.tokenization import TokenExtractor, TokenRecipe
from accompgen_hf.songs.song import generate_song

RATE = 24000


@pytest.fixture(scope="module")
def extractor() -> TokenExtractor:
    """A random encoder and codec of the real classes, with 20 clusters and 8 codebooks."""
    hubert_config = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "conv_dim": (8,) * 7,
        "num_conv_pos_embeddings": 4,
        "num_conv_pos_embedding_groups": 2,
    }
    config = AccompGenSemanticEncoderConfig(hubert_config=hubert_config, layer=2, num_clusters=20)
    codec_config = EncodecConfig(num_filters=2, hidden_size=16, codebook_dim=16, num_residual_layers=1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder, codec = AccompGenSemanticEncoder(config), EncodecModel(codec_config)
        for layer in codec.quantizer.layers:
            layer.codebook.embed.normal_()
    return TokenExtractor(encoder, codec)


def test_a_song_gives_aligned_streams_of_its_length(extractor):
    song = generate_song(3, duration_s=2.0)
    tokens = extractor.extract(song.vocals, song.instrumental, song.sampling_rate, "song-000003")
    assert tokens["vocal_semantic_ids"].shape == tokens["instrumental_semantic_ids"].shape == (100,)
    assert tokens["codes"].shape == (8, 150)
    assert tokens["codes"].dtype == tokens["vocal_semantic_ids"].dtype == np.int16
    assert 0 < tokens["vocal_activity"] <= 1


def test_a_bandwidth_that_the_codec_lacks_is_refused_at_once(extractor):
    with pytest.raises(ValueError, match=r"`bandwidth` must be one of the codec's \(1.5, 3.0, 6.0.*got 5.0"):
        TokenExtractor(extractor.semantic_encoder, extractor.codec, TokenRecipe(bandwidth=5.0))


def test_vocals_are_levelled_and_noised_and_instrumentals_are_not(extractor):
    vocals, instrumental = 0.1 * np.random.default_rng(0).standard_normal((2, RATE), dtype=np.float32)
    tokens = extractor.extract(vocals, instrumental, RATE, "a")
    other_noise = extractor.extract(vocals, instrumental, RATE, "b")
    assert not np.array_equal(tokens["vocal_semantic_ids"], other_noise["vocal_semantic_ids"])
    assert np.array_equal(tokens["instrumental_semantic_ids"], other_noise["instrumental_semantic_ids"])
    quiet = extractor.extract(0.25 * vocals, instrumental, RATE, "a")
    assert np.mean(tokens["vocal_semantic_ids"] != quiet["vocal_semantic_ids"]) < 0.05
    recipe = TokenRecipe(noise_std=0.0, vocal_target_lufs=None)
    plain = TokenExtractor(extractor.semantic_encoder, extractor.codec, recipe)
    assert plain.token_fingerprint != extractor.token_fingerprint
    same = plain.extract(instrumental, instrumental, RATE, "a")
    assert np.array_equal(same["vocal_semantic_ids"], same["instrumental_semantic_ids"])


def test_a_partial_grid_frame_is_padded_in_both_rates(extractor):
    waveform = np.zeros(24000 + 1, np.float32)
    tokens = extractor.extract(waveform, waveform, RATE, "a")
    assert tokens["vocal_semantic_ids"].shape == (52,)
    assert tokens["codes"].shape == (8, 78)


def test_tokens_are_those_of_processor_and_model(extractor):
    song = generate_song(4, duration_s=1.0)
    tokens = extractor.extract(song.vocals, song.instrumental, song.sampling_rate, "song")
    recipe = TokenRecipe(noise_std=0.0)
    without_noise = TokenExtractor(extractor.semantic_encoder, extractor.codec, recipe)
    vocal_ids = without_noise.extract(song.vocals, song.instrumental, song.sampling_rate, "song")["vocal_semantic_ids"]
    features = AccompGenProcessor(noise_std=0.0)(song.vocals, song.sampling_rate, instrumental=song.instrumental)
    expected = extractor.semantic_encoder(features["input_values"]).semantic_ids[0]
    assert np.array_equal(vocal_ids, expected)
    with torch.no_grad():
        codes = extractor.codec.encode(features["codec_input_values"], bandwidth=6.0).audio_codes[0, 0]
    assert np.array_equal(tokens["codes"], codes)


def test_pairs_that_are_not_finite_are_refused(extractor):
    silence = np.zeros(RATE, np.float32)
    with pytest.raises(ValueError, match=r"`vocals` and `instrumental` must be finite"):
        extractor.extract(silence, np.full_like(silence, np.nan), RATE, "a")
    with pytest.raises(ValueError, match=r"`vocals` and `instrumental` must be mono and equally long"):
        extractor.extract(silence, silence[1:], RATE, "a")
