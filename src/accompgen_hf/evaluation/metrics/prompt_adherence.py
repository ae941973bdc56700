"""Accompaniment prompt adherence (APA, Grachten & Nistal 2025): does the band play to this voice, or to any?

X holds real pairs of vocals and instrumental, X' the same pairs with the instrumentals exchanged, Y the candidate's
pairs, made for other songs. The closer Y lies to X, compared with X', the better the candidate keeps to its prompt.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from accompgen_hf.evaluation.metrics.embedder_interface import Embedder, check_pair
from accompgen_hf.evaluation.metrics.frechet import (
    MIN_WINDOWS,
    WINDOWS_PER_DIMENSION,
    GaussianStatistics,
    ReferenceProjection,
    check_embeddings,
    frechet_distance,
)

GATE_REAL, GATE_SHUFFLED = 0.8, 0.2


@dataclass(frozen=True)
class PromptAdherence:
    """One APA with what it depends on.

    Attributes:
        apa (`float`): 1 as coherent as real pairs, 0 as exchanged ones.
        to_real (`float`), to_deranged (`float`): Distances d(Y, X) and d(Y, X').
        real_to_deranged (`float`): d(X, X').
        num_windows (`int`): Number of the candidate's windows.
        num_reference_windows (`int`): Number of windows of X, and also of X'.
        dimensions (`int`): Number of dimensions in which the distances were taken.
        projected_from (`int`, *optional*): The embedder's dimensions, if they were projected.
    """

    apa: float
    to_real: float
    to_deranged: float
    real_to_deranged: float
    num_windows: int
    num_reference_windows: int
    dimensions: int
    projected_from: int | None

    def to_dict(self) -> dict:
        """The fields, for a JSON file."""
        return asdict(self)


def accompaniment_prompt_adherence(
    real_pairs_embeddings: np.ndarray, deranged_pairs_embeddings: np.ndarray, candidate_pairs_embeddings: np.ndarray
) -> PromptAdherence:
    """APA = 1/2 + n / (2 D) with n = d(Y, X') - d(Y, X) and D = max(d(X, X'), |n|); 0 if D <= 0.

    More dimensions than a tenth of the smallest set's windows are projected on the principal axes of X and X'
    together: those of X alone need not hold the direction in which X' differs.

    Args:
        real_pairs_embeddings (`np.ndarray` of shape `(N, D)`): X, windows of real pairs.
        deranged_pairs_embeddings (`np.ndarray` of shape `(N, D)`): X', the same songs with instrumentals exchanged.
        candidate_pairs_embeddings (`np.ndarray` of shape `(N, D)`): Y, of other songs.

    Raises:
        ValueError: If a set has fewer than 20 windows, dimensions differ, or there are NaN.
    """
    real = check_embeddings(real_pairs_embeddings, "`real_pairs_embeddings`")
    deranged = check_embeddings(deranged_pairs_embeddings, "`deranged_pairs_embeddings`")
    candidate = check_embeddings(candidate_pairs_embeddings, "`candidate_pairs_embeddings`")
    dimensions = real.shape[1]
    if not dimensions == deranged.shape[1] == candidate.shape[1]:
        raise ValueError(
            "`real_pairs_embeddings`, `deranged_pairs_embeddings` and `candidate_pairs_embeddings` must have equal "
            f"dimensions, got {dimensions}, {deranged.shape[1]} and {candidate.shape[1]}. Use one embedder for all."
        )
    num_windows = min(len(real), len(deranged), len(candidate))
    if num_windows < MIN_WINDOWS:
        raise ValueError(
            f"too few windows: every set needs at least {MIN_WINDOWS}, the smallest has {num_windows}. "
            "Evaluate more or longer songs."
        )
    kept = min(dimensions, num_windows // WINDOWS_PER_DIMENSION)
    if kept < dimensions:
        projection = ReferenceProjection(np.concatenate([real, deranged]), kept)
        real, deranged, candidate = projection(real), projection(deranged), projection(candidate)
    real_statistics, deranged_statistics = GaussianStatistics(real), GaussianStatistics(deranged)
    candidate_statistics = GaussianStatistics(candidate)
    to_real = frechet_distance(candidate_statistics, real_statistics)
    to_deranged = frechet_distance(candidate_statistics, deranged_statistics)
    real_to_deranged = frechet_distance(real_statistics, deranged_statistics)
    nearness = to_deranged - to_real
    scale = max(real_to_deranged, abs(nearness))
    rounding = 1e-9 * float(np.trace(real_statistics.covariance))
    return PromptAdherence(
        apa=0.5 + nearness / (2 * scale) if scale > rounding else 0.0,
        to_real=to_real,
        to_deranged=to_deranged,
        real_to_deranged=real_to_deranged,
        num_windows=len(candidate),
        num_reference_windows=len(real),
        dimensions=kept,
        projected_from=dimensions if kept < dimensions else None,
    )


def derange(num_songs: int, seed: int = 0) -> np.ndarray:
    """A permutation of the songs in which none stays in its place, drawn uniformly among the cyclic ones.

    Raises:
        ValueError: If there are fewer than two songs.
    """
    if num_songs < 2:
        raise ValueError(f"`num_songs` must be at least 2, got {num_songs}: one song cannot change places.")
    order = np.random.default_rng(seed).permutation(num_songs)
    partners = np.empty(num_songs, dtype=np.int64)
    partners[order] = np.roll(order, 1)
    return partners


Pair = tuple[np.ndarray, np.ndarray]


def embed_pairs(embedder: Embedder, pairs: Sequence[Pair], sampling_rate: int) -> np.ndarray:
    """Windows of all pairs `(vocals, accompaniment)`, one after the other: `(N, D)`.

    Raises:
        ValueError: If there are no pairs, or a pair fails [`check_pair`].
    """
    if len(pairs) == 0:
        raise ValueError("`pairs` must hold at least one pair of vocals and accompaniment, got none.")
    return np.concatenate([embedder.embed_pair(*check_pair(*pair), sampling_rate) for pair in pairs])


def derange_pairs(pairs: Sequence[Pair], seed: int = 0) -> list[Pair]:
    """The pairs with instrumentals exchanged; a longer side is cut to the shorter one's length.

    Raises:
        ValueError: If there are fewer than two pairs.
    """
    deranged = []
    for (vocals, _), partner in zip(pairs, derange(len(pairs), seed), strict=True):
        accompaniment = pairs[partner][1]
        num_samples = min(len(vocals), len(accompaniment))
        deranged.append((vocals[:num_samples], accompaniment[:num_samples]))
    return deranged


def build_adherence_sets(
    embedder: Embedder,
    reference_pairs: Sequence[Pair],
    candidate_pairs: Sequence[Pair],
    sampling_rate: int,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """X, X' and Y as embeddings.

    Args:
        embedder (`Embedder`): Embeds the pairs.
        reference_pairs (sequence of pairs): Real vocals and instrumentals, one pair per song.
        candidate_pairs (sequence of pairs): Vocals of other songs, and what the candidate plays to them.
        sampling_rate (`int`): Rate of all of them in Hz.
        seed (`int`): Seed of the exchange; no song ever keeps its own instrumental.

    Raises:
        ValueError: As [`embed_pairs`] and [`derange_pairs`], or if a candidate's vocals are in the reference.
    """
    known = {vocals.tobytes() for vocals, _ in (check_pair(*pair) for pair in reference_pairs)}
    seen = [
        index for index, (vocals, _) in enumerate(candidate_pairs) if check_pair(vocals, vocals)[0].tobytes() in known
    ]
    if seen:
        raise ValueError(
            f"`candidate_pairs` must be of other songs than `reference_pairs`, but the vocals of {len(seen)} are in "
            f"both, first of candidate {seen[0]}."
        )
    real = embed_pairs(embedder, reference_pairs, sampling_rate)
    deranged = embed_pairs(embedder, derange_pairs(reference_pairs, seed), sampling_rate)
    return real, deranged, embed_pairs(embedder, candidate_pairs, sampling_rate)


@dataclass(frozen=True)
class AdherenceGate:
    """Whether an (embedder, N) can tell fresh real pairs from fresh exchanged ones; otherwise APA says nothing.

    Attributes:
        real (`float`), shuffled (`float`): APA of fresh real pairs and of the same pairs exchanged.
        num_windows (`int`): N, the number of windows of either.
    """

    real: float
    shuffled: float
    num_windows: int

    @property
    def is_sensitive(self) -> bool:
        """Real pairs score at least 0.8 and exchanged ones at most 0.2."""
        return self.real >= GATE_REAL and self.shuffled <= GATE_SHUFFLED

    def to_dict(self) -> dict:
        """The fields and the verdict, for a JSON file."""
        return {**asdict(self), "is_sensitive": self.is_sensitive}


def adherence_gate(
    embedder: Embedder,
    reference_pairs: Sequence[Pair],
    fresh_pairs: Sequence[Pair],
    sampling_rate: int,
    seed: int = 0,
) -> AdherenceGate:
    """Judge fresh real pairs and the same exchanged, as if a candidate had made them.

    Args:
        embedder, reference_pairs, sampling_rate, seed: The same as in [`build_adherence_sets`].
        fresh_pairs (sequence of pairs): Real pairs of other songs; as many as the candidate will have.
    """
    real, deranged, fresh = build_adherence_sets(embedder, reference_pairs, fresh_pairs, sampling_rate, seed)
    shuffled = embed_pairs(embedder, derange_pairs(fresh_pairs, seed + 1), sampling_rate)
    return AdherenceGate(
        real=accompaniment_prompt_adherence(real, deranged, fresh).apa,
        shuffled=accompaniment_prompt_adherence(real, deranged, shuffled).apa,
        num_windows=min(len(fresh), len(shuffled)),
    )
