"""Facts about waveforms in memory: types, layouts, rates, loudness and atomic writing."""

import hashlib
import io
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyloudnorm
import pytest
import soundfile
import torch
from numpy.testing import assert_array_equal

import accompgen_hf
from accompgen_hf.accompgen.audio_accompgen import (
    fold_to_mono,
    integrated_loudness,
    load_audio,
    resample,
    resampled_length,
    soften_peaks,
    write_audio,
)

VOCALS = Path(accompgen_hf.__file__).parent / "assets" / "vocals" / "vocadito_10.wav"
RATE = 16_000


def pink_bursts(duration_s: float, sampling_rate: int, seed: int = 0) -> np.ndarray:
    """A drum-like signal with sharp, uneven peaks."""
    random = np.random.default_rng(seed)
    time = np.arange(round(duration_s * sampling_rate)) / sampling_rate
    return (random.standard_normal(len(time)) * np.exp(-8 * (time % 0.35)) * 0.3).astype(np.float32)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", ">i2", "int32", "float16", "float32", "float64", ">f4"])
def test_every_allowed_type_keeps_its_full_scale(dtype):
    reference = 0.5 * np.sin(np.arange(2000) * 0.1)
    scale = {"int8": 127, "int16": 32767, ">i2": 32767, "int32": 2**31 - 1}.get(dtype)
    if dtype == "uint8":
        samples = np.round(reference * 127 + 128).astype(dtype)
    else:
        samples = (reference if scale is None else np.round(reference * scale)).astype(dtype)
    audio, rate = load_audio(samples, RATE)
    assert (audio.dtype, audio.shape, rate) == (np.float32, (1, 2000), RATE)
    np.testing.assert_allclose(audio[0], reference, atol=0.01 if samples.itemsize == 1 else 1e-3)


def test_the_lowest_integer_is_minus_one_and_none_passes_full_scale():
    for dtype in ("int8", "int16", "int32"):
        limits = np.iinfo(dtype)
        audio, _ = load_audio(np.array([limits.min, limits.max] * 1000, dtype=dtype), RATE)
        assert audio.min() == -1.0
        assert audio.max() <= 1.0


@pytest.mark.parametrize("dtype", ["bool", "int64", "uint16", "uint32", "complex64", "longdouble", "U1", "object"])
def test_other_types_are_refused(dtype):
    with pytest.raises(TypeError, match=r"`source` holds samples of type .* allowed are"):
        load_audio(np.zeros(2000).astype(dtype), RATE)


def test_a_default_tensor_of_integers_is_refused_and_bfloat16_is_read():
    with pytest.raises(TypeError, match="`source` holds samples of type int64"):
        load_audio(torch.zeros(2000, dtype=torch.long), RATE)
    audio, _ = load_audio(torch.full((2, 2000), 0.5, dtype=torch.bfloat16, requires_grad=True), RATE)
    assert_array_equal(audio, np.full((2, 2000), 0.5, np.float32))


def test_the_input_is_never_changed_nor_shared():
    samples = np.zeros(2000, dtype=np.float32)
    audio, _ = load_audio(samples, RATE)
    audio[:] = 1
    assert samples.max() == 0
    tensor = torch.zeros(2000)
    load_audio(tensor, RATE)[0][:] = 1
    assert tensor.max() == 0


def test_all_containers_of_one_recording_give_the_same_waveform(tmp_path):
    samples = np.sin(np.arange(4000) * 0.1).astype(np.float32) * 0.5
    path = tmp_path / "a.wav"
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    content = path.read_bytes()
    decoder = SimpleNamespace(
        get_all_samples=lambda: SimpleNamespace(data=torch.tensor(samples)[None], sample_rate=RATE)
    )
    sources = [
        path,
        str(path),
        content,
        bytearray(content),
        memoryview(content),
        {"array": samples, "sampling_rate": RATE},
        {"raw": samples, "sampling_rate": RATE},
        {"path": str(path), "bytes": None},
        {"path": "gone.wav", "bytes": content},
        {"path": None, "array": samples[None], "sampling_rate": RATE},
        decoder,
    ]
    for source in sources:
        audio, rate = load_audio(source)
        assert rate == RATE
        assert_array_equal(audio, samples[None])


