"""The embedders: shapes, windows, weights, and that distances grow as audio gets worse."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, EncodecConfig, EncodecModel

from accompgen_hf.evaluation.metrics import audio_embedders
from accompgen_hf.evaluation.metrics.audio_embedders import ClapEmbedder, EncodecEmbedder, load_embedder
from accompgen_hf.evaluation.metrics.frechet import GaussianStatistics, frechet_distance

RATE = 24_000


def band(seed: int, duration_s: float = 20.0) -> np.ndarray:
    """Decaying tones of random pitch every quarter of a second."""
    rng = np.random.default_rng(seed)
    times = np.arange(RATE // 4) / RATE
    notes = [np.sin(2 * np.pi * 220 * 2 ** (rng.integers(24) / 12) * times) for _ in range(int(4 * duration_s))]
    return (0.3 * np.concatenate([note * np.exp(-8 * times) for note in notes])).astype(np.float32)


class SmallVGGish(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(96 * 64, 128)

    def forward(self, log_mel):
        return self.linear(log_mel.flatten(1))


def test_logmel_has_64_dimensions_per_window_and_hears_noise_monotonically():
    embedder = load_embedder("logmel")
    clean = embedder.embed(band(0), RATE)
    assert clean.shape == (20, 64)
    assert clean.dtype == np.float32
    reference = GaussianStatistics(embedder.embed(band(1, 60.0), RATE))
    noise = np.random.default_rng(0).normal(size=20 * RATE).astype(np.float32)
    distances = [
        frechet_distance(reference, GaussianStatistics(embedder.embed(band(0) + level * noise, RATE)))
        for level in (0.0, 0.001, 0.01, 0.1)
    ]
    assert distances == sorted(distances)
    assert distances[-1] > 10 * distances[0]


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_vggish_loads_from_a_file_and_its_hash_is_of_the_weights(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(audio_embedders, "VGGish", SmallVGGish)
    state = SmallVGGish().state_dict()
    path = tmp_path / f"vggish.{suffix}"
    if suffix == "pt":
        torch.save({**state, "pproc.pca_means": torch.zeros(3)}, path)
    else:
        save_file(state, path)
    embedder = load_embedder("vggish", path)
    assert embedder.embed(band(0, 4.0), RATE).shape == (4, 128)
    assert embedder.weights_hash == load_embedder("vggish", path).weights_hash
    other = tmp_path / "other.pt"
    torch.save({**state, "linear.bias": state["linear.bias"] + 1}, other)
    assert load_embedder("vggish", other).weights_hash != embedder.weights_hash
    torch.save({"linear.weight": state["linear.weight"]}, other)
    with pytest.raises(ValueError, match="are not VGGish's: names or shapes differ, first"):
        load_embedder("vggish", other)


def test_clap_through_transformers_is_normalised_and_has_5_second_windows():
    torch.manual_seed(0)
    audio_config = {
        "patch_embeds_hidden_size": 8, "depths": [1, 1], "num_attention_heads": [1, 2], "hidden_size": 16,
        "num_hidden_layers": 2, "spec_size": 64, "num_mel_bins": 16, "window_size": 4, "patch_size": 4,
        "patch_stride": [4, 4], "projection_dim": 12, "enable_fusion": False,
    }  # fmt: skip
    text_config = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = ClapConfig(audio_config=audio_config, text_config={**text_config, "vocab_size": 30}, projection_dim=12)
    extractor = ClapFeatureExtractor(feature_size=16, hop_length=960, truncation="rand_trunc", max_length_s=5)
    embedder = ClapEmbedder(ClapModel(config), extractor)
    found = embedder.embed(band(0, 11.0), RATE)
    assert found.shape == (2, 12)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_encodec_gives_its_encoders_latents_frame_by_frame(tmp_path):
    config = EncodecConfig(
        num_filters=4, hidden_size=16, codebook_size=32, codebook_dim=16, upsampling_ratios=[8, 5, 4, 2],
        target_bandwidths=[6.0], num_lstm_layers=1,
    )  # fmt: skip
    model = EncodecModel(config).eval()
    model.save_pretrained(tmp_path)
    embedder = load_embedder("encodec", tmp_path)
    assert isinstance(embedder, EncodecEmbedder)
    audio = band(0, 2.0)
    with torch.no_grad():
        expected = model.encoder(torch.from_numpy(audio)[None, None])[0].T.numpy()
    np.testing.assert_allclose(embedder.embed(audio, RATE), expected, atol=1e-5)
    assert embedder.describe()["dimensions"] == 16


def test_missing_weights_unknown_names_and_bad_audio_are_refused(tmp_path):
    with pytest.raises(ValueError, match="`weights` are missing for the embedder 'vggish': give a"):
        load_embedder("vggish")
    with pytest.raises(ValueError, match="`weights` are missing for the embedder 'clap'"):
        load_embedder("clap")
    with pytest.raises(OSError, match="was not found, as a file or on the Hub"):
        load_embedder("vggish", str(tmp_path))
    with pytest.raises(ValueError, match="`weights` must be left out for 'logmel'"):
        load_embedder("logmel", "file")
    with pytest.raises(ValueError, match="`name` must be one of"):
        load_embedder("mfcc")
    embedder = load_embedder("logmel")
    with pytest.raises(ValueError, match="holds NaN or infinity, first at sample 3"):
        embedder.embed(np.array([0, 0, 0, np.nan]), RATE)
    with pytest.raises(ValueError, match="must be mono"):
        embedder.embed(np.zeros((2, RATE)), RATE)
    with pytest.raises(ValueError, match=r"too few windows: `logmel` needs at least 0.96 s of audio, got 0.50 s"):
        embedder.embed(np.zeros(RATE // 2), RATE)
    with pytest.raises(ValueError, match="must be equally long, got 5 and 6 samples"):
        embedder.embed_pair(np.zeros(5), np.zeros(6), RATE)
