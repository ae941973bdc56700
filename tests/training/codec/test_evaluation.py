"""What is measured of a codec: mel spectra on one scale, perplexity, errors of all codebooks."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from accompgen_hf import AccompGenCodec
from accompgen_hf.training.codec.evaluation import (
    MelSpectrogram,
    comb_excess_db,
    evaluate_codec,
    log_mel_distance,
    perplexity,
    spectral_flatness_db,
)
from accompgen_hf.training.codec.material import write_songs
from accompgen_hf.training.codec.run import save_codec
from accompgen_hf.training.codec.trainer import build_codec_config
from tiny_codec_training import TINY_MODEL, make_trainer, tone

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


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


def seconds(duration_s: float = 3.0) -> np.ndarray:
    return np.arange(round(duration_s * 24_000)) / 24_000


def white_noise(level: float = 0.1) -> np.ndarray:
    return level * np.random.default_rng(0).standard_normal(len(seconds()))


def test_flatness_is_near_zero_for_noise_and_far_below_for_a_tone():
    # The mean logarithm of a power with two degrees of freedom lies 2.5 dB below the logarithm of its mean.
    assert spectral_flatness_db(white_noise(), 100, 1000, 24_000) == pytest.approx(-2.5, abs=0.3)
    tone = np.sin(2 * np.pi * 440 * seconds()) + white_noise(1e-3)
    assert spectral_flatness_db(tone, 100, 1000, 24_000) < -40
    assert spectral_flatness_db(tone, 1000, 4000, 24_000) > -4
    assert spectral_flatness_db(np.zeros(24_000), 100, 1000, 24_000) == 0


def test_a_hum_counts_as_tonal_unless_it_is_left_out():
    hum = sum(np.sin(2 * np.pi * 75 * number * seconds() + number**2) for number in range(13, 55)) + white_noise(0.5)
    assert spectral_flatness_db(hum, 1000, 4000, 24_000) < -15
    assert spectral_flatness_db(hum, 1000, 4000, 24_000, without_hz=75.0) > -4


def test_a_comb_is_measured_in_db_above_its_gaps():
    teeth = sum(np.sin(2 * np.pi * 75 * number * seconds() + number**2) for number in range(13, 81))
    assert comb_excess_db(white_noise(), 75.0, 24_000) == pytest.approx(0, abs=0.6)
    assert comb_excess_db(white_noise(1.0) + teeth, 75.0, 24_000) > 20
    assert comb_excess_db(white_noise(1.0) + teeth, 70.0, 24_000) < 6


def test_log_mel_distance_of_a_decade_is_one():
    noise = torch.from_numpy(white_noise(0.3)[None]).float()
    assert log_mel_distance(noise / 10, noise, 24_000) == pytest.approx(1.0, abs=1e-3)
    assert log_mel_distance(noise, noise, 24_000) == 0


def test_the_script_compares_two_codecs_on_songs_from_disk(tmp_path):
    def band(seed):
        return {name: tone(seed + place)["instrumental"] for place, name in enumerate(("drums", "bass", "other"))}

    write_songs(tmp_path / "songs" / "bands", range(4), band)
    model = {**TINY_MODEL, "codebook_size": 1024, "target_bandwidths": [3.0, 6.0]}
    for name, decoder_type in (("old", "encodec"), ("new", "fourier")):
        save_codec(AccompGenCodec(build_codec_config(**model, decoder_type=decoder_type)), tmp_path / name)
    command = [sys.executable, EXAMPLES / "measure_codec.py", "--codec", tmp_path / "new", "--num_songs", "4"]
    command += ["--baseline", tmp_path / "old", "--songs_dir", tmp_path / "songs", "--output_dir", tmp_path / "out"]
    subprocess.run([*command, "--renderers"], check=True, timeout=300)
    results = json.loads((tmp_path / "out" / "codec.json").read_text())
    assert set(results["disk"]) == {"sum", "parts", "other", "perplexity"}
    assert results["perplexity"] == results["disk"]["perplexity"]  # of all sources, here of one
    assert results["disk"]["sum"]["truth"]["log_mel_error"] == 0
    assert results["disk"]["parts"]["codec"]["log_mel_error"] > 0
    assert results["seconds_to_decode_10_s"]["codec"] > 0
    assert (tmp_path / "out" / "codec-disk.png").stat().st_size > 10_000
