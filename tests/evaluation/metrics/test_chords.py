"""Scores of chords."""

import pytest

from accompgen_hf.accompgen.harmony_accompgen import ChordSpan
from accompgen_hf.evaluation.metrics.chords import score_chords


def test_chord_scores_weigh_time_and_leave_out_other_qualities():
    truth = [(0.0, 2.0, 0, "maj7"), (2.0, 3.0, 9, "m7b5"), (3.0, 4.0, 9, "min7")]
    assert score_chords([ChordSpan(0.0, 1.0, 0), ChordSpan(1.0, 4.0, 21)], truth) == pytest.approx(2 / 3)
    assert score_chords([ChordSpan(0.0, 4.0, 24)], truth) == 0
    assert score_chords([ChordSpan(0.0, 4.0, 0)], [(0.0, 4.0, 0, "dim")]) is None
    assert score_chords([ChordSpan(0.0, 4.0, 0)], []) is None
