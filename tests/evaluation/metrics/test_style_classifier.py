"""A classifier of styles tells styles apart that it has heard."""

import numpy as np
import pytest

pytest.importorskip("sklearn")
from accompgen_hf.evaluation.metrics.style_classifier import StyleClassifier

RATE = 16_000


def play(style: str, seed: int) -> np.ndarray:
    """Two seconds of dark or bright noise, in pulses or steady."""
    generator = np.random.default_rng(seed)
    noise = generator.standard_normal(2 * RATE)
    if style == "dark":
        noise = np.convolve(noise, np.ones(20) / 20, mode="same")
    if style == "pulsed":
        noise *= np.sin(2 * np.pi * 4 * np.arange(2 * RATE) / RATE) > 0
    return (0.1 * noise).astype(np.float32)


def test_styles_are_named():
    styles = ["dark", "steady", "pulsed"] * 4
    classifier = StyleClassifier([play(style, seed) for seed, style in enumerate(styles)], RATE, styles)
    asked = ["pulsed", "dark", "steady"]
    bands = [play(style, 100 + seed) for seed, style in enumerate(asked)]
    assert classifier.name(bands, RATE) == asked
    with pytest.raises(ValueError, match="`styles` must name the style of each of the 3 bands"):
        StyleClassifier(bands, RATE, ["dark", "dark", "dark"])
