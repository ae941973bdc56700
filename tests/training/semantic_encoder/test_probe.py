"""The probe finds what ids carry, says nothing about what they do not, and is scored on other clips."""

import numpy as np
import pytest

from accompgen_hf.training.semantic_encoder.probe import LABELS, derive_labels, probe_kind, probe_label


def test_ids_that_are_the_value_tell_everything():
    values = np.random.default_rng(0).integers(4, size=4000)
    result = probe_label(values + 7, values, values + 7, values)
    assert result.accuracy == 1.0
    assert result.information_bits == pytest.approx(2.0, abs=0.01)
    assert result.entropy_bits == pytest.approx(2.0, abs=0.01)


def test_independent_ids_tell_nothing():
    generator = np.random.default_rng(0)
    ids, values = generator.integers(50, size=(2, 20_000)), generator.integers(4, size=(2, 20_000))
    result = probe_label(ids[0], values[0], ids[1], values[1])
    assert result.accuracy == pytest.approx(0.25, abs=0.02)
    assert result.chance == pytest.approx(0.25, abs=0.02)
    assert result.information_bits < 0.003  # without the correction of Miller and Madow: 0.005


def test_half_right_ids_have_the_information_of_their_channel():
    generator = np.random.default_rng(0)
    values = generator.integers(2, size=40_000)
    flipped = np.where(generator.random(40_000) < 0.11, 1 - values, values)
    result = probe_label(flipped, values, flipped, values)
    assert result.accuracy == pytest.approx(0.89, abs=0.01)
    assert result.information_bits == pytest.approx(0.5, abs=0.02)  # 1 - H(0.11)
    assert result.area_under_curve == pytest.approx(0.89, abs=0.01)  # mean of both rates


def test_frames_without_a_value_do_not_count_and_unknown_ids_get_the_most_frequent_value():
    train = probe_label(np.array([0, 0, 1]), np.array([1, 1, 0]), np.array([0, 5, 1]), np.array([1, 1, -1]))
    assert train.accuracy == 1.0


def test_labels_of_vocals_and_instrumentals():
    labels = {
        "midi_pitch": np.array([[60, -1, 61]]),
        "is_onset": np.array([[1, 0, 0]]),
        "chord_root": np.array([[0, -1, 11]]),
        "is_minor_chord": np.array([[1, 0, 0]]),
        "is_beat": np.array([[0, 1, 0]]),
        "beat_phase": np.array([[3, 0, 0]]),
    }
    assert derive_labels("vocals", labels)["pitch_class"].tolist() == [[0, -1, 1]]
    assert derive_labels("vocals", labels)["is_voiced"].tolist() == [[1, 0, 1]]
    for kind in ("vocals", "instrumental"):
        assert derive_labels(kind, labels)["chord"].tolist() == [[1, -1, 22]]
        assert derive_labels(kind, labels)["beat_phase"].tolist() == [[3, 0, 0]]
    ids = np.array([[3, 4, 5]])
    assert set(probe_kind("vocals", ids, labels, ids, labels)) == set(LABELS["vocals"])
    with pytest.raises(ValueError, match=r"`kind` must be one of vocals, .*, got 'horns'"):
        derive_labels("horns", labels)
