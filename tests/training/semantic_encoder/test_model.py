"""The small HuBERT in training: masks, first filters, crops."""

import numpy as np
import pytest
import torch

pytest.importorskip("sklearn")
from accompgen_hf.training.semantic_encoder.model import (
    SMALL_HUBERT,
    HubertForMaskedPrediction,
    draw_mask,
    initialise_filter_bank,
    make_hubert_config,
    normalise_crops,
)
from accompgen_hf.training.semantic_encoder.targets import (
    TARGET_FAMILIES,
)
from tiny_encoder import TINY_HUBERT


def make_tone(midi_pitch: float, num_samples: int = 32_000) -> np.ndarray:
    times = np.arange(num_samples) / 16_000
    frequency = 440 * 2 ** ((midi_pitch - 69) / 12)
    return sum(np.sin(2 * np.pi * frequency * k * times) / k for k in range(1, 9)).astype(np.float32)


def test_mask_hides_whole_spans_and_never_nothing():
    is_masked = draw_mask((64, 200), 0.05, 10, np.random.default_rng(0))
    assert is_masked.any(1).all()
    assert 0.3 < is_masked.float().mean() < 0.5  # 1 - 0.95 ** 10 = 0.40
    rows = draw_mask((4, 50), 0.0, 10, np.random.default_rng(0))
    assert rows.sum(1).tolist() == [10, 10, 10, 10]


def test_first_filters_respond_to_their_pitch_whatever_the_phase():
    model = HubertForMaskedPrediction(make_hubert_config(SMALL_HUBERT), TARGET_FAMILIES)
    initialise_filter_bank(model.hubert)
    conv = model.hubert.feature_extractor.conv_layers[0].conv
    band = 36  # 55 Hz * 2 ** 3 = 440 Hz
    responses = []
    for phase in np.linspace(0, 2 * np.pi, 7):
        tone = torch.sin(2 * np.pi * 440 * torch.arange(1024) / 16_000 + phase)
        magnitudes = (conv.weight[:, 0] @ tone).reshape(-1, 3).clamp(min=0).sum(1)
        assert magnitudes[:65].argmax() == band
        responses.append(magnitudes[band].item())
    assert max(responses) < 1.2 * min(responses)


def test_filter_bank_needs_enough_channels():
    model = HubertForMaskedPrediction(make_hubert_config({**TINY_HUBERT, "conv_dim": [16, 16, 16]}), {"timbre": 4})
    with pytest.raises(ValueError, match="must be 3 times at least 40 bands, got 16"):
        initialise_filter_bank(model.hubert)


def test_crops_are_normalised_alone_and_give_whole_frames():
    crops = np.stack([make_tone(60, 3200), 5 + 0.1 * make_tone(64, 3200)])
    values = normalise_crops(crops, 80)
    assert values.shape == (2, 3280)
    inner = values[:, 40:-40]
    torch.testing.assert_close(inner.mean(1), torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(inner.std(1), torch.ones(2), atol=1e-3, rtol=0)


def test_masked_frames_are_hidden_from_the_encoder():
    model = HubertForMaskedPrediction(make_hubert_config(TINY_HUBERT), {"timbre": 4}).eval()
    is_masked = torch.ones(1, 10, dtype=torch.bool)
    inputs = torch.randn(2, 1, 3200 + 688, generator=torch.Generator().manual_seed(0))
    first, second = (model(values, is_masked)["timbre"] for values in inputs)
    torch.testing.assert_close(first, second)
    heard = [model(values, ~is_masked)["timbre"] for values in inputs]
    assert not torch.allclose(*heard, atol=1e-3)
