"""Scores of beats against mir_eval's."""

import mir_eval
import numpy as np
import pytest

from accompgen_hf.evaluation.metrics.beats import score_beats


@pytest.mark.parametrize("seed", range(5))
def test_beat_scores_equal_mir_evals(seed):
    rng = np.random.default_rng(seed)
    truth = np.arange(0.2, 20, 0.6)
    heard = np.sort(np.concatenate([truth[rng.random(len(truth)) < 0.7] + rng.normal(0, 0.05), rng.uniform(0, 20, 4)]))
    assert score_beats(heard, truth) == pytest.approx(mir_eval.beat.f_measure(truth, heard))
    assert score_beats(np.zeros(0), truth) == 0
    assert score_beats(heard, np.zeros(0)) is None
