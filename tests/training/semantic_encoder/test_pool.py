"""Clips on disk: made once, read the same, with labels that agree with the annotation."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("sklearn")
from accompgen_hf.songs.recipe import SongRecipe
from accompgen_hf.songs.song import compose_song
from accompgen_hf.training.semantic_encoder.pool import SongPool, find_beat_places, label_frames


def test_frame_labels_agree_with_the_annotation():
    annotation = compose_song(3, duration_s=10.0)
    labels = label_frames(annotation, 500)
    note = max(annotation.melody, key=lambda note: note.end_s - note.start_s)
    middle = int((note.start_s + note.end_s) / 2 * 50)
    assert labels["midi_pitch"][middle] == note.midi_pitch
    chord = max(annotation.chords, key=lambda chord: chord.end_s - chord.start_s)
    middle = int((chord.start_s + chord.end_s) / 2 * 50)
    assert labels["chord_root"][middle] == chord.root
    assert labels["is_minor_chord"][middle] == ((chord.root + 3) % 12 in chord.pitch_classes)
    beats = annotation.beat_times[(annotation.beat_times > 0.1) & (annotation.beat_times < 9.9)]
    assert labels["is_beat"][(beats * 50).astype(int)].all()
    assert labels["is_beat"].sum() <= 3 * len(annotation.beat_times)
    frames = (beats * 50).astype(int)
    assert (labels["beat_phase"][frames + 1] == 0).all()  # a frame's centre may lie just before the beat
    assert (labels["beat_phase"][frames - 2] == 3).all()


def test_places_in_beats_count_from_the_songs_start():
    annotation = replace(compose_song(3, duration_s=10.0), tempo_bpm=60.0, start_s=0.25)
    assert find_beat_places(annotation, 51, 4).tolist() == [1] * 12 + [2] * 13 + [3] * 12 + [0] * 13 + [1]
    assert find_beat_places(annotation, 3, 12).tolist() == [3, 3, 3]


def test_a_pool_gains_the_parts_of_its_bands(parts_of_bands, parts, tmp_path):
    pool = parts_of_bands[0]
    total = sum(pool.read_waveform(kind, 1) for kind in ("drums", "bass", "other"))
    np.testing.assert_allclose(total, pool.read_waveform("instrumental", 1), atol=3e-3)  # four half-precision files
    assert np.array_equal(pool.read_waveform("instrumental", 1), parts[0].read_waveform("instrumental", 1))
    SongPool(tmp_path, 2).build()
    assert SongPool(tmp_path, 2, with_parts=True).build().read_waveform("drums", 0).any()


def test_pool_is_made_once_and_reads_the_same(parts):
    pool = parts[0]
    again = SongPool(pool.folder, 2).build()
    waveform = again.read_waveform("vocals", 1)
    assert waveform.dtype == np.float32
    assert waveform.shape == (160_000,)
    assert np.array_equal(waveform, pool.read_waveform("vocals", 1))
    assert not list(pool.folder.glob("*.tmp"))
    with pytest.raises(ValueError, match="`num_clips` must be a positive multiple of"):
        SongPool(pool.folder, 3)


def test_another_recipe_has_its_own_chunks(parts):
    pool = SongPool(parts[0].folder, 2, recipe=SongRecipe(composition="lead_sheets")).build()
    assert not np.array_equal(pool.read_waveform("instrumental", 0), parts[0].read_waveform("instrumental", 0))
    assert len(list(pool.folder.glob("labels_000000*.npz"))) == 2
