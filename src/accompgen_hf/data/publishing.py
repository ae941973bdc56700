"""Put token shards into a dataset repository on the Hub, with a card of hours per licence."""

import os
import re
from pathlib import Path

from huggingface_hub import DatasetCardData, HfApi

from accompgen_hf.data.row_index import INDEX_NAME, write_index
from accompgen_hf.data.shards import MANIFEST_NAME, Manifest
from accompgen_hf.files import write_text

UPLOADED = ("shard-*.parquet", MANIFEST_NAME, INDEX_NAME, "README.md", "failures.json", "filtering.*")
# Licences that the Hub has a word for; what has none, or is one of several, is "other".
_HUB_LICENCES = re.compile(r"(cc0-1\.0|cc-by(-nc)?(-sa|-nd)?-[234]\.0)")
_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"))


def reserve_dataset(repo_id: str) -> str:
    """Create the repository, or find it, and return its whole id: a missing permission shows before the work."""
    return HfApi().create_repo(repo_id, repo_type="dataset", exist_ok=True).repo_id


def push_shards(folder: str | os.PathLike, repo_id: str) -> str:
    """Write card and index into a finished folder of shards, and upload it as one commit.

    Shards of an earlier upload that this folder lacks are deleted in the same commit.

    Args:
        folder (`str`): Folder with `manifest.json` and shards.
        repo_id (`str`): Whole id of the dataset repository, which exists.

    Returns:
        `str`: The commit's address.

    Raises:
        ValueError: If the folder is not finished, or a shard cannot be read.
    """
    folder = Path(folder)
    manifest = Manifest.load(folder)
    write_index(folder, manifest)
    write_text(folder / "README.md", describe_shards(manifest, repo_id))
    commit = HfApi().upload_folder(
        folder_path=folder,
        repo_id=repo_id,
        repo_type="dataset",
        allow_patterns=list(UPLOADED),
        delete_patterns=["shard-*.parquet"],
        commit_message="Upload token shards with accompgen_hf",
    )
    return str(commit)


def describe_shards(manifest: Manifest, repo_id: str) -> str:
    """The card of a data set: what its tokens are, how many hours each licence gave, and how to train with it."""
    licences = {licence.lower() for licence in manifest.hours_by_licence}
    [only] = licences if len(licences) == 1 else ["other"]
    num_rows = sum(manifest.splits.values())
    head = DatasetCardData(
        license=only if _HUB_LICENCES.fullmatch(only) else "other",
        pretty_name=f"Token shards {repo_id}",
        size_categories=next((name for limit, name in _SIZES if num_rows < limit), "n>1M"),
        tags=["accompgen", "vocal-accompaniment", "audio-tokens", "music"],
        configs=[{"config_name": "default", "data_files": "shard-*.parquet"}],
    )
    hours = [f"| {licence} | {value:.2f} |" for licence, value in manifest.hours_by_licence.items()]
    hours.append(f"| together | {sum(manifest.hours_by_licence.values()):.2f} |")
    rows = ", ".join(f"{count} {split}" for split, count in manifest.splits.items())
    settings = manifest.settings
    parts = ", ".join(manifest.part_names) if len(manifest.part_names) > 1 else "the whole band as one"
    return f"""---
{head.to_yaml()}
---

# {repo_id}

Pairs of a voice and its accompaniment as tokens, for training the stages of `accompgen_hf`, an implementation of
AccompGen ([arXiv 2604.09054](https://arxiv.org/abs/2604.09054)). There is no audio here, but codes can be decoded to
the sound that they were made from. So the licence of each recording holds for its row; the column `licence` names it.

| licence | hours |
|---|---|
{chr(10).join(hours)}

| | |
|---|---|
| tracks | {manifest.num_tracks}, of which {len(manifest.failed_tracks)} gave no tokens |
| rows | {rows} |
| parts | {parts} |
| styles | {", ".join(manifest.style_names) or "none"} |
| semantic ids | 50 Hz, {settings.get("num_clusters")} clusters |
| codes | 75 Hz, {settings.get("codebook_size")} codes in a codebook |
| token fingerprint | `{manifest.token_fingerprint}` |

```console
$ python examples/train_stage.py --streaming --data {repo_id} --config examples/configs/semantic.yaml --output_dir RUN
```

```python
from datasets import load_dataset

rows = load_dataset("{repo_id}", streaming=True)["train"]  # the column `split` says which rows are held out
```

`{MANIFEST_NAME}` has all settings and the sha256 of every shard. `{INDEX_NAME}` says track, split and length of every
row.
"""
