"""What every row of a data set is, without its tokens: `rows.parquet` beside the shards.

With it a stream knows its order before it reads a shard, and goes on at any sample without reading what came before.
"""

from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from accompgen_hf.data.shards import Manifest
from accompgen_hf.files import write_bytes

INDEX_NAME = "rows.parquet"
_SCHEMA = pa.schema(
    [
        ("file", pa.dictionary(pa.int32(), pa.string())),
        ("track_id", pa.dictionary(pa.int32(), pa.string())),
        ("split", pa.dictionary(pa.int32(), pa.string())),
        ("num_frames", pa.int32()),
    ]
)


class IndexedRow(NamedTuple):
    """A row of a shard: its file, its number there, its track, its side of the split and its length at 50 Hz."""

    file: str
    number: int
    track_id: str
    split: str
    num_frames: int


def index_rows(folder: Path, manifest: Manifest) -> pa.Table:
    """Look through all shards of a folder.

    Raises:
        ValueError: If a shard cannot be read.
    """
    columns: dict[str, list] = {name: [] for name in _SCHEMA.names}
    for shard in manifest.shards:
        path = Path(folder) / shard["file"]
        try:
            table = pq.read_table(path, columns=["track_id", "split", "vocal_semantic_ids"])
        except (OSError, pa.ArrowInvalid) as error:
            raise ValueError(f"Shard {path} cannot be read ({error}). Prepare it again.") from error
        columns["file"] += [shard["file"]] * table.num_rows
        columns["track_id"] += table["track_id"].to_pylist()
        columns["split"] += table["split"].to_pylist()
        columns["num_frames"] += pc.list_value_length(table["vocal_semantic_ids"]).to_pylist()
    return pa.table(columns, schema=_SCHEMA)


def write_index(folder: Path, manifest: Manifest) -> Path:
    """Write `rows.parquet` into a folder of shards."""
    path = Path(folder) / INDEX_NAME
    sink = pa.BufferOutputStream()
    pq.write_table(index_rows(folder, manifest), sink, compression="zstd")
    write_bytes(path, sink.getvalue().to_pybytes())
    return path


def list_index(table: pa.Table, manifest: Manifest, name: str) -> list[IndexedRow]:
    """The rows of an index, in the order of the shards.

    Args:
        table (`pa.Table`): Result of [`index_rows`], or `rows.parquet` as it was read.
        manifest (`Manifest`): Manifest of the same shards.
        name (`str`): What a message calls the data.

    Raises:
        ValueError: If the index is of other shards.
    """
    rows, expected = [], {shard["file"]: shard["num_rows"] for shard in manifest.shards}
    counts = dict.fromkeys(expected, 0)
    for file, track_id, split, num_frames in zip(
        *(table[column].to_pylist() for column in _SCHEMA.names), strict=True
    ):
        rows.append(IndexedRow(file, counts.get(file, 0), track_id, split, num_frames))
        counts[file] = counts.get(file, 0) + 1
    if counts != expected:
        raise ValueError(
            f"`data` {name} has a {INDEX_NAME} of other shards than those of its manifest. Push it again."
        )
    return rows
