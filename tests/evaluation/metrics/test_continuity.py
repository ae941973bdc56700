"""Seams, drift and rests, on sounds whose answers are known."""

from types import SimpleNamespace

import numpy as np
import pytest

from accompgen_hf.evaluation.metrics.continuity import (
    compare_beats_at_seams,
    compare_ends,
    compare_seams,
    longest_rest,
    score_rest,
    spectral_flux,
)

RATE = 8_000


def noise(duration_s: float, level: float = 0.1) -> np.ndarray:
    return (level * np.random.default_rng(0).standard_normal(round(duration_s * RATE))).astype(np.float32)


def test_flux_rises_where_a_sound_begins():
    audio = noise(2.0, 0.001)
    audio[RATE:] *= 300
    flux = spectral_flux(audio, RATE)
    assert len(flux) == pytest.approx(2.0 / 0.02, abs=2)
    assert abs(int(flux.argmax()) - 50) <= 1


def test_a_click_at_every_seam_stands_out_and_steady_noise_does_not():
    seams_s = np.arange(1.0, 30.0, 1.3)
    audio = noise(30.0, 0.01)
    steady = compare_seams(audio, RATE, seams_s)
    assert steady["at_seams"] <= steady["elsewhere_p95"]
    assert steady["share_above"] <= 0.3
    for seam in seams_s:
        audio[round(seam * RATE)] += 0.9
    clicks = compare_seams(audio, RATE, seams_s)
    assert clicks["at_seams"] > clicks["elsewhere_p95"]
    assert clicks["share_above"] == 1.0


def pulses(beats: np.ndarray, duration_s: float) -> np.ndarray:
    audio = np.zeros(round(duration_s * RATE), np.float32)
    burst = noise(0.05, 0.5) * np.linspace(1, 0, round(0.05 * RATE), dtype=np.float32)
    for beat in beats:
        start = round(beat * RATE)
        audio[start : start + len(burst)] += burst[: len(audio) - start]
    return audio


def test_the_ends_of_a_song_are_scored_apart():
    beats = np.arange(0.25, 70.0, 0.5)
    audio = pulses(beats, 70.0)
    audio[35 * RATE :] *= 0.1
    ends = compare_ends(audio, RATE, SimpleNamespace(tonic=0, mode="major", beat_times=beats))
    assert ends["first"]["beat_f1"] > 0.9
    assert ends["last"]["beat_f1"] > 0.9
    assert ends["first"]["loudness_lufs"] - ends["last"]["loudness_lufs"] == pytest.approx(20, abs=0.5)


def test_beats_that_are_lost_at_seams_are_seen_there_alone():
    truth = np.arange(0.3, 60.0, 0.5)
    seams_s = np.arange(5.0, 60.0, 5.0)
    heard = truth[np.abs(truth[:, None] - seams_s).min(axis=1) > 1.25]
    assert compare_beats_at_seams(heard, truth, seams_s) == {"across_seams": 0.0, "inside_windows": 1.0}
    assert compare_beats_at_seams(truth, truth, seams_s) == {"across_seams": 1.0, "inside_windows": 1.0}


def test_a_rest_knows_its_beats_and_its_silence():
    beats = np.arange(0.25, 20.0, 0.5)
    audio = noise(20.0)
    audio[8 * RATE : 10 * RATE] = 0
    rest = score_rest(audio, RATE, 6.0, 14.0, beats[beats < 10], beats)
    assert rest["duration_s"] == 8.0
    assert rest["silent_share"] == pytest.approx(0.25)
    assert rest["beat_f1"] == pytest.approx(2 * 8 / (8 + 16))


def test_the_longest_rest_lies_between_notes():
    notes = [SimpleNamespace(start_s=start, end_s=start + 0.5) for start in (20.0, 1.0, 3.0, 11.0)]
    assert longest_rest(notes, 30.0) == (11.5, 20.0)
    assert longest_rest([], 30.0) == (0.0, 30.0)
