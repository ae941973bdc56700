"""Key, tempo and chords that a singer tells: how they are read, and that the band takes them."""

import numpy as np
import pytest
import torch

from accompgen_hf import AccompGenSemanticConfig, VocalAccompanimentPipeline
from accompgen_hf.accompgen.listening_accompgen import find_beat_phases, find_chords, settle_chords
from accompgen_hf.accompgen.told_song_accompgen import (
    NOT_TOLD,
    ToldSong,
    read_chord,
    read_chords,
    read_key,
    read_told_songs,
)
from tiny import PARTS, listening_model, listening_stage, tiny_stage, voice_of

A_MINOR, F_MAJOR = 2 * 9 + 1, 2 * 5


@pytest.mark.parametrize(
    ("text", "key"),
    [("A minor", 21), ("Am", 21), ("a minor", 21), ("C", 0), ("Bb major", 10), ("F# min", 18), ("Gb", 6), ("Cb", 11)],
)
def test_keys_are_read_as_people_write_them(text, key):
    assert read_key(text) == key


@pytest.mark.parametrize("text", ["", "H", "A dorian", "minor", "Am7", 9, None])
def test_another_key_is_refused(text):
    with pytest.raises(ValueError, match="`key` must be a tonic with"):
        read_key(text)


@pytest.mark.parametrize(
    ("name", "chord"),
    [
        ("Am", A_MINOR),
        ("Am7", A_MINOR),
        ("A:min7", A_MINOR),
        ("Am7b5", A_MINOR),
        ("Adim", A_MINOR),
        ("A-7", A_MINOR),
        ("AmM7", A_MINOR),
        ("F", F_MAJOR),
        ("Fmaj7", F_MAJOR),
        ("FM7", F_MAJOR),
        ("F7", F_MAJOR),
        ("F/A", F_MAJOR),
        ("F:maj/3", F_MAJOR),
        ("Fsus4", F_MAJOR),
        ("F7sus4", F_MAJOR),
        ("Fadd9", F_MAJOR),
        ("Faug", F_MAJOR),
        ("F6/9", F_MAJOR),
        ("E#", F_MAJOR),
        ("N", NOT_TOLD),
        ("N.C.", NOT_TOLD),
    ],
)
def test_chords_are_read_as_people_write_them(name, chord):
    assert read_chord(name) == chord


@pytest.mark.parametrize("name", ["", "H7", "Fhello", "am", "A minor", "1", 3, None])
def test_another_chord_is_refused(name):
    with pytest.raises(ValueError, match="`chords` must have names such as"):
        read_chord(name)


def test_chords_of_a_lead_sheet_are_read():
    sheet = [
        {"start_s": 0.0, "end_s": 1.5, "name": "Am7", "root": 9, "quality": "min7"},
        {"start_s": 1.5, "end_s": 2.0, "name": "N", "root": None, "quality": None},
    ]
    assert read_chords(sheet) == ((0.0, 1.5, A_MINOR),) == read_chords([(0, 1.5, "Am"), [1.5, 2, "N"]])


@pytest.mark.parametrize(
    ("chords", "words"),
    [
        ("Am F", "must be a list of"),
        ([("Am", 0, 1)], "must be \\(start_s, end_s, name\\)"),
        ([(0, 1)], "must be \\(start_s, end_s, name\\)"),
        ([(1.0, 1.0, "Am")], "must follow each other"),
        ([(-1.0, 1.0, "Am")], "must follow each other"),
        ([(0.0, 2.0, "Am"), (1.0, 3.0, "F")], "must follow each other"),
        ([{"start_s": 0.0, "name": "Am"}], "must be \\(start_s, end_s, name\\)"),
    ],
)
def test_other_lists_of_chords_are_refused(chords, words):
    with pytest.raises(ValueError, match=f"`chords` {words}"):
        read_chords(chords)


@pytest.mark.parametrize("tempo_bpm", [0, 29.9, 301, float("nan"), "120", True])
def test_another_tempo_is_refused(tempo_bpm):
    with pytest.raises(ValueError, match="`tempo_bpm` must be a number from 30 to 300 beats per minute, got"):
        read_told_songs(1, tempo_bpm=tempo_bpm)


def test_all_items_are_told_the_same_or_each_its_own():
    chords = [(0.0, 1.0, "F")]
    told = ToldSong(21, 90.0, ((0.0, 1.0, F_MAJOR),))
    assert read_told_songs(2, "Am", 90, chords) == [told, told]
    assert read_told_songs(2, ["Am", None], [90, None], [chords, None]) == [told, ToldSong()]
    for name, given in (("key", ["Am"]), ("tempo_bpm", [90.0] * 3), ("chords", [chords])):
        with pytest.raises(ValueError, match=f"`{name}` must be one for all or a list of 2, got {len(given)}"):
            read_told_songs(2, **{name: given})


def test_a_told_tempo_is_kept():
    # An id on every beat at 90 BPM fits 180 BPM and 45 as well.
    says = np.full((2, 12), -0.1)
    says[1, 0] = says[0, 6] = 3.0
    ids = np.zeros(1000, int)
    ids[(np.arange(30) * 100 / 3).astype(int)] = 1
    for tempo_bpm, num_beats in ((90.0, 30), (180.0, 60), (45.0, 15)):
        _, begins = find_beat_phases(says, ids, tempo_bpm)
        assert begins.sum() == pytest.approx(num_beats, abs=2)


