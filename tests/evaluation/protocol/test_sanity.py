"""Metrics on what must be good and what must be bad: disturbances move them the right way, level by level."""

from itertools import pairwise

import numpy as np
import pytest

from accompgen_hf.evaluation.metrics.audio_embedders import load_embedder
from accompgen_hf.evaluation.protocol.sanity import (
    DISTURBANCES,
    add_noise,
    delay,
    detune,
    measure_distances,
    measure_disturbances,
    measure_truth,
)
from accompgen_hf.songs.song import HELD_OUT_SEED, generate_song

RATE = 24_000


def make_songs(first_seed: int, num_songs: int, duration_s: float = 10.0) -> list:
    return [generate_song(first_seed + index, duration_s=duration_s, sampling_rate=RATE) for index in range(num_songs)]


def falls(levels: dict, name: str) -> bool:
    values = [row[name] for row in levels.values()]
    return all(later <= earlier + 0.02 for earlier, later in pairwise(values)) and values[-1] < values[0] - 0.1


def test_disturbances_do_what_they_say():
    times = np.arange(RATE) / RATE
    tone = np.sin(2 * np.pi * 440 * times).astype(np.float32)
    noise = add_noise(tone, RATE, -10.0) - tone
    assert 10 * np.log10(np.mean(noise**2) / np.mean(tone**2)) == pytest.approx(-10, abs=0.1)
    high = detune(tone, RATE, 100.0)
    assert len(high) == len(tone)
    assert np.abs(np.fft.rfft(high[: RATE // 2])).argmax() * 2 == pytest.approx(440 * 2 ** (1 / 12), abs=2)
    late = delay(tone, RATE, 50.0)
    assert len(late) == len(tone)
    assert np.array_equal(late[1200:], tone[:-1200])
    assert not late[:1200].any()


def test_noise_detuning_and_delay_move_every_musical_score_the_right_way_level_by_level():
    found = measure_disturbances(make_songs(HELD_OUT_SEED + 40, 3))
    for kind, (_, _, levels) in DISTURBANCES.items():
        assert list(found[kind]) == ["none", *(f"{level:g}" for level in levels)]
    for name in ("chord_majmin", "chroma_cosine"):
        assert falls(found["noise"], name), found["noise"]
        assert falls(found["detuning"], name), found["detuning"]
    assert found["detuning"]["100"]["key_exact"] == 0  # a semitone off
    assert falls(found["delay"], "beat_f1"), found["delay"]


@pytest.mark.slow
def test_true_accompaniments_score_at_least_nine_tenths_and_silence_and_clicks_do_not():
    """Songs that nothing was fitted on: the evaluation's 64 and 60 others (five minutes)."""
    found = measure_truth([*make_songs(HELD_OUT_SEED, 64), *make_songs(HELD_OUT_SEED + 2000, 60)])
    for name in ("key_exact", "chord_majmin", "beat_f1"):
        assert found["truth"][name] >= 0.9, found
    for name in ("key_exact", "chord_majmin", "beat_f1"):
        assert found["silence"][name] == 0
        assert found["clicks"][name] < 0.5


@pytest.mark.slow
def test_distances_and_adherence_move_the_right_way_level_by_level():
    songs, reference = make_songs(HELD_OUT_SEED + 2100, 32), make_songs(HELD_OUT_SEED + 2200, 32)
    found = measure_distances(songs, reference, load_embedder("logmel"), load_embedder("harmony-rhythm"))
    assert found["other song"]["none"]["apa"] >= 0.8
    assert found["other song"]["exchanged"]["apa"] <= 0.2
    distances = [row["fad"] for row in found["noise"].values()]
    assert distances == sorted(distances)
    for kind in ("detuning", "delay"):
        assert falls(found[kind], "apa"), found[kind]
