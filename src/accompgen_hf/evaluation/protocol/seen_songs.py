"""Songs that a model was trained on must not measure it: the model's own record, or its token shards, names them."""

import os
from collections.abc import Iterable, Sequence

from accompgen_hf.accompgen.training_record_accompgen import RECORD_NAME, read_record
from accompgen_hf.data.training_tracks import hash_track, read_shard_tracks
from accompgen_hf.songs.song import HELD_OUT_SEED


def check_seen_songs(
    song_ids: Sequence[str],
    training_data: Iterable[str | os.PathLike] = (),
    models: Iterable[str | os.PathLike] = (),
    allow_seen: bool = False,
) -> dict:
    """Refuse a test set with training songs, or say so in the result.

    Args:
        song_ids: Ids of the test set.
        training_data: Folders of token shards that a model was trained on.
        models: Folders or Hub ids of the models under test; the record `training_tracks.json` in one is read.
        allow_seen (`bool`): Go on, and print it into the table.

    Returns:
        `dict` for results.json: `checked` (how), `num_training_songs`, `seen` (names), `allowed`.

    Raises:
        ValueError: If there are such songs and they are not allowed, or a record or shard cannot be read.
    """
    sources = {"its token shards": [read_shard_tracks(folder) for folder in training_data]}
    sources[RECORD_NAME] = [record for record in map(read_record, models) if record is not None]
    known = set().union(*(tracks for found in sources.values() for tracks in found))
    seen = sorted(song for song in song_ids if hash_track(song) in known)
    if seen and not allow_seen:
        raise ValueError(
            f"`dataset` holds {len(seen)} songs of the model's own training manifest, first {seen[0]!r}: they say "
            "nothing about new songs. Take others, or `--allow_seen` to print it into the table."
        )
    named = [name for name, found in sources.items() if found]
    if named:
        checked = f"names compared with the {len(known)} tracks of {' and '.join(named)}"
    elif all(song.startswith("song-") for song in song_ids):
        checked = f"procedural songs from seed {HELD_OUT_SEED} on, which no training command accepts"
    else:
        checked = f"not checked: no model has a {RECORD_NAME}, and no --training_data was given"
    return {"checked": checked, "num_training_songs": len(known), "seen": seen, "allowed": bool(seen)}
