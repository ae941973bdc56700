"""Intervals by resampling songs, against closed forms; and the normalised score with its void."""

import numpy as np
import pytest

from accompgen_hf.evaluation.protocol.bootstrap import (
    Estimate,
    difference,
    draw_songs,
    estimate_mean,
    estimate_statistic,
    normalised_score,
)


def certain(value: float) -> Estimate:
    return Estimate(value, np.full(50, value), 10)


def test_the_interval_of_a_mean_is_that_of_the_normal_approximation():
    values = np.random.default_rng(0).normal(2.0, 1.0, 400)
    low, high = estimate_mean(values[:, None], draw_songs(400, 2000, 0)).interval
    half_width = 1.96 * values.std() / np.sqrt(400)
    assert low == pytest.approx(values.mean() - half_width, abs=0.01)
    assert high == pytest.approx(values.mean() + half_width, abs=0.01)


def test_songs_are_drawn_and_not_windows():
    """Many equal windows of two songs are two observations: the mean can be either song's."""
    low, high = estimate_mean([[0.0] * 100, [1.0] * 100], draw_songs(2, 500, 0)).interval
    assert high - low == pytest.approx(1.0)


def test_windows_without_a_value_do_not_count():
    estimate = estimate_mean([[1.0, None], [float("nan"), 3.0], [None]], draw_songs(3, 100, 0))
    assert (estimate.value, estimate.num_windows) == (2.0, 2)
    assert estimate_mean([[None], [None]], draw_songs(2, 10, 0)) is None


def test_a_statistic_of_all_windows_is_centred_on_its_own_value():
    songs = [np.full((2, 1), value) for value in (0.0, 1.0, 5.0)]
    estimate = estimate_statistic(songs, np.var, draw_songs(3, 400, 1), lowest=0.0)
    assert estimate.value == pytest.approx(np.var([0.0, 1.0, 5.0]))
    low, high = estimate.interval
    assert 0.0 <= low < estimate.value < high  # resamples alone would lie too low: songs are missing in them


def test_a_difference_is_paired_by_song():
    draws = draw_songs(50, 200, 3)
    values = np.random.default_rng(1).normal(size=(50, 1))
    paired = difference(estimate_mean(values + 1.0, draws), estimate_mean(values, draws))
    assert paired.interval == pytest.approx((1.0, 1.0))
    assert difference(None, certain(1.0)) is None


def test_the_normalised_score_is_zero_at_the_base_and_one_at_the_oracle():
    base, oracle = certain(5.0), certain(1.0)
    scores = [normalised_score(certain(value), base, oracle, higher_is_better=False) for value in (5.0, 3.0, 1.0)]
    assert [score.value for score in scores] == [0.0, 0.5, 1.0]


def test_the_normalised_scores_interval_is_that_of_paired_songs():
    rng = np.random.default_rng(0)
    songs = rng.normal(0, 0.3, (60, 1))  # what makes a song hard is hard for all
    draws = draw_songs(60, 400, 0)
    base, ours, oracle = (estimate_mean(songs + level, draws) for level in (0.0, 0.5, 1.0))
    low, high = normalised_score(ours, base, oracle, True).interval
    assert (low, high) == pytest.approx((0.5, 0.5))
    noisy = estimate_mean(songs + 0.5 + rng.normal(0, 0.4, (60, 1)), draws)
    score = normalised_score(noisy, base, oracle, True)
    low, high = score.interval
    exact = [(o - b) / (t - b) for o, b, t in zip(noisy.resamples, base.resamples, oracle.resamples, strict=True)]
    assert high - low == pytest.approx(np.subtract(*np.quantile(exact, (0.975, 0.025))), rel=0.05)


def test_a_small_or_uncertain_or_wrong_gap_is_void():
    ours, base = certain(0.2), certain(0.2)
    assert normalised_score(ours, base, certain(0.29), True) == "void"
    assert normalised_score(ours, base, certain(0.0), True) == "void"  # the oracle is worse than the base
    wide = Estimate(0.9, np.linspace(-1.0, 2.8, 50), 10)
    assert normalised_score(ours, base, wide, True) == "void"
    assert normalised_score(ours, base, certain(0.9), True).value == 0.0
    assert normalised_score(None, base, certain(0.9), True) is None


def test_draws_are_fixed_by_the_seed_and_refuse_nothing_to_draw():
    assert np.array_equal(draw_songs(5, 10, 1), draw_songs(5, 10, 1))
    with pytest.raises(ValueError, match="`num_songs` must be at least 1"):
        draw_songs(0, 10, 1)
