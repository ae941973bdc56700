"""The record of training tracks: from shards, through hashes, into the folder of the model."""

import json

import pytest

from accompgen_hf.data.shards import shard_name
from accompgen_hf.data.training_tracks import (
    comparable_name,
    hash_track,
    join_records,
    read_record,
    read_shard_tracks,
    write_record,
)
from track_shards import write_track_shards


def test_training_and_validation_tracks_count_and_test_tracks_do_not(tmp_path):
    folder = write_track_shards(tmp_path, [("a", "train"), ("a", "train"), ("b", "validation"), ("c", "test")])
    assert read_shard_tracks(folder) == {hash_track("a"), hash_track("b")}
    (folder / shard_name(0)).write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"Shard .*shard-00000.parquet cannot be read"):
        read_shard_tracks(folder)


def test_one_song_has_many_ids():
    names = ("musdb18-Ann - One", "train/Ann - One.stem.mp4", "pop\\Ann - One.wav", "ann - one")
    assert {comparable_name(name) for name in names} == {"ann - one"}
    assert len({hash_track(name) for name in names}) == 1
    assert hash_track("Bea - Two") not in {hash_track(name) for name in names}


def test_a_record_names_no_track_and_is_read_back(tmp_path):
    write_record(tmp_path, {hash_track("Ann - One"), hash_track("Bea - Two")})
    text = (tmp_path / "training_tracks.json").read_text()
    assert "ann" not in text.lower().replace("tracks", "")
    assert json.loads(text)["tracks"] == sorted(json.loads(text)["tracks"])
    assert read_record(tmp_path) == {hash_track("Ann - One"), hash_track("Bea - Two")}
    assert read_record(tmp_path / "elsewhere") is None
    (tmp_path / "training_tracks.json").write_text("[]")
    with pytest.raises(ValueError, match=r"training_tracks.json is damaged .* assemble the model again"):
        read_record(tmp_path)


def test_a_model_made_of_parts_has_the_tracks_of_all_or_no_record(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_record(tmp_path / name, {hash_track(name)})
    [(name, content)] = join_records([tmp_path / "a", tmp_path / "b"]).items()
    assert name == "training_tracks.json"
    assert json.loads(content)["tracks"] == sorted([hash_track("a"), hash_track("b")])
    assert join_records([tmp_path / "a", tmp_path / "c"]) == {}
