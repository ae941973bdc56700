"""Read an earlier take back from its zip file, so that a span of it can be made anew.

Visitors send such files: only three of their members are read, and no name in them is trusted.
"""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accompgen_hf.app.kept_codes import CODES_FILE
from accompgen_hf.app.lead_sheet_files import SHEET_FILES
from accompgen_hf.app.regenerate import PIPELINE_SETTINGS, behind_count_in, read_known, settings_of_take
from accompgen_hf.app.result_folders import read_settings

_MAX_MEMBER_BYTES = 16 * 2**20
_UNREADABLE = "The take is no zip file from this page. Download it again, or make a new take."


@dataclass(frozen=True)
class ChosenSpan:
    """What is made anew: seconds of the files in the zip file `archive`, count-in included; of all parts or of one."""

    archive: str
    start_s: float
    end_s: float
    part: str | None = None


@dataclass(frozen=True)
class EarlierTake:
    """What a zip file says of its take.

    Attributes:
        name (`str`): Name of the file without its ending.
        settings (`dict`): Its `settings.json`.
        known_codes (`dict`): Codes and lead sheet, as `known_codes` of the pipeline.
        count_in_s (`float`): Seconds of clicks before the music.
    """

    name: str
    settings: dict[str, Any]
    known_codes: dict[str, Any]
    count_in_s: float = 0.0

    def find_music(self, span: ChosenSpan, duration_s: float) -> ChosenSpan:
        """Return the span in seconds of the music, of which there are `duration_s` behind the count-in.

        Raises:
            ValueError: If the span lies in the count-in, or behind the music.
        """
        if not self.count_in_s:
            return span
        start_s, end_s = behind_count_in((span.start_s, span.end_s), self.count_in_s, duration_s)
        return replace(span, start_s=start_s, end_s=end_s)

    def options(self, span: ChosenSpan) -> dict[str, Any]:
        """Options of the pipeline's call that makes a span of the music anew."""
        chosen = {name: self.settings[name] for name in PIPELINE_SETTINGS if name in self.settings}
        parts = {} if span.part is None else {"regenerate_parts": [span.part]}
        chosen["output_sampling_rate"] = self.settings.get("sampling_rate", "input")
        return {**chosen, **parts, "known_codes": self.known_codes, "regenerate": (span.start_s, span.end_s)}

    def new_settings(self, span: ChosenSpan, result: Mapping[str, Any]) -> dict[str, Any]:
        """`settings.json` of the new take, whose `result` the pipeline gave."""
        parts = None if span.part is None else [span.part]
        return settings_of_take(self.settings, self.name, result, self.count_in_s, parts)


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
        known, count_in_s = read_known(folder)
        return EarlierTake(Path(archive).stem, read_settings(folder / "settings.json"), known, count_in_s)
    except (OSError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
        raise ValueError(_UNREADABLE) from error
