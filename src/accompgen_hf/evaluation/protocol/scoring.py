"""Scores and embeddings of one output at a time, kept in files that know which audio they were made from.

`scores/<system>/<condition>/<window_id>.json` holds the musical scores, `.npz` beside it the embeddings:
`target.<name>` of what FAD hears (the mix or the instrumental), `pair.<name>` of both sides together, for APA.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from accompgen_hf.accompgen.fingerprint_accompgen import hash_json
from accompgen_hf.accompgen.mixing_accompgen import mix
from accompgen_hf.evaluation.metrics.audio_embedders import Embedder
from accompgen_hf.evaluation.metrics.musical_scores import score_accompaniment
from accompgen_hf.files import read_json, write_arrays, write_json
from accompgen_hf.songs.song import SongAnnotation

SCORES_VERSION = 2  # rises when a number changes for the same audio
TARGETS = ("mix", "instrumental")
PAIR_ONLY = ("harmony-rhythm",)  # these hear both sides apart, and have no `embed`
TARGET_ONLY = ("vggish", "logmel", "encodec")  # timbre: what they hear of a mix does not say whether it fits


@dataclass(frozen=True)
class Item:
    """One window with an accompaniment: a system's, or the true one.

    Attributes:
        vocals (`np.ndarray`), accompaniment (`np.ndarray`): float32 `(num_samples,)`, the vocals isolated.
        sampling_rate (`int`): Hz.
        annotation (`SongAnnotation`, *optional*): Annotation of the song.
        reference (`np.ndarray`, *optional*): The true accompaniment, `(num_samples,)`.
    """

    vocals: np.ndarray
    accompaniment: np.ndarray
    sampling_rate: int
    annotation: SongAnnotation | None = None
    reference: np.ndarray | None = None


class Scorer:
    """Computes what is not yet in the files.

    Args:
        embedders (mapping of `str` to `Embedder`): Embedders by name.
        target (`str`): What FAD hears: `"mix"`, vocals and accompaniment balanced by loudness, or `"instrumental"`.

    Raises:
        ValueError: If `target` is neither.
    """

    def __init__(self, embedders: Mapping[str, Embedder], target: str = "mix"):
        if target not in TARGETS:
            raise ValueError(f"`target` must be one of {TARGETS}, got {target!r}.")
        self.embedders, self.target = dict(embedders), target
        self._identity = {
            "version": SCORES_VERSION,
            "target": target,
            "embedders": {name: embedder.weights_hash for name, embedder in self.embedders.items()},
        }

    @property
    def target_names(self) -> list[str]:
        """Embedders of FAD."""
        return [name for name in self.embedders if name not in PAIR_ONLY]

    @property
    def pair_names(self) -> list[str]:
        """Embedders of APA."""
        return [name for name in self.embedders if name not in TARGET_ONLY]

    def embed(self, item: Item) -> dict[str, np.ndarray]:
        """Embeddings `(num_windows, dimensions)` by their names in the file."""
        rate, found = item.sampling_rate, {}
        if self.target_names:
            audio = item.accompaniment
            if self.target == "mix":
                audio = mix(item.vocals, item.accompaniment, rate)
            found |= {f"target.{name}": self.embedders[name].embed(audio, rate) for name in self.target_names}
        for name in self.pair_names:
            found[f"pair.{name}"] = self.embedders[name].embed_pair(item.vocals, item.accompaniment, rate)
        return found

    def load_embeddings(self, path: Path, identity: Any, make: Any) -> dict[str, np.ndarray]:
        """Embeddings from a file, or made and written to it.

        Args:
            path (`Path`): The `.npz` file.
            identity: Description of the audio, as JSON. A file of other audio or other embedders is made again.
            make (`callable`): Function that gives the [`Item`].
        """
        key = hash_json([self._identity, identity])
        if path.is_file():
            with np.load(path) as content:
                if str(content["key"]) == key:
                    return {name: content[name] for name in content.files if name != "key"}
        embeddings = self.embed(make())
        path.parent.mkdir(parents=True, exist_ok=True)
        write_arrays(path, key=np.array(key), **embeddings)
        return embeddings

    @staticmethod
    def load_scores(path: Path, identity: Any, make: Any) -> dict[str, float | None]:
        """Musical scores from a file, or made and written to it; arguments as in `load_embeddings`."""
        key = hash_json([SCORES_VERSION, identity])
        if path.is_file():
            content = read_json(path)
            if content["key"] == key:
                return content["scores"]
        item = make()
        scores = score_accompaniment(
            item.accompaniment, item.vocals, item.sampling_rate, annotation=item.annotation, reference=item.reference
        )
        scores = {name: as_number(value) for name, value in scores.items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"key": key, "scores": scores})
        return scores


def as_number(value: Any) -> float | None:
    """A score as JSON can hold it: `None` where there is none."""
    if value is None or not np.isfinite(value):
        return None
    return float(value)
