"""Progressions of lead sheets."""

import numpy as np

from accompgen_hf.songs.lead_sheet_harmony import place_bar, write_progression


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
