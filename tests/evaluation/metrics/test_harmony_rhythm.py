"""What the embedder of pairs hears, and what it does not."""

import numpy as np
import pytest

from accompgen_hf.evaluation.metrics.audio_embedders import load_embedder
from accompgen_hf.evaluation.metrics.harmony_rhythm import HarmonyRhythmEmbedder
from accompgen_hf.evaluation.metrics.prompt_adherence import (
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


def test_harmony_rhythm_hears_neither_loudness_nor_polarity(pairs):
    embedder = load_embedder("harmony-rhythm")
    vocals, instrumental = pairs[0]
    found = embedder.embed_pair(vocals, instrumental, RATE)
    assert found.shape == (2, embedder.dimensions)
    assert embedder.dimensions <= 64
    np.testing.assert_allclose(embedder.embed_pair(-0.5 * vocals, 0.7 * instrumental, RATE), found, atol=0.05)
    assert embedder.weights_hash.startswith("f53146fb401d6e1e"), "frozen: another recipe needs a new version and gate"


def test_detuning_moves_the_agreement_away_from_the_sounding_transposition(pairs):
    embedder = HarmonyRhythmEmbedder()
    agreement = []
    for semitones in (0, 1, 2):
        annotations = [compose_song(HELD_OUT_SEED + seed) for seed in range(4)]
        bands = [synthesize_song(annotation.transposed(semitones), RATE).instrumental for annotation in annotations]
        shifted = embed_pairs(embedder, [(pairs[i][0], bands[i]) for i in range(4)], RATE)
        agreement.append(shifted[:, 0].mean())
    assert agreement[0] > 0.1 > max(agreement[1:])


def test_a_later_band_lowers_the_correlation_of_onsets_step_by_step(pairs):
    embedder = HarmonyRhythmEmbedder()
    correlations = []
    for delay_s in (0.0, 0.03, 0.06, 0.1):
        late = [(vocals, np.roll(band, round(delay_s * RATE))) for vocals, band in pairs]
        correlations.append(embed_pairs(embedder, late, RATE)[:, 13:].mean(axis=0)[4])  # lag 0
    assert correlations == sorted(correlations, reverse=True)
    assert correlations[0] > 2 * correlations[-1]
