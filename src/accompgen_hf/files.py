"""Files that are either whole or absent: written to a temporary name, fsynced, renamed."""

import json
import os
from pathlib import Path
from typing import Any


def temporary_path(path: Path) -> Path:
    """Where a file is written before it gets its name; what a killed process leaves there is no part of the result."""
    aside = path.parent / ".progress"
    return (aside if aside.is_dir() else path.parent) / f".{path.name}.{os.getpid()}.tmp"


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that it is either whole or absent, also after a power cut."""
    path = Path(path)
    temporary = temporary_path(path)
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, with sorted keys."""
    write_bytes(path, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode())


def read_json(path: Path) -> Any:
    return json.loads(Path(path).read_text("utf-8"))
