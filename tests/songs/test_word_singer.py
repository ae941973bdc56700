"""Singers of words: the right number of syllables, on their notes, at the melody's pitch; what is missing is named."""

import importlib.util
import shutil
import sys

import numpy as np
import pytest

from accompgen_hf.songs.annotation import MelodyNote
from accompgen_hf.songs.composition import SINGERS, compose_song
from accompgen_hf.songs.singer import render_vocals
from accompgen_hf.songs.song import generate_song
from accompgen_hf.songs.speech import FLITE_VOICES, FRAME_S, make_voice, speak
from accompgen_hf.songs.voices import draw_singer, give_words
from accompgen_hf.songs.word_singer import sing_words

needs_speech = pytest.mark.skipif(
    shutil.which("flite") is None or importlib.util.find_spec("pyworld") is None,
    reason="needs flite (Debian: flite) and pyworld",
)


def test_words_are_sung_in_a_third_of_mixed_songs():
    assert SINGERS == ("vowels", "words", "mixed")
    seeds = range(40)
    has_words = [compose_song(seed, singers="mixed").singer.words_voice is not None for seed in seeds]
    assert 0.15 < np.mean(has_words) < 0.5
    assert all(compose_song(seed).singer.words_voice is None for seed in range(5))
    voices = {compose_song(seed, singers="words").singer.words_voice for seed in range(20)}
    assert voices == set(FLITE_VOICES)


def test_mixed_songs_without_words_are_those_of_the_vowels():
    seed = next(seed for seed in range(20) if compose_song(seed, singers="mixed").singer.words_voice is None)
    assert compose_song(seed, singers="mixed") == compose_song(seed)


def test_unknown_singers_are_named():
    with pytest.raises(ValueError, match="`singers` must be one of vowels, words, mixed, got 'opera'"):
        compose_song(0, singers="opera")


def _estimate_pitch_hz(wave: np.ndarray, rate: int, low_hz: float, high_hz: float) -> float:
    """By autocorrelation, which shares nothing with the synthesis."""
    power = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), 8 * len(wave))) ** 2
    lags = np.fft.irfft(power)
    candidates = np.arange(int(rate / high_hz), int(rate / low_hz) + 1)
    return rate / candidates[np.argmax(lags[candidates])]


@needs_speech
def test_vowels_begin_with_their_notes_and_keep_their_pitch():
    singer = give_words(np.random.default_rng(0), draw_singer(np.random.default_rng(5)))
    notes = [
        MelodyNote(0.5, 1.1, 57, "", "a", 0.8, False),
        MelodyNote(1.1, 1.7, 61, "", "a", 0.8, False),
        MelodyNote(1.7, 2.3, 59, "", "a", 0.8, True),  # glides on: the same syllable
    ]
    times = np.arange(0.0, 2.6, FRAME_S)
    pitch = np.select([times < 1.1, times < 1.7], [57.0, 61.0], 59.0)
    wave, rate = sing_words(notes, pitch, singer, np.random.default_rng(1))
    assert np.isfinite(wave).all()
    for note in notes:
        piece = wave[int((note.start_s + 0.15) * rate) : int((note.start_s + 0.45) * rate)]
        expected_hz = 440.0 * 2.0 ** ((note.midi_pitch - 69) / 12)
        found_hz = _estimate_pitch_hz(piece, rate, 0.6 * expected_hz, 1.7 * expected_hz)
        assert 12 * np.log2(found_hz / expected_hz) == pytest.approx(0.0, abs=0.5)
    assert np.abs(wave[: int(0.1 * rate)]).max() < 0.01
    assert np.abs(wave[int(2.5 * rate) :]).max() < 0.01


@needs_speech
def test_the_same_song_is_sung_with_the_same_bytes():
    annotation = compose_song(3, duration_s=2.0, singers="words")
    first = render_vocals(annotation, 24000)
    speak.cache_clear()
    assert first.tobytes() == render_vocals(annotation, 24000).tobytes()
    assert first.shape == (48000,)
    assert np.isfinite(first).all()
    assert np.abs(first).max() <= 1.0


@needs_speech
def test_words_reach_the_singers_loudness_and_differ_from_vowels():
    song = generate_song(5, duration_s=2.0, singers="words")
    vowels = generate_song(5, duration_s=2.0)
    assert np.array_equal(song.instrumental, vowels.instrumental)
    rms_db = 20 * np.log10(np.sqrt(np.mean(song.vocals**2)))
    assert rms_db == pytest.approx(song.annotation.singer.loudness_lufs, abs=6.0)


@needs_speech
@pytest.mark.slow
def test_an_independent_tracker_hears_the_melody():
    swift_f0 = pytest.importorskip("swift_f0", reason="needs swift-f0")
    detector, within = swift_f0.SwiftF0(threads=1), []
    for seed in range(800_000, 800_006):
        annotation = compose_song(seed, composition="lead_sheets", singers="words")
        found = detector.detect(render_vocals(annotation, 16000), 16000)
        melody = np.full(len(found.timestamps), np.nan)
        for note in annotation.melody:
            is_note = (found.timestamps >= note.start_s) & (found.timestamps < note.end_s)
            melody[is_note] = note.midi_pitch + annotation.tuning_cents / 100.0
        is_voiced = (found.confidence >= 0.5) & ~np.isnan(melody)
        away = 12.0 * np.log2(found.pitch_hz[is_voiced] / 440.0) + 69.0 - melody[is_voiced]
        within.append(np.mean(np.abs(away) < 0.5))
    assert np.mean(within) >= 0.9


def test_missing_pyworld_is_named_with_the_way_out(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/flite")
    monkeypatch.setitem(sys.modules, "pyworld", None)
    with pytest.raises(ImportError, match=r'pip install pyworld "setuptools<81".*singers="vowels"'):
        make_voice(np.zeros(4), np.ones((4, 513)), np.ones((4, 513)))
