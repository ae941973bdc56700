"""Centroids tuned with the encoder: the ids alone come to tell the targets, and a killed run goes on."""

import numpy as np
import pytest
import torch

pytest.importorskip("sklearn")

from accompgen_hf.training.run_files import read_metrics
from accompgen_hf.training.semantic_encoder.model import HubertForMaskedPrediction, make_hubert_config
from accompgen_hf.training.semantic_encoder.pool import SongPool
from accompgen_hf.training.semantic_encoder.run import SemanticEncoderArguments
from accompgen_hf.training.semantic_encoder.targets import TARGET_FAMILIES, SemanticTargets
from accompgen_hf.training.semantic_encoder.tuning import FAMILY_WEIGHTS, SemanticTuner
from tiny_encoder import TINY_HUBERT, TINY_RUN, chunks_of_two_clips


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    with chunks_of_two_clips():
        pool = SongPool(folder / "pool", 2).build()
        yield pool, pool, SemanticTargets(folder / "targets").build(pool)


def make_tuner(parts, folder, has_centroids=True, **changes):
    fields = {**TINY_RUN, "family_weights": dict(FAMILY_WEIGHTS), **changes}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        trained = HubertForMaskedPrediction(make_hubert_config(TINY_HUBERT), TARGET_FAMILIES)
    centroids = np.random.default_rng(0).standard_normal((12, 16)).astype(np.float32)
    arguments = SemanticEncoderArguments(str(folder), **fields)
    return SemanticTuner(arguments, *parts, trained, centroids if has_centroids else None)


def test_it_starts_from_the_trained_encoder_and_its_centroids(parts, tmp_path):
    tuner = make_tuner(parts, tmp_path, seed=3)
    assert np.array_equal(tuner.centroids, np.random.default_rng(0).standard_normal((12, 16)).astype(np.float32))
    again = make_tuner(parts, tmp_path, seed=4)
    weights = tuner.model.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in again.model.state_dict().items())


def test_what_the_ids_tell_grows_and_centroids_come_nearer(parts, tmp_path):
    tuner = make_tuner(parts, tmp_path, max_steps=40, learning_rate=1e-2, save_every=40, evaluate_every=20)
    before = tuner.evaluate()
    tuner.train()
    last = read_metrics(tmp_path, "validation")[-1]
    assert last["loss"] < before["loss"] - 0.5
    assert last["distance"] < before["distance"]


def test_a_loss_is_read_from_the_nearest_centroid_alone(parts, tmp_path):
    tuner = make_tuner(parts, tmp_path)
    with torch.no_grad():
        tuner.model.centroids.copy_(tuner.model.centroids[:1].expand(12, -1))  # one centroid: ids tell nothing
    batch = tuner.draw_batch(tuner.pool, (0, 0), 2)
    _, metrics = tuner.compute_loss(batch)
    shares = torch.bincount(batch[1]["beat"].flatten(), minlength=5) / batch[1]["beat"].numel()
    assert any(metrics["beat_heard_accuracy"] == pytest.approx(share.item()) for share in shares)


def test_a_killed_run_goes_on_to_the_same_centroids(parts, tmp_path):
    unbroken = make_tuner(parts, tmp_path / "unbroken")
    unbroken.train()
    make_tuner(parts, tmp_path / "broken").train(stop_at=3)
    resumed = make_tuner(parts, tmp_path / "broken")
    resumed.train()
    assert np.array_equal(resumed.centroids, unbroken.centroids)


def test_features_are_tuned_before_there_are_centroids(parts, tmp_path):
    tuner = make_tuner(parts, tmp_path, has_centroids=False, max_steps=40, learning_rate=1e-2, save_every=20)
    before = tuner.evaluate()
    tuner.train(stop_at=20)
    assert "distance" not in before
    resumed = make_tuner(parts, tmp_path, has_centroids=False, max_steps=40, learning_rate=1e-2, save_every=20)
    resumed.train()
    after = resumed.evaluate()
    assert after["loss"] < before["loss"] - 0.5
    assert after["beat_heard_loss"] < before["beat_heard_loss"]
