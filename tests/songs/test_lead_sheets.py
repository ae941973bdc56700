"""Songs composed like lead sheets: what can be counted in them is near to what was counted in real ones."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from accompgen_hf.songs.composition import COMPOSITIONS, compose_score, compose_song
from accompgen_hf.songs.melody import loosen_melody
from accompgen_hf.songs.song import generate_song, synthesize_song
from accompgen_hf.songs.theory import random_stream


@pytest.fixture(scope="module")
def annotations():
    return [compose_song(seed, composition="lead_sheets") for seed in range(40)]


def test_both_compositions_share_style_key_tempo_and_singer(annotations):
    assert COMPOSITIONS[:2] == ("plain", "lead_sheets")
    for seed in range(5):
        plain, loose = compose_song(seed), annotations[seed]
        for name in ("style", "tonic", "mode", "tempo_bpm", "meter", "swing"):
            assert getattr(plain, name) == getattr(loose, name)
        assert replace(loose.singer, rubato=0.0, dynamics_db=0.0) == plain.singer
        assert plain.song_melody != loose.song_melody
        assert plain.song_chords != loose.song_chords


def test_the_voice_sings_most_of_an_excerpt(annotations):
    sung = [sum(n.end_s - n.start_s for n in annotation.melody) / annotation.duration_s for annotation in annotations]
    assert np.mean(sung) > 0.75
    assert min(sung) > 0.6


def test_unknown_compositions_are_named():
    with pytest.raises(ValueError, match="must be one of plain, lead_sheets, arranged, tunes, got 'jazz'"):
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
