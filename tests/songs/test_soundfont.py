"""A SoundFont's bank and its player; what is missing is named with the way out."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from accompgen_hf.songs.song import generate_song
from accompgen_hf.songs.soundfont import (
    DEFAULT_SOUNDFONT,
    KeyStroke,
    SoundFontPlayer,
    find_soundfont,
    soundfont_sha256,
)

SAMPLING_RATE = 24000
needs_soundfont = pytest.mark.skipif(
    importlib.util.find_spec("tinysoundfont") is None or not Path(DEFAULT_SOUNDFONT).is_file(),
    reason="needs tinysoundfont and FluidR3 GM (Debian: fluid-soundfont-gm)",
)


@needs_soundfont
def test_a_key_sounds_at_its_time_and_pitch():
    player = SoundFontPlayer.open(None, SAMPLING_RATE)
    wave = player.play(19, [KeyStroke(0.5, 1.4, 69, 100)], 36000)
    assert wave.shape == (36000,)
    assert np.abs(wave[:11000]).max() < 1e-4
    sounding = wave[15600:31200]
    spectrum = np.abs(np.fft.rfft(sounding * np.hanning(len(sounding))))
    partial_hz = np.fft.rfftfreq(len(sounding), 1.0 / SAMPLING_RATE)[np.argmax(spectrum)]
    octaves = np.log2(partial_hz / 440.0)
    assert octaves == pytest.approx(round(octaves), abs=0.01)


@needs_soundfont
def test_a_key_from_before_the_start_rings_into_the_sound():
    player = SoundFontPlayer.open(None, SAMPLING_RATE)
    wave = player.play(48, [KeyStroke(-1.0, 0.5, 60, 100)], 24000)
    assert np.abs(wave[:2400]).max() > 0.01


@needs_soundfont
def test_the_hash_of_the_bank_is_that_of_its_content():
    digest = soundfont_sha256()
    assert len(digest) == 64
    assert digest == soundfont_sha256(DEFAULT_SOUNDFONT)


def test_a_missing_bank_is_named_with_the_way_out(tmp_path):
    with pytest.raises(
        ValueError, match=r"`soundfont` .*nothing.sf2 is not a file.*fluid-soundfont-gm.*--soundfont.*numpy"
    ):
        find_soundfont(tmp_path / "nothing.sf2")


def test_missing_tinysoundfont_is_named_with_the_way_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "tinysoundfont", None)
    with pytest.raises(
        ImportError, match=r"pip install --no-deps tinysoundfont.*fluid-soundfont-gm.*--soundfont FILE.*numpy"
    ):
        generate_song(0, duration_s=1.0, renderer="soundfont")


@needs_soundfont
def test_a_file_that_is_no_bank_is_named(tmp_path):
    (tmp_path / "bank.sf2").write_bytes(b"RIFF1234")
    with pytest.raises(ValueError, match=r"`soundfont` .*bank.sf2 cannot be read as a SoundFont"):
        generate_song(0, duration_s=1.0, renderer="soundfont", soundfont=tmp_path / "bank.sf2")


@needs_soundfont
def test_a_bank_without_the_programs_is_named():
    player = SoundFontPlayer.open(None, SAMPLING_RATE)
    with pytest.raises(ValueError, match=r"has none of the drum kits \[99\]: a General MIDI bank is needed"):
        player.choose(np.random.default_rng(0), [99], is_drums=True)
