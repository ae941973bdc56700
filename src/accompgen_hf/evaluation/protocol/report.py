"""results.json as a Markdown table, as the model card's `model-index`, and as a picture."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from accompgen_hf.accompgen.optional_accompgen import import_optional
from accompgen_hf.evaluation.protocol.table_values import BASES, Metric
from accompgen_hf.files import save_figure, write_bytes, write_text

FAD_METRICS = {
    "fad_isolated": Metric("FADi", False),
    "fad_separated": Metric("FADs", False),
    "fad_delta": Metric("Δ", None),
    "fad_infinity": Metric("FADi∞", False),
    "apa": Metric("APA", True),
}
MAX_PANELS = 8
NOT_DRAWN = ("fad_infinity", "key_exact", "key_mirex", "tempo_octave")  # near others that are
_COLORS = {"random": "#9ca3af", "retrieval": "#6b7280", "oracle": "#2e86ab", "truth": "#6a4c93"}
_OWN_COLOR = "#e4572e"


def metric_table(keys: Sequence[str], score_metrics: Mapping[str, Metric]) -> dict[str, Metric]:
    """How every key of a result is printed: distances by their embedder, scores by their own table."""
    found = {}
    for key in keys:
        kind, _, embedder = key.partition(".")
        if embedder and kind in FAD_METRICS:
            metric = FAD_METRICS[kind]
            found[key] = Metric(f"{metric.label} {embedder}", metric.higher_is_better, metric.digits)
    return found | {key: metric for key, metric in score_metrics.items() if key in keys}


def format_estimate(estimate: Mapping[str, Any] | None, digits: int) -> str:
    """`1.23 [1.01, 1.45]`, or n/a."""
    if estimate is None:
        return "n/a"
    text = f"{estimate['value']:.{digits}f}"
    if estimate["low"] is None:
        return text
    return f"{text} [{estimate['low']:.{digits}f}, {estimate['high']:.{digits}f}]"


def format_table(results: Mapping[str, Any], metrics: Mapping[str, Metric]) -> str:
    """The whole Markdown page of a result."""
    dataset, made_with = results["dataset"], results["made_with"]
    systems = results["systems"]
    distances = [key for key in metrics if "." in key]
    scores = [key for key in metrics if "." not in key]
    lines = [
        f"{dataset['name']}: {dataset['num_songs']} songs, {dataset['num_windows']} windows of "
        f"{dataset['window_s']:g} s, seed {dataset['seed']}; FAD hears the {results['target']}. "
        "In brackets: 95 % by resampling songs.",
        "",
        *_seen_lines(results["seen_songs"]),
        *_separation_lines(results["separation"]),
        *_rows("Distances and prompt adherence", systems, distances, metrics, results),
        *_rows("Music", systems, scores, metrics, results),
        *_bound_lines(results["fad_infinity_bounds"]),
        *(line for base in BASES for line in _normalised_rows(base, metrics, results)),
        "| embedder | windows of the reference | dimensions | weights |",
        "|---|---|---|---|",
    ]
    for name, embedder in results["embedders"].items():
        dimensions = f"{embedder['dimensions_used']}"
        if embedder["dimensions_used"] != embedder["dimensions"]:
            dimensions += f" (projected from {embedder['dimensions']})"
        lines.append(
            f"| {name} | {embedder['num_reference_windows']} | {dimensions} | {embedder['weights_hash'][:12]} |"
        )
    versions = ", ".join(f"{name} {version}" for name, version in made_with["versions"].items())
    lines += ["", f"Commit {made_with['commit'] or 'unknown'}; {versions}.", ""]
    return "\n".join(lines)


def _seen_lines(seen: Mapping[str, Any]) -> list[str]:
    if not seen["seen"]:
        return [f"Training songs: {seen['checked']}.", ""]
    return [f"**{len(seen['seen'])} of these songs were trained on** (`--allow_seen`): {', '.join(seen['seen'])}.", ""]


def _separation_lines(separation: Mapping[str, Any] | None) -> list[str]:
    if separation is None:
        return ["FADs and Δ: n/a, there is no separator.", ""]
    if separation["separator"] == "simulated":
        text = (
            f"simulated, not separated: the band bleeds in at {separation['bleed_db']:g} dB, below "
            f"{separation['low_pass_hz'] / 1000:g} kHz"
        )
    else:
        text = ", ".join(f"{name} {value}" for name, value in separation.items())
    return [f"Separated vocals (FADs): {text}.", ""]


def _rows(
    title: str, systems: Mapping[str, Any], keys: Sequence[str], metrics: Mapping[str, Metric], results: Mapping
) -> list[str]:
    if not keys:
        return []
    arrows = {True: " ↑", False: " ↓", None: ""}
    head = [f"{metrics[key].label}{arrows[metrics[key].higher_is_better]}" for key in keys]
    lines = [f"| {title} | " + " | ".join(head) + " |", "|---" * (len(keys) + 1) + "|"]
    for name, system in systems.items():
        cells = [_cell(key, system["metrics"].get(key), metrics[key].digits, results) for key in keys]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _cell(key: str, estimate: Mapping[str, Any] | None, digits: int, results: Mapping[str, Any]) -> str:
    kind, _, embedder = key.partition(".")
    if kind == "apa" and not results["adherence_gates"][embedder]["is_sensitive"]:
        return "insensitive"
    return format_estimate(estimate, digits)


def _normalised_rows(base: str, metrics: Mapping[str, Metric], results: Mapping[str, Any]) -> list[str]:
    found = {name: system["normalised"].get(base, {}) for name, system in results["systems"].items()}
    keys = [key for key in metrics if any(key in scores for scores in found.values())]
    if not keys:
        return []
    lines = [f"| {base} = 0, oracle = 1 | " + " | ".join(metrics[key].label for key in keys) + " |"]
    lines.append("|---" * (len(keys) + 1) + "|")
    for name, scores in found.items():
        cells = [
            scores[key] if isinstance(scores.get(key), str) else _cell(key, scores.get(key), 2, results)
            for key in keys
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _bound_lines(bounds: Mapping[str, float]) -> list[str]:
    """Where FAD-infinity ends to be explained by the codec and by real music's own spread."""
    if not bounds:
        return []
    parts = ", ".join(f"{embedder} {value:.2f}" for embedder, value in bounds.items())
    return [f"FADi∞ of the oracle, twice, plus real against real (truth): {parts}.", ""]


