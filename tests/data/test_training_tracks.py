"""Names of tracks as hashes, from shards and from their many spellings."""

import pytest

from accompgen_hf.data.shards import shard_name
from accompgen_hf.data.training_tracks import comparable_name, hash_track, read_shard_tracks
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
