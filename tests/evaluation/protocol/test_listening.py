"""The listening test is blind, equally loud, and its key gives every sample back to its system."""

import csv
import json

import numpy as np
import pytest

from accompgen_hf.accompgen.audio_accompgen import integrated_loudness, load_audio, write_audio
from accompgen_hf.accompgen.mixing_accompgen import mix, true_peak
from accompgen_hf.data.sources import Track
from accompgen_hf.evaluation.protocol.excerpts import write_windows
from accompgen_hf.evaluation.protocol.listening import equalise_loudness, write_listening_test

RATE = 24_000
FREQUENCIES = {"one": 100.0, "two": 150.0, "three": 220.0}


def tone(frequency: float, scale: float = 0.2) -> np.ndarray:
    return (scale * np.sin(2 * np.pi * frequency * np.arange(2 * RATE) / RATE)).astype(np.float32)


@pytest.fixture
def listening(tmp_path):
    tracks = [Track(f"song {index}", "CC0-1.0", lambda: (tone(500), tone(300), RATE)) for index in range(4)]
    test_set = write_windows(tracks, tmp_path / "inputs", window_s=2.0)
    outputs = {name: tmp_path / name for name in FREQUENCIES}
    for loudness, (name, folder) in enumerate(outputs.items(), 1):
        folder.mkdir()
        for window in test_set.windows:
            write_audio(folder / f"{window.window_id}.wav", tone(FREQUENCIES[name], 0.1 * loudness), RATE)
    return test_set, outputs


def test_samples_are_shuffled_equally_loud_and_the_key_knows_them(listening, tmp_path):
    test_set, outputs = listening
    key = json.loads(write_listening_test(test_set, outputs, tmp_path / "test", seed=3, num_trials=4).read_text())
    orders = [tuple(trial["systems"].values()) for trial in key["trials"].values()]
    assert len(orders) == 4
    assert len(set(orders)) > 1
    for trial, content in key["trials"].items():
        for letter, name in content["systems"].items():
            audio, rate = load_audio(tmp_path / "test" / trial / f"{letter}.wav")
            assert integrated_loudness(audio, rate) == pytest.approx(-23.0, abs=0.1)
            spectrum = np.abs(np.fft.rfft(audio[0]))[: 2 * 400]
            assert np.argmax(spectrum) / 2 == FREQUENCIES[name]
    with open(tmp_path / "test" / "answers.csv", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 4 * 3
    names = {path.name for path in (tmp_path / "test").rglob("*.wav")}
    assert names == {"A.wav", "B.wav", "C.wav"}  # nothing gives a system away


def test_a_used_folder_and_too_few_systems_are_refused(listening, tmp_path):
    test_set, outputs = listening
    with pytest.raises(ValueError, match=r"`listening_test` .* must be a new folder"):
        write_listening_test(test_set, outputs, tmp_path, seed=0)
    with pytest.raises(ValueError, match="`listening_test` needs 2 to 26 systems, got 1"):
        write_listening_test(test_set, {"one": outputs["one"]}, tmp_path / "few", seed=0)


def test_peaks_lower_all_samples_alike():
    clicks = np.zeros(2 * RATE, np.float32)
    clicks[::3000] = 0.5
    quiet = mix(tone(500), tone(100), RATE)
    levelled = equalise_loudness([clicks, quiet], RATE)
    assert max(true_peak(audio) for audio in levelled) <= 10 ** (-1 / 20) + 1e-3
    loudness = [integrated_loudness(audio, RATE) for audio in levelled]
    assert loudness[0] == pytest.approx(loudness[1], abs=0.1)
