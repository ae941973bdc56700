"""The songs that random and retrieval answer with, and a cached index of their tempo, key, beats and loudness."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from accompgen_hf.accompgen.audio_accompgen import integrated_loudness, resample
from accompgen_hf.accompgen.fingerprint_accompgen import hash_json
from accompgen_hf.accompgen.harmony_accompgen import PITCH_CLASSES, chroma
from accompgen_hf.accompgen.progress_accompgen import ProgressBar
from accompgen_hf.accompgen.rhythm_accompgen import track_beats
from accompgen_hf.data.sources import Track
from accompgen_hf.files import read_json, write_json

INDEX_VERSION = 2
# How well each pitch class fits a key, tonic first (Krumhansl & Kessler 1982).
KRUMHANSL_PROFILES = {
    "major": (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
    "minor": (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
}


@dataclass(frozen=True)
class Excerpt:
    """A stretch of a corpus song's instrumental, as heard by the analysis.

    Attributes:
        track_index (`int`): Index of its track in the corpus.
        song_id (`str`): Id of its song.
        start_s, duration_s (`float`): Place and length in seconds.
        tempo_bpm (`float`): Tempo that is heard; 0 if nothing repeats.
        tonic (`int`), mode (`str`): Key that is heard.
        beats_s (`tuple` of `float`): Beats that are heard, in seconds from the excerpt's start.
        lufs (`float`, *optional*): Loudness; `None` for silence.
    """

    track_index: int
    song_id: str
    start_s: float
    duration_s: float
    tempo_bpm: float
    tonic: int
    mode: str
    beats_s: tuple[float, ...]
    lufs: float | None


def estimate_key(audio: np.ndarray, sampling_rate: int) -> tuple[int, str] | None:
    """Tonic (C is 0) and mode whose Krumhansl profile the audio's pitch classes fit best; `None` in silence."""
    energy = chroma(audio, sampling_rate).mean(axis=1)
    if energy.std() < 1e-9:
        return None
    fits = {
        (tonic, mode): float(np.corrcoef(np.roll(profile, tonic), energy)[0, 1])
        for mode, profile in KRUMHANSL_PROFILES.items()
        for tonic in range(PITCH_CLASSES)
    }
    return max(fits, key=fits.get)


def relative_key(tonic: int, mode: str) -> tuple[int, str]:
    """The key with the same seven notes."""
    return ((tonic + 9) % 12, "minor") if mode == "major" else ((tonic + 3) % 12, "major")


class Corpus:
    """Instrumentals cut into excerpts, with an index that is made once.

    Args:
        tracks (sequence of `Track`): Songs with stems; the vocals are not used.
        excerpt_s (`float`): Length of an excerpt; it must hold a window and a beat to begin on.
        index_path (`str`): JSON file of the index, made if it is missing.

    Raises:
        ValueError: If a song is shorter than every window, or the index is of another corpus.
    """

    def __init__(self, tracks: Sequence[Track], excerpt_s: float, index_path: str | os.PathLike):
        self.tracks = list(tracks)
        self.index_path = Path(index_path)
        self.request = {
            "version": INDEX_VERSION,
            "excerpt_s": excerpt_s,
            "tracks": hash_json([track.track_id for track in self.tracks]),
            "num_tracks": len(self.tracks),
        }
        self._excerpts: list[Excerpt] | None = None

    def describe(self) -> dict[str, Any]:
        """What decides the index."""
        return dict(self.request)

    @property
    def excerpts(self) -> list[Excerpt]:
        """All excerpts; analysed on first use, then read from the index file."""
        if self._excerpts is None:
            if not self.index_path.is_file():
                self._analyse()
            content = read_json(self.index_path)
            if content["request"] != self.request:
                raise ValueError(
                    f"`corpus` index {self.index_path} is of another corpus ({content['request']}, not "
                    f"{self.request}). Delete it, or choose another `--output_dir`."
                )
            self._excerpts = [Excerpt(**{**row, "beats_s": tuple(row["beats_s"])}) for row in content["excerpts"]]
        return self._excerpts

    def load(self, excerpt: Excerpt, sampling_rate: int) -> np.ndarray:
        """The excerpt's audio, `(num_samples,)`."""
        _, instrumental, rate = self.tracks[excerpt.track_index].load()
        start = round(excerpt.start_s * rate)
        piece = instrumental[start : start + round(excerpt.duration_s * rate)]
        return resample(piece, rate, sampling_rate)

    def _analyse(self) -> None:
        excerpt_s = self.request["excerpt_s"]
        rows = []
        for index, track in enumerate(ProgressBar(self.tracks, desc="corpus", unit="song")):
            _, instrumental, rate = track.load()
            num_samples = round(excerpt_s * rate)
            for start in range(0, len(instrumental) - num_samples + 1, num_samples):
                excerpt = analyse_excerpt(instrumental[start : start + num_samples], rate)
                if excerpt is not None:
                    place = {"track_index": index, "song_id": track.track_id, "start_s": start / rate}
                    rows.append({**place, "duration_s": excerpt_s, **excerpt})
        if not rows:
            raise ValueError(
                f"`corpus` has no excerpt of {excerpt_s:.1f} s in {len(self.tracks)} songs: all shorter, or silent."
            )
        self.index_path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.index_path, {"request": self.request, "excerpts": rows})


def analyse_excerpt(audio: np.ndarray, sampling_rate: int) -> dict[str, Any] | None:
    """What is heard in an excerpt: the fields of [`Excerpt`] that do not say where it lies; `None` in silence."""
    key = estimate_key(audio, sampling_rate)
    lufs = integrated_loudness(audio, sampling_rate)
    if key is None or not np.isfinite(lufs):
        return None
    beats = track_beats(audio, sampling_rate)
    return {
        "tempo_bpm": float(beats.tempo_bpm),
        "tonic": key[0],
        "mode": key[1],
        "beats_s": [round(float(time), 4) for time in beats.times],
        "lufs": lufs,
    }
