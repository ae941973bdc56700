"""The singer sings what the annotation says."""

import numpy as np

SAMPLING_RATE = 24000


def seconds(wave: np.ndarray, start_s: float, end_s: float) -> np.ndarray:
    return wave[int(start_s * SAMPLING_RATE) : int(end_s * SAMPLING_RATE)]


def test_the_voice_sings_most_of_an_excerpt(songs):
    for song in songs:
        sung_s = sum(note.end_s - note.start_s for note in song.annotation.melody)
        assert sung_s > 0.6 * song.annotation.duration_s


def test_the_voice_sings_the_annotated_pitches(songs):
    errors = []
    for song in songs:
        for note in sorted(song.annotation.melody, key=lambda n: n.start_s - n.end_s)[:3]:
            middle_s = 0.5 * (note.start_s + note.end_s)
            wave = seconds(song.vocals, middle_s - 0.1, middle_s + 0.1)
            power = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), 8 * 4096)) ** 2
            lags = np.fft.irfft(power)
            expected = SAMPLING_RATE / (440.0 * 2.0 ** ((note.midi_pitch - 69) / 12.0))
            around = np.arange(int(expected / 1.12), int(expected * 1.12) + 1)
            best = around[np.argmax(lags[around])]
            errors.append(12.0 * np.log2(expected / best))
    assert np.median(np.abs(errors)) < 0.5
    assert np.mean(np.abs(errors) < 1.0) > 0.8
