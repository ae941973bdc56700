"""Centroids of semantic tokens: mini-batch k-means over features streamed from disk (paper §3.2, K = 500).

Features lie in shards, `.npy` files of `(num_frames, hidden_size)`. Vocals and instrumentals share one table, so every
batch holds equally many frames of both. Order and initialisation follow from `seed`. The state is saved at intervals,
and a run that was killed goes on to the same centroids.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import count, islice
from pathlib import Path

import numpy as np

from accompgen_hf.accompgen.progress_accompgen import ProgressBar
from accompgen_hf.files import write_array, write_arrays, write_bytes

RARE_SHARE = 0.1  # a cluster is rare below this share of the mean number of frames per cluster


@dataclass
class CentroidReport:
    """How well centroids cover the frames they were fitted on.

    Attributes:
        num_frames (`int`): Frames counted, vocals and instrumentals in equal parts.
        inertia (`float`): Mean squared distance of a frame to its centroid.
        explained_variance (`float`): 1 - inertia / variance of the frames.
        num_empty (`int`): Clusters without a frame.
        num_rare (`int`): Clusters with fewer than a tenth of the mean number of frames, the empty ones included.
        entropy_bits (`float`): Entropy of the ids; log2 of the number of clusters at most.
        perplexity (`float`): 2 to the power of `entropy_bits`.
    """

    num_frames: int
    inertia: float
    explained_variance: float
    num_empty: int
    num_rare: int
    entropy_bits: float
    perplexity: float


def write_feature_shard(path: str | os.PathLike, features: np.ndarray) -> None:
    """Write features of shape `(num_frames, hidden_size)` as one `.npy` shard, under its name only when complete."""
    write_array(path, features)


class _FrameStream:
    """Shards read in a keyed random order, frames shuffled inside a shard."""

    def __init__(self, paths: Sequence[str | os.PathLike], name: str):
        if not paths:
            raise ValueError(f"`{name}` must name at least one feature shard, got none.")
        self.paths = sorted(Path(path) for path in paths)
        self.num_frames = sum(np.load(path, mmap_mode="r").shape[0] for path in self.paths)

    def iter_frames(self, seed: Sequence[int]) -> Iterator[np.ndarray]:
        generator = np.random.default_rng(list(seed))
        for index in generator.permutation(len(self.paths)):
            frames = np.load(self.paths[index])
            yield frames[generator.permutation(len(frames))].astype(np.float32)

    def iter_batches(self, batch_frames: int, seed: Sequence[int]) -> Iterator[np.ndarray]:
        """Yield batches of exactly `batch_frames`; what is left at the end is dropped."""
        held: list[np.ndarray] = []
        num_held = 0
        for frames in self.iter_frames(seed):
            held.append(frames)
            num_held += len(frames)
            if num_held >= batch_frames:
                joined = np.concatenate(held)
                used = num_held - num_held % batch_frames
                yield from np.split(joined[:used], used // batch_frames)
                held, num_held = [joined[used:]], num_held - used

    def sample(self, num_frames: int, seed: Sequence[int]) -> np.ndarray:
        """Draw frames evenly from all shards, without replacement."""
        share = min(1.0, num_frames / self.num_frames)
        parts = [frames[: int(np.ceil(share * len(frames)))] for frames in self.iter_frames(seed)]
        return np.concatenate(parts)[:num_frames]


def fit_centroids(
    vocal_shards: Sequence[str | os.PathLike],
    instrumental_shards: Sequence[str | os.PathLike],
    num_clusters: int = 500,
    seed: int = 0,
    num_passes: int = 5,
    batch_frames: int = 8192,
    init_frames: int = 25_000,
    state_path: str | os.PathLike | None = None,
    save_every: int = 50,
    max_batches: int | None = None,
) -> np.ndarray:
    """Fit centroids on equal numbers of vocal and instrumental frames.

    Args:
        vocal_shards (list of paths): `.npy` shards of features of vocals, with their noise.
        instrumental_shards (list of paths): The same for instrumentals, without noise.
        num_passes (`int`): Number of passes over the frames. The longer stream gives other frames in each.
        batch_frames (`int`): Frames per update, half of each kind.
        init_frames (`int`): Frames of the subsample on which k-means++ chooses the first centroids, half of each kind.
        state_path (path, *optional*):
            Where the state is saved (`.npz`) and found again. The same arguments must be given.
        save_every (`int`): Batches between two saves.
        max_batches (`int`, *optional*): Stop early after so many batches in all, with the state saved.

    Returns:
        `np.ndarray` of shape `(num_clusters, hidden_size)`, float32.

    Raises:
        ValueError: If a list is empty, there are fewer frames than clusters, or the saved state is of another run.
    """
    from sklearn.cluster import kmeans_plusplus

    streams = _FrameStream(vocal_shards, "vocal_shards"), _FrameStream(instrumental_shards, "instrumental_shards")
    per_kind = min(stream.num_frames for stream in streams)
    if 2 * per_kind < num_clusters:
        raise ValueError(f"`num_clusters` must be at most the {2 * per_kind} frames at hand, got {num_clusters}.")
    half = min(batch_frames // 2, per_kind)
    settings = json.dumps([num_clusters, seed, half, init_frames, *(stream.num_frames for stream in streams)])
    state = _load_state(state_path, settings)
    if state is None:
        first = [stream.sample(init_frames // 2, (seed, 0)) for stream in streams]
        shared = min(map(len, first))
        frames = np.concatenate([frames[:shared] for frames in first])
        centroids = kmeans_plusplus(frames, num_clusters, random_state=seed)[0]
        state = centroids, np.zeros(num_clusters, np.float32), 0
    centroids, counts, num_done = state
    num_batches = num_passes * (per_kind // half)
    stop = num_batches if max_batches is None else min(num_batches, max_batches)
    batches = islice(_iter_batches(streams, half, seed, num_done), max(0, stop - num_done))
    with ProgressBar(total=num_batches, initial=num_done, desc="k-means", disable=None) as progress:
        for batch in batches:
            centroids, counts = update_centroids(centroids, counts, batch)
            num_done += 1
            progress.update()
            if state_path is not None and (num_done % save_every == 0 or num_done == stop):
                write_arrays(
                    state_path, centroids=centroids, counts=counts, num_done=num_done, settings=np.array(settings)
                )
    return centroids


def _iter_batches(streams: Sequence[_FrameStream], half: int, seed: int, num_skipped: int) -> Iterator[np.ndarray]:
    """Batches of `half` frames of each kind, pass after pass without end, from batch `num_skipped` on."""
    first_pass, num_skipped = divmod(num_skipped, min(stream.num_frames for stream in streams) // half)
    for index in count(first_pass):
        parts = [stream.iter_batches(half, (seed, kind, index)) for kind, stream in enumerate(streams, 1)]
        for pair in islice(zip(*parts, strict=False), num_skipped, None):
            yield np.concatenate(pair)
        num_skipped = 0


def _load_state(path: str | os.PathLike | None, settings: str) -> tuple[np.ndarray, np.ndarray, int] | None:
    """Centroids, their counts and the number of batches of a saved state, if there is one."""
    if path is None or not os.path.exists(path):
        return None
    with np.load(path, allow_pickle=False) as state:
        if str(state["settings"]) != settings:
            raise ValueError(
                f"`state_path` must belong to this run ({settings}), got {path} of {state['settings']}. "
                "Remove it or give the earlier arguments."
            )
        return state["centroids"], state["counts"], int(state["num_done"])


def update_centroids(centroids: np.ndarray, counts: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Move every centroid to the mean of all frames that it has ever been given (mini-batch k-means).

    The same numbers as those of scikit-learn's `MiniBatchKMeans.partial_fit` without random reassignment, but
    centroids and counts are the whole state, so that a resumed fit is exact.

    Args:
        centroids (`np.ndarray` of shape `(num_clusters, hidden_size)`): float32.
        counts (`np.ndarray` of shape `(num_clusters,)`): Number of frames that each has been given, float32.
        frames (`np.ndarray` of shape `(num_frames, hidden_size)`): The batch, float32.

    Returns:
        New centroids and counts.
    """
    ids = assign_centroids(frames, centroids)[0]
    sums = centroids * counts[:, None]
    np.add.at(sums, ids, frames)
    given = np.bincount(ids, minlength=len(counts)).astype(np.float32)
    counts = counts + given
    means = sums * (1 / np.maximum(counts, 1))[:, None]
    return np.where(given[:, None] > 0, means, centroids), counts


