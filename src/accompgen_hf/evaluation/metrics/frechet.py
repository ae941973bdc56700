"""Fréchet audio distance in float64: streaming statistics, the distance, extrapolation over sample size, per song.

Letters: N windows, D dimensions of an embedding.
"""

from collections.abc import Iterable, Sequence

import numpy as np

MIN_WINDOWS = 20  # of `frechet_audio_distance`: below, an estimate says nothing
WINDOWS_PER_DIMENSION = 10  # a covariance estimated from fewer windows is mostly noise
_NUM_SAMPLE_SIZES = 15
_MIN_WINDOWS_INFINITY = 30


def check_embeddings(embeddings: np.ndarray, name: str = "`embeddings`") -> np.ndarray:
    """The embeddings `(N, D)` as float64.

    Raises:
        ValueError: If they do not have two dimensions or hold NaN or infinity.
    """
    embeddings = np.asarray(embeddings, dtype=np.float64)
    if embeddings.ndim != 2 or embeddings.shape[1] == 0:
        raise ValueError(f"{name} must be (num_windows, dimensions), got {embeddings.shape}.")
    is_bad = ~np.isfinite(embeddings).all(axis=1)
    if is_bad.any():
        raise ValueError(
            f"{name} hold NaN or infinity in {int(is_bad.sum())} of {len(embeddings)} windows, first in window "
            f"{int(is_bad.argmax())}. Look at the audio that it was computed from."
        )
    return embeddings


class GaussianStatistics:
    """Count, mean and covariance of embeddings that come in parts, in float64; the parts' order does not matter.

    Args:
        embeddings (`np.ndarray` of shape `(N, D)`, *optional*): A first part.

    Raises:
        ValueError: If a part has another number of dimensions, or holds NaN or infinity.
    """

    def __init__(self, embeddings: np.ndarray | None = None):
        self.count = 0
        self._mean: np.ndarray | None = None
        self._scatter: np.ndarray | None = None  # sum of outer products of deviations from the mean
        if embeddings is not None:
            self.update(embeddings)

    def update(self, embeddings: np.ndarray) -> "GaussianStatistics":
        """Add windows `(N, D)`; returns itself."""
        embeddings = check_embeddings(embeddings)
        if len(embeddings):
            mean = embeddings.mean(axis=0)
            deviations = embeddings - mean
            self._join(len(embeddings), mean, deviations.T @ deviations)
        return self

    def merge(self, other: "GaussianStatistics") -> "GaussianStatistics":
        """Add what other statistics have seen; returns itself."""
        if other.count:
            self._join(other.count, other._mean, other._scatter)
        return self

    def _join(self, count: int, mean: np.ndarray, scatter: np.ndarray) -> None:
        if self._mean is None:
            self.count, self._mean, self._scatter = count, mean.copy(), scatter.copy()
            return
        if len(mean) != len(self._mean):
            raise ValueError(
                f"`embeddings` must have {len(self._mean)} dimensions like those before, got {len(mean)}. "
                "Were they made by another embedder?"
            )
        total = self.count + count
        step = mean - self._mean
        self._mean = self._mean + step * (count / total)
        self._scatter = self._scatter + scatter + np.outer(step, step) * (self.count * count / total)
        self.count = total

    @property
    def mean(self) -> np.ndarray:
        """Mean `(D,)`."""
        self._require(1)
        return self._mean

    @property
    def covariance(self) -> np.ndarray:
        """Unbiased covariance `(D, D)`, symmetric."""
        self._require(2)
        return (self._scatter + self._scatter.T) / (2 * (self.count - 1))

    def _require(self, count: int) -> None:
        if self.count < count:
            raise ValueError(f"too few windows: {count} are needed for these statistics, got {self.count}.")


