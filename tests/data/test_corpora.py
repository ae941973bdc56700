"""Public corpora in their real layouts, made small: FMA, MUSDB18 as STEM mp4 and as folders, datasets."""

import io

import datasets
import numpy as np
import pytest
import soundfile

from accompgen_hf.data.corpora import (
    dataset_recordings,
    fma_recordings,
    musdb18_recordings,
    musdb18hq_recordings,
    read_stem_file,
)
from stem_files import RATE, tones, write_stem_file

TABLE = """,album,artist,set,set,track,track,track
,id,id,split,subset,genre_top,license,title
track_id,,,,,,,
2,1,7,training,large,Old-Time / Historic,CC-BY-4.0,"Food, one"
140,9,,test,large,,,Two
"""


def amplitude(audio: np.ndarray, frequency: float) -> float:
    inner = audio[4096:-4096]
    phase = 2 * np.pi * frequency * np.arange(len(inner)) / RATE
    return 2 * np.abs((inner * np.exp(-1j * phase)).mean())


def test_a_stem_file_gives_each_stem_from_its_own_stream(tmp_path):
    write_stem_file(tmp_path / "musdb" / "train" / "Ann - One.stem.mp4", tones())
    write_stem_file(tmp_path / "musdb" / "test" / "Bob - Two.stem.mp4", tones())
    test, train = musdb18_recordings(tmp_path / "musdb")
    assert (train.track_id, train.artist, train.split) == ("musdb18-Ann - One", "Ann", None)
    assert test.split == "test"
    vocals, instrumental, rate = train.load_stems()
    assert rate == RATE
    assert vocals.shape == instrumental.shape
    assert amplitude(vocals[0], 800) == pytest.approx(0.1, abs=0.01)
    assert amplitude(vocals[0], 200) < 0.003
    for frequency in (200, 300, 500):
        assert amplitude(instrumental[1], frequency) == pytest.approx(0.05, abs=0.005)
    assert amplitude(instrumental[0], 800) < 0.003
    mix, _ = train.load_mix()
    np.testing.assert_allclose(mix[:, 4096:-4096], (vocals + instrumental)[:, 4096:-4096], atol=0.02)


