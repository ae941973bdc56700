"""Songs of the model's own training are found by name, whatever folder or ending they had there."""

import numpy as np
import pytest

from accompgen_hf.data.shards import Manifest, TokenRow, shard_name, write_rows
from accompgen_hf.protocol.seen_songs import check_seen_songs, comparable_name, find_seen_songs, read_training_songs


def write_training_data(folder, rows: list[tuple[str, str]]):
    ids = np.zeros(2, np.int16)
    tokens = {"start_s": 0.0, "vocal_activity": 1.0, "vocal_semantic_ids": ids, "instrumental_semantic_ids": ids}
    content = [
        TokenRow(track_id=name, licence="x", split=split, codes=np.zeros((8, 3), np.int16), **tokens)
        for name, split in rows
    ]
    folder.mkdir(exist_ok=True)
    sha256 = write_rows(folder / shard_name(0), content)
    shard = {"file": shard_name(0), "sha256": sha256, "num_rows": len(rows)}
    Manifest("fingerprint", {}, [shard], {}, len(rows), [], 1.0).save(folder)
    return folder


def test_training_and_validation_songs_count_and_test_songs_do_not(tmp_path):
    folder = write_training_data(tmp_path, [("a", "train"), ("b", "validation"), ("c", "test")])
    assert read_training_songs(folder) == {"a", "b"}


def test_one_song_has_many_ids():
    names = ("musdb18-Ann - One", "train/Ann - One.stem.mp4", "pop\\Ann - One.wav", "ann - one")
    assert {comparable_name(name) for name in names} == {"ann - one"}
    assert find_seen_songs(["musdb18-Ann - One", "Bea - Two"], ["x/ann - one.flac"]) == ["musdb18-Ann - One"]


def test_seen_songs_are_refused_or_named_in_the_result(tmp_path):
    folder = write_training_data(tmp_path, [("Ann - One.wav", "train"), ("Dan - Four.wav", "train")])
    songs = ["musdb18-Ann - One", "musdb18-Bea - Two"]
    with pytest.raises(ValueError, match="`dataset` holds 1 songs of the model's own training manifest, first 'musdb"):
        check_seen_songs(songs, [folder])
    allowed = check_seen_songs(songs, [folder], allow_seen=True)
    assert allowed["seen"] == ["musdb18-Ann - One"]
    assert allowed["allowed"]


def test_what_was_not_checked_is_said_so():
    assert check_seen_songs(["Bea - Two"], [])["checked"].startswith("not checked")
    assert "no training command accepts" in check_seen_songs(["song-800000"], [])["checked"]
