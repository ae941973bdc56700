"""The protocol: systems play to windows, everything is measured, one results.json says how. Killed, it goes on.

Reading order: windows (what is sung), generation (what is played), scoring and collection (what is measured),
bootstrap and metrics (numbers), report (table, picture, card).
"""

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accompgen_hf.evaluation.metrics.audio_embedders import Embedder
from accompgen_hf.evaluation.protocol.bootstrap import draw_songs
from accompgen_hf.evaluation.protocol.collection import collect_real_pairs, collect_system
from accompgen_hf.evaluation.protocol.excerpts import WindowFolder
from accompgen_hf.evaluation.protocol.outputs import check_names, generate_outputs
from accompgen_hf.evaluation.protocol.report import draw_results, format_table, metric_table, model_index
from accompgen_hf.evaluation.protocol.score_names import SCORE_METRICS
from accompgen_hf.evaluation.protocol.scoring import Scorer
from accompgen_hf.evaluation.protocol.table_values import (
    BASES,
    Estimates,
    Metric,
    adherence_estimates,
    fad_estimates,
    infinity_bounds,
    normalise,
    score_estimates,
)
from accompgen_hf.evaluation.systems.system import System, TruthSystem
from accompgen_hf.files import write_json, write_text

VERSIONED = ("accompgen_hf", "torch", "transformers", "numpy", "scipy", "mir_eval")


def run_protocol(
    systems: Sequence[System],
    test_set: WindowFolder,
    reference: WindowFolder | None,
    embedders: Mapping[str, Embedder],
    output_dir: str | os.PathLike,
    *,
    dataset: str,
    target: str = "mix",
    seed: int = 0,
    num_resamples: int = 300,
    separation: Mapping[str, Any] | None = None,
    seen_songs: Mapping[str, Any] | None = None,
    fingerprint: str | None = None,
) -> dict[str, Any]:
    """Generate, measure and write `results.json`, `table.md` and `results.png` into `output_dir`.

    Args:
        systems (sequence of `System`): Systems in the table's order. The true accompaniments are added as `truth`.
        test_set (`WindowFolder`): Windows under test, with separated vocals if `separation` is given.
        reference (`WindowFolder`, *optional*): Real pairs; none of the test set's songs. Embedders need it.
        embedders (mapping): Embedders by name; without one there is neither FAD nor APA.
        output_dir (`str`): Keeps everything between runs.
        dataset (`str`): Name of the test set.
        target (`str`): What FAD hears, `"mix"` or `"instrumental"`.
        seed (`int`): Seed of outputs, exchanges and resamples.
        num_resamples (`int`): Number of resamples for the intervals.
        separation (mapping, *optional*): Description of the separated vocals. `None` leaves FADs out.
        seen_songs (mapping, *optional*): Result of `check_seen_songs`.
        fingerprint (`str`, *optional*): `token_fingerprint` of the model under test.

    Returns:
        What results.json holds.

    Raises:
        ValueError: If the reference holds songs of the test set, systems are wrong, or there are too few windows.
    """
    if reference is None and embedders:
        raise ValueError(f"`reference` is needed by the embedders {', '.join(embedders)}: give one, or no embedder.")
    if reference is not None:
        _check_apart(test_set, reference)
    output_dir = Path(output_dir)
    systems = [*systems, TruthSystem()] if all(system.name != "truth" for system in systems) else list(systems)
    check_names(systems)
    conditions = ("isolated",) if separation is None else ("isolated", "separated")
    # 1. Systems play, one file per window.
    outputs = {system.name: _play(system, test_set, output_dir / "systems", conditions, seed) for system in systems}
    # 2. Every output is measured, one file per window.
    scorer, scores_dir = Scorer(embedders, target), output_dir / "scores"
    collected = {
        name: collect_system(name, folders, test_set, scorer, scores_dir) for name, folders in outputs.items()
    }
    real = deranged = shuffled = {}
    if embedders and reference is not None:
        real = collect_real_pairs(reference, scorer, output_dir / "pairs", "reference")
        deranged = collect_real_pairs(reference, scorer, output_dir / "pairs", "reference exchanged", seed)
        shuffled = collect_real_pairs(test_set, scorer, output_dir / "pairs", "test set exchanged", seed + 1)
    # 3. Numbers, with intervals from the same draws of songs.
    draws = draw_songs(len(test_set.song_ids), num_resamples, seed)
    distances, fad_details = fad_estimates(collected, real, draws, seed)
    fresh = collected["truth"].embeddings["isolated"]
    adherence, gates = adherence_estimates(collected, real, deranged, fresh, shuffled, draws)
    scores = score_estimates(collected, draws)
    estimates: dict[str, Estimates] = {
        name: {**distances[name], **adherence[name], **scores[name]} for name in collected
    }
    metrics = metric_table(list(dict.fromkeys(key for own in estimates.values() for key in own)), SCORE_METRICS)
    # 4. One file says how.
    results = {
        "format": 2,
        "dataset": {"name": dataset, "seed": seed, **_describe_windows(test_set, reference)},
        "target": target,
        "separation": None if separation is None else dict(separation),
        "seen_songs": dict(seen_songs or {"checked": "not checked", "seen": [], "allowed": False}),
        "embedders": {
            name: _describe_embedder(embedder, fad_details.get(name) or gates[name])
            for name, embedder in embedders.items()
        },
        "adherence_gates": gates,
        "fad_infinity_bounds": infinity_bounds(estimates),
        "num_resamples": num_resamples,
        "systems": _describe_systems(systems, estimates, metrics),
        "made_with": {"commit": source_commit(), "versions": versions(), "token_fingerprint": fingerprint},
    }
    write_results(output_dir, results, metrics)
    return results


