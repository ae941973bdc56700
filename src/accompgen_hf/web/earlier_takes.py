"""Read an earlier take back from its zip file, so that a span of it can be made anew.

Visitors send such files: only three of their members are read, and no name in them is trusted.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accompgen_hf.app.kept_codes import CODES_FILE
from accompgen_hf.app.lead_sheet_files import SHEET_FILES
from accompgen_hf.app.regenerate import PIPELINE_SETTINGS, read_known
from accompgen_hf.app.result_folders import RECORD_KEYS, read_settings

_MAX_MEMBER_BYTES = 16 * 2**20
_UNREADABLE = "The take is no zip file from this page. Download it again, or make a new take."


@dataclass(frozen=True)
class ChosenSpan:
    """What is made anew: seconds of the take in the zip file `archive`, of all parts or of one."""

    archive: str
    start_s: float
    end_s: float
    part: str | None = None


@dataclass(frozen=True)
class EarlierTake:
    """What a zip file says of its take: `settings.json`, and codes and lead sheet as `known_codes` of the pipeline."""

    name: str
    settings: dict[str, Any]
    known_codes: dict[str, Any]

    def options(self, span: ChosenSpan) -> dict[str, Any]:
        """Options of the pipeline's call that makes the span anew."""
        chosen = {name: self.settings[name] for name in PIPELINE_SETTINGS if name in self.settings}
        parts = {} if span.part is None else {"regenerate_parts": [span.part]}
        return {**chosen, **parts, "known_codes": self.known_codes, "regenerate": (span.start_s, span.end_s)}

    def new_settings(self, span: ChosenSpan, seed: int, made_s: tuple[float, float]) -> dict[str, Any]:
        """`settings.json` of the new take; `made_s` is the span after it was moved to beats."""
        kept = {key: value for key, value in self.settings.items() if key not in (*RECORD_KEYS, "best_of")}
        changed = {"from": self.name, "start_s": made_s[0], "end_s": made_s[1]}
        changed |= {} if span.part is None else {"parts": [span.part]}
        return {**kept, "seed": seed, "regenerated": changed}


def read_take(archive: str, folder: Path) -> EarlierTake:
    """Read the zip file of a take.

    Args:
        archive (`str`): The zip file.
        folder (`Path`): A new folder for what is unpacked.

    Raises:
        ValueError: If it is no zip file of a take; the words are for the visitor.
    """
    folder.mkdir()
    try:
        with zipfile.ZipFile(archive) as files:
            sheet_file = [SHEET_FILES[1]] if SHEET_FILES[1] in files.namelist() else []
            for name in ("settings.json", CODES_FILE, *sheet_file):
                if files.getinfo(name).file_size > _MAX_MEMBER_BYTES:
                    raise ValueError(_UNREADABLE)
                (folder / name).write_bytes(files.read(name))
        known, _ = read_known(folder)
        return EarlierTake(Path(archive).stem, read_settings(folder / "settings.json"), known)
    except (OSError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
        raise ValueError(_UNREADABLE) from error
