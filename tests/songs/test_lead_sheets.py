"""Songs composed like lead sheets: what can be counted in them is near to what was counted in real ones."""

import numpy as np
import pytest

from accompgen_hf.songs.annotation import Chord, MelodyNote
from accompgen_hf.songs.composition import COMPOSITIONS, Score, compose_score, compose_song
from accompgen_hf.songs.lead_sheet_harmony import place_bar, write_progression
from accompgen_hf.songs.melody_counts import LEAD_SHEETS, count_scores
from accompgen_hf.songs.song import generate_song

# Counts that the lead sheets and songs may differ by: sampling alone moves the largest by 0.02 over 60 songs.
LARGEST_DIFFERENCE = 0.06


@pytest.fixture(scope="module")
def counts():
    return count_scores(compose_score(seed, "lead_sheets") for seed in range(60))


@pytest.fixture(scope="module")
def annotations():
    return [compose_song(seed, composition="lead_sheets") for seed in range(40)]


@pytest.mark.parametrize("name", LEAD_SHEETS)
def test_songs_are_counted_like_real_lead_sheets(counts, name):
    largest = 2.0 if name == "notes per phrase, median" else LARGEST_DIFFERENCE
    assert counts[name] == pytest.approx(LEAD_SHEETS[name], abs=largest)


def test_plain_songs_still_give_the_bar_away():
    plain = count_scores(compose_score(seed) for seed in range(30))
    assert plain["phrases begin on beat 1"] > 0.7
    assert plain["chord tones on beat 1"] > 0.97
    assert plain["notes tied over the bar line"] < 0.01


def test_counting_a_tune_by_hand():
    chords = [Chord(0, 4, 0, "maj"), Chord(4, 6, 5, "7"), Chord(6, 8, 0, "maj")]
    notes = [
        MelodyNote(1.0, 2.0, 60, "", "a", 1.0, False),  # a chord tone on beat 2, where a phrase begins
        MelodyNote(2.0, 2.5, 62, "", "a", 1.0, False),  # a step, no chord tone
        MelodyNote(2.5, 4.5, 64, "", "a", 1.0, False),  # a chord tone between beats, tied over the bar line
        MelodyNote(6.0, 8.0, 64, "", "a", 1.0, False),  # after a rest
    ]
    counts = count_scores([Score("waltz", 0, "major", 100.0, 4, 0.5, None, chords, notes, [])])
    assert counts["phrases begin on beat 1"] == 0.0
    assert counts["notes per phrase, median"] == 3
    assert counts["chord tones on other beats"] == pytest.approx(2 / 3)
    assert counts["chord tones between beats"] == 1.0
    assert counts["intervals: a step"] == pytest.approx(2 / 3)
    assert counts["notes tied over the bar line"] == 0.25
    assert counts["notes of two beats and more"] == 0.5
    assert counts["roots up a fourth"] == 0.5
    assert counts["roots up a fifth"] == 0.5
    assert counts["chords of two beats and less"] == pytest.approx(2 / 3)
    assert counts["chords with a seventh"] == pytest.approx(1 / 3)


def test_both_compositions_share_style_key_tempo_and_singer(annotations):
    assert COMPOSITIONS == ("plain", "lead_sheets")
    for seed in range(5):
        plain, loose = compose_song(seed), annotations[seed]
        for name in ("style", "tonic", "mode", "tempo_bpm", "meter", "swing", "singer"):
            assert getattr(plain, name) == getattr(loose, name)
        assert plain.song_melody != loose.song_melody
        assert plain.song_chords != loose.song_chords


def test_the_melody_stays_in_the_singers_range_and_notes_do_not_overlap(annotations):
    for annotation in annotations:
        pitches = [note.midi_pitch for note in annotation.song_melody]
        assert annotation.singer.lowest_pitch <= min(pitches)
        assert max(pitches) <= annotation.singer.highest_pitch
        for note, following in zip(annotation.song_melody[:-1], annotation.song_melody[1:], strict=True):
            assert note.end_s <= following.start_s + 0.1
            assert note.start_s < following.start_s


def test_a_section_that_returns_sings_the_same_tune():
    annotation = compose_song(2, whole_song=True, composition="lead_sheets")
    tunes = []
    for section in annotation.sections:
        if section.name == "chorus":
            # Between two sixteenths, so that the singer's errors do not decide; without the next section's pick-up.
            start_s = section.start_s + 0.875 * annotation.beat_s
            end_s = section.end_s - (2 * annotation.meter + 0.125) * annotation.beat_s
            tunes.append([note.midi_pitch for note in annotation.melody if start_s <= note.start_s < end_s])
    assert len(tunes) >= 2
    assert all(tune == tunes[0] for tune in tunes)


def test_the_voice_sings_most_of_an_excerpt(annotations):
    sung = [sum(n.end_s - n.start_s for n in annotation.melody) / annotation.duration_s for annotation in annotations]
    assert np.mean(sung) > 0.75
    assert min(sung) > 0.6


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


def test_progressions_have_eight_bars_and_end_open_or_closed():
    rng = np.random.default_rng(0)
    for mode, tonic_quality in (("major", "maj"), ("minor", "min")):
        closed = write_progression(rng, mode, 0.5, ends_open=False)
        assert len(closed) == 8
        assert closed[-1][-1][0] == 0
        assert closed[-1][-1][1].startswith(tonic_quality)
        assert write_progression(rng, mode, 0.5, ends_open=True)[-1][-1][0] == 7


def test_two_chords_share_a_bar():
    four, three = place_bar([(2, "min7"), (7, "7")], 1, 2, 4), place_bar([(5, "maj"), (7, "7")], 0, 0, 3)
    assert [tuple(chord) for chord in four] == [(4, 6, 4, "min7"), (6, 8, 9, "7")]
    assert [tuple(chord) for chord in three] == [(0, 2, 5, "maj"), (2, 3, 7, "7")]


def test_unknown_compositions_are_named():
    with pytest.raises(ValueError, match="`composition` must be one of plain, lead_sheets, got 'jazz'"):
        compose_song(0, composition="jazz")
    with pytest.raises(ValueError, match="`composition` must be one of plain, lead_sheets"):
        generate_song(0, duration_s=1.0, composition="first")
