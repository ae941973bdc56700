"""Procedural songs: what is annotated is what sounds, the same seed is the same song, held-out seeds are refused."""

import numpy as np
import pytest

from accompgen_hf.songs.song import (
    HELD_OUT_SEED,
    compose_song,
    generate_song,
    require_training_seed,
    synthesize_song,
)

SAMPLING_RATE = 24000


def chroma(wave: np.ndarray, low_hz: float = 80.0, high_hz: float = 1000.0) -> np.ndarray:
    """Pitch-class energy from one long FFT, (12,), sum 1: an analysis that shares nothing with the synthesis."""
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave)))) ** 2
    frequencies = np.fft.rfftfreq(len(wave), 1.0 / SAMPLING_RATE)
    kept = (frequencies > low_hz) & (frequencies < high_hz)
    classes = np.rint(69.0 + 12.0 * np.log2(frequencies[kept] / 440.0)).astype(int) % 12
    energy = np.bincount(classes, weights=spectrum[kept], minlength=12)
    return energy / energy.sum()


def average_chroma(wave: np.ndarray) -> np.ndarray:
    """Mean of the chroma of 0.5-s pieces, each of weight 1: a note that meets a formant does not drown the others."""
    return np.mean([chroma(piece) for piece in wave[: len(wave) // 12000 * 12000].reshape(-1, 12000)], axis=0)


def seconds(wave: np.ndarray, start_s: float, end_s: float) -> np.ndarray:
    return wave[int(start_s * SAMPLING_RATE) : int(end_s * SAMPLING_RATE)]


def rms_db(wave: np.ndarray) -> float:
    return float(20.0 * np.log10(np.sqrt(np.mean(wave.astype(np.float64) ** 2)) + 1e-9))


def test_the_same_seed_gives_the_same_bytes():
    first, second = generate_song(12, duration_s=3.0), generate_song(12, duration_s=3.0)
    assert first.vocals.tobytes() == second.vocals.tobytes()
    assert first.instrumental.tobytes() == second.instrumental.tobytes()
    assert first.annotation == second.annotation


def test_the_global_generator_is_neither_read_nor_moved():
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = generate_song(12, duration_s=1.0)
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    assert np.array_equal(generate_song(12, duration_s=1.0).vocals, first.vocals)


def test_another_seed_gives_another_song():
    assert not np.array_equal(generate_song(1, duration_s=2.0).vocals, generate_song(2, duration_s=2.0).vocals)


@pytest.mark.parametrize(
    ("duration_s", "sampling_rate"), [(10.0, 24000), (7.3, 16000), (1.234567, 44100), (0.04, 24000)]
)
def test_both_tracks_have_exactly_the_asked_number_of_samples(duration_s, sampling_rate):
    song = generate_song(5, duration_s=duration_s, sampling_rate=sampling_rate)
    assert song.vocals.shape == song.instrumental.shape == (round(duration_s * sampling_rate),)
    assert song.vocals.dtype == song.instrumental.dtype == np.float32
    assert song.sampling_rate == sampling_rate


def test_seeds_from_the_held_out_one_on_are_refused_for_training():
    assert require_training_seed(HELD_OUT_SEED - 1) == HELD_OUT_SEED - 1
    for seed in (HELD_OUT_SEED, HELD_OUT_SEED + 12345, -1):
        with pytest.raises(ValueError, match=r"`seed` must be in \[0, 800000\) for training"):
            require_training_seed(seed)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="`seed` must be a whole number"):
        generate_song(-3)
    with pytest.raises(ValueError, match="`seed` must be a whole number"):
        generate_song(2.5)
    with pytest.raises(ValueError, match=r"`duration_s` must be in \(0, 120\]"):
        generate_song(0, duration_s=0.0)
    with pytest.raises(ValueError, match="pass `whole_song=True`"):
        generate_song(0, duration_s=200.0)
    with pytest.raises(ValueError, match="`sampling_rate` must be between 16000 and 48000"):
        generate_song(0, sampling_rate=8000)


def test_tracks_are_finite_loud_enough_and_never_clip(songs):
    for song in songs:
        for wave in (song.vocals, song.instrumental):
            assert np.isfinite(wave).all()
            assert np.abs(wave).max() <= 1.0
        assert -20.0 < rms_db(song.instrumental) < -8.0, song.annotation.style
        assert rms_db(song.vocals) - rms_db(song.instrumental) < 5.0  # the paper's filter keeps every one


def test_chord_tones_hold_more_of_the_energy_than_chance(songs):
    gains = []
    for song in songs:
        for chord in song.annotation.chords:
            if chord.end_s - chord.start_s >= 0.5:
                share = chroma(seconds(song.instrumental, chord.start_s, chord.end_s))[list(chord.pitch_classes)].sum()
                gains.append(share / (len(chord.pitch_classes) / 12.0))
    assert np.mean(gains) > 2.0
    assert np.mean(np.array(gains) > 1.0) > 0.95


def test_the_bass_plays_the_root_where_a_chord_begins(songs):
    is_root = []
    for song in songs:
        for chord in song.annotation.chords:
            if chord.start_s > 0.0 and chord.end_s - chord.start_s >= 0.5:
                wave = np.pad(seconds(song.instrumental, chord.start_s + 0.03, chord.start_s + 0.5), (0, 12000))
                is_root.append(int(np.argmax(chroma(wave, 55.0, 130.0))) == chord.root)
    assert np.mean(is_root) > 0.6  # chance is 1 in 12; kick drums share the octave


def test_onsets_are_stronger_on_the_beat_than_between_beats(songs):
    ratios = []
    for song in songs:
        frames = np.lib.stride_tricks.sliding_window_view(song.instrumental, 1024)[::240]
        spectra = np.log1p(100.0 * np.abs(np.fft.rfft(frames * np.hanning(1024), axis=1)))
        flux = np.maximum(np.diff(spectra, axis=0), 0.0).sum(axis=1)
        times = (np.arange(len(flux)) * 240 + 752) / SAMPLING_RATE

        def strength(beats, flux=flux, times=times):
            return np.mean([flux[np.abs(times - beat) < 0.04].max() for beat in beats])

        beats = song.annotation.beat_times[1:-1]
        ratios.append(strength(beats) / strength(beats + 0.37 * song.annotation.beat_s))
    assert np.mean(ratios) > 2.0
    assert min(ratios) > 1.0


def test_transposing_turns_the_chroma_of_both_tracks_and_nothing_else(songs):
    for song in songs[:3]:
        shifted = synthesize_song(song.annotation.transposed(3))
        assert shifted.annotation.tonic == (song.annotation.tonic + 3) % 12
        assert np.array_equal(shifted.annotation.beat_times, song.annotation.beat_times)
        for before, after in ((song.instrumental, shifted.instrumental), (song.vocals, shifted.vocals)):
            likeness = [np.dot(np.roll(average_chroma(before), turn), average_chroma(after)) for turn in range(12)]
            assert int(np.argmax(likeness)) == 3


def test_a_whole_song_is_silent_in_the_voice_where_nobody_sings():
    annotation = compose_song(HELD_OUT_SEED, whole_song=True)
    names = [section.name for section in annotation.sections]
    assert names[0] == "intro"
    assert names[-1] == "outro"
    assert "break" in names
    for section in annotation.sections:
        song = synthesize_song(annotation.window(section.start_s + 1.5, 4.0))
        if section.name in ("intro", "break", "outro"):
            assert song.annotation.melody == ()
            assert rms_db(song.vocals) < -45.0
        else:
            assert rms_db(song.vocals) > -35.0
        assert rms_db(song.instrumental) > -25.0


@pytest.mark.slow
def test_a_whole_song_is_rendered_to_its_last_chord():
    song = generate_song(3, whole_song=True)
    assert len(song.vocals) == len(song.instrumental) == round(song.annotation.duration_s * SAMPLING_RATE)
    assert np.abs(song.instrumental).max() <= 1.0
    final = chroma(song.instrumental[-2 * SAMPLING_RATE :])
    assert final[song.annotation.tonic] > 0.15
