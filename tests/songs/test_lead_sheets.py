"""Songs composed like lead sheets: what can be counted in them is near to what was counted in real ones."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from accompgen_hf.songs.annotation import Chord, MelodyNote
from accompgen_hf.songs.composition import COMPOSITIONS, Score, compose_score, compose_song
from accompgen_hf.songs.lead_sheet_harmony import place_bar, write_progression
from accompgen_hf.songs.melody import loosen_melody
from accompgen_hf.songs.melody_counts import LEAD_SHEETS, count_scores
from accompgen_hf.songs.song import generate_song, synthesize_song
from accompgen_hf.songs.theory import random_stream

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
    counts = count_scores([Score("waltz", 0, "major", 100.0, 4, 0.5, 0.0, None, chords, notes, [])])
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
        for name in ("style", "tonic", "mode", "tempo_bpm", "meter", "swing"):
            assert getattr(plain, name) == getattr(loose, name)
        assert replace(loose.singer, rubato=0.0, dynamics_db=0.0) == plain.singer
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


def test_loose_singers_differ_in_rubato_dynamics_and_tuning(annotations):
    assert np.std([annotation.singer.rubato for annotation in annotations]) > 0.01
    assert np.std([annotation.singer.dynamics_db for annotation in annotations]) > 0.5
    tunings = [annotation.tuning_cents for annotation in annotations]
    assert np.std(tunings) > 6.0
    assert np.abs(tunings).max() <= 36.0
    assert compose_song(0).tuning_cents == 0.0


def test_a_singers_pace_differs_from_the_bands_by_some_per_cent():
    score = compose_score(1, "lead_sheets")
    singer = replace(score.singer, rubato=0.05, dynamics_db=0.0)
    melody = tuple(note._replace(start_s=0.6 * note.start_s, end_s=0.6 * note.end_s) for note in score.notes)
    loosened = loosen_melody(random_stream(0), melody, singer)
    paces = [
        (b.start_s - a.start_s) / (d.start_s - c.start_s)
        for (a, b), (c, d) in zip(pairwise(loosened), pairwise(melody), strict=True)
    ]
    assert np.std(paces) == pytest.approx(0.05, abs=0.02)
    assert np.abs([a.start_s - b.start_s for a, b in zip(loosened, melody, strict=True)]).max() < 0.2
    assert loosen_melody(random_stream(0), melody, replace(singer, rubato=0.0)) == melody


def test_the_whole_song_is_tuned():
    annotation = compose_song(3, duration_s=3.0)
    plain, higher = synthesize_song(annotation), synthesize_song(replace(annotation, tuning_cents=100.0))
    bins = np.arange(200, 3000)  # 67 to 1000 Hz
    for before, after in ((plain.instrumental, higher.instrumental), (plain.vocals, higher.vocals)):
        before, after = (np.abs(np.fft.rfft(wave * np.hanning(len(wave)))) for wave in (before, after))
        moved = np.interp(bins / 2.0 ** (1.0 / 12.0), np.arange(len(before)), before)
        assert np.corrcoef(after[bins], moved)[0, 1] > 0.3 + np.corrcoef(after[bins], before[bins])[0, 1]
