"""Ranking: pitches of a voice, chord tones, beats, silence and clipping; a song's own band is the best of bands."""

import functools

import numpy as np
import pytest

from accompgen_hf.accompgen.harmony_accompgen import chord_path
from accompgen_hf.accompgen.ranking_accompgen import (
    WEIGHTS,
    Voice,
    rank_takes,
    rate_take,
    share_of_chord_tones,
    share_of_common_chords,
    share_of_silence,
    sung_pitches,
)
from accompgen_hf.songs.song import HELD_OUT_SEED, generate_song

RATE = 24_000


@functools.cache
def make_song(seed: int):
    return generate_song(HELD_OUT_SEED + seed, duration_s=6.0)


def make_tones(pitches: list[float], duration_s: float = 0.5) -> np.ndarray:
    time_s = np.arange(round(duration_s * RATE)) / RATE
    frequencies = [440 * 2 ** ((pitch - 69) / 12) for pitch in pitches]
    tones = [sum(0.2 / n * np.sin(2 * np.pi * n * f * time_s) for n in (1, 2, 3)) for f in frequencies]
    return np.concatenate(tones).astype(np.float32)


@pytest.mark.parametrize("offset", [0.0, 0.3, -0.4])
def test_pitches_are_found_whatever_the_tuning(offset):
    sung = [57, 60, 64, 69, 76]
    heard = sung_pitches(make_tones([pitch + offset for pitch in sung]), RATE)
    middles = [12 + 25 * index for index in range(len(sung))]
    np.testing.assert_allclose(heard[middles], sung, atol=0.1)


def test_noise_and_silence_are_not_sung():
    noise = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    assert np.isnan(sung_pitches(noise, RATE)).mean() > 0.9
    assert np.isnan(sung_pitches(np.zeros(RATE, np.float32), RATE)).all()
    assert len(sung_pitches(np.zeros(100, np.float32), RATE)) == 0


def test_the_voice_of_a_song_is_heard_as_it_is_written():
    song = make_song(1)
    heard, truth = sung_pitches(song.vocals, RATE), np.full(400, np.nan)
    for note in song.annotation.melody:
        truth[max(0, int(np.ceil(note.start_s * 50))) : max(0, int(note.end_s * 50))] = note.midi_pitch
    truth = truth[: len(heard)]
    both = np.isfinite(heard) & np.isfinite(truth)
    assert both.sum() > 0.7 * np.isfinite(truth).sum()
    distance = (heard - truth)[both]
    assert np.mean(np.abs((distance + 6) % 12 - 6) < 0.5) > 0.85


def test_chord_tones_are_root_third_and_fifth():
    pitches = np.array([60.0, 64.2, 66.9, 63.0, 62.0, np.nan, 60.0, 60.0])  # 20 ms each
    c_major, c_minor, none = 0, 12, 24
    assert share_of_chord_tones(pitches, np.array([c_major] * 3)) == pytest.approx(5 / 7)
    assert share_of_chord_tones(pitches, np.array([c_minor] * 3)) == pytest.approx(5 / 7)
    assert share_of_chord_tones(pitches, np.array([none] * 3)) == 0
    assert share_of_chord_tones(np.full(5, np.nan), np.array([c_major])) == 0


def test_common_chords_are_those_that_other_takes_play():
    c_major, g_major, none = 0, 7, 24
    path = np.array([c_major, c_major, g_major, none])
    others = [np.array([c_major, c_major, g_major, none]), np.array([g_major, c_major, g_major])]
    assert share_of_common_chords(path, others) == pytest.approx((3 / 4 + 2 / 3) / 2)
    assert share_of_common_chords(path, []) == 0
    assert share_of_common_chords(path[:0], others) == 0


def test_silence_counts_in_tenths_of_a_second():
    audio = np.full(RATE, 0.1, np.float32)
    audio[: RATE // 4] = 0
    assert share_of_silence(audio, RATE) == pytest.approx(0.2)
    assert share_of_silence(np.zeros(RATE, np.float32), RATE) == 1


def test_a_songs_own_band_ranks_above_others_bands_and_these_above_silence():
    song = make_song(1)
    bands = [make_song(seed).instrumental for seed in (2, 3)]
    bands += [song.instrumental, np.zeros_like(song.instrumental), np.clip(20 * song.instrumental, -1, 1)]
    takes = [{"audio": band, "sampling_rate": RATE, "seed": index} for index, band in enumerate(bands)]
    ranked = rank_takes(song.vocals[None], RATE, takes)
    assert ranked[0]["seed"] == 2
    assert ranked[-1]["seed"] == 3
    assert [take["ranking"]["place"] for take in ranked] == [1, 2, 3, 4, 5]
    for take in ranked:
        ranking = take["ranking"]
        assert ranking["num_takes"] == 5
        assert ranking["score"] == pytest.approx(sum(WEIGHTS[name] * ranking[name] for name in WEIGHTS))
        assert all(0 <= ranking[name] <= 1 for name in WEIGHTS)
    clipped = next(take for take in ranked if take["seed"] == 4)["ranking"]
    assert clipped["clipping"] > 0.1
    assert "ranking" not in takes[0]  # results are not changed in place


def test_equal_takes_keep_their_order_and_another_rate_changes_little():
    song = make_song(1)
    take = {"audio": song.instrumental, "sampling_rate": RATE}
    ranked = rank_takes(song.vocals[None], RATE, [{**take, "seed": seed} for seed in (5, 6)])
    assert [each["seed"] for each in ranked] == [5, 6]
    voice = Voice(song.vocals, RATE)
    path = chord_path(song.instrumental, RATE)
    assert rate_take(voice, song.instrumental, RATE, path, [path])["score"] == ranked[0]["ranking"]["score"]
