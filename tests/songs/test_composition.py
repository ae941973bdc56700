"""Composition of procedural songs: variety over seeds, form, and a voice that tells the harmony."""

from collections import Counter

import numpy as np
import pytest

from accompgen_hf.songs.song import STYLES, compose_song

# Kostka and Payne's profiles as given by Temperley: how much of a piece in C each pitch class takes.
PROFILES = {
    "major": (0.748, 0.060, 0.488, 0.082, 0.670, 0.460, 0.096, 0.715, 0.104, 0.366, 0.057, 0.400),
    "minor": (0.712, 0.084, 0.474, 0.618, 0.049, 0.460, 0.105, 0.747, 0.404, 0.067, 0.133, 0.330),
}


@pytest.fixture(scope="module")
def annotations():
    return [compose_song(seed) for seed in range(90)]


def test_styles_meters_modes_keys_and_tempos_all_occur(annotations):
    assert len(STYLES) >= 8
    assert {annotation.style for annotation in annotations} == set(STYLES)
    assert {annotation.meter for annotation in annotations} == {3, 4}
    assert {annotation.mode for annotation in annotations} == {"major", "minor"}
    assert {annotation.tonic for annotation in annotations} == set(range(12))
    tempos = [annotation.tempo_bpm for annotation in annotations]
    assert 60.0 <= min(tempos) < 75.0
    assert 150.0 < max(tempos) <= 170.0
    assert {annotation.swing > 0.5 for annotation in annotations} == {True, False}


def test_singers_differ(annotations):
    voices = Counter(annotation.singer.voice for annotation in annotations)
    assert len(voices) == 6
    for name in ("formant_scale", "vibrato_semitones", "breathiness", "room_rt60_s", "noise_dbfs", "loudness_lufs"):
        values = [getattr(annotation.singer, name) for annotation in annotations]
        assert np.std(values) > 0.05 * abs(np.mean(values))


def test_whole_songs_take_three_to_four_minutes_and_sections_whole_bars(annotations):
    for annotation in annotations:
        assert 178.0 <= annotation.song_duration_s <= 245.0
        bar_s = annotation.meter * annotation.beat_s
        for section in annotation.song_sections:
            bars = (section.end_s - section.start_s) / bar_s
            assert bars == pytest.approx(round(bars))


def test_onsets_lie_on_the_grid_of_sixteenths(annotations):
    for annotation in annotations:
        straight = annotation.swing == 0.5
        if straight:
            step_s = annotation.beat_s / 4
            starts = np.array([note.start_s for note in annotation.song_melody])
            assert np.abs(starts - np.rint(starts / step_s) * step_s).max() < 0.04


def test_the_key_can_be_heard_in_the_sung_notes_alone(annotations):
    hits = []
    for annotation in annotations:
        weights = np.zeros(12)
        for note in annotation.melody:
            weights[note.midi_pitch % 12] += note.end_s - note.start_s
        scores = {
            (tonic, mode): np.corrcoef(np.roll(profile, tonic), weights)[0, 1]
            for mode, profile in PROFILES.items()
            for tonic in range(12)
        }
        hits.append(max(scores, key=scores.get) == (annotation.tonic, annotation.mode))
    assert np.mean(hits) > 0.6  # chance is 1 in 24
