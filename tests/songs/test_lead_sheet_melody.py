"""Melodies of lead sheets."""

import numpy as np
import pytest

from accompgen_hf.songs.composition import compose_score, compose_song


@pytest.fixture(scope="module")
def annotations():
    return [compose_song(seed, composition="lead_sheets") for seed in range(40)]


def test_the_melody_stays_in_the_singers_range_and_notes_do_not_overlap(annotations):
    for annotation in annotations:
        pitches = [note.midi_pitch for note in annotation.song_melody]
        assert annotation.singer.lowest_pitch <= min(pitches)
        assert max(pitches) <= annotation.singer.highest_pitch
        for note, following in zip(annotation.song_melody[:-1], annotation.song_melody[1:], strict=True):
            assert note.end_s <= following.start_s + 0.1
            assert note.start_s < following.start_s


def test_a_section_that_returns_sings_the_same_tune():
    score = compose_score(2, "lead_sheets")
    tunes = []
    for section in score.sections:
        if section.name == "chorus":
            last = section.end_s - 2 * score.meter  # without the next section's pick-up
            tune = [
                (n.start_s - section.start_s, n.midi_pitch) for n in score.notes if section.start_s <= n.start_s < last
            ]
            tunes.append(tune)
    assert len(tunes) >= 2
    assert all(tune == tunes[0] for tune in tunes)


def test_a_note_outside_the_chord_mostly_goes_on_by_step():
    is_step = []
    for seed in range(20):
        score, place = compose_score(seed, "lead_sheets"), 0
        for note, following in zip(score.notes[:-1], score.notes[1:], strict=True):
            while score.chords[place].end_s <= note.start_s + 1e-6:
                place += 1
            if note.midi_pitch % 12 not in score.chords[place].pitch_classes:
                is_step.append(abs(following.midi_pitch - note.midi_pitch) in (1, 2))
    assert np.mean(is_step) > 0.65
