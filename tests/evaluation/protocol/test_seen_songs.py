"""Songs of the model's own training are found by name, whatever folder or ending they had there."""

import pytest

from accompgen_hf.accompgen.training_record_accompgen import RECORD_NAME, format_record
from accompgen_hf.data.training_tracks import hash_track
from accompgen_hf.evaluation.protocol.seen_songs import check_seen_songs
from track_shards import write_track_shards

SONGS = ["musdb18-Ann - One", "musdb18-Bea - Two"]


def test_songs_of_the_token_shards_are_refused_or_named_in_the_result(tmp_path):
    folder = write_track_shards(tmp_path, [("Ann - One.wav", "train"), ("Dan - Four.wav", "train")])
    with pytest.raises(ValueError, match="`dataset` holds 1 songs of the model's own training manifest, first 'musdb"):
        check_seen_songs(SONGS, [folder])
    allowed = check_seen_songs(SONGS, [folder], allow_seen=True)
    assert allowed["seen"] == ["musdb18-Ann - One"]
    assert allowed["allowed"]
    assert allowed["num_training_songs"] == 2


def test_a_models_own_record_is_enough(tmp_path):
    (tmp_path / RECORD_NAME).write_bytes(format_record({hash_track("pop/bea - two.flac"), hash_track("Dan - Four")}))
    with pytest.raises(ValueError, match="first 'musdb18-Bea - Two'"):
        check_seen_songs(SONGS, models=[tmp_path])
    checked = check_seen_songs(SONGS[:1], models=[tmp_path])
    assert checked["checked"] == "names compared with the 2 tracks of training_tracks.json"
    assert checked["seen"] == []


def test_what_was_not_checked_is_said_so(tmp_path):
    assert check_seen_songs(["Bea - Two"], models=[tmp_path])["checked"].startswith("not checked: no model has a tr")
    assert "no training command accepts" in check_seen_songs(["song-800000"])["checked"]
