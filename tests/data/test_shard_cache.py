"""Rows from a mapped file: equal to those of the shards, out of the process's memory, and never wrong in silence."""

import numpy as np
import pyarrow as pa
import pytest

from accompgen_hf.data.shard_cache import map_rows
from accompgen_hf.data.shards import Manifest, read_rows, shard_name
from tiny_shards import write_shards


@pytest.fixture
def folder(tmp_path):
    return write_shards(tmp_path / "shards", num_rows=30)


def assert_equal_rows(ours, theirs):
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        for name, value in vars(other).items():
            np.testing.assert_array_equal(getattr(mine, name), value)


def test_mapped_rows_are_those_of_the_shards_and_take_no_memory(folder):
    manifest = Manifest.load(folder)
    expected = read_rows(folder / shard_name(0))
    map_rows(folder, manifest)  # makes the file
    before = pa.total_allocated_bytes()
    rows = map_rows(folder, manifest)
    assert pa.total_allocated_bytes() == before
    assert_equal_rows(rows, expected)
    assert not rows[0].codes.flags.owndata
    assert not rows[0].codes.flags.writeable


def test_a_damaged_copy_is_made_again_and_a_damaged_shard_is_named(folder):
    manifest = Manifest.load(folder)
    expected = map_rows(folder, manifest)
    (copy,) = (folder / ".arrow").glob("*.arrow")
    data = bytearray(copy.read_bytes())
    data[len(data) // 2] ^= 1
    copy.unlink()  # the first rows still show the old file
    copy.write_bytes(data)
    assert_equal_rows(map_rows(folder, manifest), expected)
    shard = folder / shard_name(0)
    shard.write_bytes(shard.read_bytes()[:-1])
    assert_equal_rows(map_rows(folder, manifest), expected)  # the copy is whole
    copy.unlink()
    with pytest.raises(ValueError, match=r"Shard .*shard-00000.parquet is damaged: its sha256 is not the manifest's"):
        map_rows(folder, manifest)


def test_a_folder_that_cannot_be_written_is_read(folder, monkeypatch):
    def refuse(*_args, **_options):
        raise PermissionError("read-only")

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    assert_equal_rows(map_rows(folder, Manifest.load(folder)), read_rows(folder / shard_name(0)))
    assert not (folder / ".arrow").exists()
