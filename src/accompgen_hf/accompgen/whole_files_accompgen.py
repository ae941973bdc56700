"""Files and folders that are whole or absent: written beside their place, flushed to the disk, renamed; and hashes."""

import contextlib
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

_PATIENCE_S = 2.0


@contextlib.contextmanager
def written_whole(path: str | os.PathLike, temporary_folder: str | os.PathLike | None = None) -> Iterator[Path]:
    """Give a temporary path to write to inside a `with` block; the file gets its name at the end of the block.

    If the block raises, the temporary file is deleted and what stood at `path` stays.

    Args:
        path (`str`):
            Where the file is to stand.
        temporary_folder (`str`, *optional*):
            Where the temporary file stands, on the same disk. If `None`, it stands beside `path`.
    """
    path = Path(path)
    temporary = Path(temporary_folder or path.parent) / f".{path.name[:100]}.{uuid.uuid4().hex}.tmp"
    try:
        yield temporary
        publish_file(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def folder_written_whole(folder: str | os.PathLike) -> Iterator[Path]:
    """Give an empty folder to fill inside a `with` block; at its end it takes the place of `folder`.

    If the block raises, the new folder is deleted and what stood at `folder` stays.
    """
    folder = Path(folder)
    staging = folder.with_name(f".{folder.name[:100]}.{uuid.uuid4().hex}.tmp")
    staging.mkdir(parents=True)
    try:
        yield staging
        publish_folder(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def publish_file(temporary: str | os.PathLike, path: str | os.PathLike) -> None:
    """Flush a written file to the disk and give it its name."""
    flush_to_disk(temporary)
    replace_patiently(temporary, path)


def publish_folder(staging: Path, folder: Path) -> None:
    """Flush a filled folder to the disk and give it its name; an older folder of that name is deleted first.

    Who may list the folder may read its files: safetensors are written for their owner alone.
    """
    readable = staging.stat().st_mode & 0o444
    for path in [*staging.rglob("*"), staging]:
        if path.is_file():
            path.chmod(path.stat().st_mode | readable)
        flush_to_disk(path)
    if folder.exists():
        shutil.rmtree(folder)
    replace_patiently(staging, folder)
    flush_to_disk(folder.parent)


def replace_patiently(source: str | os.PathLike, target: str | os.PathLike) -> None:
    """Do as `os.replace`, and try for two seconds where a virus scanner, a sync client or a preview holds the file.

    Raises:
        OSError: If it is still refused then, or refused for another reason.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return os.replace(source, target)
        except PermissionError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.05)


def flush_to_disk(path: str | os.PathLike) -> None:
    """Make sure that a file or folder survives a power cut."""
    if os.name == "nt" and os.path.isdir(path):
        return  # Windows has no handle for folders
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def hash_file(path: str | os.PathLike) -> str:
    """Compute the sha256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


__all__ = [
    "flush_to_disk",
    "folder_written_whole",
    "hash_file",
    "publish_file",
    "publish_folder",
    "replace_patiently",
    "written_whole",
]
