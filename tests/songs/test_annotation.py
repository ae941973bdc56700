"""Annotations lie in their window, change key and tempo, and go into JSON."""

import json

import numpy as np
import pytest

from accompgen_hf.songs.song import (
    compose_song,
    synthesize_song,
)


def test_annotations_lie_inside_the_window(songs):
    for song in songs:
        annotation = song.annotation
        for event in (*annotation.chords, *annotation.melody, *annotation.sections):
            assert 0.0 <= event.start_s < event.end_s <= annotation.duration_s
        for earlier, later in zip(annotation.chords[:-1], annotation.chords[1:], strict=True):
            assert later.start_s == pytest.approx(earlier.end_s)
        beats = annotation.beat_times
        assert np.allclose(np.diff(beats), 60.0 / annotation.tempo_bpm)
        assert set(annotation.downbeat_times.round(6)) <= set(beats.round(6))
        assert np.allclose(np.diff(annotation.downbeat_times), annotation.meter * annotation.beat_s)


def test_another_tempo_scales_the_beats_and_keeps_length_and_pitches(songs):
    for song in songs[:2]:
        annotation = song.annotation
        faster = annotation.at_tempo(1.1)
        assert faster.tempo_bpm == pytest.approx(1.1 * annotation.tempo_bpm)
        assert np.allclose(np.diff(faster.beat_times), annotation.beat_s / 1.1)
        assert faster.duration_s == annotation.duration_s
        assert [note.midi_pitch for note in faster.song_melody] == [n.midi_pitch for n in annotation.song_melody]
        first, first_faster = annotation.chords[1].start_s, faster.chords[1].start_s
        assert first_faster == pytest.approx(first / 1.1)
        assert len(synthesize_song(faster).vocals) == len(song.vocals)


def test_a_whole_song_at_another_tempo_stays_whole():
    annotation = compose_song(4, whole_song=True)
    slower = annotation.at_tempo(0.8)
    assert slower.start_s == 0.0
    assert slower.duration_s == pytest.approx(annotation.duration_s / 0.8)


def test_impossible_windows_keys_and_tempos_are_named():
    annotation = compose_song(4)
    with pytest.raises(ValueError, match="`start_s` and `duration_s` must give a window inside the song"):
        annotation.window(annotation.song_duration_s - 1.0, 5.0)
    with pytest.raises(ValueError, match=r"`semitones` must be a whole number in \[-12, 12\]"):
        annotation.transposed(0.5)
    with pytest.raises(ValueError, match=r"`semitones` must be a whole number in \[-12, 12\]"):
        annotation.transposed(13)
    with pytest.raises(ValueError, match=r"`factor` must be between 0.5 and 2"):
        annotation.at_tempo(3.0)


def test_annotations_go_into_json():
    annotation = compose_song(9)
    loaded = json.loads(json.dumps(annotation.to_dict()))
    assert loaded["tempo_bpm"] == annotation.tempo_bpm
    assert len(loaded["melody"]) == len(annotation.melody)
    assert loaded["singer"]["voice"] == annotation.singer.voice
