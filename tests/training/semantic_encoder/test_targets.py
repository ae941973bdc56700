"""Classes of frames: what is heard of a waveform, and what a song's annotation teaches."""

import numpy as np
import pytest

pytest.importorskip("sklearn")
from accompgen_hf.songs.song import compose_song
from accompgen_hf.training.semantic_encoder.pool import PHASES_PER_BEAT
from accompgen_hf.training.semantic_encoder.targets import (
    HEARD_FAMILIES,
    NO_CHORD,
    NO_TARGET,
    compute_target_features,
    number_beats,
)


def make_tone(midi_pitch: float, num_samples: int = 32_000) -> np.ndarray:
    times = np.arange(num_samples) / 16_000
    frequency = 440 * 2 ** ((midi_pitch - 69) / 12)
    return sum(np.sin(2 * np.pi * frequency * k * times) / k for k in range(1, 9)).astype(np.float32)


def test_pitch_target_peaks_at_the_sung_note_and_harmony_at_its_class():
    for midi_pitch in (50, 57, 64, 71):
        features = compute_target_features(make_tone(midi_pitch))
        assert features["pitch"][50].argmax() + 40 == midi_pitch
        assert features["harmony"][50, :12].argmax() == midi_pitch % 12
        assert all(len(view) == 100 for view in features.values())


def test_targets_do_not_depend_on_the_level():
    quiet, loud = compute_target_features(0.01 * make_tone(60)), compute_target_features(make_tone(60))
    for name in HEARD_FAMILIES:
        np.testing.assert_allclose(quiet[name], loud[name], atol=1e-3)


def test_timbre_target_marks_the_onset():
    waveform = np.random.default_rng(0).standard_normal(32_000).astype(np.float32) * 0.001
    waveform[16_000:] += make_tone(60, 16_000)
    change = compute_target_features(waveform)["timbre"][:, 40:].sum(1)
    assert abs(int(change.argmax()) - 50) <= 2


def test_target_features_refuse_a_length_off_the_frames():
    with pytest.raises(ValueError, match=r"`waveform` must be .* a multiple of 320"):
        compute_target_features(np.zeros(321, np.float32))


def test_chord_and_beat_are_taught_alike_to_voice_and_band(parts):
    pool, _, targets = parts
    annotation = compose_song(1, duration_s=10.0)
    for kind in ("vocals", "instrumental"):
        chords, beats = (targets.read_ids(pool, name, kind, 1) for name in ("chord", "beat"))
        assert chords.shape == beats.shape == (500,)
        for chord in annotation.chords:
            is_minor = (chord.root + 3) % 12 in chord.pitch_classes
            middle = int((chord.start_s + chord.end_s) / 2 * 50)
            assert chords[middle] == 2 * chord.root + is_minor
        assert set(beats) == {0, 1, 2, 3, PHASES_PER_BEAT}
        assert chords.max() <= NO_CHORD


def test_a_beats_first_frames_are_a_class_of_their_own():
    phases = np.repeat([2, 3, 0, 1, 2, 3, 0], [4, 6, 6, 6, 6, 6, 2])
    now = PHASES_PER_BEAT
    expected = [2] * 4 + [3] * 6 + [now] * 3 + [0] * 3 + [1] * 6 + [2] * 6 + [3] * 6 + [now] * 2
    assert number_beats(phases).tolist() == expected
    assert number_beats(np.zeros(5, np.int8)).tolist() == [0] * 5  # a clip that begins inside a beat's first quarter


def test_drums_are_taught_beats_and_no_chords(parts_of_bands):
    pool, _, targets = parts_of_bands
    assert (targets.read_ids(pool, "chord", "drums", 1) == NO_TARGET).all()
    for name, kind in (("chord", "bass"), ("beat", "drums")):
        assert np.array_equal(targets.read_ids(pool, name, kind, 1), targets.read_ids(pool, name, "vocals", 1))
    assert targets.read_ids(pool, "timbre", "drums", 1).max() < HEARD_FAMILIES["timbre"]
