"""The fields of the page: what is read from them, and what is refused in words for a visitor."""

import json

import pytest

from accompgen_hf.accompgen.told_song_accompgen import read_key
from accompgen_hf.web.choices import KEYS, Refused, Settings, read_chords, read_seed, read_tempo


def test_the_seed_field_takes_a_whole_number_or_nothing():
    assert [read_seed(text) for text in ("", "  ", None, " 42 ", "0")] == [None, None, None, 42, 0]
    for text in ("-1", "1.5", "seven", "٣", "1" * 5000):
        with pytest.raises(Refused, match="The seed must be a whole number from 0 to"):
            read_seed(text)


def test_the_tempo_field_takes_a_number_or_nothing():
    assert [read_tempo(text) for text in ("", "  ", None, " 96 ", "92.5", "92,5")] == [None] * 3 + [96.0, 92.5, 92.5]
    for text in ("fast", "-90", "1e2", "nan", "٩٠", "1" * 5000):
        with pytest.raises(Refused, match="The tempo must be a number of beats a minute from 30 to 300, or nothing"):
            read_tempo(text)


def test_the_chord_field_takes_lines_a_lead_sheet_or_nothing():
    assert [read_chords(text) for text in ("", " \n ", None)] == [None] * 3
    chords = [[0.0, 2.5, "Am"], [2.5, 5.0, "C/E"]]
    assert read_chords("0.0 2.5 Am\n2.5\t5 C/E\n") == chords
    sheet = [{"start_s": 1.0 + start, "end_s": 1.0 + end, "name": name} for start, end, name in chords]
    assert read_chords(json.dumps({"count_in_s": 1.0, "chords": sheet})) == chords


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Am F", "The chords, line 1, must be start, end and name, such as 0.0 2.4 Am, got 'Am F'."),
        ("0 1 H", 'The chords must have names such as "Am", "F" or "G7", or "N" for none, got \'H\'.'),
        (
            "0 2 F\n1 3 G",
            "The chords must follow each other, each with an end behind its start, got 1.0 to 3.0",
        ),
        ('{"chords": [{"start_s": 0, "end_s": null, "name": "F"}]}', "The chords must be lines or a whole lead sheet"),
        ("# none", "The chords must hold at least one chord, got none"),
        ("0 1 F\n" * 10_000, "The chords must be no more than 20000 characters, got 60000."),
    ],
)
def test_other_chords_are_refused_in_words_for_a_visitor(text, words):
    with pytest.raises(Refused) as refused:
        read_chords(text)
    assert words in str(refused.value)
    assert "`" not in str(refused.value)


def test_every_key_of_the_menu_is_understood():
    assert len(set(map(read_key, KEYS))) == len(KEYS) == 24
    assert "A minor" in KEYS
    for key in KEYS:
        Settings(key=key).check(is_listening=True)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"key": "H"}, 'The key must be a tonic with "major" or "minor", such as "A minor" or "Bb", got \'H\'.'),
        ({"tempo_bpm": 10.0}, "The tempo must be from 30 to 300, got 10.0."),
        ({"tempo_bpm": float("nan")}, "The tempo must be"),
        ({"chords": [[1.0, 0.0, "F"]]}, "The chords must follow each other"),
    ],
)
def test_what_is_told_and_not_understood_is_refused_in_words_for_a_visitor(told, words):
    with pytest.raises(Refused) as refused:
        Settings(**told).check(is_listening=True)
    assert words in str(refused.value)


def test_nothing_can_be_told_to_a_model_that_does_not_listen():
    Settings().check()
    for told in ({"key": "Am"}, {"tempo_bpm": 90.0}, {"chords": [[0.0, 1.0, "F"]]}):
        with pytest.raises(Refused, match="This model does not listen for key, tempo and chords: leave them out"):
            Settings(**told).check()