def _check_apart(test_set: WindowFolder, reference: WindowFolder) -> None:
    common = sorted(set(test_set.song_ids) & set(reference.song_ids))
    if common:
        raise ValueError(
            f"`reference` must not hold songs of the test set, but {len(common)} are in both, first {common[0]!r}."
        )


def _play(
    system: System, test_set: WindowFolder, folder: Path, conditions: Sequence[str], seed: int
) -> dict[str, Path]:
    """Folders of a system's outputs by the conditions that it has."""
    outputs = {name: generate_outputs(system, test_set, folder, name, seed) for name in conditions}
    return {name: output for name, output in outputs.items() if output is not None}


def _describe_windows(test_set: WindowFolder, reference: WindowFolder | None) -> dict[str, Any]:
    return {
        "num_songs": len(test_set.song_ids),
        "num_windows": len(test_set.windows),
        "window_s": test_set.description["window_s"],
        "windows": test_set.description,
        "reference": reference and {"num_songs": len(reference.song_ids), **reference.description},
    }


def _describe_systems(
    systems: Sequence[System], estimates: Mapping[str, Estimates], metrics: Mapping[str, Metric]
) -> dict[str, Any]:
    """What made every system's outputs, and its numbers, plain and between each base and the oracle."""
    normalised = {base: normalise(estimates, metrics, base) for base in BASES}
    return {
        system.name: {
            "description": system.describe(),
            "metrics": {key: estimate.to_dict() for key, estimate in estimates[system.name].items()},
            "normalised": {
                base: {
                    key: score if isinstance(score, str) else score.to_dict()
                    for key, score in found[system.name].items()
                }
                for base, found in normalised.items()
            },
        }
        for system in systems
    }


def write_results(output_dir: Path, results: Mapping[str, Any], metrics: Mapping[str, Metric]) -> None:
    """results.json, table.md, results.png, and `model_index_<system>.yaml` of every model under test."""
    write_json(output_dir / "results.json", results)
    write_text(output_dir / "table.md", format_table(results, metrics))
    draw_results(output_dir / "results.png", results, metrics)
    for name, system in results["systems"].items():
        if system["description"]["system"] not in ("random", "retrieval", "codec oracle", "truth"):
            write_text(output_dir / f"model_index_{name}.yaml", model_index(results, metrics, name, name))


def _describe_embedder(embedder: Embedder, details: Mapping[str, Any]) -> dict[str, Any]:
    """What embeds, and what was left of it: from the details of its FAD, or of its APA's gate."""
    description = {
        **embedder.describe(),
        "dimensions_used": details["dimensions"],
        "num_reference_windows": details["num_reference_windows"],
    }
    if "explained_variance" in details:
        description["explained_variance"] = details["explained_variance"]
    return description


def versions() -> dict[str, str]:
    """Of what can change a number."""
    found = {"python": platform.python_version()}
    for name in VERSIONED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "unknown"
    return found


def source_commit() -> str | None:
    """Commit of the source tree, with `+` where files of the package have changed since; `None` outside of one."""
    folder = Path(__file__).resolve().parents[2]

    def git(*arguments: str) -> str | None:
        try:
            result = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=30)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return result.stdout.strip() if result.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    if not commit or git("ls-files", "--", ".") == "":  # an installed copy inside somebody else's repository
        return None
    return commit + ("+" if git("status", "--porcelain", "--", ".") else "")
