"""Likely chords: what singer and bands tell of a song's chords together, in any key."""

import numpy as np
import pytest

from accompgen_hf.accompgen.harmony_accompgen import NO_CHORD
from accompgen_hf.accompgen.likely_chords_accompgen import chord_tones, find_likely_chords

C_MAJOR, F_MAJOR, G_MAJOR, E_MINOR, A_MINOR, F_SHARP_MAJOR = 0, 5, 7, 16, 21, 6
HOP_S = 0.02
SONG = (C_MAJOR, F_MAJOR, G_MAJOR, C_MAJOR)


def sing(notes, seconds: float = 2.0) -> np.ndarray:
    return np.repeat(np.array(notes, float), round(seconds / HOP_S))


def fit(chords, seconds: float = 2.0, strength: float = 0.6) -> np.ndarray:
    """Fits of bands that play these chords, as `chord_fits` gives them; tones in common fit, too."""
    rows = np.full((len(chords), NO_CHORD + 1), 0.13)
    for row, chord in zip(rows, chords, strict=True):
        for other in range(NO_CHORD):
            common = len({*chord_tones(chord)} & {*chord_tones(other)})
            row[other] = strength * (common - 1) / 2
    return np.repeat(rows, round(seconds / 0.1), axis=0)


def middles(likely: np.ndarray) -> np.ndarray:
    return likely[10::20]


def test_tones_of_triads_are_root_third_and_fifth():
    assert [chord_tones(chord) for chord in (C_MAJOR, G_MAJOR, A_MINOR)] == [(0, 4, 7), (7, 11, 2), (9, 0, 4)]


def test_every_frame_has_probabilities():
    likely = find_likely_chords(sing([60, 65, np.nan, 60]), HOP_S, fit(SONG))
    assert likely.shape == (80, 24)
    assert (likely >= 0).all()
    np.testing.assert_allclose(likely.sum(axis=1), 1)


def test_the_bands_chords_are_likely_and_more_so_where_the_singer_agrees():
    silent = find_likely_chords(np.full(400, np.nan), HOP_S, fit(SONG))
    assert middles(silent).argmax(axis=1).tolist() == list(SONG)
    faint = fit(SONG, strength=0.1)
    sung = {"with": [64, 65, 71, 72], "nothing": [np.nan] * 4, "against": [66, 66, 66, 66]}
    seen = {name: middles(find_likely_chords(sing(notes), HOP_S, faint)) for name, notes in sung.items()}
    shares = {name: likely[range(4), SONG].mean() for name, likely in seen.items()}
    assert shares["with"] > shares["nothing"] + 0.1 > shares["against"] + 0.2


def test_a_voice_alone_asks_for_chords_of_its_key():
    melody = [60, 64, 67, 65, 69, 65, 67, 71, 74, 72, 67, 60]  # C, F, G, C
    likely = find_likely_chords(sing(melody, 0.7), HOP_S, np.zeros((84, 25)))
    assert likely[[10, 31, 52, 76]].argmax(axis=1).tolist() == list(SONG)
    assert likely[:, F_SHARP_MAJOR].max() < 0.01


def test_a_key_decides_between_chords_that_fit_alike():
    # G and B in the voice are tones of G major and of E minor; the bands say nothing. With F and C around, it is G.
    quiet = fit((C_MAJOR, F_MAJOR, C_MAJOR, F_MAJOR))
    quiet[40:60] = 0.0
    likely = find_likely_chords(sing([64, 65, 71, 65]), HOP_S, quiet)
    assert likely[50, G_MAJOR] > likely[50, E_MINOR]


@pytest.mark.parametrize("semitones", [1, 5, 11])
def test_transposed_songs_have_transposed_chords(semitones):
    notes = np.array([64, 65, 71, 72])
    moved = [(chord + semitones) % 12 for chord in SONG]
    before = find_likely_chords(sing(notes), HOP_S, fit(SONG))
    after = find_likely_chords(sing(notes + semitones), HOP_S, fit(moved))
    columns = [(chord + semitones) % 12 + chord // 12 * 12 for chord in range(24)]
    np.testing.assert_allclose(after[:, columns], before, atol=1e-9)


def test_notes_behind_the_last_frame_do_not_count():
    fits = fit(SONG)
    np.testing.assert_array_equal(
        find_likely_chords(sing([64, 65, 67, 72, 66]), HOP_S, fits),
        find_likely_chords(sing([64, 65, 67, 72]), HOP_S, fits),
    )
