"""Composition of procedural songs: variety over seeds, form, and a voice that tells the harmony."""

from collections import Counter

import numpy as np
import pytest

from accompgen_hf.songs.harmony import parse_bar
from accompgen_hf.songs.song import STYLES, compose_song
from accompgen_hf.songs.theory import chord_scale, swing_beat

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


def test_the_melody_stays_in_the_singers_range(annotations):
    for annotation in annotations:
        pitches = [note.midi_pitch for note in annotation.song_melody]
        assert annotation.singer.lowest_pitch <= min(pitches)
        assert max(pitches) <= annotation.singer.highest_pitch


def test_notes_follow_each_other_without_overlap(annotations):
    for annotation in annotations:
        for note, following in zip(annotation.song_melody[:-1], annotation.song_melody[1:], strict=True):
            assert note.end_s <= following.start_s + 0.1
            assert note.start_s < following.start_s


def test_a_section_that_returns_sings_the_same_tune():
    annotation = compose_song(2, whole_song=True)
    tunes = []
    for section in annotation.sections:
        if section.name == "chorus":
            notes = [n for n in annotation.melody if section.start_s - 0.1 <= n.start_s < section.end_s - 0.1]
            tunes.append([(note.midi_pitch, note.vowel) for note in notes])
    assert len(tunes) >= 2
    assert all(tune == tunes[0] for tune in tunes)


def test_notes_that_begin_with_a_chord_are_its_tones(annotations):
    hits = []
    for annotation in annotations:
        for chord in annotation.song_chords:
            for note in annotation.song_melody:
                if abs(note.start_s - chord.start_s) < 0.04:
                    hits.append(note.midi_pitch % 12 in chord.pitch_classes)
    assert np.mean(hits) > 0.95


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


def test_two_numerals_share_a_bar():
    four, three = parse_bar("ii7,V7", 1, 2, 4), parse_bar("IV,V", 0, 0, 3)
    assert [tuple(chord) for chord in four] == [(4, 6, 4, "min7"), (6, 8, 9, "7")]
    assert [tuple(chord) for chord in three] == [(0, 2, 5, "maj"), (2, 3, 7, "maj")]


def test_a_dominant_in_minor_raises_the_seventh():
    assert chord_scale(9, "minor", (4, 8, 11)) == (0, 2, 4, 5, 8, 9, 11)  # E major in A minor: G becomes G sharp
    assert chord_scale(0, "major", (0, 4, 7)) == (0, 2, 4, 5, 7, 9, 11)


def test_swing_moves_the_off_beat_only():
    assert [swing_beat(beat, 0.64) for beat in (0.0, 0.5, 1.0)] == pytest.approx([0.0, 0.64, 1.0])
    assert swing_beat(-0.5, 0.64) == pytest.approx(-0.36)
    assert swing_beat(2.75, 0.5) == pytest.approx(2.75)
