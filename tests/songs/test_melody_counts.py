"""Counts of tunes, by hand and beside real lead sheets."""

import pytest

from accompgen_hf.songs.annotation import Chord, MelodyNote
from accompgen_hf.songs.composition import Score, compose_score
from accompgen_hf.songs.melody_counts import LEAD_SHEETS, count_scores

# Counts that the lead sheets and songs may differ by: sampling alone moves the largest by 0.02 over 60 songs.
LARGEST_DIFFERENCE = 0.06


@pytest.fixture(scope="module")
def counts():
    return count_scores(compose_score(seed, "lead_sheets") for seed in range(60))


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
