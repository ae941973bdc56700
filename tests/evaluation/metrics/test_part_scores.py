"""Scores of parts: true ones do well, those of another song do not."""

import numpy as np
import pytest

from accompgen_hf.evaluation.metrics.part_scores import bass_root_rate, drum_beat_f1
from accompgen_hf.songs.song import generate_song

RATE = 24_000


def test_a_bass_on_its_roots_and_one_a_semitone_off():
    time = np.arange(4 * RATE) / RATE
    pitch_hz = 440 * 2 ** ((np.where(time < 2, 36, 45) - 69) / 12)  # C, then A
    bass = sum(np.sin(2 * np.pi * k * pitch_hz * time) / k for k in (1, 2, 3))
    chords = [(0.0, 2.0, 0, "maj"), (2.0, 4.0, 9, "min7")]
    assert bass_root_rate(bass, RATE, chords) == 1
    assert bass_root_rate(bass, RATE, [(start, end, root + 1, name) for start, end, root, name in chords]) == 0
    assert bass_root_rate(np.where(time < 2, bass, 0), RATE, [chords[0], (2.2, 4.0, 4, "maj")]) == 1
    assert bass_root_rate(np.zeros(RATE), RATE, chords) is None
    with pytest.raises(ValueError, match="`bass`"):
        bass_root_rate(np.zeros((2, RATE)), RATE, chords)


def test_true_parts_know_their_song():
    songs = [generate_song(seed, with_parts=True) for seed in (0, 1, 3, 5)]
    own = [bass_root_rate(song.parts["bass"], RATE, song.annotation.chords) for song in songs]
    others = [
        bass_root_rate(song.parts["bass"], RATE, other.annotation.chords)
        for song, other in zip(songs, songs[1:] + songs[:1], strict=True)
    ]
    assert np.mean(own) > 0.6
    assert np.mean(others) < 0.35
    beats = [drum_beat_f1(song.parts["drums"], RATE, song.annotation.beat_times) for song in songs]
    assert np.mean(beats) > 0.85
    assert drum_beat_f1(np.zeros(RATE), RATE, np.array([0.5])) == 0
    assert drum_beat_f1(songs[0].parts["drums"], RATE, np.zeros(0)) is None
