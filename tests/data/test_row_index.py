"""The index of rows: what stands in the shards, and refused if it is of other ones."""

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from accompgen_hf.data.row_index import index_rows, list_index, write_index
from accompgen_hf.data.shards import Manifest
from tiny_shards import write_shards


@pytest.fixture
def shards(tmp_path) -> Path:
    return write_shards(tmp_path / "shards", num_rows=5, num_shards=2)


def test_the_index_names_every_row_of_every_shard(shards):
    path = write_index(shards, Manifest.load(shards))
    rows = list_index(pq.read_table(path), Manifest.load(shards), "here")
    assert [(row.file, row.number, row.track_id) for row in rows] == [
        ("shard-00000.parquet", 0, "t000"),
        ("shard-00000.parquet", 1, "t001"),
        ("shard-00000.parquet", 2, "t002"),
        ("shard-00001.parquet", 0, "t003"),
        ("shard-00001.parquet", 1, "t004"),
    ]
    assert [row.split for row in rows] == ["validation", *["train"] * 4]
    assert {row.num_frames for row in rows} == {40}  # 0.8 s at 50 Hz


def test_an_index_of_other_shards_and_a_missing_shard_are_refused(shards):
    manifest = Manifest.load(shards)
    table = index_rows(shards, manifest)
    with pytest.raises(ValueError, match=r"`data` here has a rows.parquet of other shards than those of its manifest"):
        list_index(table, replace(manifest, shards=manifest.shards[:1]), "here")
    (shards / "shard-00001.parquet").unlink()
    with pytest.raises(ValueError, match=r"Shard .*shard-00001.parquet cannot be read"):
        index_rows(shards, manifest)
