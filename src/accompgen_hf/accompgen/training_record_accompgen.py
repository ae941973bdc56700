"""The tracks that a model was trained on, as hashes: `training_tracks.json`, which travels with the weights.

A hash tells whether a given song was trained on, but not which songs were. `from_pretrained` reads the record,
`save_pretrained` writes it, and a part of a composite has the composite's: none that is trained further from it can
claim to have seen less.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from transformers.utils.hub import cached_file

RECORD_NAME = "training_tracks.json"


def format_record(tracks: Iterable[str]) -> bytes:
    """The record's bytes, from hashes."""
    return (json.dumps({"format": 1, "tracks": sorted(set(tracks))}, indent=0) + "\n").encode()


def read_record(source: str | os.PathLike, **hub_kwargs: Any) -> frozenset[str] | None:
    """Hashes of the record of a folder or Hub repository; `None` if it has none.

    Args:
        source (`str` or `os.PathLike`): Folder or Hub id.
        hub_kwargs: `revision`, `token`, `cache_dir` and the like.

    Raises:
        ValueError: If the record is damaged.
    """
    path: str | Path | None = Path(source) / RECORD_NAME
    if not os.path.isdir(source):
        try:
            path = cached_file(os.fspath(source), RECORD_NAME, **hub_kwargs)
        except OSError:  # not there, or not reachable
            path = None
    elif hub_kwargs.get("subfolder"):
        path = Path(source) / hub_kwargs["subfolder"] / RECORD_NAME
    if path is None or not os.path.isfile(path):
        return None
    try:
        return frozenset(str(track) for track in json.loads(Path(path).read_text("utf-8"))["tracks"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error!r}). Fetch or assemble the model again.") from error


def join_tracks(records: Iterable[frozenset[str] | None]) -> frozenset[str] | None:
    """The record of a model made of such parts; `None` unless each has one, since half a record would mislead."""
    records = list(records)
    return None if None in records else frozenset().union(*records)


__all__ = ["RECORD_NAME", "format_record", "join_tracks", "read_record"]
