"""Facts about the mix: loudness of the sides, true peaks, the limiter; and blocks that give the bits of the whole."""

from pathlib import Path

import numpy as np
import pyloudnorm
import pytest
import scipy.signal
from numpy.testing import assert_array_equal

import accompgen_hf
from accompgen_hf.accompgen.audio_accompgen import integrated_loudness, load_audio, resample
from accompgen_hf.accompgen.mixing_accompgen import balance_gain, mix, mix_blocks, true_peak

VOCALS = Path(accompgen_hf.__file__).parent / "assets" / "vocals" / "vocadito_10.wav"
RATE = 16_000


def true_peak_db(audio: np.ndarray) -> float:
    """Independent of soxr: 8 times oversampling by SciPy's polyphase filter."""
    return 20 * np.log10(np.abs(scipy.signal.resample_poly(np.atleast_2d(audio), 8, 1, axis=1)).max())


def pink_bursts(duration_s: float, sampling_rate: int, seed: int = 0) -> np.ndarray:
    """A drum-like signal with sharp, uneven peaks."""
    random = np.random.default_rng(seed)
    time = np.arange(round(duration_s * sampling_rate)) / sampling_rate
    return (random.standard_normal(len(time)) * np.exp(-8 * (time % 0.35)) * 0.3).astype(np.float32)


@pytest.mark.parametrize("kind", ["silent", "clipped", "dc"])
def test_silent_clipped_and_dc_recordings_mix_without_nan_or_overs(kind):
    time = np.arange(44_100) / 44_100
    vocals = {
        "silent": np.zeros(44_100),
        "clipped": np.clip(20 * np.sin(2 * np.pi * 300 * time), -1, 1),
        "dc": np.full(44_100, 0.99),
    }[kind].astype(np.float32)
    result = mix(vocals, pink_bursts(1.0, 24_000), 44_100, accompaniment_sampling_rate=24_000)
    assert result.shape == vocals.shape
    assert np.isfinite(result).all()
    assert np.abs(result).max() <= 10 ** (-1 / 20)


def test_true_peak_finds_what_lies_between_the_samples():
    audio = np.sin(np.pi / 2 * np.arange(20_000) + np.pi / 4).astype(np.float32)  # samples at 0.707, peak at 1.0
    audio *= np.hanning(20_000).astype(np.float32)
    assert np.abs(audio).max() < 0.71
    assert true_peak(audio) == pytest.approx(1.0, abs=0.005)
    long = resample(np.tile(pink_bursts(1.0, 24_000), 13), 24_000, 44_100)
    assert 20 * np.log10(true_peak(long)) == pytest.approx(true_peak_db(long), abs=0.05)


@pytest.mark.parametrize("offset", [-3.0, 0.0, -12.0])
@pytest.mark.parametrize("num_channels", [1, 2])
def test_the_accompaniment_stands_under_the_vocals_by_the_offset(offset, num_channels):
    recording, rate = load_audio(VOCALS)
    vocals = np.repeat(recording, num_channels, axis=0) * 0.25  # far from the ceiling
    result = mix(vocals, pink_bursts(9.1, 24_000), rate, offset, accompaniment_sampling_rate=24_000)
    assert result.shape == vocals.shape
    meter = pyloudnorm.Meter(rate)
    added = (result - vocals).T.astype(np.float64)
    difference = meter.integrated_loudness(added) - meter.integrated_loudness(vocals.T.astype(np.float64))
    assert difference == pytest.approx(offset, abs=0.1)


def test_the_balance_gain_is_the_factor_of_the_mix():
    recording, rate = load_audio(VOCALS)
    vocals, accompaniment = recording * 0.25, pink_bursts(9.1, 44_100)[: recording.shape[1]]
    added = mix(vocals, accompaniment, rate, -6.0) - vocals
    gain = balance_gain(vocals, accompaniment, rate, -6.0)
    np.testing.assert_allclose(added[0], gain * accompaniment, atol=1e-6)
    assert balance_gain(vocals[:, :100], accompaniment[:100], rate) == 1.0  # too short for a loudness


def test_a_mono_accompaniment_goes_to_the_front_pair_of_surround_vocals():
    vocals = np.zeros((6, RATE), np.float32)
    vocals[2] = 0.1 * pink_bursts(1.0, RATE)
    added = mix(vocals, 0.1 * pink_bursts(1.0, RATE, seed=1), RATE) - vocals
    assert np.abs(added[:2]).max() > 0.001
    assert np.abs(added[2:]).max() == 0


def test_a_stereo_accompaniment_keeps_its_sides_and_folds_for_mono_vocals():
    vocals = 0.1 * np.stack([pink_bursts(1.0, RATE), pink_bursts(1.0, RATE, seed=2)])
    sides = np.stack([0.1 * pink_bursts(1.0, RATE, seed=1), np.zeros(RATE, np.float32)])
    added = mix(vocals, sides, RATE) - vocals
    assert np.abs(added[0]).max() > 0.001
    assert np.abs(added[1]).max() == 0
    assert mix(vocals[0], sides, RATE).shape == (RATE,)


