"""The record of a run: `metrics.jsonl`, one line per event, and a picture of it."""

import json
import os
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

METRICS_NAME = "metrics.jsonl"


class MetricsLog:
    """Appends events to `metrics.jsonl`; a resumed run first drops what lies after its checkpoint.

    Args:
        output_dir (`Path`):
            Of the run.
        step (`int`):
            Steps already done: later lines belong to work that is lost and will be done again.
    """

    def __init__(self, output_dir: Path, step: int):
        self.path = Path(output_dir) / METRICS_NAME
        kept = [event for event in read_metrics(output_dir) if event["step"] <= step]
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(event) + "\n" for event in kept))
        os.replace(temporary, self.path)

    def write(self, kind: str, step: int, **values: Any) -> None:
        """Append one event: `kind` is `"train"` or `"validation"`."""
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, "step": step, **values}) + "\n")


def read_metrics(output_dir: Path) -> list[dict[str, Any]]:
    """Read the events of a run; a last line that was cut off is left out."""
    path = Path(output_dir) / METRICS_NAME
    if not path.is_file():
        return []
    lines = path.read_text("utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def draw_curves(output_dir: Path) -> Path:
    """Draw loss, perplexity, conditioning gain and learning rate over the steps as `curves.png`."""
    events = read_metrics(output_dir)
    train = [event for event in events if event["kind"] == "train"]
    validation = [event for event in events if event["kind"] == "validation"]
    steps = [event["step"] for event in validation]
    figure = Figure(figsize=(11, 7), layout="constrained")
    (loss, perplexity), (gain, rate) = figure.subplots(2, 2)
    loss.plot([event["step"] for event in train], [event["loss"] for event in train], label="training", linewidth=0.8)
    loss.plot(steps, [event["loss"] for event in validation], "o-", label="validation")
    loss.set_ylabel("cross-entropy (nats per code)")
    loss.legend()
    for codebook in range(len(validation[0]["perplexity"]) if validation else 0):
        values = [event["perplexity"][codebook] for event in validation]
        perplexity.plot(steps, values, "o-", label=f"codebook {codebook + 1} of the target")
    perplexity.set_ylabel("validation perplexity")
    for name, label in (("conditioning_gain", "another track's"), ("null_gain", "hidden")):
        values, widths = ([event[key] for event in validation] for key in (name, f"{name}_interval"))
        gain.errorbar(steps, values, yerr=widths, fmt="o-", capsize=3, label=f"{label} conditioning")
    gain.axhline(0, color="black", linewidth=0.8)
    gain.set_ylabel("loss of wrong minus own conditioning (nats)")
    rate.plot([event["step"] for event in train], [event["learning_rate"] for event in train])
    rate.set_ylabel("learning rate")
    for axes in (perplexity, gain):
        if axes.get_legend_handles_labels()[0]:
            axes.legend()
    for axes in (loss, perplexity, gain, rate):
        axes.set_xlabel("optimiser step")
    path = Path(output_dir) / "curves.png"
    temporary = path.with_name(".curves.tmp.png")
    figure.savefig(temporary, dpi=110)
    os.replace(temporary, path)
    return path
