"""Augmented voices: tuning moves pitch and time alike, formants move without the pitch, and power stays."""

import numpy as np
import pytest
import torch

pytest.importorskip("sklearn")

from accompgen_hf.training.semantic_encoder.pool import SongPool
from accompgen_hf.training.semantic_encoder.run import SemanticEncoderArguments, SemanticEncoderTrainer
from accompgen_hf.training.semantic_encoder.targets import SemanticTargets
from accompgen_hf.training.semantic_encoder.vocal_augmentation import (
    VocalAugmentation,
    augment_vocals,
    draw_augmentation,
)
from tiny_encoder import TINY_RUN, chunks_of_two_clips

RATE = 16_000


def make_vowel(formant_hz: float, pitch_hz: float = 120.0, duration_s: float = 2.0) -> np.ndarray:
    """Harmonics of `pitch_hz` under one resonance."""
    times = np.arange(round(duration_s * RATE)) / RATE
    harmonics = np.arange(1, int(6000 / pitch_hz)) * pitch_hz
    levels = 0.02 + np.exp(-0.5 * ((harmonics - formant_hz) / 300.0) ** 2)
    tones = (level * np.sin(2 * np.pi * hz * times) for hz, level in zip(harmonics, levels, strict=True))
    return (0.05 * sum(tones)).astype(np.float32)


def spectrum(waveform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    middle = waveform[4000:-4000] * np.hanning(len(waveform) - 8000)
    return np.fft.rfftfreq(len(middle), 1 / RATE), np.abs(np.fft.rfft(middle))


def find_peak(waveform: np.ndarray, low_hz: float, high_hz: float) -> float:
    frequencies, magnitudes = spectrum(waveform)
    inside = (frequencies > low_hz) & (frequencies < high_hz)
    return float(frequencies[inside][magnitudes[inside].argmax()])


@pytest.mark.parametrize("cents", [-50.0, 30.0, 50.0])
def test_tuning_moves_pitch_and_length(cents):
    tone = np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE).astype(np.float32)
    augmented = augment_vocals(tone, VocalAugmentation(cents=cents), RATE)
    speed = 2 ** (cents / 1200)
    assert abs(len(augmented) - len(tone) / speed) <= 1
    assert find_peak(augmented, 300, 600) == pytest.approx(440 * speed, abs=1.0)


@pytest.mark.parametrize("ratio", [0.75, 1.3])
def test_formants_move_and_the_pitch_stays(ratio):
    vowel = make_vowel(1200.0)
    augmented = augment_vocals(vowel, VocalAugmentation(formant_ratio=ratio), RATE)
    assert len(augmented) == len(vowel)
    assert find_peak(augmented, 500, 2500) == pytest.approx(1200 * ratio, abs=150)
    frequencies, magnitudes = spectrum(augmented)
    strongest = frequencies[magnitudes > 0.1 * magnitudes.max()]
    assert np.abs(strongest / 120 - np.rint(strongest / 120)).max() < 0.02  # still harmonics of 120 Hz


def test_any_augmentation_keeps_power_and_is_a_function_of_its_seed():
    vowel = make_vowel(800.0)
    for seed in range(5):
        first, second = (draw_augmentation(np.random.default_rng(seed)) for _ in range(2))
        assert first == second
        augmented = augment_vocals(vowel, first, RATE)
        assert np.isfinite(augmented).all()
        assert np.mean(augmented**2) == pytest.approx(np.mean(vowel**2), rel=1e-3)
        np.testing.assert_array_equal(augmented, augment_vocals(vowel, second, RATE))
    silence = np.zeros(RATE, np.float32)
    np.testing.assert_array_equal(augment_vocals(silence, VocalAugmentation(formant_ratio=1.2), RATE), silence)


def test_a_waveform_without_a_window_is_refused():
    with pytest.raises(ValueError, match="1024"):
        augment_vocals(np.zeros(1000, np.float32), VocalAugmentation(), RATE)


def test_training_crops_are_augmented_and_keep_their_classes_in_time(tmp_path):
    with chunks_of_two_clips():
        pool, held_out_pool = SongPool(tmp_path / "pool", 2).build(), SongPool(tmp_path / "pool", 2, 790_000).build()
        targets = SemanticTargets(tmp_path / "targets").build(pool, held_out_pool)
        always, never = (
            SemanticEncoderTrainer(
                SemanticEncoderArguments(str(tmp_path / "run"), augmentation_probability=share, **TINY_RUN),
                *(pool, held_out_pool, targets),
            )
            for share in (1.0, 0.0)
        )
        heard, classes, _ = always.draw_batch(pool, (0, 0), 2)
        plain, _, _ = never.draw_batch(pool, (0, 0), 2)
        assert heard.shape == plain.shape
        assert not torch.equal(heard[0], plain[0])  # row 0 is a voice
        assert all(ids.shape == (2, 50) for ids in classes.values())
        held_out = [trainer.draw_batch(held_out_pool, (1, 0), 2)[0] for trainer in (always, never)]
        assert torch.equal(*held_out)
        too_long = SemanticEncoderArguments(str(tmp_path / "run"), **{**TINY_RUN, "crop_duration_s": 9.8})
        with pytest.raises(ValueError, match="crop_duration_s"):
            SemanticEncoderTrainer(too_long, pool, held_out_pool, targets)
