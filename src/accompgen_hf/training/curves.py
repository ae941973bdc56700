"""The picture of a run: numbers of `metrics.jsonl` over the steps, panel by panel, as `curves.png`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from accompgen_hf.files import save_figure
from accompgen_hf.training.run_files import read_metrics


@dataclass(frozen=True)
class Curve:
    """One number of the events of a kind; a list of numbers gives a line each.

    Attributes:
        kind (`str`): `"train"` or `"validation"`.
        name (`str`): Key of the number.
        label (`str`, *optional*): Text of the legend; `{}` stands for the place in a list, from 1.
        style (`str`): Format of matplotlib.
        interval (`str`, *optional*): Key of the half width of an interval, drawn as a bar.
        color (`str`, *optional*): Colour of matplotlib.
    """

    kind: str
    name: str
    label: str | None = None
    style: str = "-"
    interval: str | None = None
    color: str | None = None

    def draw(self, axes: Axes, events: list[dict[str, Any]]) -> None:
        """Draw the events that have the number."""
        events = [event for event in events if event["kind"] == self.kind and self.name in event]
        steps, values = [event["step"] for event in events], [event[self.name] for event in events]
        widths = None if self.interval is None else [event[self.interval] for event in events]
        is_list = bool(values) and isinstance(values[0], list)
        for index, line in enumerate(zip(*values, strict=True) if is_list else [values]):
            label = self.label and self.label.format(index + 1)
            axes.errorbar(steps, line, yerr=widths, fmt=self.style, color=self.color, capsize=3, label=label)


@dataclass(frozen=True)
class Panel:
    """One diagram.

    Attributes:
        title (`str`): Text of the vertical axis.
        curves (`tuple` of `Curve`): The curves that are drawn in it.
        has_zero_line (`bool`): Whether 0 is marked.
        scale (`str`): `"linear"` or `"log"`.
    """

    title: str
    curves: Sequence[Curve]
    has_zero_line: bool = False
    scale: str = "linear"


def draw_curves(output_dir: Path, panels: Sequence[Panel]) -> Path:
    """Draw the panels, two in a row, from the metrics in `output_dir` into `curves.png` there."""
    events = read_metrics(output_dir)
    num_columns = min(2, len(panels))
    num_rows = -(-len(panels) // num_columns)
    figure = Figure(figsize=(5.5 * num_columns, 3.5 * num_rows), layout="constrained")
    for axes, panel in zip(figure.subplots(num_rows, num_columns, squeeze=False).flat, panels, strict=False):
        for curve in panel.curves:
            curve.draw(axes, events)
        if panel.has_zero_line:
            axes.axhline(0, color="black", linewidth=0.8)
        axes.set(xlabel="optimiser step", ylabel=panel.title, yscale=panel.scale)
        if axes.get_legend_handles_labels()[0]:
            axes.legend()
    path = Path(output_dir) / "curves.png"
    save_figure(figure, path, dpi=110)
    return path
