"""Which tracks a model was trained on, kept beside its weights as hashes: `training_tracks.json`.

Training writes the file into `final/`, assembling joins the files of the stages, and evaluation refuses songs that are
in it. A hash tells whether a given song was trained on, but not which songs were.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from accompgen_hf.files import read_json, write_bytes

RECORD_NAME = "training_tracks.json"
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


def format_record(tracks: Iterable[str]) -> bytes:
    """The record's bytes, from hashes."""
    return (json.dumps({"format": 1, "tracks": sorted(set(tracks))}, indent=0) + "\n").encode()


def write_record(folder: str | os.PathLike, tracks: Iterable[str]) -> None:
    """Put the record into a folder, replacing one that is there."""
    write_bytes(Path(folder) / RECORD_NAME, format_record(tracks))


def read_record(folder: str | os.PathLike) -> set[str] | None:
    """Hashes of a folder's record; `None` if it has none.

    Raises:
        ValueError: If the record is damaged.
    """
    path = Path(folder) / RECORD_NAME
    if not path.is_file():
        return None
    try:
        return {str(track) for track in read_json(path)["tracks"]}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error!r}). Fetch or assemble the model again.") from error


def join_records(folders: Iterable[str | os.PathLike]) -> dict[str, bytes]:
    """The record of a model made of these folders, by its file's name.

    The result is empty unless each folder has its record: an incomplete record would call songs unseen.
    """
    records = [read_record(folder) for folder in folders]
    return {} if None in records else {RECORD_NAME: format_record(set().union(*records))}
