"""A recording read in blocks is the recording: samples, refusals, rates, loudness."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.testing import assert_array_equal

from accompgen_hf.accompgen.audio_accompgen import fold_to_mono, integrated_loudness, load_audio, resample
from accompgen_hf.accompgen.recordings_accompgen import Recording

RATE = 22_050


def make_audio(duration_s: float = 3.0, channels: int = 2) -> np.ndarray:
    num_samples = round(duration_s * RATE)
    return 0.2 * np.random.default_rng(0).standard_normal((channels, num_samples)).astype(np.float32)


def write(path: Path, audio: np.ndarray, **options) -> Path:
    soundfile.write(path, audio.T, RATE, **options)
    return path


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr("accompgen_hf.accompgen.soundfile_reader_accompgen._BLOCK_VALUES", 4096)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.ogg"])
def test_blocks_of_a_file_are_the_file(tmp_path, small_blocks, name):
    path = write(tmp_path / name, make_audio())
    audio, rate = load_audio(path)
    recording = Recording(path)
    assert (recording.num_channels, recording.num_samples, recording.sampling_rate) == (*audio.shape, rate)
    assert recording.duration_s == pytest.approx(3.0, abs=0.1)
    for _ in range(2):  # as often as needed
        blocks = list(recording.blocks())
        assert len(blocks) > 5
        assert_array_equal(np.concatenate(blocks, axis=1), audio)
    assert_array_equal(recording.read(), audio)
    assert_array_equal(recording.read(0.5), audio[:, : rate // 2])
    for sampling_rate in (16_000, 44_100):
        joined = np.concatenate(list(recording.blocks(sampling_rate)), axis=1)
        assert_array_equal(joined, resample(audio, rate, sampling_rate))
    mono = resample(fold_to_mono(audio), rate, 16_000)
    assert_array_equal(np.concatenate(list(recording.mono_blocks(16_000))), mono)
    assert recording.mono_loudness(16_000) == integrated_loudness(mono, 16_000)


def test_an_array_is_a_recording_too(tmp_path):
    audio = make_audio()
    recording = Recording(audio, RATE)
    assert len(list(recording.blocks())) > 2
    assert_array_equal(recording.read(), audio)
    other = Recording(write(tmp_path / "a.wav", audio, subtype="FLOAT"))
    assert recording.sample_hash() == other.sample_hash()
    assert recording.sample_hash() != Recording(audio * 0.5, RATE).sample_hash()
    assert recording.sample_hash() != Recording(audio, RATE + 1).sample_hash()
    assert recording.sample_hash() != Recording(audio.reshape(1, -1), RATE).sample_hash()


def test_what_is_refused_whole_is_refused_in_blocks(tmp_path, small_blocks):
    audio = make_audio()
    path = write(tmp_path / "a.wav", audio)
    with pytest.raises(ValueError, match="`sampling_rate` is 8000, but the file states 22050 Hz"):
        Recording(path, 8000)
    with pytest.raises(ValueError, match="lasts more than 2 s"):
        Recording(path, max_duration_s=2.0)
    path.write_bytes(path.read_bytes()[:-50_000])
    with pytest.raises(ValueError, match=r"is cut off: it holds 2\.43 s of the 3\.00 s"):
        Recording(path)
    cut = Recording(path, allow_truncated=True)
    assert_array_equal(cut.read(), load_audio(path, allow_truncated=True)[0])
    audio[1, 50_000] = np.nan
    with pytest.raises(ValueError, match="holds NaN or infinity, first at sample 50000"):
        Recording(write(tmp_path / "b.wav", audio, subtype="FLOAT"))


def test_a_warning_is_given_once(tmp_path):
    path = write(tmp_path / "a.ogg", make_audio())
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.warns(UserWarning, match="has no end mark") as caught:
        recording = Recording(path)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_array_equal(np.concatenate(list(recording.blocks()), axis=1), recording.read())


def test_a_file_that_changes_under_way_is_noticed(tmp_path):
    path = write(tmp_path / "a.wav", make_audio())
    recording = Recording(path)
    write(path, make_audio(1.0))
    with pytest.raises(ValueError, match="has changed while it was worked on: it held 66150 samples, now 22050"):
        list(recording.blocks())