@pytest.mark.parametrize("num_accompaniment", [100, 4410, 60_000])
def test_the_mix_has_the_vocals_length_whatever_the_accompaniments(num_accompaniment):
    vocals = 0.1 * pink_bursts(1.0, 44_100)
    assert mix(vocals, 0.1 * np.ones(num_accompaniment, np.float32), 44_100).shape == vocals.shape


@pytest.mark.parametrize("gain", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("ceiling_db", [-1.0, 0.0, -6.0])
def test_true_peaks_of_the_mix_stay_below_the_ceiling(gain, ceiling_db):
    recording, rate = load_audio(VOCALS)
    loud = mix(recording * gain, pink_bursts(9.1, rate), rate, 3.0, ceiling_db)
    assert true_peak_db(loud) <= ceiling_db
    assert np.abs(loud).max() <= 1.0


def test_true_peaks_of_the_hardest_signal_stay_below_the_ceiling():
    random = np.random.default_rng(0)
    clicks = np.zeros(44_100, np.float32)
    clicks[random.integers(0, 44_100, 50)] = random.choice([-1, 1], 50)
    noise = np.clip(random.standard_normal((2, 44_100)), -1, 1).astype(np.float32)
    assert true_peak_db(mix(noise, clicks, 44_100)) <= -1.0
    assert true_peak_db(mix(clicks, noise, 44_100)) <= -1.0


def test_the_limiter_touches_only_what_surrounds_a_peak():
    vocals = 0.1 * np.sin(2 * np.pi * 220 * np.arange(2 * RATE) / RATE).astype(np.float32)
    peak = np.zeros(2 * RATE, np.float32)
    peak[RATE : RATE + 160] = 1.0
    result = mix(vocals + peak, np.zeros(2 * RATE, np.float32), RATE)
    np.testing.assert_allclose(result[: RATE - 200], vocals[: RATE - 200], rtol=1e-2, atol=1e-4)
    np.testing.assert_allclose(result[-RATE // 4 :], vocals[-RATE // 4 :], rtol=2e-2, atol=1e-4)
    assert np.abs(result).max() <= 10 ** (-1 / 20)


def test_a_mix_below_the_ceiling_is_the_plain_sum():
    vocals, accompaniment = 0.1 * pink_bursts(0.3, RATE), 0.1 * pink_bursts(0.3, RATE, seed=1)
    assert_array_equal(mix(vocals, accompaniment, RATE), vocals + accompaniment)  # too short for a loudness
    silence = np.zeros(RATE, np.float32)
    bursts = 0.1 * pink_bursts(1.0, RATE)
    assert_array_equal(mix(silence, bursts, RATE), bursts)
    assert_array_equal(mix(bursts, silence, RATE), bursts)


def test_noise_is_not_boosted_without_bound():
    vocals, faint = pink_bursts(1.0, RATE), pink_bursts(1.0, RATE, seed=1)
    faint *= 10 ** ((-65 - integrated_loudness(faint, RATE)) / 20)
    vocals *= 0.3
    added = mix(vocals, faint, RATE) - vocals
    assert integrated_loudness(added, RATE) - integrated_loudness(faint, RATE) == pytest.approx(30, abs=0.1)


@pytest.mark.parametrize("level", [0.05, 1.0, 3.0])  # below the ceiling, now and then above it, nearly always above it
@pytest.mark.parametrize("num_channels", [1, 2])
def test_a_mix_of_blocks_is_the_mix_of_the_whole(level, num_channels):
    vocals = level * np.stack([pink_bursts(3.0, 44_100, seed) for seed in range(num_channels)])
    accompaniment = level * pink_bursts(2.9, 44_100, seed=7)[None]  # ends before the vocals do
    whole = mix(vocals, accompaniment, 44_100)

    def pieces_of(audio: np.ndarray, sizes: tuple[int, ...]):
        def open_pieces():
            ends = np.cumsum(np.resize(sizes, 1 + audio.shape[1] // min(sizes)))
            return (piece for piece in np.split(audio, ends[ends < audio.shape[1]], axis=1))

        return open_pieces

    blocks = list(mix_blocks(pieces_of(vocals, (997, 20_011)), pieces_of(accompaniment, (5000,)), 44_100))
    assert len(blocks) > 10
    assert_array_equal(np.concatenate(blocks, axis=1), whole)


def test_mix_refuses_what_it_cannot_add():
    good = 0.1 * pink_bursts(0.5, RATE)
    with pytest.raises(ValueError, match="`vocals` must hold finite samples"):
        mix(good * np.nan, good, RATE)
    with pytest.raises(ValueError, match="`accompaniment` must hold finite samples"):
        mix(good, good[:0], RATE)
    with pytest.raises(ValueError, match="`vocals` must be floating point"):
        mix(good[None, None], good, RATE)
    with pytest.raises(ValueError, match="`accompaniment_lufs_offset` must be a finite number, got nan"):
        mix(good, good, RATE, float("nan"))
    with pytest.raises(ValueError, match="`true_peak_ceiling_db` must be between -60 and 0 dBTP, got 1"):
        mix(good, good, RATE, true_peak_ceiling_db=1)
