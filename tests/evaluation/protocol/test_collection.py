"""What a run has measured, song by song, and pairs whose instrumentals are exchanged between songs."""

import numpy as np
import pytest

from accompgen_hf.accompgen.audio_accompgen import write_audio
from accompgen_hf.data.sources import Track
from accompgen_hf.evaluation.metrics.audio_embedders import load_embedder
from accompgen_hf.evaluation.protocol.collection import collect_real_pairs, collect_system, exchange_instrumentals
from accompgen_hf.evaluation.protocol.excerpts import WindowFolder, write_windows
from accompgen_hf.evaluation.protocol.scoring import Scorer

RATE = 24_000


def tone(frequency: float) -> np.ndarray:
    return (0.2 * np.sin(2 * np.pi * frequency * np.arange(4 * RATE) / RATE)).astype(np.float32)


@pytest.fixture
def test_set(tmp_path) -> WindowFolder:
    tracks = [
        Track(f"song {index}", "CC0-1.0", lambda index=index: (tone(500), tone(200 + 60 * index), RATE))
        for index in range(3)
    ]
    return write_windows(tracks, tmp_path / "inputs", window_s=2.0, windows_per_song=2)


@pytest.fixture
def scorer() -> Scorer:
    return Scorer({"logmel": load_embedder("logmel")}, "instrumental")


def test_outputs_are_collected_by_song_and_scored_to_isolated_vocals(test_set, scorer, tmp_path):
    (tmp_path / "system").mkdir()
    for window in test_set.windows:
        write_audio(tmp_path / "system" / f"{window.window_id}.wav", tone(300)[: 2 * RATE], test_set.sampling_rate)
    outputs = {"isolated": tmp_path / "system", "separated": tmp_path / "system"}
    collected = collect_system("one", outputs, test_set, scorer, tmp_path / "scores")
    assert list(collected.embeddings) == ["isolated", "separated"]
    assert [len(windows) for windows in collected.embeddings["isolated"]["target.logmel"]] == [4, 4, 4]
    assert [len(song) for song in collected.scores] == [2, 2, 2]
    assert len(list((tmp_path / "scores" / "one" / "separated").glob("*.json"))) == 0


def test_exchanged_instrumentals_are_another_songs(test_set, scorer, tmp_path):
    partners = exchange_instrumentals(test_set, seed=0)
    assert all(partners[window.window_id].song_id != window.song_id for window in test_set.windows)
    real = collect_real_pairs(test_set, scorer, tmp_path, "real pairs")["target.logmel"]
    deranged = collect_real_pairs(test_set, scorer, tmp_path, "exchanged", 0)["target.logmel"]
    assert not any(np.allclose(own, other, atol=0.1) for own, other in zip(real, deranged, strict=True))
    assert (tmp_path / "real_pairs").is_dir()
