"""Token shards of any size in little memory: one uncompressed Arrow file, which is mapped instead of read.

The file lies in `.arrow/` beside the shards. It is made once from shards whose hashes are right, and is checked by its
own hash whenever it is opened. Processes on one machine share its pages.
"""

import hashlib
import os
from pathlib import Path

import pyarrow as pa

from accompgen_hf.data.shards import Manifest, TokenRow, list_rows, read_rows, read_table
from accompgen_hf.files import hash_file, write_bytes, written_whole

CACHE_NAME = ".arrow"


def map_rows(folder: str | os.PathLike, manifest: Manifest) -> list[TokenRow]:
    """Rows of all shards of a folder; their arrays are views of a mapped file.

    Where the folder cannot be written, the rows are read into memory.

    Raises:
        ValueError: If a shard is missing or damaged; it is named.
    """
    folder = Path(folder)
    hashes = "".join(shard["sha256"] for shard in manifest.shards)
    path = folder / CACHE_NAME / f"{hashlib.sha256(hashes.encode()).hexdigest()[:16]}.arrow"
    record = path.with_suffix(".sha256")
    try:
        if not (path.is_file() and record.is_file() and hash_file(path) == record.read_text()):
            path.parent.mkdir(exist_ok=True)
            _write(path, record, folder, manifest)
    except OSError:
        return [row for shard in manifest.shards for row in read_rows(folder / shard["file"], shard["sha256"])]
    with pa.memory_map(str(path)) as file, pa.ipc.open_file(file) as reader:
        tables = [pa.Table.from_batches([reader.get_batch(index)]) for index in range(reader.num_record_batches)]
    return [row for table in tables for row in list_rows(table)]


def _write(path: Path, record: Path, folder: Path, manifest: Manifest) -> None:
    """Write all shards as record batches of one file; its hash is written last."""
    record.unlink(missing_ok=True)
    with written_whole(path) as temporary:
        with pa.OSFile(str(temporary), "wb") as file:
            writer = None
            for shard in manifest.shards:
                table = read_table(folder / shard["file"], shard["sha256"])
                if writer is None:
                    writer = pa.ipc.new_file(file, table.schema)
                writer.write_table(table)
            writer.close()
        digest = hash_file(temporary)
    write_bytes(record, digest.encode())
