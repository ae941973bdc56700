"""Loudness, peaks, rooms and filters against formulas and other packages."""

import numpy as np
import pyloudnorm
import pytest

from accompgen_hf.songs.mastering import (
    fast_length,
    filter_wave,
    gain_of_parts,
    limiter_gain,
    loudness_lufs,
    room_impulse,
    to_loudness,
)
from accompgen_hf.songs.theory import random_stream

SAMPLING_RATE = 24000


@pytest.mark.parametrize("level_db", [-30.0, -14.0])
def test_loudness_agrees_with_pyloudnorm(level_db):
    noise = random_stream(3).standard_normal(5 * SAMPLING_RATE)
    wave = np.cumsum(noise - noise.mean())
    wave = wave - np.convolve(wave, np.ones(400) / 400, mode="same") + 0.3 * noise
    wave = wave / np.abs(wave).max() * 10.0 ** (level_db / 20.0)
    expected = pyloudnorm.Meter(SAMPLING_RATE).integrated_loudness(wave)
    assert loudness_lufs(wave.astype(np.float32), SAMPLING_RATE) == pytest.approx(expected, abs=0.3)


def test_silence_has_no_loudness_and_gets_no_gain():
    silence = np.zeros(SAMPLING_RATE, dtype=np.float32)
    assert loudness_lufs(silence, SAMPLING_RATE) == -np.inf
    assert np.array_equal(to_loudness(silence, -14.0, SAMPLING_RATE), silence)


def test_peaks_are_rounded_below_the_ceiling():
    wave = 0.05 * random_stream(4).standard_normal(SAMPLING_RATE).astype(np.float32)
    wave[::6000] = 1.5
    loud = to_loudness(wave, -12.0, SAMPLING_RATE)
    assert np.abs(loud).max() <= 0.97


def test_a_room_starts_with_the_direct_sound_and_dies_away():
    impulse = room_impulse(random_stream(5), 0.6, 0.2, SAMPLING_RATE)
    assert impulse[0] == 1.0
    assert np.sum(impulse[1:] ** 2) == pytest.approx(0.04, rel=0.01)
    assert np.abs(impulse[-200:]).max() < 0.01 * np.abs(impulse[1:2000]).max()


def test_filtering_equals_direct_convolution():
    rng = random_stream(6)
    wave = rng.standard_normal(500).astype(np.float32)
    impulse = rng.standard_normal(60).astype(np.float32)
    expected = np.convolve(wave, impulse)[:500]
    assert np.allclose(filter_wave(wave, None, impulse, SAMPLING_RATE), expected, atol=1e-4)


def test_fast_lengths_have_small_factors_only():
    for length in (1, 2, 7, 1021, 240_001, 5_800_003):
        found = fast_length(length)
        assert length <= found < 1.3 * length + 2
        for factor in (2, 3, 5):
            while found % factor == 0:
                found //= factor
        assert found == 1


def test_parts_of_silence_are_silent():
    silence = np.zeros(4, np.float32)
    assert not gain_of_parts(silence, silence, {"bass": silence})["bass"].any()
    assert np.array_equal(limiter_gain(silence, -14.0, SAMPLING_RATE), np.ones(4, np.float32))


def test_the_limiter_reaches_the_loudness_and_holds_every_peak():
    rng = np.random.default_rng(0)
    wave = 0.02 * rng.standard_normal(3 * SAMPLING_RATE).astype(np.float32)
    wave[::6000] = 0.9
    gain = limiter_gain(wave, -14.0, SAMPLING_RATE)
    assert np.abs(wave * gain).max() <= 0.97 + 1e-6
    quiet = 0.01 * rng.standard_normal(3 * SAMPLING_RATE).astype(np.float32)
    louder = quiet * limiter_gain(quiet, -20.0, SAMPLING_RATE)
    assert loudness_lufs(louder, SAMPLING_RATE) == pytest.approx(-20.0, abs=0.1)
    assert np.ptp(limiter_gain(quiet, -20.0, SAMPLING_RATE)) == 0.0
