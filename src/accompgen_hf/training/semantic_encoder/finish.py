"""From a trained HuBERT to the encoder that ships: rounding, centroids, a report of what the ids know, and curves."""

import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from accompgen_hf.accompgen.modeling_accompgen_semantic_encoder import AccompGenSemanticEncoder
from accompgen_hf.accompgen.processing_accompgen import vocal_noise
from accompgen_hf.data.kmeans import extract_feature_shards, fit_centroids, report_centroids
from accompgen_hf.training.curves import Curve, Panel, draw_curves
from accompgen_hf.training.semantic_encoder.pool import SongPool, join_kinds
from accompgen_hf.training.semantic_encoder.probe import probe_kind
from accompgen_hf.training.semantic_encoder.targets import TARGET_FAMILIES


def read_heard_waveform(pool: SongPool, kind: str, clip: int, noise_std: float = 0.01) -> np.ndarray:
    """Read a clip as the encoder hears it: vocals with noise keyed by the clip's seed, instrumentals without."""
    waveform = pool.read_waveform(kind, clip)
    if kind == "vocals":
        waveform = waveform + vocal_noise(pool.first_seed + clip, 0, 0, len(waveform), noise_std)
    return waveform


def fit_pool_centroids(
    encoder: AccompGenSemanticEncoder,
    pool: SongPool,
    folder: str | os.PathLike,
    num_clusters: int = 500,
    seed: int = 0,
    noise_std: float = 0.01,
) -> tuple[np.ndarray, dict]:
    """Fit centroids on a pool's features; features and the state of k-means lie in `folder`, and a killed fit goes on.

    Returns:
        The centroids `(num_clusters, hidden_size)`, and a `CentroidReport` as a dictionary.
    """
    folder = Path(folder)
    shards = {
        kind: extract_feature_shards(
            encoder,
            [
                (
                    f"{pool.first_seed + clip:06d}",
                    lambda kind=kind, clip=clip: read_heard_waveform(pool, kind, clip, noise_std),
                )
                for clip in range(pool.num_clips)
            ],
            folder / kind,
        )
        for kind in pool.kinds
    }
    shards = join_kinds(shards)
    centroids = fit_centroids(*shards, num_clusters=num_clusters, seed=seed, state_path=folder / "kmeans.npz")
    return centroids, asdict(report_centroids(centroids, *shards, seed=seed))


def probe_encoder(
    encoder: AccompGenSemanticEncoder, pool: SongPool, held_out_pool: SongPool, noise_std: float = 0.01
) -> dict[str, dict]:
    """Probe what single ids say about notes and chords: tables from `pool`, scores on `held_out_pool`."""
    results = {}
    for kind in pool.kinds:
        ids = [
            np.stack(
                [
                    encoder(torch.from_numpy(read_heard_waveform(each, kind, clip, noise_std))[None])
                    .semantic_ids[0]
                    .numpy()
                    for clip in range(each.num_clips)
                ]
            )
            for each in (pool, held_out_pool)
        ]
        labels = [each.read_labels(range(each.num_clips)) for each in (pool, held_out_pool)]
        results[kind] = probe_kind(kind, ids[0], labels[0], ids[1], labels[1])
        results[kind]["num_distinct_ids"] = len(np.unique(ids[0]))
        results[kind]["id_changes_per_second"] = float((ids[1][:, 1:] != ids[1][:, :-1]).mean() * 50)
    return results


def save_encoder(encoder: AccompGenSemanticEncoder, folder: str | os.PathLike) -> None:
    """Save weights in half precision and centroids in single precision, with a config that says float32.

    The weights must have been rounded before (`save_rounded_hubert`), so that storing them changes nothing.

    Raises:
        ValueError: If a weight of the encoder is not a half-precision value.
    """
    state = encoder.state_dict()
    for name, value in state.items():
        if name != "centroids":
            state[name] = value.half()
            if not torch.equal(state[name].float(), value.float()):
                raise ValueError(
                    f"`encoder` must have weights rounded to half precision, {name} is not. Round them first."
                )
    encoder.float().save_pretrained(folder, state_dict=state)


def draw_accuracies(output_dir: str | os.PathLike) -> None:
    """Draw the accuracies of every target family over the steps, on held-out crops and on training crops."""
    panels = [
        Panel(
            f"accuracy on {part} frames (dotted: training)",
            [
                Curve(kind, f"{family}_{part}_accuracy", label and family, style, color=f"C{index}")
                for index, family in enumerate(TARGET_FAMILIES)
                for kind, style, label in (("validation", "-", True), ("train", ":", None))
            ],
        )
        for part in ("masked", "heard")
    ]
    draw_curves(output_dir, panels)
