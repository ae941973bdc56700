"""Instruments, drums, rooms and loudness of procedural songs against closed forms and pyloudnorm."""

import numpy as np
import pytest

from accompgen_hf.songs.instruments import TONES, damped_partials, render_drum, render_tone
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
