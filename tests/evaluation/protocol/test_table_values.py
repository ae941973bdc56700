"""Numbers of a table from embeddings whose answer is known."""

import numpy as np
import pytest

from accompgen_hf.evaluation.metrics.frechet import GaussianStatistics, frechet_distance
from accompgen_hf.evaluation.protocol.bootstrap import Estimate, draw_songs
from accompgen_hf.evaluation.protocol.collection import Collected
from accompgen_hf.evaluation.protocol.table_values import (
    Metric,
    adherence_estimates,
    fad_estimates,
    infinity_bounds,
    normalise,
    score_estimates,
)

NUM_SONGS = 40
DRAWS = draw_songs(NUM_SONGS, 20, 0)


def songs(mean: float, seed: int, dimensions: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(mean, 1.0, (10, dimensions)) for _ in range(NUM_SONGS)]


def system(mean: float, seed: int, key: str = "target.x", separated: float | None = None) -> Collected:
    embeddings = {"isolated": {key: songs(mean, seed)}}
    if separated is not None:
        embeddings["separated"] = {key: songs(separated, seed)}
    return Collected(embeddings, [[{"key": mean}] for _ in range(NUM_SONGS)])


def test_fad_is_that_of_all_windows_and_delta_is_isolated_minus_separated():
    reference = {"target.x": songs(0.0, 99)}
    systems = {"near": system(0.0, 1), "far": system(1.0, 2, separated=2.0)}
    estimates, details = fad_estimates(systems, reference, DRAWS, seed=0)
    far = estimates["far"]
    expected = frechet_distance(
        GaussianStatistics(np.concatenate(reference["target.x"])), GaussianStatistics(np.concatenate(songs(1.0, 2)))
    )
    assert far["fad_isolated.x"].value == pytest.approx(expected)
    assert far["fad_isolated.x"].value == pytest.approx(3.0, abs=0.5)  # |μ|² in three dimensions
    assert far["fad_delta.x"].value == far["fad_isolated.x"].value - far["fad_separated.x"].value
    assert "fad_separated.x" not in estimates["near"]
    assert estimates["near"]["fad_infinity.x"].value < estimates["near"]["fad_isolated.x"].value
    assert details["x"]["dimensions"] == 3


def test_equal_sets_have_no_distance():
    reference = {"target.x": songs(0.0, 1)}
    estimates, _ = fad_estimates({"same": system(0.0, 1)}, reference, DRAWS, seed=0)
    assert estimates["same"]["fad_isolated.x"].value <= 1e-6


def test_adherence_is_one_for_real_pairs_and_none_for_exchanged_ones():
    key = "pair.x"
    real, deranged, fresh, shuffled = ({key: songs(mean, seed)} for seed, mean in enumerate((0, 3, 0, 3)))
    systems = {"coherent": system(0.0, 7, key), "random": system(3.0, 8, key)}
    estimates, gates = adherence_estimates(systems, real, deranged, fresh, shuffled, DRAWS)
    assert gates["x"]["is_sensitive"]
    assert gates["x"]["num_reference_windows"] == sum(len(song) for song in real[key])
    assert gates["x"]["dimensions"] == real[key][0].shape[1]
    assert estimates["coherent"]["apa.x"].value > 0.95
    assert estimates["random"]["apa.x"].value < 0.05
    _, gates = adherence_estimates(systems, real, real, fresh, fresh, DRAWS)
    assert not gates["x"]["is_sensitive"]


def test_scores_are_means_and_normalised_between_random_and_oracle():
    systems = {"random": system(0.0, 1), "ours": system(0.25, 1), "oracle": system(1.0, 1)}
    estimates = score_estimates(systems, DRAWS)
    assert estimates["ours"]["key"].value == 0.25
    assert normalise(estimates, {"key": Metric("key")})["ours"]["key"].value == 0.25
    other_base = {**estimates, "retrieval": {"key": Estimate(0.5, None, 40)}}
    assert normalise(other_base, {"key": Metric("key")}, "retrieval")["ours"]["key"].value == -0.5
    assert normalise(estimates, {"key": Metric("key", None)})["ours"] == {}
    assert normalise({"ours": estimates["ours"]}, {"key": Metric("key")}) == {"ours": {}}


def test_the_bound_of_extrapolated_distances_is_twice_the_oracle_plus_real_against_real():
    key = "fad_infinity.x"
    estimates = {name: {key: Estimate(value, None, 9)} for name, value in (("oracle", 6.0), ("truth", 4.0))}
    assert infinity_bounds(estimates) == {"x": 16.0}
    assert infinity_bounds({"oracle": estimates["oracle"]}) == {}