def test_other_media_files_are_no_stem_files(tmp_path):
    path = tmp_path / "a.stem.mp4"
    write_stem_file(path, dict(list(tones().items())[:2]))
    with pytest.raises(ValueError, match=r"must have 5 audio streams \(mix, drums, .*\), got 2"):
        read_stem_file(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"a.stem.mp4 is damaged or no STEM file"):
        read_stem_file(path)
    stems = tones()
    stems["vocals"] = stems["vocals"][:, : RATE // 4]
    write_stem_file(path, stems)
    with pytest.raises(ValueError, match=r"a.stem.mp4 is cut off: its streams hold"):
        read_stem_file(path)
    with pytest.raises(ValueError, match=r"holds no MUSDB18 STEM files"):
        musdb18_recordings(tmp_path / "empty")


def test_musdb18_hq_folders_are_the_same_tracks(tmp_path):
    song = tmp_path / "train" / "Ann - One"
    song.mkdir(parents=True)
    stems = tones()
    for name, audio in stems.items():
        soundfile.write(song / f"{'mixture' if name == 'mix' else name}.wav", audio.T, RATE, subtype="FLOAT")
    (recording,) = musdb18hq_recordings(tmp_path)
    assert recording.track_id == "musdb18-Ann - One"
    assert recording.licence == "MUSDB18: academic use"
    vocals, instrumental, _ = recording.load_stems()
    np.testing.assert_allclose(vocals, stems["vocals"])
    np.testing.assert_allclose(instrumental, stems["mix"] - stems["vocals"], atol=1e-6)
    np.testing.assert_allclose(recording.load_mix()[0], stems["mix"])
    (song / "bass.wav").unlink()
    with pytest.raises(ValueError, match=r"Ann - One lacks bass.wav"):
        musdb18hq_recordings(tmp_path)
    with pytest.raises(ValueError, match=r"holds no MUSDB18-HQ folders"):
        musdb18hq_recordings(song / "none")


def test_fma_clips_carry_licence_artist_and_split_of_the_table(tmp_path):
    folder = tmp_path / "fma_large" / "000"
    folder.mkdir(parents=True)
    audio = 0.1 * np.random.default_rng(0).standard_normal((RATE // 2, 2))
    for name in ("000002.mp3", "000140.mp3"):
        soundfile.write(folder / name, audio, RATE, format="MP3")
    assert [r.licence for r in fma_recordings(folder.parent)] == ["unknown"] * 2
    (tmp_path / "fma_metadata").mkdir()
    (tmp_path / "fma_metadata" / "tracks.csv").write_text(TABLE)
    first, second = fma_recordings(folder.parent)
    assert (first.track_id, first.licence, first.artist, first.album) == ("fma-000002", "CC-BY-4.0", "7", "1")
    assert (first.split, second.split) == ("train", "test")
    assert (second.licence, second.artist) == ("unknown", None)
    assert (first.style, second.style) == ("old_time_historic", None)
    (tmp_path / "fma_metadata" / "tracks.csv").write_text(TABLE.replace("genre_top", "genres"))
    assert fma_recordings(folder.parent)[0].style is None
    assert first.load_mix()[0].shape[0] == 2
    with pytest.raises(ValueError, match=r"holds no FMA clips \(000/000002.mp3"):
        fma_recordings(tmp_path)
    (tmp_path / "other.csv").write_text("a,b\nc,d\n")
    with pytest.raises(ValueError, match=r"is not FMA's tracks.csv: it lacks track license, artist id"):
        fma_recordings(folder.parent, tmp_path / "other.csv")


def flac(seed: int) -> dict:
    content = io.BytesIO()
    soundfile.write(content, 0.1 * np.random.default_rng(seed).standard_normal(RATE // 5), RATE, format="FLAC")
    return {"bytes": content.getvalue(), "path": None}


def make_dataset(rows: dict, audio_columns: list[str]) -> datasets.Dataset:
    """Seeds in audio columns become files; encoding by `datasets` itself would need torchcodec."""
    audio = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    features = datasets.Features({name: audio if name in audio_columns else datasets.Value("string") for name in rows})
    files = {
        name: [flac(seed) for seed in values] if name in audio_columns else values for name, values in rows.items()
    }
    dataset = datasets.Dataset.from_dict(files, features=features)
    for column in audio_columns:
        dataset = dataset.cast_column(column, datasets.Audio())
    return dataset


def test_a_dataset_is_read_without_its_own_decoder(tmp_path):
    rows = {"audio": [0, 1], "name": ["x", "y"], "license": ["CC0-1.0", None], "artist": ["Ann", None]}
    dataset = make_dataset(rows, ["audio"])
    first, second = dataset_recordings(dataset, licence="CC-BY-4.0", id_column="name")
    assert (first.track_id, first.licence, first.artist) == ("x", "CC0-1.0", "Ann")
    assert (second.licence, second.artist) == ("CC-BY-4.0", None)
    audio, rate = second.load_mix()
    assert (audio.shape, rate) == ((1, RATE // 5), RATE)
    dataset.save_to_disk(tmp_path / "saved")
    assert dataset_recordings(tmp_path / "saved")[1].track_id == "00000001"
    with pytest.raises(ValueError, match=r"`data` has no column 'song', but audio, name, license, artist"):
        dataset_recordings(dataset, ["song"])
    with pytest.raises(ValueError, match=r"`audio_columns` must be one column of songs, or vocals and instrumental"):
        dataset_recordings(dataset, ["audio"] * 3)
    with pytest.raises(ValueError, match=r"`audio_columns` must be given: `data` has 0 audio columns"):
        dataset_recordings(dataset.remove_columns("audio"))


def test_two_audio_columns_are_a_pair():
    (recording,) = dataset_recordings(make_dataset({"vocals": [0], "instrumental": [1]}, ["vocals", "instrumental"]))
    vocals, instrumental, _ = recording.load_stems()
    np.testing.assert_allclose(recording.load_mix()[0], vocals + instrumental)
    assert not np.allclose(vocals, instrumental)
