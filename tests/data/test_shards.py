"""Shards give back what was written, as views of exactly their own row."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

from accompgen_hf.data.shards import TokenRow, assign_split, raise_validation_share, read_rows, write_rows


def make_rows(durations: list[int]) -> list[TokenRow]:
    generator = np.random.default_rng(0)
    rows = []
    for index, num_grid_frames in enumerate(durations):
        semantic_ids = generator.integers(0, 500, (2, 2 * num_grid_frames), dtype=np.int16)
        codes = generator.integers(0, 1024, (8, 3 * num_grid_frames), dtype=np.int16)
        rows.append(TokenRow(f"t{index}", "CC-BY-4.0", "train", 0.04 * index, 0.5, *semantic_ids, codes))
    return rows


def test_rows_of_any_length_come_back_unchanged(tmp_path):
    rows = make_rows([25, 7, 100, 1])
    sha256 = write_rows(tmp_path / "a.parquet", rows)
    for ours, theirs in zip(read_rows(tmp_path / "a.parquet", sha256), rows, strict=True):
        for name, value in vars(theirs).items():
            assert np.array_equal(getattr(ours, name), value), name
        assert ours.codes.dtype == ours.vocal_semantic_ids.dtype == np.int16


def test_an_empty_shard_is_a_shard(tmp_path):
    write_rows(tmp_path / "a.parquet", [])
    assert read_rows(tmp_path / "a.parquet") == []


def test_bytes_depend_on_the_rows_alone_and_hold_no_trace_of_the_machine(tmp_path):
    first = write_rows(tmp_path / "a.parquet", make_rows([25, 7]))
    assert write_rows(tmp_path / "b.parquet", make_rows([25, 7])) == first
    assert write_rows(tmp_path / "c.parquet", make_rows([25, 8])) != first
    assert pq.read_metadata(tmp_path / "a.parquet").metadata is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "b.parquet", "c.parquet"]


def make_tracks(num_tracks: int, **fields) -> list[SimpleNamespace]:
    plain = {"group": None, "split": None}
    return [SimpleNamespace(track_id=f"song {index}", **{**plain, **fields}) for index in range(num_tracks)]


@pytest.mark.parametrize("num_tracks", [3, 5, 20, 1000])
def test_two_tracks_are_held_out_however_few_there_are(num_tracks):
    tracks = make_tracks(num_tracks)
    share = raise_validation_share(tracks, 0.02)
    splits = Counter(assign_split(track.track_id, share) for track in tracks)
    assert splits["validation"] >= 2
    assert splits["train"] >= 1
    if num_tracks <= 20:
        assert splits["validation"] == 2
    else:
        assert share == 0.02  # enough without it


def test_a_share_of_nothing_and_stated_splits_stay():
    assert raise_validation_share(make_tracks(20), 0.0) == 0.0
    stated = [*make_tracks(2, split="validation"), *make_tracks(3, split="train")]
    assert raise_validation_share(stated, 0.02) == 0.02


def test_too_few_tracks_are_refused_before_any_work():
    with pytest.raises(ValueError, match=r"must have 2 tracks to hold out .*got 2 tracks in 2"):
        raise_validation_share(make_tracks(2), 0.02)
    with pytest.raises(ValueError, match=r"got 9 tracks in 1 groups.* use `--split_group track`"):
        raise_validation_share(make_tracks(9, group="one artist"), 0.02)
    with pytest.raises(ValueError, match=r"`validation_share` must be in \[0, 1\], got 2"):
        raise_validation_share(make_tracks(9), 2)
