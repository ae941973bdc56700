"""The tempo of a voice alone."""

import numpy as np

from accompgen_hf.evaluation.systems.corpus import Excerpt, relative_key
from accompgen_hf.evaluation.systems.retrieval import RetrievalSystem
from accompgen_hf.evaluation.systems.system import Window
from accompgen_hf.songs.song import compose_song, generate_song

RATE = 24_000


class ListedCorpus:
    """A corpus whose index was written by hand."""

    def __init__(self, excerpts: list[Excerpt]):
        self.excerpts = excerpts

    def describe(self):
        return {}

    def load(self, excerpt: Excerpt, sampling_rate: int) -> np.ndarray:
        """A ramp: its values say from where in the excerpt they come."""
        return np.linspace(0, excerpt.duration_s, round(excerpt.duration_s * sampling_rate), dtype=np.float32) / 100


def excerpt(song_id: str, tempo_bpm: float, tonic: int, mode: str, beats_s: tuple[float, ...] = (0.5, 1.0)) -> Excerpt:
    return Excerpt(0, song_id, 0.0, 12.0, tempo_bpm, tonic, mode, beats_s, -20.0)


def window(song_id: str = "song-800000") -> Window:
    return Window(f"{song_id}-0000000ms", song_id, 0.0, 10.0, lambda rate: np.zeros(10 * rate, np.float32))


def test_tempo_and_key_follow_the_voice_more_often_than_by_chance():
    """The truth comes from the songs' scores; retrieval hears the vocals alone."""
    corpus = []
    for seed in range(850_000, 850_100):
        song = compose_song(seed)
        corpus.append(excerpt(f"song-{seed}", song.tempo_bpm, song.tonic, song.mode))
    system = RetrievalSystem(ListedCorpus(corpus))
    shares = {"retrieval": [], "random": []}
    for seed in range(800_100, 800_110):
        song = generate_song(seed)
        truth = song.annotation
        keys = ((truth.tonic, truth.mode), relative_key(truth.tonic, truth.mode))
        for name, found in (("retrieval", system.find(song.vocals, RATE, window())), ("random", corpus)):
            in_key = np.mean([(item.tonic, item.mode) in keys for item in found])
            in_tempo = np.mean([abs(item.tempo_bpm - truth.tempo_bpm) <= 4 for item in found])
            shares[name].append((in_key, in_tempo))
    retrieval, random = (np.mean(shares[name], axis=0) for name in ("retrieval", "random"))
    assert np.all(retrieval > 2 * random), (retrieval, random)
