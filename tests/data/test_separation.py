"""Separation: networks of MDX-Net's signature whose right answer is known to the sample."""

import sys

import numpy as np
import pytest

from accompgen_hf.data.separation import load_separator
from stand_in_demucs import StandInDemucs, install_demucs

RATE = 44100
DIM_F, DIM_T = 2048, 32  # of KUIELab's files; theirs have 256 frames


def noise(num_samples: int) -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal((2, num_samples)).astype(np.float32)


@pytest.fixture
def demucs(monkeypatch):
    install_demucs(monkeypatch)


def test_demucs_vocals_come_back_at_the_songs_level(demucs, monkeypatch):
    mix = noise(RATE)
    vocals, instrumental, rate = load_separator("htdemucs", device="cpu").separate(mix, RATE)
    np.testing.assert_allclose(vocals, 0.4 * (mix - mix.mean()), atol=1e-5)
    np.testing.assert_allclose(vocals + instrumental, mix, atol=1e-6)
    assert rate == RATE
    with pytest.raises(ValueError, match=r"`n_fft` is an option of ONNX files, demucs models such as 'htdemucs' have"):
        load_separator("htdemucs", n_fft=6144)
    monkeypatch.setattr(StandInDemucs, "sources", ("speech", "music"))
    with pytest.raises(ValueError, match=r"`separate` 'htdemucs' gives speech, music, but vocals are needed"):
        load_separator("htdemucs")


def test_missing_demucs_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "demucs", None)
    with pytest.raises(ImportError, match=r"Separating with demucs needs demucs.pretrained: `pip install demucs`"):
        load_separator("htdemucs")
