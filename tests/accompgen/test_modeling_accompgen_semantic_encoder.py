"""Features equal those of the uncut HuBERT, blocks tile the audio, and centroids survive every dtype."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

from accompgen_hf.accompgen.configuration_accompgen import AccompGenSemanticEncoderConfig
from accompgen_hf.accompgen.modeling_accompgen_semantic_encoder import (
    AccompGenSemanticEncoder,
    list_semantic_blocks,
    load_centroids,
)


def make_hubert_config(is_stable: bool = True, **changes) -> HubertConfig:
    fields = {
        "hidden_size": 16,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "conv_dim": (8,) * 7,
        "num_conv_pos_embeddings": 8,
        "num_conv_pos_embedding_groups": 2,
        "do_stable_layer_norm": is_stable,
        "feat_extract_norm": "layer" if is_stable else "group",
        "conv_bias": is_stable,
    }
    return HubertConfig(**{**fields, **changes})


def make_hubert(is_stable: bool = True, seed: int = 0) -> HubertModel:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        hubert = HubertModel(make_hubert_config(is_stable))
        for name, parameter in hubert.named_parameters():
            if "layer_norm" in name:  # a norm at its initial 1 and 0 would hide a missing one
                torch.nn.init.normal_(parameter, mean=1.0, std=0.3)
    return hubert.eval()


def make_audio(num_samples: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(num_samples, generator=torch.Generator().manual_seed(seed)) * 0.1


@pytest.fixture
def hubert_dir(tmp_path):
    make_hubert().save_pretrained(tmp_path / "hubert")
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(tmp_path / "hubert")
    return tmp_path / "hubert"


def make_encoder(hubert_dir, layer: int = 3, **kwargs) -> AccompGenSemanticEncoder:
    centroids = torch.randn(5, 16, generator=torch.Generator().manual_seed(1))
    return AccompGenSemanticEncoder.from_hubert(hubert_dir, centroids, layer=layer, **kwargs)


@pytest.mark.parametrize("is_stable", [True, False])
@pytest.mark.parametrize("layer", [1, 3, 4])
def test_features_are_the_inner_hidden_states_of_the_uncut_model(tmp_path, is_stable, layer):
    hubert = make_hubert(is_stable)
    hubert.save_pretrained(tmp_path)
    encoder = AccompGenSemanticEncoder.from_hubert(tmp_path, torch.zeros(2, 16), layer=layer, do_normalize=True)
    audio = make_audio(6400)
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True)
    normalised = extractor(audio.numpy(), sampling_rate=16_000, return_tensors="pt").input_values
    padded = torch.nn.functional.pad(normalised, (40, 40))
    # A hook on the layer: independent of how `transformers` collects and ties hidden states.
    seen = {}
    hubert.encoder.layers[layer - 1].register_forward_hook(lambda module, args, output: seen.update(output=output))
    with torch.no_grad():
        outputs = hubert(padded, output_hidden_states=True)
    reference = seen["output"][0] if isinstance(seen["output"], tuple) else seen["output"]
    features = encoder.extract_features(audio[None])
    assert features.shape == (1, 20, 16)
    torch.testing.assert_close(features, reference.reshape(1, 20, 16), atol=1e-5, rtol=0)
    torch.testing.assert_close(features, outputs.hidden_states[layer], atol=1e-5, rtol=0)
    assert len(encoder.hubert.encoder.layers) == layer


def test_train_mode_changes_nothing(hubert_dir):
    encoder = make_encoder(hubert_dir)
    audio = make_audio(64_000)[None]
    expected = encoder.extract_features(audio)
    assert torch.equal(encoder.train().extract_features(audio), expected)
    assert "masked_spec_embed" not in encoder.hubert.state_dict()


def test_blocks_of_hand_made_lengths():
    def blocks(num_samples, **kwargs):
        return [
            tuple(v // 640 for v in block) for block in list_semantic_blocks(num_samples * 640, 6400, 5120, **kwargs)
        ]

    assert blocks(0) == []
    assert blocks(3) == [(0, 3, 0, 3)]
    assert blocks(10) == [(0, 10, 0, 10)]
    assert blocks(11) == [(0, 10, 0, 9), (8, 11, 9, 11)]
    assert blocks(18) == [(0, 10, 0, 9), (8, 18, 9, 18)]
    assert blocks(27) == [(0, 10, 0, 9), (8, 18, 9, 17), (16, 26, 17, 25), (24, 27, 25, 27)]
    assert blocks(10, is_final=False) == [(0, 10, 0, 9)]
    assert blocks(25, is_final=False) == [(0, 10, 0, 9), (8, 18, 9, 17)]
    assert blocks(9, is_final=False) == []


@pytest.mark.parametrize("num_steps", range(0, 60))
def test_every_sample_is_kept_once_and_streams_hear_the_same_blocks(num_steps):
    num_samples = num_steps * 640
    final = list_semantic_blocks(num_samples, 6400, 5120)
    kept = [index for block in final for index in range(block.keep_start, block.keep_end, 320)]
    assert kept == list(range(0, num_samples, 320))
    for block, early in zip(final, list_semantic_blocks(num_samples, 6400, 5120, is_final=False), strict=False):
        assert (block.start, block.end, block.keep_start) == (early.start, early.end, early.keep_start)
        assert early.keep_end <= block.keep_end


def test_block_lengths_off_the_grid_are_refused():
    with pytest.raises(ValueError, match=r"`num_samples` must be a multiple of 640 .* got 641"):
        list_semantic_blocks(641, 6400, 5120)
    with pytest.raises(ValueError, match="`block_samples` must be a positive multiple of 640, got 6401"):
        list_semantic_blocks(640, 6401, 5120)
    with pytest.raises(ValueError, match="`hop_samples` must be a positive multiple of 640, got 0"):
        list_semantic_blocks(640, 6400, 0)
    with pytest.raises(ValueError, match="`hop_samples` must be at most `block_samples`"):
        list_semantic_blocks(640, 640, 1280)


def test_long_audio_is_the_kept_parts_of_its_blocks_each_normalised_alone(hubert_dir):
    encoder = make_encoder(hubert_dir, block_duration_s=2.0, block_hop_s=1.6)
    audio = make_audio(16_000 * 4)  # 4 s: blocks [0, 2), [1.6, 3.6), [3.2, 4)
    audio[32_000:] *= 10  # a level step: one normalisation over all of it would show
    features = encoder.extract_features(audio[None])[0]
    blocks = [audio[:32_000], audio[25_600:57_600], audio[51_200:]]
    reference = [encoder.extract_features(block[None])[0] for block in blocks]
    expected = torch.cat([reference[0][:90], reference[1][10:90], reference[2][10:]])
    assert torch.equal(features, expected)
    louder = encoder.extract_features(3 * audio[None])[0]
    torch.testing.assert_close(louder, features, atol=1e-3, rtol=0)


def test_rows_of_a_batch_are_bitwise_those_of_single_calls(hubert_dir):
    encoder = make_encoder(hubert_dir)
    audio = torch.stack([make_audio(12_800, seed) for seed in range(3)])
    output = encoder(audio)
    assert output.semantic_ids.dtype == torch.int64
    assert output.semantic_ids.shape == (3, 40)
    for row in range(3):
        assert torch.equal(encoder(audio[row : row + 1]).features[0], output.features[row])


@pytest.mark.parametrize("do_normalize", [True, False])
def test_an_offset_is_removed_only_by_normalisation(hubert_dir, do_normalize):
    encoder = make_encoder(hubert_dir, do_normalize=do_normalize)
    audio = make_audio(6400)[None]
    is_equal = torch.allclose(encoder.extract_features(audio), encoder.extract_features(audio + 0.5), atol=1e-3)
    assert is_equal is do_normalize


def test_quantize_finds_the_nearest_centroid(hubert_dir):
    encoder = make_encoder(hubert_dir)
    features = torch.randn(2, 7, 16, generator=torch.Generator().manual_seed(3)) * 2
    gaps = (features[:, :, None].double() - encoder.centroids.double()).square().sum(-1)
    assert encoder.quantize(features).tolist() == gaps.argmin(-1).tolist()
    assert encoder.quantize(encoder.centroids).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_centroids_stay_float32_through_casts_and_files(hubert_dir, tmp_path, dtype):
    encoder = make_encoder(hubert_dir)
    centroids = encoder.centroids.clone()
    holder = torch.nn.Sequential(encoder)
    holder.to(dtype)
    assert encoder.hubert.dtype == dtype
    assert torch.equal(encoder.centroids, centroids)
    encoder.save_pretrained(tmp_path / "half")
    for asked in (dtype, torch.float32):
        loaded = AccompGenSemanticEncoder.from_pretrained(tmp_path / "half", dtype=asked)
        assert loaded.hubert.dtype == asked
        assert torch.equal(loaded.centroids, centroids)
    assert encoder(make_audio(6400)[None]).semantic_ids.shape == (1, 20)


def test_saved_and_loaded_encoder_gives_the_same_ids(hubert_dir, tmp_path):
    encoder = make_encoder(hubert_dir)
    encoder.save_pretrained(tmp_path / "encoder")
    loaded, info = AccompGenSemanticEncoder.from_pretrained(tmp_path / "encoder", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    audio = make_audio(32_000)[None]
    assert torch.equal(loaded.extract_features(audio), encoder.extract_features(audio))
    assert torch.equal(loaded(audio).semantic_ids, encoder(audio).semantic_ids)
    assert loaded.config.hubert_config.num_hidden_layers == 3


def test_uncut_config_and_cut_config_build_the_same_model():
    whole = AccompGenSemanticEncoderConfig(hubert_config=make_hubert_config().to_dict(), layer=2, num_clusters=4)
    encoder = AccompGenSemanticEncoder(whole)
    assert len(encoder.hubert.encoder.layers) == 2
    assert whole.hubert_config.num_hidden_layers == 4  # the caller's config is not edited
    assert encoder.centroids.std() > 0.1


def test_do_normalize_is_read_from_the_feature_extractor(hubert_dir, tmp_path):
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(hubert_dir)
    assert make_encoder(hubert_dir).config.do_normalize is False
    (hubert_dir / "preprocessor_config.json").unlink()
    with pytest.raises(ValueError, match="`do_normalize` is not stated by"):
        make_encoder(hubert_dir)


def test_centroids_are_read_from_arrays_and_files(tmp_path):
    table = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    np.save(tmp_path / "table.npy", table.numpy())
    save_file({"centroids": table}, tmp_path / "table.safetensors")
    save_file({"other": table}, tmp_path / "other.safetensors")
    for source in (table, table.numpy(), tmp_path / "table.npy", str(tmp_path / "table.safetensors")):
        assert torch.equal(load_centroids(source), table)
    with pytest.raises(ValueError, match="`centroids` must be a file with a tensor `centroids`"):
        load_centroids(tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"`centroids` must be \(num_clusters, hidden_size\), got \(4,\)"):
        load_centroids(table[0])
    with pytest.raises(ValueError, match="`centroids` must be finite"):
        load_centroids(table / 0)


def test_missing_weights_are_refused_and_surplus_layers_are_not_reported(hubert_dir, caplog):
    make_encoder(hubert_dir)
    assert "UNEXPECTED" not in caplog.text
    weights = load_file(hubert_dir / "model.safetensors")
    del weights["encoder.layers.1.attention.k_proj.bias"]
    save_file(weights, hubert_dir / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"`hubert_id_or_path` must hold all weights .* lacks \['encoder.layers.1"):
        make_encoder(hubert_dir)


def test_parts_that_do_not_fit_are_refused(hubert_dir):
    with pytest.raises(ValueError, match="`centroids` must have HuBERT's hidden size 16 as width, got 8"):
        AccompGenSemanticEncoder.from_hubert(hubert_dir, torch.zeros(5, 8), layer=2)
    with pytest.raises(ValueError, match="`layer` must be between 1 and the model's 4 layers, got 5"):
        make_encoder(hubert_dir, layer=5)
    config = make_hubert_config(conv_stride=(5, 2, 2, 2, 2, 2, 1))
    with pytest.raises(ValueError, match=r"`hubert_config\.conv_stride` must have the product 320"):
        AccompGenSemanticEncoder(AccompGenSemanticEncoderConfig(hubert_config=config.to_dict(), layer=2))


def test_audio_off_the_grid_is_refused(hubert_dir):
    encoder = make_encoder(hubert_dir)
    with pytest.raises(ValueError, match=r"`input_values` must be \(batch_size, num_samples\), got \(640,\)"):
        encoder.extract_features(torch.zeros(640))
    for num_samples in (0, 320):
        with pytest.raises(
            ValueError, match=f"`input_values` must have a positive multiple of 640 .* got {num_samples}"
        ):
            encoder(torch.zeros(1, num_samples))
    with pytest.raises(ValueError, match="`block` must be"):
        encoder.extract_block_features(torch.zeros(1, 640))
    with pytest.raises(ValueError, match="`features` must have the hidden size 16"):
        encoder.quantize(torch.zeros(1, 4, 8))


def test_silence_gives_finite_features(hubert_dir):
    assert torch.isfinite(make_encoder(hubert_dir).extract_features(torch.zeros(1, 6400))).all()
