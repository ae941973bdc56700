"""examples/separate_songs.py: songs of several sources become pairs in one folder."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from accompgen_hf.accompgen.audio_accompgen import load_audio
from accompgen_hf.data.sources import pair_recordings
from onnx_networks import write_mixing_network
from stand_in_demucs import install_demucs

PATH = Path(__file__).resolve().parents[2] / "examples" / "separate_songs.py"
RATE = 44_100


@pytest.fixture(scope="module")
def separate_songs():
    spec = importlib.util.spec_from_file_location("separate_songs", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def write_tone(path: Path, frequency: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.2 * np.sin(2 * np.pi * frequency * np.arange(RATE) / RATE), RATE)


def test_separated_songs_and_ready_stems_share_a_folder_and_a_second_separator_is_refused(
    separate_songs, tmp_path, capsys
):
    network = write_mixing_network(tmp_path / "vocals.onnx", 0.5 * np.eye(4), np.ones(2048), dim_t=16)
    other = write_mixing_network(tmp_path / "Kim_Vocal_2.onnx", 0.5 * np.eye(4), np.ones(3072), dim_t=16)
    write_tone(tmp_path / "songs" / "Ann" / "Album" / "one.wav", 300)
    for stem in ("mixture", "drums", "bass", "other", "vocals"):
        write_tone(tmp_path / "hq" / "train" / "Bob - Two" / f"{stem}.wav", 200)
    pairs = tmp_path / "pairs"
    whole_songs = ["--source", "folder", "--data", str(tmp_path / "songs"), "--output_dir", str(pairs)]
    stems = ["--source", "musdb18hq", "--data", str(tmp_path / "hq"), "--output_dir", str(pairs)]
    for first, second in ((whole_songs, stems), (stems, whole_songs)):
        for options in (first, second):
            separate_songs([*options, *(["--separate", str(network)] if options is whole_songs else [])])
        assert "1 pairs, 0 skipped" in capsys.readouterr().out
    assert len(list((pairs / "vocals").rglob("*.flac"))) == len(list((pairs / "instrumental").rglob("*.flac"))) == 2
    assert json.loads((pairs / "separator.json").read_text())["file"] == "vocals.onnx"
    with pytest.raises(SystemExit, match="holds pairs of another separator"):
        separate_songs([*whole_songs, "--separate", str(other)])
    with pytest.raises(ValueError, match="`separate` is needed: these are whole songs"):
        separate_songs(whole_songs)


def test_parts_are_written_beside_the_vocals_and_add_up_to_the_song(separate_songs, tmp_path, monkeypatch, capsys):
    install_demucs(monkeypatch)
    write_tone(tmp_path / "songs" / "one.wav", 300)
    for stem in ("mixture", "drums", "bass", "other", "vocals"):
        write_tone(tmp_path / "hq" / "train" / "Bob - Two" / f"{stem}.wav", 200)
    pairs = tmp_path / "pairs"
    songs = ["--source", "folder", "--data", str(tmp_path / "songs"), "--separate", "htdemucs"]
    for options in (songs, ["--source", "musdb18hq", "--data", str(tmp_path / "hq")], songs):
        separate_songs([*options, "--output_dir", str(pairs), "--parts"])
        assert "1 pairs, 0 skipped" in capsys.readouterr().out
    assert not (pairs / "instrumental").exists()
    one, two = sorted(pair_recordings(pairs), key=lambda recording: "Two" in recording.track_id)
    assert one.load_parts is not None
    assert two.load_parts is not None
    vocals, parts, sampling_rate = one.load_parts()
    song, _ = load_audio(tmp_path / "songs" / "one.wav")
    assert sampling_rate == RATE
    np.testing.assert_allclose(vocals + sum(parts.values()), np.repeat(song, 2, axis=0), atol=1e-5)


def test_parts_are_refused_where_there_are_none(separate_songs, tmp_path):
    network = write_mixing_network(tmp_path / "vocals.onnx", 0.5 * np.eye(4), np.ones(2048), dim_t=16)
    write_tone(tmp_path / "songs" / "one.wav", 300)
    options = ["--source", "folder", "--data", str(tmp_path / "songs"), "--output_dir", str(tmp_path / "pairs")]
    with pytest.raises(
        ValueError, match=r"`parts` \(drums, bass and other\) are there in .*1 of 1 recordings have none"
    ):
        separate_songs([*options, "--parts"])
    with pytest.raises(ValueError, match=r"`parts` .* need a separator of four stems such as htdemucs, got MDXNet"):
        separate_songs([*options, "--parts", "--separate", str(network)])
