"""examples/prepare_dataset.py: which sources give parts and styles, and what the others are told."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stand_in_demucs import install_demucs

PATH = Path(__file__).resolve().parents[2] / "examples" / "prepare_dataset.py"
RATE = 44_100
PARTS = ["drums", "bass", "other"]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("prepare_dataset", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def open_tracks(script, *words: str):
    call = ["--output_dir", "out", "--semantic_encoder", "encoder", "--codec", "codec", *map(str, words)]
    return script.open_tracks(script.parse_arguments(call))[0]


def write_tones(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True)
    for index, name in enumerate(names):
        tone = 0.2 * np.sin(2 * np.pi * (200 + 100 * index) * np.arange(RATE // 5) / RATE)
        soundfile.write(folder / name, tone, RATE)


def test_every_source_of_parts_gives_them(script, tmp_path, monkeypatch):
    install_demucs(monkeypatch)
    stems = ("vocals.wav", "drums.wav", "bass.wav", "other.wav")
    write_tones(tmp_path / "hq" / "train" / "Ann - One", "mixture.wav", *stems)
    write_tones(tmp_path / "pairs" / "one", *stems)
    write_tones(tmp_path / "songs", "one.wav")
    (tmp_path / "songs" / "tracks.csv").write_text("track_id,style\none.wav,Hip-Hop\n")
    calls = {
        "songs": ["--num_songs", 1, "--song_duration_s", 0.5, "--styles"],
        "musdb18hq": ["--data", tmp_path / "hq"],
        "pairs": ["--data", tmp_path / "pairs"],
        "folder": ["--data", tmp_path / "songs", "--separate", "htdemucs", "--styles"],
    }
    for source, words in calls.items():
        (track,) = open_tracks(script, "--source", source, *words, "--parts", *PARTS)
        vocals, parts, _ = track.load_parts()
        assert list(parts) == PARTS
        assert all(part.shape == vocals.shape for part in parts.values())
        assert (track.style is not None) == ("--styles" in words)
    assert track.style == "hip_hop"


def test_sources_without_parts_or_styles_say_so(script, tmp_path, monkeypatch):
    install_demucs(monkeypatch)
    write_tones(tmp_path / "pairs" / "one", "vocals.wav", "instrumental.wav")
    write_tones(tmp_path / "hq" / "train" / "Ann - One", "mixture.wav", "vocals.wav", *(f"{p}.wav" for p in PARTS))
    pairs = ["--source", "pairs", "--data", tmp_path / "pairs"]
    with pytest.raises(
        ValueError, match=r"`parts` \(drums, bass and other\) are there in .*1 of 1 recordings have none"
    ):
        open_tracks(script, *pairs, "--parts", *PARTS)
    for words in (pairs, ["--source", "musdb18hq", "--data", tmp_path / "hq"]):
        with pytest.raises(ValueError, match=r"`styles` are stated by .*none of these 1 recordings states one"):
            open_tracks(script, *words, "--styles")
    with pytest.raises(ValueError, match="`--parts` must name different parts, two at least, got drums"):
        open_tracks(script, *pairs, "--parts", "drums")


def test_a_part_that_nobody_has_is_a_wrong_call(script, capsys):
    with pytest.raises(SystemExit):
        open_tracks(script, "--num_songs", 1, "--parts", "drums", "guitar")
    assert "invalid choice: 'guitar'" in capsys.readouterr().err
