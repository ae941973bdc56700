"""What is measured of a codec: mel spectra on one scale, perplexity, errors of all codebooks."""

import math

import pytest
import torch

from accompgen_hf.training.codec.evaluation import MelSpectrogram, evaluate_codec, perplexity
from tiny_codec_training import make_trainer, tone


def test_mel_of_a_full_scale_sine_is_of_one_size_at_any_window():
    sine = torch.sin(2 * math.pi * 1500 * torch.arange(24_000) / 24_000)[None]
    for window_size in (512, 2048):
        spectrogram = MelSpectrogram(24_000, window_size, 40)
        # A sine spreads over three bins of a Hann window, 1/4 + 1/2 + 1/4, under a triangle of at most 1.
        assert 0.4 < spectrogram(sine)[0, 5:-5].max().item() <= 1.0


def test_perplexity_counts_codes_in_even_use():
    assert perplexity(torch.tensor([5.0, 5.0, 5.0, 5.0, 0.0])) == pytest.approx(4.0)


def test_evaluation_reports_errors_and_every_codebook(tmp_path):
    trainer = make_trainer(tmp_path)
    for _ in range(5):
        trainer.step()
    results = evaluate_codec(trainer.model, [tone(7)["instrumental"], tone(8)["instrumental"]])
    assert trainer.model.training
    assert results["log_mel_error"] > 0
    assert results["mean_spectrum_error"] > 0
    assert len(results["perplexity"]) == len(results["usage"]) == 8
    assert all(1 <= value <= 16 for value in results["perplexity"])


def test_evaluation_without_recordings_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`waveforms` must hold at least one recording, got none"):
        evaluate_codec(make_trainer(tmp_path).model, [])
