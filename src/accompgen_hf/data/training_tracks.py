"""Names of tracks as hashes, for the record of training tracks that travels with a model's weights.

Training writes the record into `final/`, assembling joins those of the stages, and evaluation refuses songs that are
in it; `training_record_accompgen` is the file itself.
"""

import hashlib
import os
from pathlib import Path

FITTED_SPLITS = ("train", "validation")  # the validation split has chosen checkpoints
_HASH_DIGITS = 12
_SUFFIXES = (".stem.mp4", ".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".mp4")


def comparable_name(track_id: str) -> str:
    """A track's name without folders, ending, source prefix and case: one song has many ids."""
    name = track_id.replace("\\", "/").rsplit("/", 1)[-1].lower()
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name.removeprefix("musdb18-").strip()


def hash_track(track_id: str) -> str:
    """Twelve hexadecimal digits of the sha256 of a track's comparable name."""
    return hashlib.sha256(comparable_name(track_id).encode()).hexdigest()[:_HASH_DIGITS]


def read_shard_tracks(folder: str | os.PathLike) -> set[str]:
    """Hashes of the tracks that a folder of token shards gave to training and validation.

    Args:
        folder (`str`): Folder with `manifest.json` and shards, as examples/prepare_dataset.py writes it.

    Raises:
        ValueError: If there is no manifest, or a shard cannot be read.
    """
    import pyarrow.parquet as pq  # imported here, since `accompgen assemble` joins records without it

    from accompgen_hf.data.shards import Manifest

    folder = Path(folder)
    names = set()
    for shard in Manifest.load(folder).shards:
        try:
            table = pq.read_table(folder / shard["file"], columns=["track_id", "split"])
        except (OSError, ValueError) as error:
            raise ValueError(f"Shard {folder / shard['file']} cannot be read ({error}). Prepare it again.") from error
        rows = zip(table["track_id"].to_pylist(), table["split"].to_pylist(), strict=True)
        names |= {track_id for track_id, split in rows if split in FITTED_SPLITS}
    return {hash_track(name) for name in names}
