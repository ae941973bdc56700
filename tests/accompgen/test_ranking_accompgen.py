"""Ranking: pitches of a voice, chords, beats, silence and clipping; a song's own band is the best of bands."""

import functools

import numpy as np
import pytest

from accompgen_hf.accompgen.ranking_accompgen import (
    WEIGHTS,
    Band,
    Voice,
    mean_likelihood,
    rank_takes,
    rate_bands,
    share_of_common_beats,
    share_of_silence,
    share_on_beat,
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


def test_the_likelihood_of_a_band_is_that_of_its_chords():
    c_major, g_major, none = 0, 7, 24
    likely = np.zeros((3, 24))
    likely[:, c_major], likely[:, g_major] = (0.75, 0.5, 0.0), (0.25, 0.5, 1.0)
    assert mean_likelihood(np.array([c_major, g_major, none, c_major]), likely) == pytest.approx((0.75 + 0.5) / 3)


def test_common_beats_are_those_that_other_takes_have():
    beats = np.array([0.0, 0.5, 1.0, 1.5])
    assert share_of_common_beats(beats, [beats + 0.06]) == 1
    assert share_of_common_beats(beats, [beats + 0.25]) == 0
    assert share_of_common_beats(beats, [beats, beats[::2]]) == pytest.approx((1 + 2 / 3) / 2)
    assert share_of_common_beats(beats, []) == 0
    assert share_of_common_beats(beats[:0], [beats, beats[:0]]) == 0


def test_onsets_on_the_beat_count_more_than_chance_and_beside_it_less():
    onsets = np.zeros(400)
    onsets[::50] = 1.0
    beats = np.arange(0, 4, 0.5)
    assert share_on_beat(onsets, beats) > 0.8
    assert share_on_beat(onsets, beats + 0.25) < 0.2
    assert share_on_beat(np.ones(400), beats) == pytest.approx(0.5)
    assert share_on_beat(onsets, beats[:0]) == 0


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
    bands = [Band(song.instrumental, RATE)] * 2
    assert rate_bands(voice, bands)[0]["score"] == ranked[0]["ranking"]["score"]


def test_the_takes_that_agree_rank_above_the_one_that_does_not():
    songs = [make_song(seed) for seed in (1, 2)]
    takes = [
        {"audio": audio, "sampling_rate": RATE, "seed": seed}
        for seed, audio in enumerate((songs[1].instrumental, songs[0].instrumental, 0.9 * songs[0].instrumental))
    ]
    ranked = {take["seed"]: take["ranking"] for take in rank_takes(np.zeros((1, 6 * RATE), np.float32), RATE, takes)}
    for term in ("likely_chords", "common_beats"):
        assert ranked[0][term] < min(ranked[1][term], ranked[2][term])
    assert ranked[0]["place"] == 3
