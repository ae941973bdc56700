"""A corpus whose index is written by hand, for retrieval and what retrieval listens to."""

import numpy as np

from accompgen_hf.evaluation.systems.corpus import Excerpt
from accompgen_hf.evaluation.systems.system import Window


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
