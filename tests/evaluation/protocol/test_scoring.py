"""Scores and embeddings are computed once for the same audio, and anew for other audio."""

import numpy as np
import pytest

from accompgen_hf.evaluation.metrics.audio_embedders import load_embedder
from accompgen_hf.evaluation.protocol.scoring import Item, Scorer, as_number

RATE = 16_000


def make_item(seed: int = 0) -> Item:
    vocals, band = 0.1 * np.random.default_rng(seed).standard_normal((2, 6 * RATE)).astype(np.float32)
    return Item(vocals, band, RATE)


def refuse() -> Item:
    raise AssertionError("computed again")


@pytest.fixture
def scorer() -> Scorer:
    return Scorer({name: load_embedder(name) for name in ("logmel", "harmony-rhythm")})


def test_an_embedder_hears_what_it_can_tell(scorer):
    assert (scorer.target_names, scorer.pair_names) == (["logmel"], ["harmony-rhythm"])
    embeddings = scorer.embed(make_item())
    assert {name: value.shape[1] for name, value in embeddings.items()} == {
        "target.logmel": 64,
        "pair.harmony-rhythm": 22,
    }


def test_embeddings_of_the_same_audio_come_from_the_file_and_of_other_audio_do_not(scorer, tmp_path):
    path = tmp_path / "song" / "0.npz"
    first = scorer.load_embeddings(path, "a", make_item)
    again = scorer.load_embeddings(path, "a", refuse)
    assert all(np.array_equal(first[name], again[name]) for name in first)
    other = scorer.load_embeddings(path, "b", lambda: make_item(1))
    assert not np.array_equal(first["target.logmel"], other["target.logmel"])
    with pytest.raises(AssertionError, match="computed again"):
        Scorer(scorer.embedders, "instrumental").load_embeddings(path, "b", refuse)


def test_scores_of_the_same_audio_come_from_the_file(scorer, tmp_path):
    path = tmp_path / "song" / "0.json"
    first = scorer.load_scores(path, "a", make_item)
    assert scorer.load_scores(path, "a", refuse) == first
    assert first["activity_coverage"] == 1.0
    assert first["key_exact"] is None


def test_numbers_that_json_cannot_hold_are_none():
    assert [as_number(value) for value in (None, float("nan"), float("inf"), np.float32(0.5))] == [
        None,
        None,
        None,
        0.5,
    ]


def test_an_unknown_target_is_refused():
    with pytest.raises(ValueError, match=r"`target` must be one of \('mix', 'instrumental'\), got 'vocals'"):
        Scorer({}, "vocals")
