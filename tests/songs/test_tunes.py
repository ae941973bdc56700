"""Known tunes: read from their notation, and nothing to train on."""

import pytest

from accompgen_hf.songs.composition import compose_song
from accompgen_hf.songs.theory import CHORD_INTERVALS
from accompgen_hf.songs.tunes import TUNES, read_tune


def test_a_bar_is_read_note_by_note():
    tune = read_tune("scale", 4, 100.0, "Am", "E2 | A2 ^G3/2A/2 c'2- c'2 | z4 _B4", "Am E7/Dm")
    assert tune.notes == ((-1, 0, 64), (0, 1, 69), (1, 1.75, 68), (1.75, 2, 69), (2, 4, 84), (6, 8, 70))
    assert tune.chords == ((0, 4, 9, "min"), (4, 6, 4, "7"), (6, 8, 2, "min"))
    assert (tune.tonic, tune.mode, tune.num_bars) == (9, "minor", 2)


def test_what_cannot_be_read_is_refused():
    for melody, chords, message in (
        ("C4 C2 | C8", "C C", r"bar 1 \(C8\) must have 3 beats, got 4"),
        ("C4 H2", "C", "cannot read 'H2'"),
        ("C6", "C C", "`chords` of waltz must be 1, one a bar, got 2"),
        ("C6", "Csus", "`chords` must be names such as C"),
    ):
        with pytest.raises(ValueError, match=message):
            read_tune("waltz", 3, 100.0, "C", melody, chords)


def test_the_tunes_fit_their_chords():
    shares = []
    for tune in TUNES:
        sounding = [
            (min(end, chord_end) - max(start, chord_start), (pitch - root) % 12 in CHORD_INTERVALS[quality])
            for start, end, pitch in tune.notes
            for chord_start, chord_end, root, quality in tune.chords
            if chord_start < end and start < chord_end
        ]
        shares.append(sum(beats for beats, fits in sounding if fits) / sum(beats for beats, _ in sounding))
    assert len(TUNES) == len({tune.name for tune in TUNES}) == 30
    assert min(shares) > 0.7
    assert 0.8 < sum(shares) / len(shares) < 0.95


def test_a_tune_is_sung_in_the_singers_range_and_in_the_key_of_its_band():
    for seed in range(800_000, 800_030):
        song, tune = compose_song(seed, composition="tunes", whole_song=True), TUNES[seed % 30]
        turn = song.tonic - tune.tonic
        first = zip(song.song_melody[: len(tune.notes)], tune.notes, strict=True)
        intervals = {(note.midi_pitch - pitch - turn) % 12 for note, (*_, pitch) in first}
        assert intervals == {0}
        assert (song.meter, song.mode) == (tune.meter, tune.mode)
        middle = (max(n.midi_pitch for n in song.song_melody) + min(n.midi_pitch for n in song.song_melody)) / 2
        assert abs(middle - (song.singer.lowest_pitch + song.singer.highest_pitch) / 2) <= 6
        for note, following in zip(song.song_melody[:-1], song.song_melody[1:], strict=True):
            assert note.end_s <= following.start_s + 0.05
        assert compose_song(seed, composition="tunes").melody


def test_tunes_are_not_for_training():
    with pytest.raises(ValueError, match='`composition` "tunes" must have seeds from 800000 on, got 5'):
        compose_song(5, composition="tunes")
