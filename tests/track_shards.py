"""Token shards of almost nothing: tracks and their splits."""

from pathlib import Path

import numpy as np

from accompgen_hf.data.shards import Manifest, TokenRow, shard_name, write_rows


def write_track_shards(folder: Path, rows: list[tuple[str, str]]) -> Path:
    """One shard with one row per (track, split)."""
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
