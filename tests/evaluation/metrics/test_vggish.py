"""VGGish's shapes and front-end, the latter against transformers' spectrogram."""

import numpy as np
import pytest
import torch
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from accompgen_hf.evaluation.metrics.vggish import VGGish, vggish_log_mel, vggish_mel_matrix


def test_it_has_72_1_million_parameters_and_the_ports_names():
    with torch.device("meta"):
        model = VGGish()
    assert sum(parameter.numel() for parameter in model.parameters()) == 72_141_184
    convolutions = [f"features.{index}.weight" for index in (0, 3, 6, 8, 11, 13)]
    linears = [f"embeddings.{index}.weight" for index in (0, 2, 4)]
    assert [name for name in model.state_dict() if name.endswith("weight")] == convolutions + linears
    assert model(torch.zeros(3, 96, 64, device="meta")).shape == (3, 128)


def test_the_front_end_is_that_of_an_independent_computation():
    audio = np.random.default_rng(0).normal(size=2 * 16_000).astype(np.float32) * 0.1
    filters = mel_filter_bank(257, 64, 125.0, 7500.0, 16_000, mel_scale="kaldi", triangularize_in_mel_space=True)
    np.testing.assert_allclose(vggish_mel_matrix(), filters, atol=1e-6)
    mel = spectrogram(audio, window_function(400, "hann"), 400, 160, 512, power=1.0, center=False, mel_filters=filters)
    expected = np.log(mel.T + 0.01)[:192].reshape(2, 96, 64)
    np.testing.assert_allclose(vggish_log_mel(audio), expected, atol=2e-5)


def test_windows_follow_each_other_every_0_96_seconds_and_a_rest_is_left_out():
    audio = np.random.default_rng(0).normal(size=16_000 * 5).astype(np.float32)
    windows = vggish_log_mel(audio)
    assert windows.shape == (5, 96, 64)
    np.testing.assert_allclose(vggish_log_mel(audio[15_360:])[0], windows[1], atol=1e-5)


def test_less_than_a_window_is_refused():
    with pytest.raises(ValueError, match=r"VGGish needs at least 0.975 s of audio, got 15599 samples"):
        vggish_log_mel(np.zeros(15_599))
    assert len(vggish_log_mel(np.zeros(15_600))) == 1