def assign_centroids(features: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find every frame's nearest centroid and the squared distance to it, shapes `(num_frames,)`."""
    features = features.astype(np.float32)
    scores = np.einsum("ij,ij->i", centroids, centroids) - 2 * (features @ centroids.T)
    ids = scores.argmin(1)
    distances = np.take_along_axis(scores, ids[:, None], 1)[:, 0] + (features**2).sum(1)
    return ids, np.maximum(distances, 0.0)


def report_centroids(
    centroids: np.ndarray,
    vocal_shards: Sequence[str | os.PathLike],
    instrumental_shards: Sequence[str | os.PathLike],
    seed: int = 0,
) -> CentroidReport:
    """Count how the frames of the shards, in equal numbers of both kinds, fall on the centroids."""
    streams = [_FrameStream(vocal_shards, "vocal_shards"), _FrameStream(instrumental_shards, "instrumental_shards")]
    per_kind = min(stream.num_frames for stream in streams)
    counts = np.zeros(len(centroids), dtype=np.int64)
    inertia, total, squares = 0.0, np.zeros(centroids.shape[1]), 0.0
    for stream in streams:
        num_left = per_kind
        for frames in stream.iter_frames((seed, 3)):
            frames = frames[:num_left]
            num_left -= len(frames)
            ids, distances = assign_centroids(frames, centroids)
            counts += np.bincount(ids, minlength=len(centroids))
            inertia += float(distances.sum(dtype=np.float64))
            total += frames.sum(0, dtype=np.float64)
            squares += float((frames.astype(np.float64) ** 2).sum())
    num_frames = int(counts.sum())
    variance = squares / num_frames - float(((total / num_frames) ** 2).sum())
    shares = counts[counts > 0] / num_frames
    entropy = float(-(shares * np.log2(shares)).sum())
    return CentroidReport(
        num_frames=num_frames,
        inertia=inertia / num_frames,
        explained_variance=1.0 - inertia / num_frames / variance,
        num_empty=int((counts == 0).sum()),
        num_rare=int((counts < RARE_SHARE * num_frames / len(centroids)).sum()),
        entropy_bits=entropy,
        perplexity=2.0**entropy,
    )


def save_centroids(path: str | os.PathLike, centroids: np.ndarray, report: CentroidReport | None = None) -> None:
    """Write centroids as safetensors (tensor `centroids`, float32), with the report in the file's metadata."""
    from safetensors.numpy import save

    metadata = {"format": "pt"}
    if report is not None:
        metadata["report"] = json.dumps(asdict(report))
    write_bytes(path, save({"centroids": np.ascontiguousarray(centroids, dtype=np.float32)}, metadata))


def extract_feature_shards(
    encoder, waveforms: Iterable[tuple[str, Callable[[], np.ndarray]]], folder: str | os.PathLike
) -> list[Path]:
    """Run the encoder over recordings, one shard each; a shard that is there is not made again.

    Args:
        encoder (`AccompGenSemanticEncoder`):
            Its features are taken by the block recipe; its centroids are not looked at.
        waveforms (iterable of `(name, read)`):
            `read()` gives 16 kHz mono float32 `(num_samples,)`, a multiple of 640; vocals leveled and noised.
        folder (path): Folder for `<name>.npy`, which is float16.

    Returns:
        `list[Path]` of the shards, in the order of `waveforms`.
    """
    import torch

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, read in ProgressBar(waveforms, desc=f"features {folder.name}", disable=None):
        path = folder / f"{name}.npy"
        if not path.exists():
            features = encoder.extract_features(torch.from_numpy(read())[None])[0]
            write_feature_shard(path, features.float().cpu().numpy().astype(np.float16))
        paths.append(path)
    return paths
