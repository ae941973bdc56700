"""What a saved folder needs beside weights and configs: its code on request, and a manifest of sha256 hashes.

The manifest is a file that `sha256sum -c SHA256SUMS` reads as well. safetensors has no checksum of its own: a flipped
bit would load silently.
"""

import json
import os
import shutil
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from .model_checks_accompgen import CODE_MAPS, CUSTOM_PIPELINES
from .training_record_accompgen import RECORD_NAME, format_record
from .whole_files_accompgen import hash_file, written_whole

MANIFEST = "SHA256SUMS"
# Files that may be edited on the Hub's pages without harm.
_NOT_IN_MANIFEST = {MANIFEST, "README.md", ".gitattributes", ".gitignore", "LICENSE"}


def finish_folder(folder: str | os.PathLike, include_code: bool = False) -> None:
    """Put the code into a saved folder or keep it out, then write the manifest.

    Args:
        folder (`str` or `os.PathLike`): Folder with a config.json of ours.
        include_code (`bool`): Copy the flat code files beside the weights and name them in the configs.
    """
    folder = Path(folder)
    config = _read_json(folder / "config.json")
    _drop_origins(config)
    if folder.resolve() != Path(__file__).parent.resolve():
        for file in _list_code_files():
            copy = folder / file.name
            if include_code:
                shutil.copyfile(file, copy)
            elif copy.exists() and copy.read_bytes() == file.read_bytes():
                copy.unlink()  # Transformers copies remote code into every folder that its model is saved to
    if include_code:
        config["auto_map"] = CODE_MAPS[config["model_type"]]
        if config["model_type"] == "accompgen":
            config["custom_pipelines"] = CUSTOM_PIPELINES
    _write_json(folder / "config.json", config)
    processor_file = folder / "processor_config.json"
    if processor_file.exists():
        processor = _read_json(processor_file)
        _drop_origins(processor)
        if include_code:
            processor["auto_map"] = {"AutoProcessor": CODE_MAPS["accompgen"]["AutoProcessor"]}
        _write_json(processor_file, processor)
    write_manifest(folder)


class ManifestSavingMixin:
    """Ends `save_pretrained`, and so `push_to_hub`, with the manifest. Must be the first of a model's bases.

    Attributes:
        training_tracks (`frozenset` of `str`, *optional*): Hashes of the tracks that the model was trained on, which
            are saved with it; `None` where nobody has recorded them.
    """

    training_tracks: frozenset[str] | None = None

    def save_pretrained(
        self, save_directory: str | os.PathLike, is_main_process: bool = True, push_to_hub: bool = False, **kwargs: Any
    ) -> None:
        """Save as Transformers does, then write the record of training tracks and the hashes.

        Raises:
            ValueError: If `push_to_hub` is asked for: Transformers would upload before the hashes are written.
        """
        if push_to_hub:
            raise ValueError("`push_to_hub` must be False while saving: call `push_to_hub(repo_id)` of the model.")
        super().save_pretrained(save_directory, is_main_process=is_main_process, **kwargs)
        if is_main_process:
            if self.training_tracks is not None:
                with written_whole(Path(save_directory) / RECORD_NAME) as temporary:
                    temporary.write_bytes(format_record(self.training_tracks))
            write_manifest(save_directory)


def write_manifest(folder: str | os.PathLike) -> Path:
    """Hash every file below a folder, except for hidden files and those that are edited on the Hub's pages."""
    folder = Path(folder)
    lines = [f"{hash_file(folder / name)}  {name}\n" for name in _list_files(folder)]
    _write_text(folder / MANIFEST, "".join(lines))
    return folder / MANIFEST


def verify_manifest(folder: str | os.PathLike) -> list[str]:
    """Compare a folder with its manifest.

    Returns:
        `list` of `str`: One sentence per file that is missing, changed or not listed; empty if all is well.

    Raises:
        ValueError: If there is no manifest, or it cannot be read.
    """
    folder = Path(folder)
    try:
        lines = (folder / MANIFEST).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{folder}: {MANIFEST} must be a readable file, got {error}. Save the model again.") from None
    recorded = {}
    for number, line in enumerate(lines, start=1):
        digest, _, name = line.partition("  ")
        parts = name.split("/")
        if len(digest) != 64 or not name or "" in parts or ".." in parts or "\\" in name:
            raise ValueError(f"{folder / MANIFEST}: line {number} must be a hash and a file name, got {line[:100]!r}.")
        recorded[name] = digest
    problems = []
    for name, digest in recorded.items():
        if not (folder / name).is_file():
            problems.append(f"{name}: missing")
        elif (found := hash_file(folder / name)) != digest:
            problems.append(f"{name}: changed, expected sha256 {digest}, found {found}")
    # Unlisted notes do no harm; unlisted weights or code would be loaded.
    unlisted = [name for name in _list_files(folder) if name not in recorded]
    return problems + [f"{name}: not listed in {MANIFEST}" for name in unlisted]


def _list_code_files() -> list[Path]:
    """The flat code files; of remote code, Transformers keeps the pipeline's and the model's in different folders."""
    prefix = tuple(__name__.split(".")[:-1][:2])  # this package, or `transformers_modules` and one repository
    loaded = [
        Path(module.__file__)
        for name, module in list(sys.modules.items())
        if tuple(name.split(".")[: len(prefix)]) == prefix and getattr(module, "__file__", None)
    ]
    files = [*loaded, *Path(__file__).parent.glob("*.py")]
    return sorted({file.name: file for file in files if fnmatch(file.name, "*_accompgen*.py")}.values())


def _list_files(folder: Path) -> list[str]:
    names = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    visible = [name for name in names if not any(part.startswith(".") or part == "__pycache__" for part in name.parts)]
    return sorted(name.as_posix() for name in visible if name.as_posix() not in _NOT_IN_MANIFEST)


def _drop_origins(config: dict[str, Any]) -> None:
    """Names of code, and the private folders that parts were once loaded from."""
    for name in ("auto_map", "custom_pipelines", "_name_or_path"):
        config.pop(name, None)
    for value in config.values():
        if isinstance(value, dict):
            _drop_origins(value)


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text("utf-8"))


def _write_json(path: Path, value: dict[str, Any]) -> None:
    _write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def _write_text(path: Path, text: str) -> None:
    with written_whole(path) as temporary:
        temporary.write_bytes(text.encode())


__all__ = ["MANIFEST", "ManifestSavingMixin", "finish_folder", "verify_manifest", "write_manifest"]
