"""Compare finished runs of a stage: what a setting does, over several seeds."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from accompgen_hf.files import read_json

# Student's t, 97.5 %, by the number of runs.
_T = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}
COMPARED = {"loss": "loss", "conditioning_gain": "conditioning gain", "null_gain": "null gain"}


def compare_runs(folders: Sequence[str | os.PathLike]) -> str:
    """Markdown: settings down, the last validation's numbers across, each with its 95 % interval over the seeds.

    Args:
        folders (sequence of paths): Output folders of finished runs, named `<setting>-<seed>`.

    Raises:
        ValueError: If a folder is not named so, or its run is not finished.
    """
    settings: dict[str, list[dict[str, Any]]] = {}
    for folder in map(Path, folders):
        match = re.fullmatch(r"(.+)-(\d+)", folder.name)
        if match is None:
            raise ValueError(f"`folders` must be named SETTING-SEED, got {folder.name!r}.")
        settings.setdefault(match[1], []).append(_read_validation(folder))
    lines = ["| | seeds | " + " | ".join(COMPARED.values()) + " | perplexity |", "|---" * (len(COMPARED) + 3) + "|"]
    for name, runs in settings.items():
        cells = [_format([run[key] for run in runs]) for key in COMPARED]
        perplexities = np.mean([run["perplexity"] for run in runs], axis=0)
        text = ", ".join(f"{value:.1f}" for value in perplexities)
        lines.append(f"| {name} | {len(runs)} | " + " | ".join(cells) + f" | {text} |")
    return "\n".join([*lines, ""])


def _read_validation(folder: Path) -> dict[str, Any]:
    path = folder / "summary.json"
    if not path.is_file():
        raise ValueError(f"`folders`: {folder} holds no summary.json; its run is not finished.")
    summary = read_json(path)
    return summary.get("validation", summary)


def _format(values: list[float]) -> str:
    mean = float(np.mean(values))
    if len(values) < 2:
        return f"{mean:.3f}"
    factor = _T.get(len(values), 1.96)
    return f"{mean:.3f} ± {factor * np.std(values, ddof=1) / len(values) ** 0.5:.3f}"
