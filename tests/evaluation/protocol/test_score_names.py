"""Every score that is shown is one that is computed."""

import numpy as np

from accompgen_hf.evaluation.metrics.musical_scores import score_accompaniment
from accompgen_hf.evaluation.protocol.score_names import SCORE_METRICS


def test_every_name_is_a_score_of_an_accompaniment():
    noise = 0.1 * np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    assert set(SCORE_METRICS) <= set(score_accompaniment(noise, noise, 16_000))
