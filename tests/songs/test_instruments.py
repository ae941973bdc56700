"""Instruments, drums, rooms and loudness of procedural songs against closed forms and pyloudnorm."""

import numpy as np
import pyloudnorm
import pytest

from accompgen_hf.songs.instruments import TONES, damped_partials, render_drum, render_tone
from accompgen_hf.songs.mastering import fast_length, filter_wave, loudness_lufs, room_impulse, to_loudness
from accompgen_hf.songs.styles import STYLES
from accompgen_hf.songs.theory import random_stream

SAMPLING_RATE = 24000


def test_damped_partials_equal_the_formula():
    frequencies, decays, amplitudes = np.array([220.0, 441.5]), np.array([3.0, 11.0]), np.array([1.0, 0.4])
    time = np.arange(1000) / SAMPLING_RATE
    expected = sum(
        a * np.sin(2 * np.pi * f * time) * np.exp(-d * time)
        for f, d, a in zip(frequencies, decays, amplitudes, strict=True)
    )
    wave = damped_partials(frequencies, decays, amplitudes, 1000, SAMPLING_RATE)
    assert wave.dtype == np.float32
    assert np.allclose(wave, expected, atol=2e-6)


@pytest.mark.parametrize("name", sorted(TONES))
def test_every_instrument_is_in_tune_and_finite(name):
    pitch = 45 if "bass" in name or name in ("tuba", "cello") else 64
    wave = render_tone(TONES[name], pitch, 0.8, 1.0, SAMPLING_RATE)
    assert np.isfinite(wave).all()
    assert 0.02 < np.abs(wave).max() < 12.0
    spectrum = np.abs(np.fft.rfft(wave[1000:] * np.hanning(len(wave) - 1000), 1 << 18))
    frequencies = np.fft.rfftfreq(1 << 18, 1.0 / SAMPLING_RATE)
    fundamental = 440.0 * 2.0 ** ((pitch - 69) / 12)
    near = (frequencies > fundamental / 1.03) & (frequencies < fundamental * 1.03)
    peak = frequencies[near][np.argmax(spectrum[near])]
    assert abs(1200.0 * np.log2(peak / fundamental)) < 15.0
    far = (frequencies > fundamental * 1.2) & (frequencies < fundamental * 1.4)
    assert spectrum[near].max() > 5.0 * spectrum[far].max()


def test_every_drum_in_every_grid_can_be_played():
    for style in STYLES.values():
        for meter, grids in style.drums.items():
            for grid in grids:
                for drum, pattern in grid.items():
                    assert len(pattern) == 4 * meter
                    wave = render_drum(drum, style.kit, random_stream(0, 1), SAMPLING_RATE)
                    assert np.isfinite(wave).all()
                    assert np.abs(wave).max() > 0.05


def test_every_pattern_is_one_bar_long_and_every_style_has_bass_chords_and_drums():
    for style in STYLES.values():
        roles = {layer.role for layer in style.layers}
        assert "bass" in roles
        assert roles & {"chords", "strum", "arpeggio"}
        for meter in set(style.meters):
            assert style.drums[meter]
            for layer in style.layers:
                assert {len(pattern) for pattern in layer.patterns[meter]} == {4 * meter}
                assert set(layer.instruments) <= set(TONES)


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
