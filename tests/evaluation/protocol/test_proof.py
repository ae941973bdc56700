"""The order of the systems on held-out songs: retrieval above random, the oracle above all (two minutes: slow)."""

import pytest

import accompgen_hf
from accompgen_hf.evaluation.metrics.audio_embedders import load_embedder
from accompgen_hf.evaluation.protocol.excerpts import (
    CORPUS_SEED,
    REFERENCE_SEED,
    held_out_song_tracks,
    songs_under_test,
    write_windows,
)
from accompgen_hf.evaluation.protocol.run import run_protocol
from accompgen_hf.evaluation.systems.corpus import Corpus
from accompgen_hf.evaluation.systems.oracle import OracleSystem
from accompgen_hf.evaluation.systems.retrieval import RandomSystem, RetrievalSystem

WINDOW_S = 10.0


@pytest.mark.slow
def test_retrieval_beats_random_on_key_and_tempo_and_the_oracle_beats_all(tmp_path):
    test_set = write_windows(songs_under_test(32, 200, WINDOW_S), tmp_path / "inputs", window_s=WINDOW_S)
    reference = held_out_song_tracks(REFERENCE_SEED, 32, WINDOW_S)
    reference_set = write_windows(reference, tmp_path / "reference", window_s=WINDOW_S)
    corpus = Corpus(held_out_song_tracks(CORPUS_SEED, 200, WINDOW_S + 2), WINDOW_S + 2, tmp_path / "index.json")
    systems = [RandomSystem(corpus), RetrievalSystem(corpus), OracleSystem(accompgen_hf.DEFAULT_MODEL)]
    results = run_protocol(
        systems,
        test_set,
        reference_set,
        {"logmel": load_embedder("logmel")},
        tmp_path,
        dataset="songs",
        num_resamples=20,
    )

    def value(system: str, metric: str) -> float:
        return results["systems"][system]["metrics"][metric]["value"]

    for metric in ("key_relative", "key_mirex", "tempo_correct"):
        assert value("retrieval", metric) > value("random", metric), metric
    for metric in ("key_exact", "key_relative", "chord_majmin", "beat_f1", "tempo_correct", "chroma_cosine"):
        for system in ("random", "retrieval"):
            assert value("oracle", metric) > value(system, metric), (metric, system)
    assert results["systems"]["oracle"]["normalised"]["random"]["chord_majmin"]["value"] == 1.0
