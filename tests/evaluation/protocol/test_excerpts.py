"""Windows of songs: procedural, MUSDB18 in both forms, pairs; chosen by the seed, written once."""

import numpy as np
import pytest

from accompgen_hf.accompgen.audio_accompgen import write_audio
from accompgen_hf.data.corpora import STEM_STREAMS, musdb18_recordings, musdb18hq_recordings
from accompgen_hf.data.sources import SourceRecording, Track
from accompgen_hf.evaluation.protocol.excerpts import (
    choose_recordings,
    describe_recipe,
    held_out_song_tracks,
    make_window_id,
    read_windows,
    recording_tracks,
    songs_under_test,
    write_windows,
)
from accompgen_hf.songs.recipe import SongRecipe
from stem_files import RATE as STEM_RATE
from stem_files import write_stem_file

RATE = 24_000


def sung_track(name: str, seconds: float = 3.0, silent_until_s: float = 0.0, scale: float = 0.3) -> Track:
    time = np.arange(round(seconds * RATE)) / RATE
    vocals = (scale * np.sin(2 * np.pi * 300 * time) * (time >= silent_until_s)).astype(np.float32)
    instrumental = (scale * np.sin(2 * np.pi * 200 * time)).astype(np.float32)
    return Track(name, "CC0-1.0", lambda: (vocals, instrumental, RATE))


def recording(name: str, split: str | None = None, artist: str | None = None) -> SourceRecording:
    return SourceRecording(name, load_mix=lambda: None, load_stems=lambda: None, split=split, artist=artist)


def test_windows_are_files_that_say_where_they_come_from(tmp_path):
    folder = write_windows([sung_track("a/b c.wav")], tmp_path, window_s=1.0, windows_per_song=2)
    assert len(folder.windows) == 2
    window = folder.windows[0]
    assert window.window_id == make_window_id("a/b c.wav", window.start_s)
    assert set(window.window_id) <= set("abcdefghijklmnopqrstuvwxyz0123456789._-")
    vocals, instrumental = sung_track("x").load()[:2]
    start = round(window.start_s * RATE)
    assert np.abs(folder.load(window, "vocals") - vocals[start : start + RATE]).max() < 1e-6
    assert np.abs(window.load_instrumental(RATE) - instrumental[start : start + RATE]).max() < 1e-6


def test_windows_without_a_voice_are_left_out(tmp_path):
    folder = write_windows(
        [sung_track("late", silent_until_s=1.9), sung_track("never", silent_until_s=9)],
        tmp_path,
        window_s=1.0,
        windows_per_song=3,
    )
    assert [window.start_s for window in folder.windows] == [2.0]
    assert folder.description["skipped_songs"] == ["never"]
    with pytest.raises(ValueError, match=r"`data` has no window of 1.0 s in which a voice sings"):
        write_windows([sung_track("never", silent_until_s=9)], tmp_path / "none", window_s=1.0)


def test_a_sum_above_full_scale_is_lowered_on_both_sides(tmp_path):
    folder = write_windows([sung_track("loud", scale=2.0)], tmp_path, window_s=1.0)
    window = folder.windows[0]
    peaks = [np.abs(folder.load(window, kind)).max() for kind in ("vocals", "instrumental")]
    assert peaks == pytest.approx([1.0, 1.0], abs=1e-2)


def test_the_same_request_goes_on_and_another_is_refused(tmp_path):
    write_windows([sung_track("a")], tmp_path, window_s=1.0)
    broken = Track("a", "CC0-1.0", lambda: 1 / 0)  # is not loaded again
    assert len(write_windows([broken], tmp_path, window_s=1.0).windows) == 1
    with pytest.raises(ValueError, match="`output_dir` has windows of another test set"):
        write_windows([sung_track("a")], tmp_path, window_s=1.5)
    with pytest.raises(ValueError, match=r"holds no windows.json"):
        read_windows(tmp_path / "vocals")