def test_datasets_audio_rows_are_read_without_ffmpeg():
    datasets = pytest.importorskip("datasets", reason="datasets (extra `train`) is not installed")
    rows = datasets.Dataset.from_dict({"audio": [str(VOCALS)]})
    rows = rows.cast_column("audio", datasets.Audio(decode=False))
    audio, rate = load_audio(rows[0]["audio"])
    assert (audio.shape, rate) == ((1, 401_214), 44_100)


def test_an_open_file_and_a_row_of_a_dataset_are_recordings():
    content = VOCALS.read_bytes()
    expected, rate = load_audio(VOCALS)
    with open(VOCALS, "rb") as file:
        sources = [file, io.BytesIO(content), {"audio": {"bytes": content, "path": None}, "singer": "Ann"}]
        sources += [{"audio": {"array": expected, "sampling_rate": rate}, "path": None}, {"audio": str(VOCALS)}]
        for source in sources:
            audio, found_rate = load_audio(source)
            assert found_rate == rate
            assert_array_equal(audio, expected)
        with pytest.raises(ValueError, match=r"nothing behind its position. Is it empty, or is `seek\(0\)` missing"):
            load_audio(file)
    with pytest.raises(TypeError, match=r'file in text mode. Open it with `open\(path, "rb"\)`'):
        load_audio(io.StringIO("text"))
    with open(VOCALS, encoding="utf-8") as file, pytest.raises(TypeError, match="file in text mode"):
        load_audio(file)  # its first bytes are no text


def test_wrong_sources_say_what_is_taken():
    with pytest.raises(TypeError, match=r"`source` must be a path, bytes, an open file, a NumPy array.* got list"):
        load_audio([0.0] * 2000, RATE)
    with pytest.raises(TypeError, match="got NoneType"):
        load_audio(None)
    with pytest.raises(ValueError, match="`sampling_rate` is needed with a bare array"):
        load_audio(np.zeros(2000, np.float32))
    with pytest.raises(ValueError, match='add the key "sampling_rate"'):
        load_audio({"array": np.zeros(2000, np.float32)})
    with pytest.raises(ValueError, match="`sampling_rate` is 8000, but `source` states 16000"):
        load_audio({"array": np.zeros(2000, np.float32), "sampling_rate": RATE}, 8000)
    with pytest.raises(ValueError, match=r"`source` must hold .* got the keys \['waveform'\]"):
        load_audio({"waveform": np.zeros(2000)})
    with pytest.raises(ValueError, match="`sampling_rate` is 16000, but the file states 44100 Hz"):
        load_audio(VOCALS, RATE)


def test_layouts_other_than_channels_first_are_refused_not_guessed():
    with pytest.raises(ValueError, match=r"looks like \(num_samples, channels\). Pass the transposed array"):
        load_audio(np.zeros((2000, 2), np.float32), RATE)
    with pytest.raises(ValueError, match="Give one recording at a time"):
        load_audio(np.zeros((1, 1, 2000), np.float32), RATE)
    with pytest.raises(ValueError, match="Give one recording at a time"):
        load_audio(np.array(0.5), RATE)
    with pytest.raises(ValueError, match="with 1 to 64 channels"):
        load_audio(np.zeros((100, 2000), np.float32), RATE)
    with pytest.raises(ValueError, match="with 1 to 64 channels"):
        load_audio(np.zeros((0, 2000), np.float32), RATE)


def test_empty_and_short_arrays_are_refused():
    with pytest.raises(ValueError, match="is empty"):
        load_audio(np.zeros(0, np.float32), RATE)
    with pytest.raises(ValueError, match=r"lasts 0\.099 s .*at least 0\.1 s"):
        load_audio(np.zeros(1590, np.float32), RATE)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused_wherever_they_hide(value):
    samples = np.zeros((2, 300_000), dtype=np.float32)
    samples[1, 299_999] = value
    with pytest.raises(ValueError, match="holds NaN or infinity, first at sample 299999"):
        load_audio(samples, RATE)
    buffer = io.BytesIO()
    soundfile.write(buffer, samples.T, RATE, format="WAV", subtype="FLOAT")
    with pytest.raises(ValueError, match="holds NaN or infinity"):
        load_audio(buffer.getvalue())
    with pytest.raises(ValueError, match="holds NaN or infinity"):
        load_audio(np.full(2000, 1e300), RATE)


def test_integers_stored_as_floats_are_refused():
    with pytest.raises(ValueError, match=r"peaks at 2e\+04, but floating-point samples have full scale at 1\.0"):
        load_audio(np.full(2000, 20_000.0), RATE)


