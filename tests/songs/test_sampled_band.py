"""Sampled instruments: notes sound where they are written, players differ, what is missing is named."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from accompgen_hf.songs.band import DRUMMER, perform
from accompgen_hf.songs.general_midi import DRUM_KEYS, DRUM_KITS, PROGRAMS, SOLOISTS
from accompgen_hf.songs.instruments import TONES
from accompgen_hf.songs.mastering import loudness_lufs
from accompgen_hf.songs.song import compose_song, generate_song, synthesize_song
from accompgen_hf.songs.soundfont import (
    DEFAULT_SOUNDFONT,
    KeyStroke,
    SoundFontPlayer,
    find_soundfont,
    soundfont_sha256,
)
from accompgen_hf.songs.styles import STYLES

SAMPLING_RATE = 24000
needs_soundfont = pytest.mark.skipif(
    importlib.util.find_spec("tinysoundfont") is None or not Path(DEFAULT_SOUNDFONT).is_file(),
    reason="needs tinysoundfont and FluidR3 GM (Debian: fluid-soundfont-gm)",
)


def test_at_least_forty_programs_and_six_kits_are_in_use():
    instruments = {name for style in STYLES.values() for layer in style.layers for name in layer.instruments}
    assert instruments <= set(PROGRAMS)
    assert set(PROGRAMS) == set(TONES)
    assert len({program for name in instruments for program in PROGRAMS[name]}) >= 40
    assert len({kit for style in STYLES.values() for kit in DRUM_KITS[style.kit]}) >= 6
    used = {*sum(PROGRAMS.values(), ()), *sum(SOLOISTS.values(), ())}
    assert not used & {52, 53, 54, 85}  # voices
    assert used <= set(range(112)) | {112}  # no sound effects


def test_every_drum_of_the_styles_has_a_key():
    drums = {drum for style in STYLES.values() for grids in style.drums.values() for grid in grids for drum in grid}
    assert drums <= set(DRUM_KEYS)


def test_every_note_says_who_plays_it_and_how_hard():
    notes = perform(compose_song(3))
    assert {note.layer for note in notes} >= {DRUMMER, 0, 1}
    assert all((note.layer == DRUMMER) == (note.instrument == "drum") for note in notes)
    assert all(0.2 < note.velocity < 1.2 for note in notes)


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
def test_the_same_seed_gives_the_same_bytes_whatever_was_played_before():
    first = generate_song(3, duration_s=2.0, renderer="soundfont")
    generate_song(4, duration_s=2.0, renderer="soundfont")
    again = generate_song(3, duration_s=2.0, renderer="soundfont")
    assert first.instrumental.tobytes() == again.instrumental.tobytes()


@needs_soundfont
@pytest.mark.parametrize(("duration_s", "sampling_rate"), [(1.234567, 16000), (1.0, 44100), (0.04, 24000)])
def test_sampled_bands_have_exactly_the_asked_number_of_samples(duration_s, sampling_rate):
    song = generate_song(5, duration_s=duration_s, sampling_rate=sampling_rate, renderer="soundfont", with_parts=True)
    for wave in (song.instrumental, *song.parts.values()):
        assert wave.shape == (round(duration_s * sampling_rate),)
        assert wave.dtype == np.float32
        assert np.isfinite(wave).all()


@needs_soundfont
def test_sampled_bands_are_loud_enough_and_never_clip():
    for seed in range(4):
        song = generate_song(seed, duration_s=4.0, renderer="soundfont")
        assert np.abs(song.instrumental).max() <= 0.98
        assert -22.0 < loudness_lufs(song.instrumental, SAMPLING_RATE) < -13.0


@needs_soundfont
def test_the_voice_is_the_same_whoever_accompanies_it():
    annotation = compose_song(2, duration_s=2.0)
    sampled = synthesize_song(annotation, renderer="soundfont")
    assert np.array_equal(sampled.vocals, synthesize_song(annotation).vocals)
    assert not np.array_equal(sampled.instrumental, synthesize_song(annotation).instrumental)


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


def test_unknown_renderers_and_idle_banks_are_named():
    with pytest.raises(ValueError, match="`renderer` must be one of numpy, soundfont, got 'midi'"):
        generate_song(0, duration_s=1.0, renderer="midi")
    with pytest.raises(ValueError, match=r'`soundfont` a\.sf2 is not used by `renderer="numpy"`'):
        generate_song(0, duration_s=1.0, soundfont="a.sf2")
