"""Tempo, meter, bars and beats, from curves that are written by hand and from clicks."""

import numpy as np
import pytest
from transformers.audio_utils import mel_filter_bank

from accompgen_hf.accompgen.rhythm_accompgen import (
    CURVES,
    FRAME_RATE,
    OnsetBands,
    _mel_filters,
    find_grids,
    list_hypotheses,
    onset_bands,
    track_beats,
)

RATE = 16_000
LOW, MID, HIGH, CHORDS = (CURVES.index(name) for name in ("low", "mid", "high", "chords"))


def write_bars(tempo_bpm: float, meter: int, first: float, duration_s: float) -> np.ndarray:
    """Kick and bass on strong beats, snare on weak ones, hi-hat on eighths, a new chord in every bar."""
    curves = np.zeros((round(duration_s * FRAME_RATE), len(CURVES)))
    for index, frame in enumerate(np.arange(first, len(curves), 30 * FRAME_RATE / tempo_bpm)):
        beat, is_off_beat = divmod(index % (2 * meter), 2)
        is_strong = beat in (0, 2) if meter == 4 else beat == 0
        sounding = [HIGH] if is_off_beat else [HIGH, LOW if is_strong else MID] + [CHORDS] * (beat == 0)
        curves[:, sounding] += np.exp(-0.5 * ((np.arange(len(curves)) - frame) / 2) ** 2)[:, None]
    return curves / curves.std(axis=0)


def test_features_are_the_curves_means_on_the_sixteenths_of_the_bar():
    curves = write_bars(120.0, 4, 30.0, 8.0)
    downbeats, features = list_hypotheses(curves, 120.0, 4)
    right = int(np.flatnonzero(downbeats == 30.0)[0])
    means = features[right, :-3].reshape(16, len(CURVES))
    assert set(np.argsort(means[:, LOW])[-2:]) == {0, 8}
    assert set(np.argsort(means[:, MID])[-2:]) == {4, 12}
    assert means[:, CHORDS].argmax() == 0
    assert means[0, LOW] == pytest.approx(curves[:, LOW].max(), rel=0.01)
    assert features[right, -1] == 1.0
    on_second_beat = features[np.flatnonzero(downbeats == 80.0)[0], :-3].reshape(16, len(CURVES))
    assert on_second_beat[:, CHORDS].argmax() == 12


@pytest.mark.parametrize(("tempo_bpm", "meter"), [(72.0, 4), (84.0, 4), (110.0, 3)])
def test_the_grid_lies_on_the_beats_of_every_segment(tempo_bpm, meter):
    grids = find_grids(write_bars(tempo_bpm, meter, 12.0, 24.0))
    assert [(grid.first, grid.end) for grid in grids] == [(0, 1200), (1200, 2400)]
    period = 60 * FRAME_RATE / tempo_bpm
    for grid in grids:
        assert grid.period == pytest.approx(period, rel=0.012)
        middle = (grid.first + grid.end) / 2
        nearest = grid.phase + np.round((middle - grid.phase) / grid.period) * grid.period
        assert abs((nearest - 12.0 + period / 2) % period - period / 2) < 5
        assert grid.meter == meter
        assert abs((grid.downbeat - 12.0 + meter * period / 2) % (meter * period) - meter * period / 2) < 12


def make_clicks(duration_s: float, period_s: float) -> np.ndarray:
    audio = np.zeros(round(duration_s * RATE), dtype=np.float32)
    audio[:: round(period_s * RATE)] = 0.9
    return audio


@pytest.mark.parametrize("tempo_bpm", [72, 97, 131])
def test_beats_of_clicks_are_found(tempo_bpm):
    beats = track_beats(make_clicks(12.0, 60 / tempo_bpm), RATE)
    assert beats.tempo_bpm == pytest.approx(tempo_bpm, rel=0.02)
    distances = np.abs(np.arange(0, 12, 60 / tempo_bpm)[:, None] - beats.times)
    assert (distances.min(axis=1) < 0.07).mean() > 0.9
    assert (distances.min(axis=0) < 0.07).mean() > 0.9


def test_silence_and_a_second_of_clicks_have_no_beats():
    for audio in (np.zeros(3 * RATE), np.zeros(0), make_clicks(1.0, 0.5)):
        beats = track_beats(audio, RATE)
        assert len(beats.times) == beats.tempo_bpm == 0


def test_mel_filters_are_those_of_transformers():
    expected = mel_filter_bank(257, 40, 30.0, 8000.0, 16_000, mel_scale="htk")
    np.testing.assert_array_equal(_mel_filters(512, 40, 16_000), expected)


def test_onsets_of_chunks_are_the_bits_of_the_whole():
    audio = 0.1 * np.random.default_rng(1).normal(size=65 * 24_000).astype(np.float32)
    whole, chunked = onset_bands(audio, 24_000), OnsetBands(24_000)
    for start in range(0, len(audio), 100_001):
        chunked.push(audio[start : start + 100_001])
    for name, curve in chunked.finish().items():
        assert len(curve) == 6501
        np.testing.assert_array_equal(curve, whole[name])