def test_fold_is_the_mean_over_channels():
    audio = np.array([[1.0, 0.0], [0.0, 0.5]], dtype=np.float32)
    assert fold_to_mono(audio).tolist() == [0.5, 0.25]
    assert fold_to_mono(audio[0]).tolist() == [1.0, 0.0]
    assert fold_to_mono(torch.tensor(audio)).tolist() == [0.5, 0.25]
    with pytest.raises(ValueError, match="`audio` must be floating point of shape"):
        fold_to_mono(np.zeros((1, 1, 5)))
    with pytest.raises(ValueError, match="`audio` must be floating point of shape"):
        fold_to_mono(np.zeros(5, dtype=np.int16))


@pytest.mark.parametrize(
    "sampling_rate", [4_000, 8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000, 192_000, 768_000]
)
def test_resampled_lengths_are_exact_from_and_to_every_rate(sampling_rate):
    for num_samples in (sampling_rate // 10, sampling_rate // 3 + 1):
        audio = np.ones((2, num_samples), dtype=np.float32)
        for other in (16_000, 24_000, 44_100, 96_000):
            assert resample(audio, sampling_rate, other).shape == (2, round(num_samples * other / sampling_rate))
            assert resampled_length(num_samples, sampling_rate, other) == round(num_samples * other / sampling_rate)


def test_resampling_keeps_a_sine_and_its_place():
    def wave(rate):
        return np.sin(2 * np.pi * 440 * np.arange(rate) / rate).astype(np.float32)

    result = resample(wave(44_100), 44_100, 16_000)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result[500:-500], wave(16_000)[500:-500], atol=1e-3)
    audio = wave(16_000)
    same = resample(audio, 16_000, 16_000)
    assert_array_equal(same, audio)
    assert not np.shares_memory(same, audio)
    with pytest.raises(ValueError, match="`orig_sampling_rate` must be a whole number"):
        resample(audio, 1, 16_000)


@pytest.mark.parametrize("num_channels", [1, 2, 3, 5])
@pytest.mark.parametrize("sampling_rate", [11_025, 44_100])
def test_loudness_is_that_of_pyloudnorm(num_channels, sampling_rate):
    random = np.random.default_rng(0)
    audio = random.standard_normal((num_channels, 5 * sampling_rate)) * np.linspace(1e-5, 0.3, 5 * sampling_rate)
    audio = audio.astype(np.float32)
    expected = pyloudnorm.Meter(sampling_rate).integrated_loudness(audio.T.astype(np.float64))
    assert integrated_loudness(audio, sampling_rate) == pytest.approx(expected, abs=1e-3)


def test_loudness_is_measured_the_same_over_block_borders():
    audio = np.tile(pink_bursts(3.0, 44_100), 6)  # 18 s are three blocks
    expected = pyloudnorm.Meter(44_100).integrated_loudness(audio.astype(np.float64))
    assert integrated_loudness(audio, 44_100) == pytest.approx(expected, abs=1e-6)


def test_the_bass_effect_channel_does_not_count():
    audio = np.zeros((6, RATE), np.float32)
    audio[3] = pink_bursts(1.0, RATE)
    assert integrated_loudness(audio, RATE) == float("-inf")
    audio[[0, 3]] = audio[[3, 0]]
    assert integrated_loudness(audio, RATE) == pytest.approx(integrated_loudness(audio[0], RATE))


def test_silence_and_less_than_a_gating_block_have_no_loudness():
    assert integrated_loudness(np.zeros(RATE, np.float32), RATE) == float("-inf")
    assert integrated_loudness(np.ones(6399, np.float32), RATE) == float("-inf")
    assert integrated_loudness(pink_bursts(0.4, RATE), RATE) > -60


@pytest.mark.parametrize(("name", "subtype"), [("a b ü.wav", "PCM_24"), ("a.flac", "PCM_24"), ("a.wav", "PCM_16")])
def test_written_files_read_back(tmp_path, name, subtype):
    audio = np.stack([pink_bursts(0.5, RATE), pink_bursts(0.5, RATE, seed=1)]).clip(-1, 1)
    write_audio(tmp_path / name, audio, RATE, subtype)
    info = soundfile.info(tmp_path / name)
    assert (info.subtype, info.samplerate, info.frames, info.channels) == (subtype, RATE, 8000, 2)
    np.testing.assert_allclose(load_audio(tmp_path / name)[0], audio, atol=4e-5 if subtype == "PCM_16" else 2e-7)
    assert os.listdir(tmp_path) == [name]


