"""One table from runs of the protocol that differ in their seed alone: other songs, other draws."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from accompgen_hf.evaluation.protocol.report import metric_table
from accompgen_hf.evaluation.protocol.score_names import SCORE_METRICS

NOT_COMPARED = ("clipping_rate", "activity_coverage", "tempo_correct", "key_exact")


def compare_seeds(results: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: systems down, metrics across, each the mean over the runs with the lowest and the highest.

    Args:
        results (sequence of mappings): Results of `run_protocol` for each seed, with the same systems.

    Raises:
        ValueError: If there are fewer than two runs, or their systems differ.
    """
    if len(results) < 2:
        raise ValueError(f"`seeds` must be at least two to be compared, got {len(results)}.")
    names = list(results[0]["systems"])
    for run in results[1:]:
        if list(run["systems"]) != names:
            raise ValueError(f"`seeds` must be of the same systems, got {names} and {list(run['systems'])}.")
    keys = list(dict.fromkeys(key for name in names for key in results[0]["systems"][name]["metrics"]))
    metrics = metric_table([key for key in keys if key not in NOT_COMPARED], SCORE_METRICS)
    metrics = {key: metric for key, metric in metrics.items() if metric.higher_is_better is not None}
    arrows = {True: " ↑", False: " ↓"}
    lines = [
        f"{len(results)} seeds of {results[0]['dataset']['num_songs']} songs each; mean [lowest, highest seed].",
        "",
        "| | " + " | ".join(metric.label + arrows[metric.higher_is_better] for metric in metrics.values()) + " |",
        "|---" * (len(metrics) + 1) + "|",
    ]
    for name in names:
        cells = []
        for key, metric in metrics.items():
            found = [run["systems"][name]["metrics"].get(key) for run in results]
            cells.append(_format([entry["value"] for entry in found if entry is not None], metric.digits))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def _format(values: list[float], digits: int) -> str:
    if not values:
        return ""
    return f"{np.mean(values):.{digits}f} [{min(values):.{digits}f}, {max(values):.{digits}f}]"


def seed_folder(output_dir: str | os.PathLike, seed: int) -> Path:
    """Where the run of one of several seeds keeps its files."""
    return Path(output_dir) / f"seed-{seed}"
