"""Melodies of plain songs."""

import numpy as np
import pytest

from accompgen_hf.songs.song import compose_song


@pytest.fixture(scope="module")
def annotations():
    return [compose_song(seed) for seed in range(90)]


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
