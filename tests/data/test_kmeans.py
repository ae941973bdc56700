"""Centroids are found from shards on disk, the same after a break, and the report counts what is there."""

import json

import numpy as np
import pytest
from safetensors import safe_open

pytest.importorskip("sklearn")

from accompgen_hf.accompgen.modeling_accompgen_semantic_encoder import load_centroids
from accompgen_hf.data.kmeans import (
    assign_centroids,
    extract_feature_shards,
    fit_centroids,
    report_centroids,
    save_centroids,
    update_centroids,
    write_feature_shard,
)

CENTRES = np.array([[0, 0], [8, 0], [0, 8], [8, 8]], dtype=np.float32)


def write_shards(folder, centres, num_shards=3, frames_per_shard=200, seed=0):
    generator = np.random.default_rng(seed)
    paths = []
    for index in range(num_shards):
        chosen = centres[generator.integers(len(centres), size=frames_per_shard)]
        path = folder / f"{seed}_{index}.npy"
        write_feature_shard(path, (chosen + 0.3 * generator.standard_normal(chosen.shape)).astype(np.float16))
        paths.append(path)
    return paths


@pytest.fixture
def shards(tmp_path):
    # The two kinds share no centre: only a fit on both finds all four.
    return write_shards(tmp_path, CENTRES[:2], seed=1), write_shards(tmp_path, CENTRES[2:], num_shards=5, seed=2)


def test_centres_of_both_kinds_are_found(shards):
    centroids = fit_centroids(*shards, num_clusters=4, batch_frames=100)
    order = np.lexsort((centroids[:, 0], centroids[:, 1]))
    np.testing.assert_allclose(centroids[order], CENTRES, atol=0.15)


def test_both_kinds_count_equally_whatever_their_amount(tmp_path):
    # One cluster is the mean: it lies halfway although there are eight times as many instrumental frames.
    vocal = write_shards(tmp_path, CENTRES[:1], num_shards=1, seed=1)
    instrumental = write_shards(tmp_path, CENTRES[3:], num_shards=8, seed=2)
    centroids = fit_centroids(vocal, instrumental, num_clusters=1, batch_frames=50)
    np.testing.assert_allclose(centroids, [[4, 4]], atol=0.1)
    assert report_centroids(centroids, vocal, instrumental).num_frames == 400


@pytest.mark.parametrize("num_before", [1, 7, 13])
def test_a_killed_fit_goes_on_to_the_same_centroids(shards, tmp_path, num_before):
    arguments = {"num_clusters": 6, "batch_frames": 100, "num_passes": 2, "save_every": 3}
    unbroken = fit_centroids(*shards, **arguments)
    state = tmp_path / "state.npz"
    fit_centroids(*shards, **arguments, state_path=state, max_batches=num_before)
    assert np.array_equal(fit_centroids(*shards, **arguments, state_path=state), unbroken)
    assert np.array_equal(fit_centroids(*shards, **arguments, state_path=state), unbroken)


def test_state_of_another_run_is_refused(shards, tmp_path):
    state = tmp_path / "state.npz"
    fit_centroids(*shards, num_clusters=4, batch_frames=100, state_path=state)
    with pytest.raises(ValueError, match="`state_path` must belong to this run"):
        fit_centroids(*shards, num_clusters=5, batch_frames=100, state_path=state)


def test_report_counts_empty_and_rare_clusters_and_entropy(tmp_path):
    write_feature_shard(tmp_path / "v.npy", np.zeros((100, 1), np.float32))
    write_feature_shard(tmp_path / "i.npy", np.array([[1.0]] * 99 + [[9.0]], np.float32))
    centroids = np.array([[0.0], [1.0], [8.0], [100.0]], np.float32)
    report = report_centroids(centroids, [tmp_path / "v.npy"], [tmp_path / "i.npy"])
    assert (report.num_frames, report.num_empty, report.num_rare) == (200, 1, 2)
    assert report.inertia == pytest.approx(1 / 200)  # only the frame at 9 is off, by 1
    shares = np.array([100, 99, 1]) / 200
    assert report.entropy_bits == pytest.approx(-(shares * np.log2(shares)).sum())
    assert report.perplexity == pytest.approx(2**report.entropy_bits)


def test_assignment_equals_the_nearest_by_brute_force():
    generator = np.random.default_rng(0)
    features, centroids = generator.standard_normal((50, 7)), generator.standard_normal((9, 7)).astype(np.float32)
    ids, distances = assign_centroids(features, centroids)
    gaps = ((features[:, None] - centroids) ** 2).sum(-1)
    assert np.array_equal(ids, gaps.argmin(1))
    np.testing.assert_allclose(distances, gaps.min(1), atol=1e-4)


def test_updates_are_those_of_scikit_learn():
    from sklearn.cluster import MiniBatchKMeans

    frames = np.random.default_rng(0).standard_normal((6, 100, 5)).astype(np.float32)
    kmeans = MiniBatchKMeans(8, init=frames[0, :8], n_init=1, reassignment_ratio=0.0, random_state=0)
    centroids, counts = frames[0, :8], np.zeros(8, np.float32)
    for batch in frames:
        centroids, counts = update_centroids(centroids, counts, batch)
        np.testing.assert_allclose(centroids, kmeans.partial_fit(batch).cluster_centers_, atol=1e-6)
    assert counts.sum() == 600


def test_saved_centroids_are_what_the_encoder_loads(tmp_path, shards):
    centroids = fit_centroids(*shards, num_clusters=4, batch_frames=100)
    save_centroids(tmp_path / "c.safetensors", centroids, report_centroids(centroids, *shards))
    assert np.array_equal(load_centroids(tmp_path / "c.safetensors").numpy(), centroids)
    with safe_open(tmp_path / "c.safetensors", "np") as file:
        assert json.loads(file.metadata()["report"])["num_empty"] == 0
    assert not list(tmp_path.glob("*.tmp"))


def test_too_few_frames_or_shards_are_refused(tmp_path):
    write_feature_shard(tmp_path / "v.npy", np.zeros((3, 2), np.float32))
    with pytest.raises(ValueError, match="`num_clusters` must be at most the 6 frames at hand, got 7"):
        fit_centroids([tmp_path / "v.npy"], [tmp_path / "v.npy"], num_clusters=7)
    with pytest.raises(ValueError, match="`instrumental_shards` must name at least one feature shard"):
        fit_centroids([tmp_path / "v.npy"], [], num_clusters=2)


def test_features_are_extracted_once_per_recording(tmp_path):
    torch = pytest.importorskip("torch")
    calls = []

    class Encoder:
        def extract_features(self, input_values):
            calls.append(input_values.shape)
            return torch.ones(1, 2, 4) * input_values.sum()

    def read():
        return np.full(640, 0.5, np.float32)

    recordings = [("a", read), ("b", read)]
    for _ in range(2):
        paths = extract_feature_shards(Encoder(), recordings, tmp_path / "features")
    assert calls == [(1, 640), (1, 640)]
    assert [path.name for path in paths] == ["a.npy", "b.npy"]
    assert np.load(paths[0]).tolist() == [[320.0] * 4] * 2
