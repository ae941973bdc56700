"""Equal recordings are found, whatever their tags say."""

import numpy as np

from accompgen_hf.data.duplicates import audio_hash, find_duplicates, join_duplicates
from accompgen_hf.data.sources import (
    SourceRecording,
    make_tracks,
)

RATE = 16000


def silent(track_id: str, **fields) -> SourceRecording:
    return SourceRecording(track_id, lambda: (np.zeros((2, RATE), np.float32), RATE), **fields)


def test_equal_recordings_are_found_through_their_tags_and_join_their_groups(tmp_path):
    content = bytes(range(256)) * 8
    tag = b"ID3\x04\x00\x00" + bytes([0, 0, 0, 20]) + bytes(20)
    files = {"a": content, "b": tag + content, "c": content + b"TAG" + bytes(125), "d": content[::-1]}
    recordings = []
    for name, artist in (("a", "Ann"), ("b", "Bob"), ("c", "Cyd"), ("d", "Bob")):
        path = tmp_path / f"{name}.mp3"
        path.write_bytes(files[name])
        recordings.append(silent(name, artist=artist, files=(path,), split="validation" if name == "c" else None))
    assert audio_hash(recordings[0].files[0]) == audio_hash(recordings[2].files[0])
    duplicates = find_duplicates(recordings)
    assert duplicates == [[0, 1, 2]]
    tracks = make_tracks(recordings, separator=object(), split_group="artist")
    joined = join_duplicates(tracks, duplicates)
    assert {track.group for track in joined} == {"artist Ann"}  # d is Bob's as well
    assert [track.split for track in joined] == ["validation"] * 3 + [None]
    assert join_duplicates(tracks, []) == tracks
