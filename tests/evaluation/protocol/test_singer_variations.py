"""What follows the singer is found to follow, and what does not is not."""

from pathlib import Path

import numpy as np
import pytest

from accompgen_hf.accompgen.audio_accompgen import write_audio
from accompgen_hf.evaluation.protocol import singer_variations
from accompgen_hf.evaluation.protocol.singer_variations import (
    VERSIONS,
    describe_recording,
    describe_songs,
    follow_recording,
    follow_songs,
    sing_version,
    swapped_adherence,
)
from accompgen_hf.songs.song import compose_song, synthesize_song

RATE = singer_variations.SAMPLING_RATE


class Echo:
    """Plays what is sung."""

    def __init__(self):
        self.num_calls = 0

    def describe(self):
        return {"system": type(self).__name__}

    def play(self, vocals: np.ndarray) -> np.ndarray:
        return vocals

    def accompany(self, vocals, sampling_rate, seeds):
        self.num_calls += 1
        return [self.play(voice) for voice, _ in zip(vocals, seeds, strict=True)]


class Drone(Echo):
    """Plays one chord, whatever is sung."""

    def play(self, vocals):
        time = np.arange(len(vocals)) / RATE
        return sum(0.1 * np.sin(2 * np.pi * f * time) for f in (220.0, 277.2, 329.6)).astype(np.float32)


def test_versions_keep_the_beat_and_the_notes_in_place():
    annotation = compose_song(800_000, duration_s=5.0)
    higher, faster = sing_version(annotation, "up-3"), sing_version(annotation, "faster")
    assert higher.tonic == (annotation.tonic + 3) % 12
    assert higher.tempo_bpm == annotation.tempo_bpm
    assert faster.tempo_bpm == pytest.approx(1.1 * annotation.tempo_bpm)
    assert faster.tonic == annotation.tonic
    assert sing_version(annotation, "as-is") == annotation


def test_an_echo_follows_every_transposition_and_a_drone_none(tmp_path, monkeypatch):
    monkeypatch.setattr(singer_variations, "DURATION_S", 3.0)
    echo = Echo()
    rows = follow_songs(echo, tmp_path / "echo", 2)
    assert [row["ours"]["up-3"] and row["ours"]["down-4"] for row in rows] == [True, True]
    assert [row["truth"]["up-3"] and row["truth"]["down-4"] for row in rows] == [True, True]
    assert echo.num_calls == 2
    assert follow_songs(echo, tmp_path / "echo", 2) == rows
    assert echo.num_calls == 2  # kept
    drone = follow_songs(Drone(), tmp_path / "drone", 1)
    assert not drone[0]["ours"]["up-3"]
    assert not drone[0]["ours"]["down-4"]
    assert drone[0]["ours"]["tempo_error"] is None


@pytest.mark.slow
def test_the_true_bands_fit_their_own_singers_only(tmp_path):
    (tmp_path / "songs").mkdir()
    for seed in range(800_000, 800_010):
        band = synthesize_song(compose_song(seed, duration_s=10.0), RATE).instrumental
        write_audio(tmp_path / "songs" / f"{seed}-as-is.wav", band, RATE)
    found = swapped_adherence(tmp_path, 10, 16)
    assert found["ours, own"]["value"] == pytest.approx(found["truth, own"]["value"], abs=0.05)  # 24 bit on disk
    assert found["truth, own"]["value"] > 0.8
    assert found["ours, swapped"]["value"] < 0.3


def test_every_result_of_the_recording_is_shown(tmp_path):
    pytest.importorskip("av")
    path = tmp_path / "voice.wav"
    write_audio(path, synthesize_song(compose_song(3, duration_s=4.0), RATE).vocals, RATE)
    results = follow_recording(Echo(), path, tmp_path / "out", 2)
    assert [row["rotation"] for row in results["versions"]["up-3"]] == [3, 3]
    assert [row["rotation"] for row in results["versions"]["down-4"]] == [8, 8]
    assert all(row["agrees"] for row in results["versions"]["as-is"])
    lines = describe_recording(results)
    assert len(lines) == 3 + len(VERSIONS)
    assert lines[3].startswith("| up-3 |")
    assert "| 1.00 |" in lines[3]
    assert sorted(Path(tmp_path / "out" / "recording").glob("*.wav"))[0].name == "as-is-00.wav"


def test_the_table_has_a_line_for_every_question():
    row = {"up-3": True, "down-4": False, "faster": True, "tempo_error": 0.0}
    estimate = {"value": 0.5, "low": 0.4, "high": 0.6}
    swapped = {f"{side}, {swap}": estimate for side in ("ours", "truth") for swap in ("own", "swapped")}
    lines = describe_songs([{"seed": 1, "ours": row, "truth": row}] * 3, swapped)
    assert any("by exactly 3 | 1.00 [1.00, 1.00]" in line for line in lines)
    assert any("by exactly 8 | 0.00" in line for line in lines)
    assert any("other singers | 0.50 [0.40, 0.60]" in line for line in lines)
