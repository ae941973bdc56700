"""Beats of sounds whose answer is known, and their scores."""

import mir_eval
import numpy as np
import pytest

from accompgen_hf.evaluation.metrics.beats import score_beats, track_beats
from accompgen_hf.songs.song import HELD_OUT_SEED, compose_song, synthesize_song

RATE = 16_000


@pytest.fixture(scope="module")
def songs():
    return [synthesize_song(compose_song(HELD_OUT_SEED + seed, duration_s=20.0), RATE) for seed in range(6)]


def clicks(duration_s: float, period_s: float) -> np.ndarray:
    audio = np.zeros(round(duration_s * RATE), dtype=np.float32)
    audio[:: round(period_s * RATE)] = 0.9
    return audio


@pytest.mark.parametrize("seed", range(5))
def test_beat_scores_equal_mir_evals(seed):
    rng = np.random.default_rng(seed)
    truth = np.arange(0.2, 20, 0.6)
    heard = np.sort(np.concatenate([truth[rng.random(len(truth)) < 0.7] + rng.normal(0, 0.05), rng.uniform(0, 20, 4)]))
    assert score_beats(heard, truth) == pytest.approx(mir_eval.beat.f_measure(truth, heard))
    assert score_beats(np.zeros(0), truth) == 0
    assert score_beats(heard, np.zeros(0)) is None


@pytest.mark.parametrize("tempo_bpm", [72, 97, 131])
def test_beats_of_clicks_are_found(tempo_bpm):
    beats = track_beats(clicks(12.0, 60 / tempo_bpm), RATE)
    assert beats.tempo_bpm == pytest.approx(tempo_bpm, rel=0.02)
    assert score_beats(beats.times, np.arange(0, 12, 60 / tempo_bpm)) > 0.95
