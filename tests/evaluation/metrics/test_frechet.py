"""Fréchet distances against scipy's square root, the closed form, and what must make them larger."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from accompgen_hf.evaluation.metrics.frechet import (
    GaussianStatistics,
    ReferenceProjection,
    frechet_audio_distance,
    frechet_distance,
    frechet_distance_infinity,
    per_song_frechet,
    project_on_reference,
)


def draw(num_windows: int, dimensions: int, seed: int, mean: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(seed + 1000).normal(size=(dimensions, dimensions))
    return rng.normal(size=(num_windows, dimensions)) @ mixing + mean


def test_the_distance_is_that_of_scipys_matrix_square_root():
    first, second = draw(400, 24, 0), draw(300, 24, 1, 0.5)
    means = first.mean(0) - second.mean(0)
    covariances = np.cov(first.T), np.cov(second.T)
    root = sqrtm(covariances[0] @ covariances[1]).real
    expected = means @ means + np.trace(covariances[0] + covariances[1] - 2 * root)
    found = frechet_distance(GaussianStatistics(first), GaussianStatistics(second))
    assert found == pytest.approx(expected, rel=1e-6)


def test_the_distance_of_two_axis_parallel_gaussians_is_the_closed_form():
    # Two points at ±s give a variance of 2 s² each, exactly.
    first = GaussianStatistics(np.array([[-3.0], [3.0]]))  # variance 18
    second = GaussianStatistics(np.array([[4.0], [6.0]]))  # mean 5, variance 2
    assert frechet_distance(first, second) == pytest.approx(25 + (np.sqrt(18) - np.sqrt(2)) ** 2)


@pytest.mark.parametrize(("num_windows", "dimensions"), [(500, 16), (5, 64), (2, 128)])
def test_identical_sets_are_at_most_1e_6_apart_also_when_covariances_are_singular(num_windows, dimensions):
    statistics = GaussianStatistics(10 * draw(num_windows, dimensions, 3))
    assert 0 <= frechet_distance(statistics, statistics) <= 1e-6


def test_a_singular_covariance_gives_the_distance_of_the_space_that_it_spans():
    flat = np.concatenate([draw(100, 4, 0), np.zeros((100, 6))], axis=1)
    other = np.concatenate([draw(100, 4, 1), np.zeros((100, 6))], axis=1)
    inside = frechet_distance(GaussianStatistics(flat[:, :4]), GaussianStatistics(other[:, :4]))
    assert frechet_distance(GaussianStatistics(flat), GaussianStatistics(other)) == pytest.approx(inside, rel=1e-6)


def test_parts_and_merged_statistics_equal_the_whole():
    windows = draw(100, 8, 0, mean=1e4)
    parts = GaussianStatistics(windows[:30]).update(windows[30:31])
    parts.merge(GaussianStatistics(windows[31:])).merge(GaussianStatistics())
    assert parts.count == 100
    np.testing.assert_allclose(parts.mean, windows.mean(0), rtol=1e-12)
    np.testing.assert_allclose(parts.covariance, np.cov(windows.T), rtol=1e-9, atol=1e-9)


def test_extrapolation_comes_nearer_to_the_truth_than_the_plain_distance():
    rng = np.random.default_rng(0)
    reference = GaussianStatistics(rng.normal(size=(20_000, 16)))
    windows = rng.normal(size=(200, 16)) + 0.2
    truth = 16 * 0.2**2
    value, details = frechet_distance_infinity(reference, windows, seed=0)
    plain = frechet_distance(reference, GaussianStatistics(windows))
    assert abs(value - truth) < 0.5 * abs(plain - truth)
    assert details["slope"] > 0
    assert details["sizes"][-1] == 200
    assert (value, details) == frechet_distance_infinity(reference, windows, seed=0)


def test_a_song_of_another_kind_has_the_largest_distance_of_all():
    reference = GaussianStatistics(draw(500, 8, 0))
    songs = [draw(50, 8, 0)[i : i + 25] for i in (0, 25)] + [draw(25, 8, 0) + 20]
    assert per_song_frechet(reference, songs).argmax() == 2


def test_many_dimensions_are_projected_on_the_reference_and_the_result_says_so():
    reference, windows = draw(200, 64, 0), draw(120, 64, 1)
    result = frechet_audio_distance(reference, windows)
    assert (result["dimensions"], result["projected_from"]) == (12, 64)
    assert 0 < result["explained_variance"] < 1
    axes = ReferenceProjection(reference, 12).axes
    by_svd = np.linalg.svd(reference - reference.mean(0), full_matrices=False)[2][:12].T
    np.testing.assert_allclose(axes @ axes.T, by_svd @ by_svd.T, atol=1e-8)
    assert frechet_audio_distance(reference[:, :10], windows[:, :10])["projected_from"] is None
    assert frechet_audio_distance(draw(25, 4, 0), draw(25, 4, 1))["fad_infinity"] is None


def test_what_cannot_be_measured_is_refused():
    some = GaussianStatistics(draw(10, 4, 0))
    with pytest.raises(ValueError, match="hold NaN or infinity in 1 of 2 windows, first in window 1"):
        GaussianStatistics(np.array([[0.0], [np.nan]]))
    with pytest.raises(ValueError, match="must be \\(num_windows, dimensions\\)"):
        some.update(np.zeros(4))
    with pytest.raises(ValueError, match="must have 4 dimensions like those before, got 5"):
        some.update(np.zeros((3, 5)))
    with pytest.raises(ValueError, match="must have equal dimensions, got 4 and 5"):
        frechet_distance(some, GaussianStatistics(draw(10, 5, 0)))
    with pytest.raises(ValueError, match="too few windows: 2 are needed"):
        frechet_distance(some, GaussianStatistics(np.zeros((1, 4))))
    with pytest.raises(ValueError, match="extrapolation needs at least 30, got 10"):
        frechet_distance_infinity(some, draw(10, 4, 0))
    with pytest.raises(ValueError, match="`repeats` must be at least 1"):
        frechet_distance_infinity(some, draw(40, 4, 0), repeats=0)
    with pytest.raises(ValueError, match="song 0 has 1"):
        per_song_frechet(some, [np.zeros((1, 4))])
    with pytest.raises(ValueError, match="at least 20, the smallest has 10"):
        frechet_audio_distance(draw(50, 4, 0), draw(10, 4, 0))
    with pytest.raises(ValueError, match="must have the reference's 4 dimensions, got 5"):
        project_on_reference(draw(50, 4, 0), [draw(50, 5, 0)])
    with pytest.raises(ValueError, match="`dimensions` must be in \\[1, 4\\], got 5"):
        ReferenceProjection(draw(50, 4, 0), 5)
