"""Sounds that several tests of systems listen to."""

import numpy as np
import pytest

RATE = 24_000


@pytest.fixture
def cadence() -> np.ndarray:
    """C, F, G, C in quarter notes at 120 beats per minute: 10 s."""
    time = np.arange(10 * RATE) / RATE
    audio = np.zeros_like(time)
    for beat in range(20):
        root = (48, 53, 55, 48)[beat % 4]
        inside = (time >= beat / 2) & (time < beat / 2 + 0.5)
        for step in (0, 4, 7):
            tone = np.sin(2 * np.pi * 440 * 2 ** ((root + step - 69) / 12) * time)
            audio += 0.1 * inside * tone * np.exp(-6 * (time - beat / 2).clip(0))
    return audio.astype(np.float32)
