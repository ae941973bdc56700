"""What all embedders do alike: resample, and hear a pair as one sound."""

import numpy as np

from accompgen_hf.evaluation.metrics import audio_embedders
from accompgen_hf.evaluation.metrics.audio_embedders import load_embedder

RATE = 24_000


def band(seed: int, duration_s: float = 20.0) -> np.ndarray:
    """Decaying tones of random pitch every quarter of a second."""
    rng = np.random.default_rng(seed)
    times = np.arange(RATE // 4) / RATE
    notes = [np.sin(2 * np.pi * 220 * 2 ** (rng.integers(24) / 12) * times) for _ in range(int(4 * duration_s))]
    return (0.3 * np.concatenate([note * np.exp(-8 * times) for note in notes])).astype(np.float32)


def test_another_sampling_rate_gives_nearly_the_same_embedding():
    embedder = load_embedder("logmel")
    audio = band(0, 3.0)
    slow = audio_embedders.Embedder.embed(embedder, np.repeat(audio, 2), 2 * RATE)
    assert np.abs(slow[:, :20] - embedder.embed(audio, RATE)[:, :20]).mean() < 0.3


def test_a_pair_is_heard_as_a_sum_of_equal_powers():
    embedder = load_embedder("logmel")
    first, second = band(0, 2.0), band(1, 2.0)
    np.testing.assert_allclose(
        embedder.embed_pair(first, second, RATE), embedder.embed_pair(0.1 * first, 0.5 * second, RATE), atol=1e-4
    )