def hear_chords(key=None, told=None, num_steps=60):
    """Chords under a voice that sings C and E alone, which C major and A minor share."""
    pitch_of_voice = np.eye(13)[[0, 4]]
    pitch_of_chord = np.full((2, 12), 0.02)
    pitch_of_chord[0, [0, 4, 7]] = pitch_of_chord[1, [0, 3, 7]] = 0.8 / 3
    first = np.full((2, 24), 0.001)
    first[0, [0, 10, 14]] = first[1, [1, 11, 15]] = 0.3  # I, IV, V and i, iv, v
    moves = np.broadcast_to(first[:, None], (2, 24, 24))
    ids = np.arange(2 * num_steps) // 10 % 2
    begins = (np.arange(num_steps) % 15 == 0).astype(float)
    return find_chords(pitch_of_voice, pitch_of_chord, first, moves, ids, begins, key, told)


def test_a_told_key_decides_between_chords_that_fit_alike():
    assert (hear_chords(key=0).argmax(1) == 0).all()
    assert (hear_chords(key=21).argmax(1) == A_MINOR).all()


def test_told_chords_are_certain_and_others_are_found():
    told = np.full(60, NOT_TOLD)
    told[20:40] = F_MAJOR
    found = hear_chords(0, told)
    assert (found[20:40] == np.eye(24)[F_MAJOR]).all()
    assert (settle_chords(found)[20:40].argmax(1) == F_MAJOR).all()
    assert set(found[np.r_[:15, 45:60]].argmax(1)) == {0}
    np.testing.assert_allclose(found.sum(1), 1.0)


TOLD = {"key": "Am", "tempo_bpm": 90.0, "chords": [(0.0, 2.0, "F")]}


@pytest.mark.parametrize("told", [{name: value} for name, value in TOLD.items()], ids=list(TOLD))
def test_a_stage_listens_to_what_it_is_told(told):
    stage = listening_stage(part_names=PARTS)
    voice = voice_of(stage, 4.0, 2)
    alone = stage.generate_codes(vocal_semantic_ids=voice, seed=1, listening_scale=30.0)
    own = {name: [None, value] for name, value in told.items()}
    codes = stage.generate_codes(vocal_semantic_ids=voice, seed=1, listening_scale=30.0, **own)
    assert torch.equal(codes[0], alone[0])
    assert not torch.equal(codes[1], alone[1])


def test_chords_are_told_in_seconds_of_the_song():
    stage = listening_stage(part_names=PARTS)
    voice = voice_of(stage, 16.0)
    alone = stage.generate_codes(vocal_semantic_ids=voice, seed=1, listening_scale=1e6)
    # Beyond the 12 s that the first windows hear nothing changes.
    codes = stage.generate_codes(
        vocal_semantic_ids=voice, seed=1, listening_scale=1e6, chords=[(15.0, 16.0, "F"), (16.0, 99.0, "G")]
    )
    assert torch.equal(codes[..., :100], alone[..., :100])
    assert not torch.equal(codes[..., -50:], alone[..., -50:])


def test_a_stage_that_does_not_listen_refuses():
    for stage in (listening_stage(), tiny_stage(AccompGenSemanticConfig)):
        with pytest.raises(ValueError, match="`key`, `tempo_bpm` and `chords` must be left out where nothing listens"):
            stage.generate_codes(vocal_semantic_ids=voice_of(stage, 1.0), key="Am")


def listening_pipe() -> VocalAccompanimentPipeline:
    return VocalAccompanimentPipeline(model=listening_model())


def test_every_recording_of_a_list_may_be_told_its_own():
    pipe, asked = (
        listening_pipe(),
        {"preview": True, "lead_sheet": False, "window_batch_size": 1},
    )
    vocals = {"array": np.sin(np.arange(32_000) / 20).astype(np.float32), "sampling_rate": 16_000}
    alone = [pipe(vocals, seed=3, **asked, **told)["audio"] for told in ({}, TOLD)]
    own = {name: [None, value] for name, value in TOLD.items()}
    together = pipe([vocals] * 2, seed=[3, 3], **asked, **own)
    for result, audio in zip(together, alone, strict=True):
        np.testing.assert_array_equal(result["audio"], audio)
    assert not np.array_equal(*alone)
    for result in pipe([vocals] * 2, seed=[3, 3], **asked, **TOLD):
        np.testing.assert_array_equal(result["audio"], alone[1])
    stream = pipe.stream(vocals, seed=3, preview=True, lead_sheet=False, **TOLD)
    np.testing.assert_array_equal(np.concatenate([audio for _, audio in stream]), alone[1])


@pytest.mark.parametrize("told", [{"key": "H"}, {"tempo_bpm": 1}, {"chords": "Am"}], ids=str)
def test_the_pipeline_refuses_what_it_does_not_understand(told):
    with pytest.raises(ValueError, match=f"`{next(iter(told))}` must"):
        listening_pipe()({"array": np.zeros(16_000, np.float32), "sampling_rate": 16_000}, **told)
