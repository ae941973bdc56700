"""Token shards in a dataset repository of the Hub, or in a folder, read one at a time.

A downloaded shard is checked by the manifest's sha256 and deleted when its rows are in memory: a stream needs no disk.
"""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

from accompgen_hf.data.row_index import INDEX_NAME, IndexedRow, index_rows, list_index
from accompgen_hf.data.shards import MANIFEST_NAME, Manifest, TokenRow, read_rows

_REPOSITORY = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")


class RemoteShards:
    """A data set whose shards are fetched when they are needed.

    Args:
        source (`str`): Id of a dataset repository, at a branch, tag or commit with `me/shards@v1`; or a folder.

    Attributes:
        name (`str`): What messages call it: the folder, or the id with its commit. A later upload changes nothing for
            those who have opened it.
        manifest (`Manifest`): What it says about itself.
        index (`list` of [`IndexedRow`]): All rows, in the order of the shards.

    Raises:
        ValueError: If it is neither, cannot be reached, or was uploaded without an index.
    """

    def __init__(self, source: str | os.PathLike):
        source = os.fspath(source)
        self.folder = Path(source) if os.path.isdir(source) else None
        if self.folder is not None:
            self.name = source
            self.manifest = Manifest.load(self.folder)
            table = index_rows(self.folder, self.manifest)
        else:
            self.repo_id, self.commit = _find_commit(source)
            self.name = f"{self.repo_id}@{self.commit[:12]}"
            with self._file(MANIFEST_NAME) as path:
                self.manifest = Manifest.load(path.parent)
            with self._file(INDEX_NAME) as path:
                table = pq.read_table(path)
        self.index: list[IndexedRow] = list_index(table, self.manifest, self.name)
        self._sha256 = {shard["file"]: shard["sha256"] for shard in self.manifest.shards}

    def read(self, file: str) -> list[TokenRow]:
        """All rows of a shard.

        Raises:
            ValueError: If it cannot be fetched, or is damaged.
        """
        with self._file(file) as path:
            return read_rows(path, self._sha256[file])

    @contextmanager
    def _file(self, name: str) -> Iterator[Path]:
        """A file of the data set, for as long as it is read."""
        if self.folder is not None:
            yield self.folder / name
            return
        with tempfile.TemporaryDirectory(prefix="accompgen-shards-") as folder:
            try:
                hf_hub_download(self.repo_id, name, repo_type="dataset", revision=self.commit, local_dir=folder)
            except EntryNotFoundError as error:
                raise ValueError(
                    f"`data` {self.name} has no {name}: upload it with `prepare_dataset.py --push_to_hub`."
                ) from error
            except (HfHubHTTPError, OSError) as error:
                raise ValueError(f"`data` {self.name}: {name} cannot be fetched ({error}).") from error
            yield Path(folder) / name


def _find_commit(source: str) -> tuple[str, str]:
    """Id of a dataset repository, and the commit that it stands at."""
    match = _REPOSITORY.fullmatch(source)
    if match is None:
        raise ValueError(f"`data` must be folders of token shards, or ids of datasets on the Hub, got {source!r}.")
    try:
        info = HfApi().dataset_info(match[1], revision=match[2])
    except (HfHubHTTPError, OSError) as error:
        raise ValueError(
            f"`data` {source} is no folder, and no dataset on the Hub that can be reached ({error})."
        ) from error
    return match[1], info.sha
