"""examples/separate_songs.py: songs of several sources become pairs in one folder."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from onnx_networks import write_mixing_network

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
