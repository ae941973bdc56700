"""Chords of a bar."""

from accompgen_hf.songs.harmony import parse_bar
from accompgen_hf.songs.theory import chord_scale


def test_two_numerals_share_a_bar():
    four, three = parse_bar("ii7,V7", 1, 2, 4), parse_bar("IV,V", 0, 0, 3)
    assert [tuple(chord) for chord in four] == [(4, 6, 4, "min7"), (6, 8, 9, "7")]
    assert [tuple(chord) for chord in three] == [(0, 2, 5, "maj"), (2, 3, 7, "maj")]


def test_a_dominant_in_minor_raises_the_seventh():
    assert chord_scale(9, "minor", (4, 8, 11)) == (0, 2, 4, 5, 8, 9, 11)  # E major in A minor: G becomes G sharp
    assert chord_scale(0, "major", (0, 4, 7)) == (0, 2, 4, 5, 7, 9, 11)
