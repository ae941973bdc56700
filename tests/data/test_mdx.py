"""MDX-Net files: networks whose answer is known, channels, chunks, presets and refusals."""

import numpy as np
import pytest

from accompgen_hf.data.mdx import MDX_PRESETS, MDXNetSeparator
from accompgen_hf.data.separation import load_separator
from onnx_networks import write_mixing_network
from stand_in_demucs import install_demucs

RATE = 44100
OPTIONS = {"n_fft": 6144, "predicted_stem": "vocals", "device": "cpu", "num_threads": 1}
DIM_F, DIM_T = 2048, 32  # of KUIELab's files; theirs have 256 frames
ALL_BINS = 3073  # of the window: a network that sees them all can be exact at every sample


def noise(num_samples: int) -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal((2, num_samples)).astype(np.float32)


@pytest.fixture
def scaling_network(tmp_path):
    return write_mixing_network(tmp_path / "scaling.onnx", 0.5 * np.eye(4), np.ones(ALL_BINS), DIM_T)


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.7])
@pytest.mark.parametrize("num_samples", [5000, 60001])  # less than one chunk, and several
def test_a_network_that_halves_gives_half_the_song_sample_by_sample(scaling_network, num_samples, overlap):
    mix = noise(num_samples)
    separator = MDXNetSeparator(scaling_network, **OPTIONS, overlap=overlap)
    vocals, instrumental, rate = separator.separate(mix, RATE)
    assert rate == RATE
    assert vocals.shape == instrumental.shape == mix.shape
    np.testing.assert_allclose(vocals, 0.5 * mix, atol=1e-6)
    np.testing.assert_allclose(vocals + instrumental, mix, atol=1e-6)


def test_a_network_that_passes_a_band_separates_two_tones(tmp_path):
    frequencies = np.arange(DIM_F) * RATE / 6144
    passes_low = (frequencies < 1000).astype(np.float32)
    path = write_mixing_network(tmp_path / "band.onnx", np.eye(4), passes_low, DIM_T)
    seconds = np.arange(3 * RATE) / RATE
    low, high = 0.3 * np.sin(2 * np.pi * 440 * seconds), 0.2 * np.sin(2 * np.pi * 3000 * seconds + 1)
    mix = np.stack([low + high, -low + 0.5 * high]).astype(np.float32)
    vocals, instrumental, _ = MDXNetSeparator(path, **OPTIONS).separate(mix, RATE)
    inner = slice(6144, -6144)  # a tone that begins at once is no tone there
    np.testing.assert_allclose(vocals[:, inner], np.stack([low, -low])[:, inner], atol=2e-5)
    np.testing.assert_allclose(instrumental[:, inner], np.stack([high, 0.5 * high])[:, inner], atol=2e-5)
    vocals, *_ = MDXNetSeparator(path, **{**OPTIONS, "predicted_stem": "instrumental"}, gain=2.0).separate(mix, RATE)
    np.testing.assert_allclose(vocals[0, inner], (high - low)[inner], atol=4e-5)


