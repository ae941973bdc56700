"""Histograms of what the filters measured, with the thresholds, to see whether these suit the music."""

import os
from typing import Any

import numpy as np

from accompgen_hf.accompgen.optional_accompgen import import_optional
from accompgen_hf.data.filtering import HISTOGRAMS, NUM_BINS, ClipFilter, describe_counts
from accompgen_hf.files import save_figure

_TITLES = {
    "instrumental_rms_db": ("instrumental RMS (dBFS)", "min_instrumental_rms_db"),
    "vocals_over_instrumental_db": ("vocals over instrumental (dB)", "max_vocals_over_instrumental_db"),
    "vocal_activity": ("share of 40-ms frames with voice", "min_vocal_activity"),
    "bleed_correlation": ("correlation of vocals and instrumental", "max_bleed_correlation"),
}
_KEPT, _DROPPED, _INK = "#2e86ab", "#e4572e", "#1d2330"


def draw_histograms(path: str | os.PathLike, counts: dict[str, Any], clip_filter: ClipFilter) -> None:
    """Draw one panel per measure, dropped clips on top of kept ones, into a PNG that is written whole or not at all.

    Args:
        path (`str`): Path of the picture.
        counts (`dict`): Result of `count_clips` or `add_counts`.
        clip_filter ([`ClipFilter`]): The filter whose thresholds are drawn.

    Raises:
        ImportError: If matplotlib is missing.
    """
    figure_class = import_optional("matplotlib.figure", "Drawing histograms", "matplotlib").Figure
    figure = figure_class(figsize=(10, 6.5), layout="constrained")
    for axes, (name, (low, high)) in zip(figure.subplots(2, 2).flat, HISTOGRAMS.items(), strict=True):
        edges = np.linspace(low, high, NUM_BINS + 1)
        kept, dropped = (counts["histograms"][name][side] for side in ("kept", "dropped"))
        width = edges[1] - edges[0]
        axes.bar(edges[:-1], kept, width, align="edge", color=_KEPT, label="kept")
        axes.bar(edges[:-1], dropped, width, bottom=kept, align="edge", color=_DROPPED, label="dropped")
        title, threshold = _TITLES[name]
        limit = getattr(clip_filter, threshold)
        if limit is not None:
            axes.axvline(limit, color=_INK, linestyle="--", linewidth=1)
        axes.set_title(f"{title}; {threshold} {'off' if limit is None else f'{limit:g}'}", fontsize=9, color=_INK)
        axes.set_ylabel("clips", fontsize=8)
        axes.set_xlim(low, high)
        axes.tick_params(labelsize=8)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    figure.axes[0].legend(fontsize=8, frameon=False, loc="upper left")
    figure.suptitle(describe_counts(counts), fontsize=9, color=_INK)
    save_figure(figure, path, dpi=100)