def frechet_distance(a: GaussianStatistics, b: GaussianStatistics) -> float:
    """Fréchet distance between two Gaussians (Heusel et al. 2017; Kilgour et al. 2019).

    `|μ1 - μ2|² + Tr(Σ1 + Σ2 - 2 (Σ1 Σ2)^½)`. With `Σ = F Fᵀ` the last trace is the sum of the singular values of
    `F1ᵀ F2`: no matrix square root of a product that may be singular, no complex numbers.

    Args:
        a (`GaussianStatistics`), b (`GaussianStatistics`): Two sets of equal dimensions, at least two windows each.

    Returns:
        `float`: At least zero.

    Raises:
        ValueError: If the dimensions differ or a side has fewer than two windows.
    """
    if len(a.mean) != len(b.mean):
        raise ValueError(
            f"`a` and `b` must have equal dimensions, got {len(a.mean)} and {len(b.mean)}. Use one embedder for both."
        )
    first, second = a.covariance, b.covariance
    singular_values = np.linalg.svd(_factor(first).T @ _factor(second), compute_uv=False)
    step = a.mean - b.mean
    return float(max(0.0, step @ step + np.trace(first) + np.trace(second) - 2 * singular_values.sum()))


def _factor(covariance: np.ndarray) -> np.ndarray:
    """F with F Fᵀ = covariance; what rounding alone has put into the null space is taken out."""
    values, vectors = np.linalg.eigh(covariance)
    threshold = values[-1] * len(values) * np.finfo(np.float64).eps
    return vectors * np.sqrt(np.where(values > threshold, values, 0.0))


