"""Drums, bass and other of real and procedural music, from the sources that have them."""

import argparse

import numpy as np
import pytest
import soundfile

from accompgen_hf.data.corpora import musdb18_recordings, musdb18hq_recordings
from accompgen_hf.data.separation import DemucsSeparator
from accompgen_hf.data.song_source import song_recordings, song_tracks
from accompgen_hf.data.source_options import add_song_recipe_options, read_song_recipe
from accompgen_hf.data.sources import make_tracks, pair_recordings, separate_parts
from accompgen_hf.songs.recipe import PLAIN_SONGS, SongRecipe
from accompgen_hf.songs.song import generate_song
from stand_in_demucs import StandInDemucs, install_demucs
from stem_files import RATE, tones, write_stem_file

PARTS = ["drums", "bass", "other"]


@pytest.fixture
def demucs(monkeypatch):
    install_demucs(monkeypatch)


def amplitude(audio: np.ndarray, frequency: float) -> float:
    phase = 2j * np.pi * frequency * np.arange(audio.shape[-1]) / RATE
    return float(2 * np.abs(np.mean(audio[0] * np.exp(-phase))))


def test_a_stem_file_gives_its_parts_and_they_add_up_to_its_instrumental(tmp_path):
    write_stem_file(tmp_path / "musdb" / "train" / "Ann - One.stem.mp4", tones())
    (recording,) = musdb18_recordings(tmp_path / "musdb")
    vocals, parts, rate = recording.load_parts()
    assert rate == RATE
    assert list(parts) == PARTS
    for name, frequency in (("drums", 200), ("bass", 300), ("other", 500)):
        assert amplitude(parts[name], frequency) == pytest.approx(0.1, rel=0.1)
        assert amplitude(vocals, frequency) < 0.005
    _, instrumental, _ = recording.load_stems()
    assert np.array_equal(parts["drums"] + parts["bass"] + parts["other"], instrumental)


def test_musdb18_hq_gives_the_same_three(tmp_path):
    stems = tones()
    song = tmp_path / "train" / "Ann - One"
    song.mkdir(parents=True)
    for name, audio in stems.items():
        soundfile.write(song / f"{'mixture' if name == 'mix' else name}.wav", audio.T, RATE, subtype="FLOAT")
    (track,) = make_tracks(musdb18hq_recordings(tmp_path), parts=True)
    vocals, parts, _ = track.load_parts()
    assert list(parts) == PARTS
    for name, part in parts.items():
        np.testing.assert_allclose(part, stems[name].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(vocals, stems["vocals"].mean(axis=0), atol=1e-6)


def test_demucs_gives_the_same_three_and_they_add_up_to_the_song(demucs):
    mix = np.random.default_rng(0).normal(0, 0.1, (2, RATE)).astype(np.float32)
    separator = DemucsSeparator("htdemucs", "cpu")
    vocals, parts, rate = separator.separate_parts(mix, RATE)
    assert rate == RATE
    assert list(parts) == PARTS
    centred = mix - mix.mean()
    for name, share in (("drums", 0.2), ("bass", 0.1)):
        np.testing.assert_allclose(parts[name], share * centred, atol=1e-5)
    np.testing.assert_allclose(vocals + sum(parts.values()), mix, atol=1e-6)
    np.testing.assert_allclose(vocals, separator.separate(mix, RATE)[0], atol=0)


def test_a_model_without_drums_is_named(demucs, monkeypatch):
    monkeypatch.setattr(StandInDemucs, "sources", ("vocals", "bass", "other", "rest"))
    with pytest.raises(ValueError, match="'htdemucs' gives vocals, bass, other, rest: for `parts` it lacks drums"):
        DemucsSeparator("htdemucs", "cpu").separate_parts(np.zeros((2, 100), np.float32), RATE)


def test_separated_songs_give_parts_through_the_separator(demucs, tmp_path):
    (tmp_path / "a").mkdir()
    rng = np.random.default_rng(0)
    for name in ("vocals", "instrumental"):
        soundfile.write(tmp_path / "a" / f"{name}.wav", rng.normal(0, 0.1, RATE), RATE)
    recordings = pair_recordings(tmp_path)
    (track,) = make_tracks(recordings, DemucsSeparator("htdemucs", "cpu"), parts=True)
    vocals, parts, _ = track.load_parts()
    assert list(parts) == PARTS
    assert vocals.shape == parts["drums"].shape == (RATE,)
    assert list(separate_parts(recordings[0], DemucsSeparator("htdemucs", "cpu"))[1]) == PARTS
    with pytest.raises(ValueError, match=r"`parts` .* are there in procedural songs.*1 of 1 recordings have none"):
        make_tracks(recordings, parts=True)
    with pytest.raises(ValueError, match=r"`parts` .* need a separator of four stems such as htdemucs, got object"):
        make_tracks(recordings, object(), parts=True)
    assert make_tracks(recordings)[0].load_parts is None


def test_songs_give_parts_with_and_without_a_folder(tmp_path):
    expected = generate_song(5, duration_s=1.0, with_parts=True)
    (fresh,) = song_tracks(5, 1, 1.0, parts=True)
    vocals, parts, rate = fresh.load_parts()
    assert rate == 24000
    assert all(np.array_equal(parts[name], expected.parts[name]) for name in PARTS)
    assert np.array_equal(vocals, expected.vocals)
    (kept,) = song_tracks(5, 1, 1.0, tmp_path, parts=True)
    _, parts, _ = kept.load_parts()
    assert list(parts) == PARTS
    np.testing.assert_allclose(parts["bass"], expected.parts["bass"], atol=1 / 32767)
    np.testing.assert_allclose(kept.load()[1], expected.instrumental, atol=1 / 32767)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["5-parts.npy", "5.npy"]
    (recording,) = song_recordings(5, 1, 1.0)
    assert recording.load_parts()[1]["other"].shape == (1, 24000)
    assert song_tracks(5, 1, 1.0)[0].load_parts is None


def test_songs_of_another_recipe_lie_in_other_files(tmp_path):
    recipe = SongRecipe(composition="lead_sheets")
    (plain,), (loose,) = song_tracks(5, 1, 0.5, tmp_path), song_tracks(5, 1, 0.5, tmp_path, recipe)
    assert not np.array_equal(plain.load()[0], loose.load()[0])
    assert len(list(tmp_path.iterdir())) == 2
    expected = recipe.generate(5, duration_s=0.5)
    np.testing.assert_allclose(loose.load()[0], expected.vocals, atol=1 / 32767)


def test_options_lead_to_the_recipe():
    parser = argparse.ArgumentParser()
    add_song_recipe_options(parser)
    assert read_song_recipe(parser.parse_args([])) == PLAIN_SONGS
    options = "--composition lead_sheets --singers mixed --renderer mixed --soundfont a.sf2"
    recipe = read_song_recipe(parser.parse_args(options.split()))
    assert recipe == SongRecipe("lead_sheets", "mixed", "mixed", "a.sf2")