def test_channels_are_left_and_right_times_real_and_imaginary(tmp_path):
    # left out = i * left, a quarter turn; right out = right
    mixing = np.array([[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], np.float32)
    path = write_mixing_network(tmp_path / "turn.onnx", mixing, np.ones(DIM_F), DIM_T)
    phase = 2 * np.pi * 500 * np.arange(RATE) / RATE
    mix = 0.3 * np.stack([np.cos(phase), np.cos(phase)]).astype(np.float32)
    vocals, *_ = MDXNetSeparator(path, **OPTIONS).separate(mix, RATE)
    inner = slice(6144, -6144)
    np.testing.assert_allclose(vocals[0, inner], -0.3 * np.sin(phase)[inner], atol=2e-5)
    np.testing.assert_allclose(vocals[1, inner], 0.3 * np.cos(phase)[inner], atol=2e-5)


def test_chunks_leave_no_seams(tmp_path):
    # A network cannot know a chunk's surroundings; this one distorts by a constant, whatever the place in the chunk.
    path = write_mixing_network(tmp_path / "low.onnx", np.eye(4), np.linspace(1, 0, DIM_F), DIM_T)
    mix = noise(90000)
    whole, *_ = MDXNetSeparator(path, **OPTIONS, overlap=0.25).separate(mix, RATE)
    other, *_ = MDXNetSeparator(path, **OPTIONS, overlap=0.6).separate(mix, RATE)
    moved, *_ = MDXNetSeparator(path, **OPTIONS, overlap=0.25).separate(mix[:, 1024:], RATE)
    np.testing.assert_allclose(whole, other, atol=2e-5)
    np.testing.assert_allclose(whole[:, 1024 + 6144 :], moved[:, 6144:], atol=2e-5)


def test_batches_mono_and_other_rates_give_the_same_stem(tmp_path, scaling_network):
    mix = noise(60001)
    fixed = write_mixing_network(tmp_path / "fixed.onnx", 0.5 * np.eye(4), np.ones(ALL_BINS), DIM_T, batch=2)
    expected, *_ = MDXNetSeparator(scaling_network, **OPTIONS, batch_size=1).separate(mix, RATE)
    for path, batch_size in ((scaling_network, 3), (fixed, 4)):
        vocals, *_ = MDXNetSeparator(path, **OPTIONS, batch_size=batch_size).separate(mix, RATE)
        np.testing.assert_allclose(vocals, expected, atol=1e-6)
    mono, *_ = MDXNetSeparator(scaling_network, **OPTIONS).separate(mix[0], RATE)
    np.testing.assert_allclose(mono, np.stack([expected[0]] * 2), atol=1e-6)
    vocals, _, rate = MDXNetSeparator(scaling_network, **OPTIONS).separate(mix, 22050)
    assert (rate, vocals.shape) == (RATE, (2, 120002))


def test_the_input_stays_as_it_is(scaling_network):
    mix = noise(30000)
    before = mix.copy()
    MDXNetSeparator(scaling_network, **OPTIONS).separate(mix, RATE)
    assert np.array_equal(mix, before)


def test_a_preset_is_found_by_the_files_name_and_options_stand_over_it(tmp_path, scaling_network):
    named = scaling_network.rename(tmp_path / "uvr-mdx-net-inst_hq_3.onnx")
    separator = load_separator(named, device="cpu")
    assert (separator.n_fft, separator.gain, separator.predicted_stem) == (6144, 1.022, "instrumental")
    separator = load_separator(named, preset="Kim_Vocal_2", gain=1.0, device="cpu")
    assert (separator.n_fft, separator.gain, separator.predicted_stem) == (7680, 1.0, "vocals")
    assert separator.describe()["file"] == named.name
    assert len(separator.describe()["sha256"]) == 64
    assert {preset.predicted_stem for preset in MDX_PRESETS.values()} == {"vocals", "instrumental"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_fft": 4092}, r"`n_fft` must be even and at least 6144 for the 3073 bins \(dim_f\) .* got 4092"),
        ({"n_fft": 32768}, r"`n_fft` must be below 31744, the samples of .* 32 frames \(dim_t\), got 32768"),
        ({"n_fft": None}, r"`n_fft` and `predicted_stem` are not in scaling.onnx and no preset has its name"),
        ({"preset": "Kim"}, r"`preset` must be one of vocals, .*, got 'Kim'"),
        ({"predicted_stem": "drums"}, r"`predicted_stem` must be 'vocals' or 'instrumental', got 'drums'"),
        ({"overlap": 1.0}, r"`overlap` must be in \[0, 1\), got 1.0"),
        ({"batch_size": 0}, r"`batch_size` must be at least 1, got 0"),
        ({"device": "tpu"}, r"`device` must be 'auto', 'cpu' or 'cuda', got 'tpu'"),
    ],
)
def test_what_does_not_fit_is_refused(scaling_network, options, message):
    with pytest.raises(ValueError, match=message):
        MDXNetSeparator(scaling_network, **{**OPTIONS, **options})


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"`separate` '.*missing.onnx' does not exist"):
        load_separator(tmp_path / "missing.onnx", **OPTIONS)
    (tmp_path / "text.onnx").write_text("not a network")
    with pytest.raises(ValueError, match=r"text.onnx' cannot be read as a network"):
        load_separator(tmp_path / "text.onnx", **OPTIONS)
    sizes = (np.eye(4, dtype=np.float32), np.ones(16), "frames")
    with pytest.raises(
        ValueError, match=r"must map \(B, 4, dim_f, dim_t\) to the same shape, .* it maps \['batch', 4"
    ):
        load_separator(write_mixing_network(tmp_path / "open.onnx", *sizes), **OPTIONS)
    with pytest.raises(ValueError, match=r"`separate` must be an .onnx file of MDX-Net or the name of a demucs model"):
        load_separator("spleeter")


def test_cuda_that_this_onnxruntime_lacks_is_refused(scaling_network, monkeypatch):
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ValueError, match=r"`device` 'cuda' needs the package onnxruntime-gpu"):
        MDXNetSeparator(scaling_network, **{**OPTIONS, "device": "cuda"})


@pytest.fixture
def demucs(monkeypatch):
    install_demucs(monkeypatch)
