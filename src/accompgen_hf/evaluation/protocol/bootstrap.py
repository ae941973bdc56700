"""Intervals by resampling songs, and the normalised score between a base and the oracle.

Windows of one song are alike, so songs are drawn, not windows. Every system is resampled with the same draws: the
interval of a difference is that of paired songs.

Letters: R resamples, S songs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

MIN_GAP = 0.1


@dataclass(frozen=True)
class Estimate:
    """A number with its resamples.

    Attributes:
        value (`float`): Value of the whole set.
        resamples (`np.ndarray` of shape `(R,)`, *optional*): Values of sets of songs drawn with replacement.
        num_windows (`int`): Number of windows that it rests on.
        lowest (`float`): Lower limit of the quantity and of its interval.
    """

    value: float
    resamples: np.ndarray | None
    num_windows: int
    lowest: float = -np.inf

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 %: the spread of the resamples around their own mean, set around the value.

        A Fréchet distance of resampled songs is larger than that of the songs, since some are missing; the spread is
        right, the level is not.
        """
        if self.resamples is None:
            return None
        low, high = np.quantile(self.resamples, (0.025, 0.975)) - self.resamples.mean()
        return float(max(self.value + low, self.lowest)), float(self.value + high)

    def to_dict(self) -> dict:
        """For results.json."""
        interval = self.interval
        low, high = (None, None) if interval is None else interval
        return {"value": self.value, "low": low, "high": high, "num_windows": self.num_windows}


def draw_songs(num_songs: int, num_resamples: int, seed: int) -> np.ndarray:
    """`(R, S)` indices of songs, with replacement.

    Raises:
        ValueError: If there are no songs or no resamples.
    """
    if num_songs < 1 or num_resamples < 2:
        raise ValueError(
            f"`num_songs` must be at least 1 and `num_resamples` at least 2, got {num_songs} and {num_resamples}."
        )
    return np.random.default_rng([seed, num_songs]).integers(num_songs, size=(num_resamples, num_songs))


def estimate_mean(values: Sequence[Sequence[float]], draws: np.ndarray) -> Estimate | None:
    """Mean over windows; windows in which a metric has no value (`None`, NaN) do not count.

    Args:
        values: One list of the windows' values per song.
        draws (`np.ndarray` of shape `(R, S)`): Result of `draw_songs`.

    Returns:
        `Estimate`, or `None` if no window has a value.
    """
    kept = [[float(value) for value in song if value is not None and np.isfinite(value)] for song in values]
    sums, counts = np.array([sum(song) for song in kept]), np.array([len(song) for song in kept])
    if counts.sum() == 0:
        return None
    drawn_counts = counts[draws].sum(axis=1)
    resamples = (sums[draws].sum(axis=1) / np.maximum(drawn_counts, 1))[drawn_counts > 0]
    return Estimate(float(sums.sum() / counts.sum()), resamples, int(counts.sum()))


def estimate_statistic(
    songs: Sequence[np.ndarray], statistic: Callable[[np.ndarray], float], draws: np.ndarray, lowest: float = -np.inf
) -> Estimate:
    """A function of all windows' embeddings.

    Args:
        songs (sequence of `np.ndarray` of shape `(N, D)`): One array of windows per song.
        statistic (`callable`): (N, D) -> number.
        draws (`np.ndarray` of shape `(R, S)`): Result of `draw_songs`.
        lowest (`float`): The same as in [`Estimate`].
    """
    value = statistic(np.concatenate(songs))
    resamples = np.array([statistic(np.concatenate([songs[index] for index in draw])) for draw in draws])
    return Estimate(float(value), resamples, sum(len(song) for song in songs), lowest)


def difference(first: Estimate | None, second: Estimate | None) -> Estimate | None:
    """`first - second`, resampled in pairs; `None` if either is missing."""
    if first is None or second is None:
        return None
    paired = None
    if first.resamples is not None and second.resamples is not None and len(first.resamples) == len(second.resamples):
        paired = first.resamples - second.resamples
    return Estimate(first.value - second.value, paired, min(first.num_windows, second.num_windows))


def normalised_score(
    ours: Estimate | None, base: Estimate | None, oracle: Estimate | None, higher_is_better: bool
) -> Estimate | str | None:
    """(ours - base) / (oracle - base): 0 is the base, 1 the oracle.

    Its resamples are the quotient's linear part at the three values: a resample whose own gap is small does not count
    for more than others.

    Returns:
        [`Estimate`]; `"void"` where the oracle is less than 0.1 better than the base, or not surely better (the gap's
        95 % interval reaches zero): such a metric says nothing; `None` where a value is missing.
    """
    gap = difference(oracle, base)
    if gap is None or ours is None:
        return None
    sign = 1.0 if higher_is_better else -1.0
    smallest_gap = min(sign * edge for edge in gap.interval or (gap.value,))
    if sign * gap.value < MIN_GAP or smallest_gap <= 0:
        return "void"
    share = (ours.value - base.value) / gap.value
    resamples = None
    sides = [side.resamples for side in (ours, base, oracle)]
    if all(side is not None and len(side) == len(sides[0]) for side in sides):
        resamples = share + (sides[0] - (1 - share) * sides[1] - share * sides[2]) / gap.value
    return Estimate(float(share), resamples, ours.num_windows)