def insert_results(page: str | os.PathLike, table: str, picture: Path) -> None:
    """Put a table between a page's two marks, and its picture into `images/` beside the page.

    Raises:
        ValueError: If the page does not have the marks.
    """
    page = Path(page)
    target = page.parent / "images" / f"{page.stem}.png"
    drawn = f"![Every system's scores with their intervals](images/{target.name})"
    insert_block(page, "results", f"{table.strip()}\n\n{drawn}")
    target.parent.mkdir(exist_ok=True)
    write_bytes(target, picture.read_bytes())


def insert_block(page: str | os.PathLike, name: str, block: str) -> None:
    """Put Markdown between the marks `<!-- NAME -->` and `<!-- end of NAME -->` of a page.

    Raises:
        ValueError: If the page does not have the marks.
    """
    page, marks = Path(page), (f"<!-- {name} -->", f"<!-- end of {name} -->")
    text = page.read_text("utf-8")
    begin, end = (text.find(mark) for mark in marks)
    if not 0 <= begin < end:
        raise ValueError(f"`page` {page} must have the lines {marks[0]} and {marks[1]} around its {name}.")
    write_text(page, f"{text[:begin]}{marks[0]}\n\n{block.strip()}\n\n{text[end:]}")


def model_index(results: Mapping[str, Any], metrics: Mapping[str, Metric], system: str, model_name: str) -> str:
    """The YAML block of a model card with one system's numbers.

    Raises:
        ValueError: If the system is not in the results.
    """
    if system not in results["systems"]:
        raise ValueError(f"`system` must be one of {', '.join(results['systems'])}, got {system!r}.")
    dataset = results["dataset"]
    rows = []
    for key, metric in metrics.items():
        estimate = results["systems"][system]["metrics"].get(key)
        if estimate is None or _cell(key, estimate, 3, results) == "insensitive":
            continue
        rows.append(
            EvalResult(
                task_type="audio-to-audio",
                task_name="Vocal accompaniment",
                dataset_type=f"accompgen_hf/{dataset['name']}",
                dataset_name=f"{dataset['name']}, {dataset['num_songs']} songs, seed {dataset['seed']}",
                dataset_split="test",
                metric_type=key,
                metric_name=f"{metric.label} ({results['target']})" if key.startswith("fad") else metric.label,
                metric_value=round(estimate["value"], 4),
            )
        )
    return ModelCardData(model_name=model_name, eval_results=rows).to_yaml() + "\n"


def draw_results(path: str | os.PathLike, results: Mapping[str, Any], metrics: Mapping[str, Metric]) -> None:
    """One panel per metric, one line per system with its interval, into a PNG that is written whole or not at all."""
    figure_class = import_optional("matplotlib.figure", "Drawing the results", "matplotlib").Figure
    systems = results["systems"]
    shown = [key for key, metric in metrics.items() if _is_drawn(key, metric, results)][:MAX_PANELS]
    columns = min(4, max(1, len(shown)))
    rows = -(-len(shown) // columns)
    figure = figure_class(figsize=(3.1 * columns, (0.32 * len(systems) + 0.9) * max(rows, 1)))
    for index, key in enumerate(shown):
        axes = figure.add_subplot(rows, columns, index + 1)
        _draw_panel(axes, key, metrics[key], systems, shows_names=index % columns == 0)
    figure.tight_layout()
    save_figure(figure, path, dpi=130, facecolor="white")


def _is_drawn(key: str, metric: Metric, results: Mapping[str, Any]) -> bool:
    kind, _, embedder = key.partition(".")
    if kind == "apa" and not results["adherence_gates"][embedder]["is_sensitive"]:
        return False
    return metric.higher_is_better is not None and kind not in NOT_DRAWN


def _draw_panel(axes: Any, key: str, metric: Metric, systems: Mapping[str, Any], shows_names: bool) -> None:
    for row, (name, system) in enumerate(systems.items()):
        estimate = system["metrics"].get(key)
        if estimate is None:
            continue
        color = _COLORS.get(name, _OWN_COLOR)
        if estimate["low"] is not None:
            axes.plot([estimate["low"], estimate["high"]], [row, row], color=color, linewidth=2.5, alpha=0.5)
        axes.plot(estimate["value"], row, "o", color=color, markersize=5)
    axes.set_yticks(range(len(systems)), list(systems) if shows_names else [""] * len(systems), fontsize=8)
    axes.set_ylim(len(systems) - 0.5, -0.5)
    better = {True: " (right is better)", False: " (left is better)", None: ""}[metric.higher_is_better]
    axes.set_title(f"{metric.label}{better}", fontsize=8)
    axes.tick_params(axis="x", labelsize=7)
    axes.grid(axis="x", color="#e5e7eb", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
