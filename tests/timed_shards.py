"""Token shards whose ids and codes say when they sound."""

from pathlib import Path

import numpy as np

from accompgen_hf.data.shards import Manifest, TokenRow, shard_name, write_rows

FINGERPRINT = "f" * 64


def write_shards(folder: Path, durations_s: list[float], fingerprint: str = FINGERPRINT, **settings) -> Path:
    """Rows whose tokens say when they sound: semantic ids in 1/50 s, codes in 1/75 s plus 100 per codebook."""
    folder.mkdir()
    rows = []
    for index, duration_s in enumerate(durations_s):
        frames = round(duration_s * 25)
        semantic_ids = np.arange(2 * frames, dtype=np.int16)
        codes = np.arange(3 * frames, dtype=np.int16) + 100 * np.arange(8, dtype=np.int16)[:, None]
        row = TokenRow(f"t{index}", "CC0-1.0", "train", 0.0, 1.0, semantic_ids, semantic_ids + 100, codes)
        rows.append(row)
    sha256 = write_rows(folder / shard_name(0), rows)
    settings = {"num_clusters": 500, "codebook_size": 1024, **settings}
    shards = [{"file": shard_name(0), "sha256": sha256, "num_rows": len(rows)}]
    Manifest(fingerprint, settings, shards, {"train": len(rows)}, len(rows), [], sum(durations_s)).save(folder)
    return folder
