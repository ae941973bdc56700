"""Random and retrieval: existing instrumentals as accompaniments, the floor that a model must rise above.

Random takes any other song. Retrieval takes one whose tempo and key fit what is heard in the vocals, lets it start on
a beat and plays it as loud as random does; nothing is stretched or transposed.
"""

from typing import Any

import numpy as np

from accompgen_hf.evaluation.systems.corpus import Corpus, Excerpt, estimate_key, relative_key
from accompgen_hf.evaluation.systems.system import Window, fit_output, match_loudness
from accompgen_hf.evaluation.systems.voice_tempo import estimate_voice_tempo

MAX_TEMPO_DIFFERENCE_BPM = 4.0


class RandomSystem:
    """Another song's instrumental, drawn by the seed.

    Args:
        corpus (`Corpus`): Corpus to draw from.
        name (`str`): Name in the table.
    """

    def __init__(self, corpus: Corpus, name: str = "random"):
        self.corpus, self.name = corpus, name

    def describe(self) -> dict[str, Any]:
        """What the corpus is."""
        return {"system": "random", "corpus": self.corpus.describe()}

    def generate(self, vocals: np.ndarray, sampling_rate: int, seed: int, window: Window) -> np.ndarray:
        """Cut a random place of a random excerpt."""
        rng = np.random.default_rng(seed)
        excerpts = other_songs(self.corpus, window)
        excerpt = excerpts[rng.integers(len(excerpts))]
        slack_s = max(0.0, excerpt.duration_s - len(vocals) / sampling_rate)
        return _cut(self.corpus, excerpt, rng.uniform(0, slack_s), vocals, sampling_rate, window)


class RetrievalSystem:
    """The instrumental of another song in the vocals' tempo and key (paper §4.3; SingSong's baseline).

    Args:
        corpus (`Corpus`): Corpus to search.
        name (`str`): Name in the table.
    """

    def __init__(self, corpus: Corpus, name: str = "retrieval"):
        self.corpus, self.name = corpus, name

    def describe(self) -> dict[str, Any]:
        """What the corpus is, and how far tempi may be apart."""
        return {"system": "retrieval", "corpus": self.corpus.describe(), "max_bpm": MAX_TEMPO_DIFFERENCE_BPM}

    def generate(self, vocals: np.ndarray, sampling_rate: int, seed: int, window: Window) -> np.ndarray:
        """Cut a fitting excerpt from one of its beats on."""
        rng = np.random.default_rng(seed)
        candidates = self.find(vocals, sampling_rate, window)
        excerpt = candidates[rng.integers(len(candidates))]
        slack_s = excerpt.duration_s - len(vocals) / sampling_rate
        beats = [beat for beat in excerpt.beats_s if 0 <= beat <= slack_s]
        start_s = beats[rng.integers(len(beats))] if beats else 0.0
        return _cut(self.corpus, excerpt, start_s, vocals, sampling_rate, window)

    def find(self, vocals: np.ndarray, sampling_rate: int, window: Window) -> list[Excerpt]:
        """Excerpts that fit the vocals; where none fits in both, the ones in key that are nearest in tempo."""
        excerpts = other_songs(self.corpus, window)
        key = estimate_key(vocals, sampling_rate)
        if key is not None:
            keys = (key, relative_key(*key))
            excerpts = [excerpt for excerpt in excerpts if (excerpt.tonic, excerpt.mode) in keys] or excerpts
        tempo_bpm = estimate_voice_tempo(vocals, sampling_rate)
        if tempo_bpm <= 0:  # nothing repeats: any tempo is as good
            return excerpts
        differences = np.array([abs(excerpt.tempo_bpm - tempo_bpm) for excerpt in excerpts])
        limit = max(MAX_TEMPO_DIFFERENCE_BPM, differences.min())
        return [excerpt for excerpt, value in zip(excerpts, differences, strict=True) if value <= limit]


def other_songs(corpus: Corpus, window: Window) -> list[Excerpt]:
    """The corpus without the window's own song.

    Raises:
        ValueError: If nothing is left.
    """
    excerpts = [excerpt for excerpt in corpus.excerpts if excerpt.song_id != window.song_id]
    if not excerpts:
        raise ValueError(f"`corpus` must hold other songs than {window.song_id!r}, got that one alone.")
    return excerpts


def _cut(
    corpus: Corpus, excerpt: Excerpt, start_s: float, vocals: np.ndarray, sampling_rate: int, window: Window
) -> np.ndarray:
    audio = corpus.load(excerpt, sampling_rate)
    start = min(round(start_s * sampling_rate), max(0, len(audio) - len(vocals)))
    audio = audio[start : start + len(vocals)]
    audio = fit_output(audio, len(vocals), sampling_rate, f"the excerpt for {window.window_id}")
    return match_loudness(audio, vocals, sampling_rate)
