"""Shards give back what was written, as views of exactly their own row."""

import numpy as np
import pyarrow.parquet as pq

from accompgen_hf.data.shards import TokenRow, read_rows, write_rows


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