def test_writing_the_same_twice_gives_the_same_bytes_and_clips(tmp_path):
    audio = np.linspace(-3, 3, 4000, dtype=np.float32)
    hashes = set()
    for name in ("a.wav", "b.wav"):
        write_audio(tmp_path / name, audio, RATE)
        hashes.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert len(hashes) == 1
    audio, _ = load_audio(tmp_path / "a.wav")
    assert audio.min() == -1.0
    assert audio.max() == pytest.approx(1.0, abs=1e-6)
    assert (np.diff(audio[0]) >= 0).all()  # clipped, not wrapped around


def test_write_refuses_before_it_touches_the_file(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match="`audio` must hold finite samples"):
        write_audio(path, np.full(2000, np.nan, np.float32), RATE)
    for name in ("a.txt", "a", "a.ogg"):
        with pytest.raises(ValueError, match=r"`path` must end in \.wav or \.flac for the subtype PCM_24"):
            write_audio(tmp_path / name, np.zeros(2000, np.float32), RATE)
    with pytest.raises(OSError, match="could not be written"):
        write_audio(tmp_path / "no folder" / "a.wav", np.zeros(2000, np.float32), RATE)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.wav"]


def test_a_full_disk_leaves_the_old_file_and_no_rest(tmp_path):
    resource = pytest.importorskip("resource", reason="needs a limit on file size")
    path = tmp_path / "a.wav"
    path.write_bytes(b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match="Is the disk full"):
            write_audio(path, np.zeros(100_000, np.float32), RATE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.wav"]


def test_a_file_that_came_out_short_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(soundfile, "info", lambda _: SimpleNamespace(frames=1))
    with pytest.raises(OSError, match=r"could not be written completely\. Is the disk full"):
        write_audio(tmp_path / "a.wav", np.zeros(2000, np.float32), RATE)
    assert os.listdir(tmp_path) == []


def test_peaks_are_bent_and_never_reach_full_scale():
    audio = np.concatenate([np.linspace(-4, 4, 801), [0.9, -0.9, 0.0]]).astype(np.float32)
    bent = soften_peaks(audio)
    quiet = np.abs(audio) <= 0.9
    np.testing.assert_array_equal(bent[quiet], audio[quiet])
    assert bent.dtype == np.float32
    assert np.abs(bent).max() < 0.98
    assert (np.diff(bent[:801]) > 0).all()  # louder stays louder
    assert soften_peaks(np.float32([1.0, -1.0])) == pytest.approx([0.9 + 0.08 * 0.1 / 0.18] * np.array([1, -1]))
    np.testing.assert_array_equal(bent, np.concatenate([soften_peaks(part) for part in np.split(audio, [7, 300])]))


def test_pairs_of_array_and_rate_are_taken_as_gradio_scipy_and_librosa_give_them():
    stereo = np.zeros((3200, 2), np.int16)
    stereo[:, 1] = 16_384
    for pair in ((RATE, stereo), (stereo.T, RATE), (torch.from_numpy(stereo.T), torch.tensor(RATE))):
        audio, rate = load_audio(pair)
        assert (audio.shape, rate) == ((2, 3200), RATE)
        np.testing.assert_array_equal(audio[:, 0], [0.0, 0.5])
    assert load_audio((RATE, stereo[:, 1]))[0].shape == (1, 3200)
    with pytest.raises(ValueError, match=r"is a pair whose number is no rate .*got 7.*Pass \{\"array\": array"):
        load_audio((7, stereo))
    with pytest.raises(ValueError, match="`sampling_rate` is 8000, but `source` states 16000"):
        load_audio((RATE, stereo), 8000)


def test_lists_and_0_d_rates_in_a_dict_are_taken():
    audio, rate = load_audio({"array": [0.5] * 3200, "sampling_rate": torch.tensor(RATE)})
    assert (audio.shape, rate) == ((1, 3200), RATE)
    assert load_audio({"array": [[0.5] * 3200, [0.25] * 3200], "sampling_rate": np.array(RATE)})[0][1, 0] == 0.25
    assert load_audio(np.zeros(3200, np.float32), torch.tensor(RATE))[1] == RATE
    with pytest.raises(ValueError, match="lists of different lengths"):
        load_audio({"array": [[0.5] * 3200, [0.25] * 3201], "sampling_rate": RATE})
