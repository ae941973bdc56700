"""Whole files of every kind: bytes, JSON, pictures, folders; the core travels with the weights."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from accompgen_hf.accompgen.whole_files_accompgen import (
    flush_to_disk,
    folder_written_whole,
    hash_file,
    publish_file,
    publish_folder,
    replace_patiently,
)
from accompgen_hf.accompgen.whole_files_accompgen import written_whole as _written_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def written_whole(path: Path) -> AbstractContextManager[Path]:
    """Give a temporary path inside a `with` block; the file gets its name at the end of the block.

    In a folder with `.progress`, the temporary file stands there: what a killed process leaves behind goes with it.
    """
    aside = Path(path).parent / ".progress"
    return _written_whole(path, aside if aside.is_dir() else None)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that it is either whole or absent, also after a power cut."""
    with written_whole(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically, its lines ended as they are."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any, indent: int = 1, sort_keys: bool = True) -> None:
    """Write JSON atomically."""
    write_text(path, json.dumps(value, indent=indent, sort_keys=sort_keys) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(Path(path).read_text("utf-8"))


def write_csv(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    """Write a table atomically."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_text(path, text.getvalue())


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Write arrays by name as `.npz`, atomically."""
    with written_whole(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)


def write_array(path: Path, array: np.ndarray) -> None:
    """Write one array as `.npy`, atomically."""
    with written_whole(path) as temporary, open(temporary, "wb") as file:
        np.save(file, array, allow_pickle=False)


def save_figure(figure: "Figure", path: Path, dpi: int, **options: Any) -> None:
    """Write a figure of matplotlib as PNG, atomically, without the version of the program that made it."""
    with written_whole(path) as temporary:
        figure.savefig(temporary, format="png", dpi=dpi, metadata={"Software": None}, **options)


__all__ = [
    "flush_to_disk",
    "folder_written_whole",
    "hash_file",
    "publish_file",
    "publish_folder",
    "replace_patiently",
    "read_json",
    "save_figure",
    "write_array",
    "write_arrays",
    "write_bytes",
    "write_csv",
    "write_json",
    "write_text",
    "written_whole",
]
