"""APA's formula, its gate on procedural pairs, and what `harmony-rhythm` hears."""

import numpy as np
import pytest

from accompgen_hf.evaluation.metrics.frechet import GaussianStatistics, frechet_distance
from accompgen_hf.evaluation.metrics.harmony_rhythm import HarmonyRhythmEmbedder
from accompgen_hf.evaluation.metrics.prompt_adherence import (
    AdherenceGate,
    accompaniment_prompt_adherence,
    adherence_gate,
    build_adherence_sets,
    derange,
    derange_pairs,
    embed_pairs,
)
from accompgen_hf.songs.song import HELD_OUT_SEED, compose_song, synthesize_song

RATE = 16_000


def make_pairs(first: int, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    songs = (synthesize_song(compose_song(HELD_OUT_SEED + seed), RATE) for seed in range(first, first + count))
    return [(song.vocals, song.instrumental) for song in songs]


@pytest.fixture(scope="module")
def pairs():
    return make_pairs(0, 10)


def cloud(mean: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(200, 3)) + mean


@pytest.mark.parametrize(("mean", "expected"), [(0.0, 1.0), (2.0, 0.0), (1.0, 0.5), (-3.0, 1.0), (6.0, 0.0)])
def test_apa_is_1_on_the_real_side_0_on_the_exchanged_side_and_half_between(mean, expected):
    result = accompaniment_prompt_adherence(cloud(0, 0), cloud(2, 1), cloud(mean, 2))
    assert result.apa == pytest.approx(expected, abs=0.07)
    assert 0 <= result.apa <= 1


def test_apa_follows_from_its_three_distances():
    sets = cloud(0, 0), cloud(2, 1), cloud(0.7, 2)
    result = accompaniment_prompt_adherence(*sets)
    real, deranged, candidate = map(GaussianStatistics, sets)
    nearness = frechet_distance(candidate, deranged) - frechet_distance(candidate, real)
    scale = max(frechet_distance(real, deranged), abs(nearness))
    assert result.apa == pytest.approx(0.5 + nearness / (2 * scale))
    assert result.to_dict()["projected_from"] is None


def test_apa_of_sets_without_any_difference_is_0():
    same = cloud(0, 0)
    assert accompaniment_prompt_adherence(same, same, same).apa == 0


def test_many_dimensions_are_projected_and_the_difference_survives():
    rng = np.random.default_rng(0)
    real, deranged, candidate = (rng.normal(size=(60, 40)) for _ in range(3))
    deranged[:, 0] += 8
    result = accompaniment_prompt_adherence(real, deranged, candidate)
    assert (result.dimensions, result.projected_from) == (6, 40)
    assert result.apa > 0.9


@pytest.mark.parametrize("num_songs", [2, 3, 17])
def test_no_song_keeps_its_own_instrumental(num_songs):
    for seed in range(20):
        partners = derange(num_songs, seed)
        assert sorted(partners) == list(range(num_songs))
        assert (partners != np.arange(num_songs)).all()
    assert (derange(17, 1) == derange(17, 1)).all()


def test_deranged_pairs_are_cut_to_the_shorter_side():
    exchanged = derange_pairs([(np.zeros(5), np.zeros(5)), (np.ones(3), np.ones(3))])
    assert [(len(vocals), len(accompaniment)) for vocals, accompaniment in exchanged] == [(3, 3), (3, 3)]
    assert (exchanged[0][1] == 1).all()


@pytest.mark.slow
def test_the_gate_holds_for_harmony_rhythm_from_32_songs_on():
    gate = adherence_gate(HarmonyRhythmEmbedder(), make_pairs(100, 32), make_pairs(200, 32), RATE)
    assert gate.num_windows == 64
    assert gate.real >= 0.8
    assert gate.shuffled <= 0.2
    assert gate.is_sensitive


def test_a_gate_needs_both_sides():
    assert AdherenceGate(0.8, 0.2, 64).to_dict()["is_sensitive"]
    assert not AdherenceGate(0.79, 0.0, 64).is_sensitive
    assert not AdherenceGate(1.0, 0.21, 64).is_sensitive


def test_what_cannot_be_measured_is_refused(pairs):
    embedder = HarmonyRhythmEmbedder()
    few = np.zeros((19, 3))
    with pytest.raises(ValueError, match="at least 20, the smallest has 19"):
        accompaniment_prompt_adherence(cloud(0, 0), few, cloud(0, 0))
    with pytest.raises(ValueError, match=r"dimensions, got 3, 3 and 2. Use one embedder"):
        accompaniment_prompt_adherence(cloud(0, 0), cloud(0, 0), cloud(0, 0)[:, :2])
    with pytest.raises(ValueError, match="`candidate_pairs_embeddings` hold NaN"):
        accompaniment_prompt_adherence(cloud(0, 0), cloud(0, 0), np.full((30, 3), np.nan))
    with pytest.raises(ValueError, match="`num_songs` must be at least 2, got 1"):
        derange(1)
    with pytest.raises(ValueError, match="`pairs` must hold at least one pair"):
        embed_pairs(embedder, [], RATE)
    with pytest.raises(ValueError, match="but the vocals of 1 are in both, first of candidate 0"):
        build_adherence_sets(embedder, pairs[:2], pairs[1:3], RATE)
    with pytest.raises(ValueError, match="embeds pairs: use `embed_pair"):
        embedder.embed(pairs[0][0], RATE)
    with pytest.raises(ValueError, match=r"needs at least 5 s of audio, got 1.00 s"):
        embedder.embed_pair(np.zeros(RATE), np.zeros(RATE), RATE)
    with pytest.raises(ValueError, match="must be equally long"):
        embedder.embed_pair(pairs[0][0], pairs[0][1][:-1], RATE)
    with pytest.raises(ValueError, match="`accompaniment` holds NaN"):
        embedder.embed_pair(pairs[0][0], np.full(len(pairs[0][0]), np.nan), RATE)
