"""The numbers of a table from everything collected: FAD, APA, musical scores, with intervals and normalised scores."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from accompgen_hf.evaluation.metrics.frechet import (
    GaussianStatistics,
    frechet_distance,
    frechet_distance_infinity,
    project_on_reference,
)
from accompgen_hf.evaluation.metrics.prompt_adherence import AdherenceGate, accompaniment_prompt_adherence
from accompgen_hf.evaluation.protocol.bootstrap import (
    Estimate,
    difference,
    estimate_mean,
    estimate_statistic,
    normalised_score,
)
from accompgen_hf.evaluation.protocol.collection import Collected, Songs

MIN_WINDOWS_INFINITY = 30
BASES, ORACLE, TRUTH = ("random", "retrieval"), "oracle", "truth"


@dataclass(frozen=True)
class Metric:
    """How a number is printed and read.

    Attributes:
        label (`str`): Label in the table's head.
        higher_is_better (`bool`, *optional*): `None` where neither is better.
        digits (`int`): Number of digits after the point.
    """

    label: str
    higher_is_better: bool | None = True
    digits: int = 2


Estimates = dict[str, Estimate]


def fad_estimates(
    systems: Mapping[str, Collected], reference: Mapping[str, Songs], draws: np.ndarray, seed: int
) -> tuple[dict[str, Estimates], dict[str, dict[str, Any]]]:
    """FADi, FADs, their difference and FAD-infinity of every system, for every embedder of the target.

    All systems are projected alike, on the reference's axes.

    Returns:
        Estimates by system and metric, and by embedder how many windows and dimensions there were.
    """
    estimates: dict[str, Estimates] = {name: {} for name in systems}
    details = {}
    for key in (key for key in reference if key.startswith("target.")):
        embedder = key.removeprefix("target.")
        places = [(name, condition) for name, system in systems.items() for condition in system.embeddings]
        parts = [systems[name].embeddings[condition][key] for name, condition in places]
        real, projected, detail = project_on_reference(
            np.concatenate(reference[key]), [np.concatenate(part) for part in parts]
        )
        statistics = GaussianStatistics(real)
        details[embedder] = {**detail, "num_reference_windows": len(real)}
        for (name, condition), songs, windows in zip(places, parts, projected, strict=True):
            by_song = np.split(windows, np.cumsum([len(song) for song in songs])[:-1])
            estimate = estimate_statistic(by_song, partial(_distance, statistics), draws, lowest=0.0)
            estimates[name][f"fad_{condition}.{embedder}"] = estimate
            if condition == "isolated" and len(windows) >= MIN_WINDOWS_INFINITY:
                value, _ = frechet_distance_infinity(statistics, windows, seed)
                estimates[name][f"fad_infinity.{embedder}"] = Estimate(value, None, len(windows))
        for name in systems:
            pair = [estimates[name].get(f"fad_{condition}.{embedder}") for condition in ("isolated", "separated")]
            delta = difference(*pair)
            if delta is not None:
                estimates[name][f"fad_delta.{embedder}"] = delta
    return estimates, details


def _distance(statistics: GaussianStatistics, windows: np.ndarray) -> float:
    return frechet_distance(statistics, GaussianStatistics(windows))


def adherence_estimates(
    systems: Mapping[str, Collected],
    real: Mapping[str, Songs],
    deranged: Mapping[str, Songs],
    fresh: Mapping[str, Songs],
    shuffled: Mapping[str, Songs],
    draws: np.ndarray,
) -> tuple[dict[str, Estimates], dict[str, dict[str, Any]]]:
    """APA of every system, and for every embedder its gate, with the windows and dimensions that it compares.

    Args:
        systems: The collected values of each system.
        real, deranged: Pairs of the reference, X and X'.
        fresh, shuffled: Real and exchanged pairs of the test set: the gate's.
        draws (`np.ndarray` of shape `(R, S)`): Draws of songs of the test set.
    """
    estimates: dict[str, Estimates] = {name: {} for name in systems}
    gates = {}
    for key in (key for key in real if key.startswith("pair.")):
        embedder = key.removeprefix("pair.")
        reference = np.concatenate(real[key]), np.concatenate(deranged[key])
        adherence = partial(_adherence, *reference)
        windows, exchanged = np.concatenate(fresh[key]), np.concatenate(shuffled[key])
        of_real = accompaniment_prompt_adherence(*reference, windows)
        gate = AdherenceGate(of_real.apa, adherence(exchanged), min(len(windows), len(exchanged)))
        gates[embedder] = {
            **gate.to_dict(),
            "num_reference_windows": of_real.num_reference_windows,
            "dimensions": of_real.dimensions,
        }
        for name, system in systems.items():
            songs = system.embeddings["isolated"][key]
            estimates[name][f"apa.{embedder}"] = estimate_statistic(songs, adherence, draws, lowest=0.0)
    return estimates, gates


def _adherence(real: np.ndarray, deranged: np.ndarray, windows: np.ndarray) -> float:
    return accompaniment_prompt_adherence(real, deranged, windows).apa


def score_estimates(systems: Mapping[str, Collected], draws: np.ndarray) -> dict[str, Estimates]:
    """Means of the musical scores of every system."""
    estimates: dict[str, Estimates] = {name: {} for name in systems}
    for name, system in systems.items():
        keys = dict.fromkeys(key for song in system.scores for window in song for key in window)
        for key in keys:
            estimate = estimate_mean([[window.get(key) for window in song] for song in system.scores], draws)
            if estimate is not None:
                estimates[name][key] = estimate
    return estimates


def normalise(
    estimates: Mapping[str, Estimates], metrics: Mapping[str, Metric], base: str = BASES[0]
) -> dict[str, dict[str, Estimate | str]]:
    """Every system's scores between a base system (0) and the oracle (1), for metrics that have a better side.

    Returns:
        By system and metric; `"void"` where the metric tells base and oracle not apart. Empty if either is missing.
    """
    if base not in estimates or ORACLE not in estimates:
        return {name: {} for name in estimates}
    normalised: dict[str, dict[str, Estimate | str]] = {}
    for name, own in estimates.items():
        normalised[name] = {}
        for key, estimate in own.items():
            metric = metrics.get(key)
            if metric is None or metric.higher_is_better is None:
                continue
            of_base, of_oracle = estimates[base].get(key), estimates[ORACLE].get(key)
            score = normalised_score(estimate, of_base, of_oracle, metric.higher_is_better)
            if score is not None:
                normalised[name][key] = score
    return normalised


def infinity_bounds(estimates: Mapping[str, Estimates]) -> dict[str, float]:
    """By embedder, twice the oracle's FAD-infinity plus that of real against real: the truth's."""
    if ORACLE not in estimates or TRUTH not in estimates:
        return {}
    keys = [key for key in estimates[ORACLE] if key.startswith("fad_infinity.") and key in estimates[TRUTH]]
    return {
        key.removeprefix("fad_infinity."): 2 * estimates[ORACLE][key].value + estimates[TRUTH][key].value
        for key in keys
    }