def test_a_mismatched_pair_is_named(tmp_path):
    vocals, instrumental, _ = sung_track("x").load()
    pair = Track("odd", "CC0-1.0", lambda: (vocals, instrumental[: RATE // 2], RATE))
    with pytest.raises(ValueError, match=r"`data` odd: .* mismatched pair, their lengths differ by 2.50 s"):
        write_windows([pair], tmp_path, window_s=1.0)


def test_names_that_become_one_file_name_are_refused(tmp_path):
    with pytest.raises(ValueError, match="`data` has songs whose names differ in signs alone"):
        write_windows([sung_track("a b"), sung_track("a?b")], tmp_path, window_s=1.0)


def test_procedural_songs_are_held_out_and_stay_apart():
    assert [track.track_id for track in songs_under_test(2, 5, 1.0)] == ["song-800005", "song-800006"]
    with pytest.raises(ValueError, match="`seed` must give songs from 800000 on"):
        held_out_song_tracks(799_999, 1, 1.0)
    with pytest.raises(ValueError, match="`seed` must be at least 0, and with `num_songs` at most 50000"):
        songs_under_test(2, 49_999, 1.0)


def test_a_procedural_window_knows_its_annotation(tmp_path):
    folder = write_windows(songs_under_test(1, 0, 4.0), tmp_path, window_s=4.0)
    annotation = folder.annotation(folder.windows[0])
    assert (annotation.seed, annotation.duration_s) == (800_000, 4.0)
    recipe = SongRecipe("lead_sheets")
    tracks = songs_under_test(1, 0, 4.0, recipe)
    loose = write_windows(tracks, tmp_path / "loose", window_s=4.0, source=describe_recipe(recipe))
    assert loose.annotation(loose.windows[0]) == recipe.compose(800_000, duration_s=4.0) != annotation
    with pytest.raises(ValueError, match="`output_dir` has windows of another test set"):
        write_windows(tracks, tmp_path / "loose", window_s=4.0)
    other = write_windows([sung_track("folk")], tmp_path / "other", window_s=1.0)
    assert other.annotation(other.windows[0]) is None


def test_stated_test_songs_are_tested_and_no_artist_is_on_both_sides():
    recordings = [recording(f"t{index}", "test", f"artist {index}") for index in range(3)]
    recordings += [recording("r0", None, "artist 0"), recording("r1", None, "somebody")]
    tested, reference = choose_recordings(recordings, 3, 0)
    assert [item.track_id for item in tested] == ["t0", "t1", "t2"]
    assert [item.track_id for item in reference] == ["r1"]
    few, rest = choose_recordings(recordings, 1, 0)
    assert len(few) == 1
    assert not {item.track_id for item in rest} & {"t0", "t1", "t2"}
    with pytest.raises(ValueError, match=r"`num_songs` must be in \[1, 3\]"):
        choose_recordings(recordings, 4, 0)


def test_without_a_stated_split_the_seed_divides():
    recordings = [recording(f"song {index}") for index in range(10)]
    sides = [choose_recordings(recordings, 4, seed) for seed in (0, 0, 1)]
    assert sides[0] == sides[1] != sides[2]
    tested, reference = sides[0]
    assert len(tested) == 4
    assert {item.track_id for item in tested + reference} == {item.track_id for item in recordings}


def musdb_stems(frequency: float) -> dict[str, np.ndarray]:
    time = np.arange(round(1.5 * STEM_RATE)) / STEM_RATE
    stems = {
        name: np.tile(0.1 * np.sin(2 * np.pi * frequency * factor * time), (2, 1)).astype(np.float32)
        for factor, name in enumerate(STEM_STREAMS[1:], 1)
    }
    return {"mix": sum(stems.values()), **stems}


def test_musdb18_in_both_forms_gives_the_same_windows(tmp_path):
    for index, (split, name) in enumerate([("train", "Ann - One"), ("test", "Bea - Two"), ("test", "Cem - Three")]):
        stems = musdb_stems(150 + 40 * index)
        write_stem_file(tmp_path / "stem" / split / f"{name}.stem.mp4", stems)
        for stem, audio in stems.items():
            path = tmp_path / "hq" / split / name / f"{'mixture' if stem == 'mix' else stem}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_audio(path, audio, STEM_RATE)
    folders = []
    for form, list_songs in (("stem", musdb18_recordings), ("hq", musdb18hq_recordings)):
        tested, reference = choose_recordings(list_songs(tmp_path / form), 2, 0)
        assert [item.track_id for item in reference] == ["musdb18-Ann - One"]
        folders.append(write_windows(recording_tracks(tested), tmp_path / f"{form}_windows", window_s=1.0))
    ids = [[window.window_id for window in folder.windows] for folder in folders]
    assert ids[0] == ids[1] == ["musdb18-Bea_-_Two-0000000ms", "musdb18-Cem_-_Three-0000000ms"]
    for kind in ("vocals", "instrumental"):
        # AAC in one, PCM in the other: the same sound, some milliseconds apart.
        stem, hq = (np.abs(np.fft.rfft(folder.load(folder.windows[0], kind))) for folder in folders)
        assert np.corrcoef(stem, hq)[0, 1] > 0.95
