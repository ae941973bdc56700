"""Songs that a model was trained on must not measure it: their names come from its token shards' own rows."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from accompgen_hf.data.shards import Manifest, read_rows
from accompgen_hf.data.songs import HELD_OUT_SEED

FITTED_SPLITS = ("train", "validation")  # the second has chosen checkpoints


def read_training_songs(folder: str | os.PathLike) -> set[str]:
    """Names of the tracks that a folder of token shards gave to training and validation.

    Args:
        folder (`str`): With `manifest.json` and shards, as examples/prepare_dataset.py writes it.

    Raises:
        ValueError: If there is no manifest, or a shard is damaged.
    """
    folder = Path(folder)
    names = set()
    for shard in Manifest.load(folder).shards:
        rows = read_rows(folder / shard["file"], shard["sha256"])
        names |= {row.track_id for row in rows if row.split in FITTED_SPLITS}
    return names


def comparable_name(track_id: str) -> str:
    """A track's name without folders, ending, source prefix and case: one song has many ids."""
    name = track_id.replace("\\", "/").rsplit("/", 1)[-1].lower()
    for suffix in (".stem.mp4", ".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".mp4"):
        name = name.removesuffix(suffix)
    return name.removeprefix("musdb18-").strip()


def find_seen_songs(song_ids: Iterable[str], training_songs: Iterable[str]) -> list[str]:
    """Those of the test set that training knows by name."""
    known = {comparable_name(name) for name in training_songs}
    return sorted(song for song in song_ids if comparable_name(song) in known)


def check_seen_songs(
    song_ids: Sequence[str], training_data: Sequence[str | os.PathLike], allow_seen: bool = False
) -> dict:
    """Refuse a test set with training songs, or say so in the result.

    Args:
        song_ids: Of the test set.
        training_data: Folders of token shards.
        allow_seen (`bool`): Go on, and print it into the table.

    Returns:
        `dict` for results.json: `checked` (how), `num_training_songs`, `seen` (names), `allowed`.

    Raises:
        ValueError: If there are such songs and they are not allowed.
    """
    training_songs = set().union(*(read_training_songs(folder) for folder in training_data))
    seen = find_seen_songs(song_ids, training_songs)
    if seen and not allow_seen:
        raise ValueError(
            f"`dataset` holds {len(seen)} songs of the model's own training manifest, first {seen[0]!r}: they say "
            "nothing about new songs. Take others, or `--allow_seen` to print it into the table."
        )
    is_procedural = all(song.startswith("song-") for song in song_ids)
    if training_data:
        checked = "names compared with the training manifest"
    elif is_procedural:
        checked = f"procedural songs from seed {HELD_OUT_SEED} on, which no training command accepts"
    else:
        checked = "not checked: no --training_data was given"
    return {"checked": checked, "num_training_songs": len(training_songs), "seen": seen, "allowed": bool(seen)}