def frechet_distance_infinity(
    reference: GaussianStatistics, embeddings: np.ndarray, seed: int = 0, *, repeats: int = 4
) -> tuple[float, dict]:
    """The distance extrapolated to infinitely many windows (Chong & Forsyth 2020; Gui et al. 2024).

    A distance estimated from n windows is too large by about c / n. A line through distances at 15 sizes, evenly
    spaced in 1 / n, meets the axis at the extrapolated value. Only the bias of `embeddings` is taken out, not that of
    `reference`.

    Args:
        reference (`GaussianStatistics`): The reference set.
        embeddings (`np.ndarray` of shape `(N, D)`): The windows to be judged.
        seed (`int`): Seed of the subsets, which are drawn without replacement.
        repeats (`int`): Subsets per size.

    Returns:
        `tuple[float, dict]`: The value, which noise can make slightly negative, and `sizes`, `distances` (means over
        the repeats), `slope` and `r_squared` of the line.

    Raises:
        ValueError: If there are fewer than 30 windows, or `repeats` is below 1.
    """
    embeddings = check_embeddings(embeddings)
    num_windows, dimensions = embeddings.shape
    if num_windows < _MIN_WINDOWS_INFINITY:
        raise ValueError(
            f"too few windows: extrapolation needs at least {_MIN_WINDOWS_INFINITY}, got {num_windows}. "
            "Evaluate more or longer songs."
        )
    if repeats < 1:
        raise ValueError(f"`repeats` must be at least 1, got {repeats}.")
    # Below two windows per dimension the bias no longer falls like 1 / n.
    smallest = max(num_windows // 5, min(2 * dimensions, num_windows // 2))
    sizes = np.unique(np.round(1 / np.linspace(1 / smallest, 1 / num_windows, _NUM_SAMPLE_SIZES)).astype(int))
    rng = np.random.default_rng(seed)
    distances = np.array(
        [
            np.mean([_subset_distance(reference, embeddings, size, rng) for _ in range(repeats)])
            for size in sizes.tolist()
        ]
    )
    slope, value = np.polyfit(1 / sizes, distances, 1)
    rest = distances - (value + slope / sizes)
    spread = ((distances - distances.mean()) ** 2).sum()
    return float(value), {
        "sizes": sizes.tolist(),
        "distances": distances.tolist(),
        "slope": float(slope),
        "r_squared": float(1 - (rest @ rest) / spread) if spread > 0 else 1.0,
    }


def _subset_distance(
    reference: GaussianStatistics, embeddings: np.ndarray, size: int, rng: np.random.Generator
) -> float:
    chosen = rng.choice(len(embeddings), size, replace=False)
    return frechet_distance(reference, GaussianStatistics(embeddings[chosen]))


def per_song_frechet(reference: GaussianStatistics, songs: Iterable[np.ndarray]) -> np.ndarray:
    """Distance of every song's own windows from the reference: finds the songs that a set's distance comes from.

    Args:
        reference (`GaussianStatistics`): The reference set.
        songs (iterable of `np.ndarray` of shape `(N, D)`): One array per song, at least two windows each.

    Returns:
        `np.ndarray` of shape `(num_songs,)`, float64. It ranks songs of equal length; its level is not that of a set.

    Raises:
        ValueError: If a song has fewer than two windows.
    """
    distances = []
    for index, windows in enumerate(songs):
        if len(windows) < 2:
            raise ValueError(f"too few windows: song {index} has {len(windows)}, at least 2 are needed.")
        distances.append(frechet_distance(reference, GaussianStatistics(windows)))
    return np.array(distances)


class ReferenceProjection:
    """Principal axes of a reference set, onto which all sets of a comparison are projected.

    Args:
        reference (`np.ndarray` of shape `(N, D)`): The reference windows.
        dimensions (`int`): Axes to keep, those of the largest variance.

    Raises:
        ValueError: If `dimensions` is not in [1, D].
    """

    def __init__(self, reference: np.ndarray, dimensions: int):
        statistics = GaussianStatistics(reference)
        if not 1 <= dimensions <= len(statistics.mean):
            raise ValueError(f"`dimensions` must be in [1, {len(statistics.mean)}], got {dimensions}.")
        values, vectors = np.linalg.eigh(statistics.covariance)
        self.mean = statistics.mean
        self.axes = vectors[:, ::-1][:, :dimensions]  # (D, kept)
        total = values.sum()
        self.explained_variance = float(values[::-1][:dimensions].sum() / total) if total > 0 else 1.0

    def __call__(self, embeddings: np.ndarray) -> np.ndarray:
        """(N, D) -> (N, kept)"""
        return (check_embeddings(embeddings) - self.mean) @ self.axes


def project_on_reference(
    reference: np.ndarray, others: Sequence[np.ndarray]
) -> tuple[np.ndarray, list[np.ndarray], dict]:
    """Project all sets on the reference's principal axes if D is more than a tenth of the smallest set's windows.

    Args:
        reference (`np.ndarray` of shape `(N, D)`): Windows of the reference.
        others (sequence of `np.ndarray` of shape `(N, D)`): Windows of the sets to compare with it.

    Returns:
        The reference, the others, and what was done: `dimensions` (kept), `projected_from` (D, or `None` if nothing
        was projected) and `explained_variance`.

    Raises:
        ValueError: If a set has fewer than 20 windows, or the dimensions differ.
    """
    reference = check_embeddings(reference, "`reference`")
    others = [check_embeddings(other) for other in others]
    dimensions = reference.shape[1]
    for other in others:
        if other.shape[1] != dimensions:
            raise ValueError(
                f"`embeddings` must have the reference's {dimensions} dimensions, got {other.shape[1]}. "
                "Use one embedder for both."
            )
    num_windows = min(len(windows) for windows in (reference, *others))
    if num_windows < MIN_WINDOWS:
        raise ValueError(
            f"too few windows: every set needs at least {MIN_WINDOWS}, the smallest has {num_windows}. "
            "Evaluate more or longer songs."
        )
    kept = num_windows // WINDOWS_PER_DIMENSION
    if dimensions <= kept:
        return reference, others, {"dimensions": dimensions, "projected_from": None, "explained_variance": 1.0}
    projection = ReferenceProjection(reference, kept)
    details = {"dimensions": kept, "projected_from": dimensions, "explained_variance": projection.explained_variance}
    return projection(reference), [projection(other) for other in others], details


def frechet_audio_distance(reference: np.ndarray, embeddings: np.ndarray, seed: int = 0) -> dict:
    """FAD of a set of windows against a reference, with everything that the number depends on.

    Args:
        reference (`np.ndarray` of shape `(N, D)`): Windows of the reference; never of the songs under test.
        embeddings (`np.ndarray` of shape `(N, D)`): Windows to be judged.
        seed (`int`): Seed of the extrapolation's subsets.

    Returns:
        `dict`: `fad`; `fad_infinity` (`None` below 30 windows); `num_windows`, `num_reference_windows`; and
        `dimensions`, `projected_from`, `explained_variance` as in [`project_on_reference`].

    Raises:
        ValueError: As [`project_on_reference`].
    """
    reference, (embeddings,), details = project_on_reference(reference, [embeddings])
    statistics = GaussianStatistics(reference)
    has_infinity = len(embeddings) >= _MIN_WINDOWS_INFINITY
    return {
        "fad": frechet_distance(statistics, GaussianStatistics(embeddings)),
        "fad_infinity": frechet_distance_infinity(statistics, embeddings, seed)[0] if has_infinity else None,
        "num_windows": len(embeddings),
        "num_reference_windows": len(reference),
        **details,
    }
