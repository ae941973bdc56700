"""Facts about what the models hear: level, keyed noise, lengths, batches, and the processor on disk."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from transformers import EncodecFeatureExtractor, Wav2Vec2FeatureExtractor

import accompgen_hf
from accompgen_hf.accompgen.audio_accompgen import integrated_loudness, load_audio, resample
from accompgen_hf.accompgen.processing_accompgen import (
    AccompGenProcessor,
    level_vocals,
    output_num_samples,
    padded_num_samples,
    vocal_gain,
    vocal_noise,
)

VOCALS = Path(accompgen_hf.__file__).parent / "assets" / "vocals" / "vocadito_10.wav"


@pytest.fixture(scope="module")
def recording() -> tuple[np.ndarray, int]:
    return load_audio(VOCALS)


def test_a_take_30_db_quieter_gives_the_same_input(recording):
    audio, rate = recording
    processor = AccompGenProcessor()
    loud = processor(audio, rate, seed=5).input_values
    quiet = processor(audio * 10 ** (-30 / 20), rate, seed=5).input_values
    assert (loud - quiet).abs().max() < 1e-5


def test_level_is_20_lufs_below_full_scale_by_one_gain(recording):
    audio, rate = recording
    mono = resample(audio[0], rate, 16_000)
    leveled = level_vocals(mono, 16_000)
    assert integrated_loudness(leveled, 16_000) == pytest.approx(-20, abs=0.01)
    np.testing.assert_allclose(leveled, mono * vocal_gain(mono, 16_000), rtol=1e-6)


def test_near_silence_short_takes_and_the_papers_setting_are_not_amplified(recording):
    audio, rate = recording
    assert vocal_gain(audio, rate, None) == 1.0
    assert vocal_gain(audio * 1e-3, rate) == 1.0
    assert vocal_gain(np.zeros_like(audio), rate) == 1.0
    assert vocal_gain(audio[:, 44_100:50_000], rate) == 1.0
    assert vocal_gain(audio, rate, -20.0) != 1.0


def test_noise_is_white_with_the_stated_deviation():
    noise = vocal_noise(0, 0, 0, 160_000, 0.01)
    assert noise.dtype == np.float32
    assert noise.std() == pytest.approx(0.01, rel=0.02)
    assert abs(noise.mean()) < 1e-4
    assert abs(np.corrcoef(noise[:-1], noise[1:])[0, 1]) < 0.01
    assert abs(np.corrcoef(noise[:-16_000], noise[16_000:])[0, 1]) < 0.01


def test_noise_depends_on_seed_item_and_absolute_sample_alone():
    whole = vocal_noise(3, 1, 0, 50_000)
    pieces = [vocal_noise(3, 1, start, min(7_000, 50_000 - start)) for start in range(0, 50_000, 7_000)]
    assert_array_equal(np.concatenate(pieces), whole)
    assert_array_equal(vocal_noise(3, 1, 15_999, 2), whole[15_999:16_001])
    assert not np.allclose(vocal_noise(3, 2, 0, 100), whole[:100])
    assert not np.allclose(vocal_noise(4, 1, 0, 100), whole[:100])
    assert not np.allclose(vocal_noise(3 + 2**32, 1, 0, 100), whole[:100])
    assert_array_equal(vocal_noise(np.int64(3), np.int64(1), 0, 100), whole[:100])


def test_noise_values_are_frozen():
    # Other values would change every vocal token of an existing data set without changing its fingerprint.
    expected = [0.5852055549621582, 1.018478512763977, -0.6089779734611511, -0.7693728804588318]
    np.testing.assert_allclose(vocal_noise(1234, 7, 15_998, 4, 1.0), expected, atol=1e-6)


def test_noise_leaves_the_global_random_state_alone():
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    AccompGenProcessor()(VOCALS, seed=1)
    assert_array_equal(np.random.get_state()[1], before[0])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[1])


def test_no_noise_and_no_samples():
    assert_array_equal(vocal_noise(0, 0, 0, 10, 0.0), np.zeros(10, np.float32))
    assert vocal_noise(0, 0, 5, 0).shape == (0,)


@pytest.mark.parametrize("name", ["seed", "item", "start_sample", "num_samples", "noise_std"])
def test_noise_refuses_negative_numbers(name):
    numbers = {"seed": 0, "item": 0, "start_sample": 0, "num_samples": 1, name: -1}
    with pytest.raises(ValueError, match=f"`{name}` must not be negative, got -1"):
        vocal_noise(**numbers)


@pytest.mark.parametrize("sampling_rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_lengths_lie_on_the_grid_and_cover_the_output(sampling_rate):
    random = np.random.default_rng(sampling_rate)
    for num_samples in [sampling_rate // 10, sampling_rate, *random.integers(sampling_rate, 30 * sampling_rate, 200)]:
        num_samples = int(num_samples)
        padded = padded_num_samples(num_samples, sampling_rate)
        assert padded % 640 == 0
        assert 0 <= padded - num_samples * 16_000 / sampling_rate < 640
        assert padded_num_samples(num_samples, sampling_rate, 24_000) == padded * 3 // 2
        assert output_num_samples(num_samples, sampling_rate) == round(num_samples * 24_000 / sampling_rate)
        assert output_num_samples(num_samples, sampling_rate) <= padded * 3 // 2


def test_input_values_are_leveled_vocals_plus_noise_not_normalised(recording):
    audio, rate = recording
    features = AccompGenProcessor()(VOCALS, seed=9)
    assert set(features) == {"input_values", "attention_mask", "num_samples", "output_num_samples"}
    assert features.input_values.dtype == torch.float32
    expected = np.zeros(145_920, np.float32)
    leveled = level_vocals(resample(audio[0], rate, 16_000), 16_000)
    expected[: len(leveled)] = leveled
    expected += vocal_noise(9, 0, 0, 145_920)
    np.testing.assert_allclose(features.input_values[0].numpy(), expected, atol=1e-6)
    assert features.num_samples.tolist() == [145_920]
    assert features.output_num_samples.tolist() == [round(401_214 * 24_000 / 44_100)]


def test_an_item_of_a_batch_equals_the_item_alone_with_its_seed(recording):
    audio, rate = recording
    processor = AccompGenProcessor()
    short = {"array": audio[:, :100_000], "sampling_rate": rate}
    batch = processor([VOCALS, short], seed=10)
    alone = processor(short, seed=11)
    num_samples = int(alone.num_samples[0])
    assert batch.num_samples.tolist() == [145_920, num_samples]
    assert torch.equal(batch.input_values[1, :num_samples], alone.input_values[0])
    assert batch.input_values[1, num_samples:].abs().max() == 0
    assert batch.attention_mask.sum(1).tolist() == batch.num_samples.tolist()
    listed = processor([VOCALS, short], seed=[10, 11])
    assert torch.equal(listed.input_values, batch.input_values)


def test_a_stream_in_pieces_equals_the_whole(recording):
    audio, rate = recording
    processor = AccompGenProcessor()
    mono = resample(audio[0], rate, 16_000)
    gain = vocal_gain(mono, 16_000)
    whole = processor.prepare_vocals(mono, 16_000, seed=2)
    starts = range(0, len(mono), 64_000)
    pieces = [
        processor.prepare_vocals(mono[start : start + 64_000], 16_000, seed=2, gain=gain, start_sample=start)
        for start in starts
    ]
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-6)


def test_channels_fold_before_the_level(recording):
    audio, rate = recording
    processor = AccompGenProcessor(noise_std=0.0)
    stereo = processor(np.concatenate([audio, audio]), rate).input_values
    assert torch.allclose(stereo, processor(audio, rate).input_values, atol=1e-6)


def test_instrumentals_get_neither_level_nor_noise(recording):
    audio, rate = recording
    features = AccompGenProcessor()(VOCALS, instrumental={"array": audio * 0.1, "sampling_rate": rate})
    assert features.instrumental_input_values.shape == (1, 145_920)
    assert features.codec_input_values.shape == (1, 1, 145_920 * 3 // 2)
    expected = resample(audio[0] * np.float32(0.1), rate, 24_000)
    np.testing.assert_allclose(features.codec_input_values[0, 0, : len(expected)].numpy(), expected, atol=1e-6)
    assert features.codec_input_values[0, 0, len(expected) :].abs().max() == 0
    expected = resample(audio[0] * np.float32(0.1), rate, 16_000)
    np.testing.assert_allclose(features.instrumental_input_values[0, : len(expected)].numpy(), expected, atol=1e-6)


def test_a_tenth_of_a_second_is_prepared():
    features = AccompGenProcessor()(np.zeros(1600, np.float32), 16_000, return_tensors="np")
    assert features["input_values"].shape == (1, 1920)
    assert isinstance(features["input_values"], np.ndarray)
    assert features["output_num_samples"].tolist() == [2400]


def test_lists_must_match():
    processor = AccompGenProcessor()
    with pytest.raises(ValueError, match="`vocals` is an empty list"):
        processor([])
    with pytest.raises(ValueError, match=r"`seed` must be .* a list of 1 of them, got \[1, 2\]"):
        processor(VOCALS, seed=[1, 2])
    with pytest.raises(ValueError, match=r"`instrumental` must be one per recording \(2\), got 1"):
        processor([VOCALS, VOCALS], instrumental=VOCALS)


def test_settings_are_checked():
    with pytest.raises(ValueError, match="`vocal_target_lufs` must be between -60 and 0 LUFS or None, got 3"):
        AccompGenProcessor(vocal_target_lufs=3)
    with pytest.raises(ValueError, match="`noise_std` must be between 0 and 1, got -1"):
        AccompGenProcessor(noise_std=-1)
    with pytest.raises(ValueError, match="`EncodecFeatureExtractor` must be mono"):
        AccompGenProcessor(codec_feature_extractor=EncodecFeatureExtractor(feature_size=2))
    with pytest.raises(ValueError, match="multiple of 25 Hz, got feature_size 1, sampling_rate 16001"):
        AccompGenProcessor(Wav2Vec2FeatureExtractor(sampling_rate=16_001))
    with pytest.raises(TypeError, match="feature_extractor"):
        AccompGenProcessor("hubert")


def test_processor_comes_back_from_disk_with_its_numbers(tmp_path):
    processor = AccompGenProcessor(
        Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True),
        EncodecFeatureExtractor(),
        vocal_target_lufs=None,
        noise_std=0.02,
        vocal_gate_lufs=-50.0,
    )
    processor.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "processor_config.json").read_text())
    assert saved["processor_class"] == "AccompGenProcessor"
    assert (saved["noise_std"], saved["vocal_target_lufs"], saved["vocal_gate_lufs"]) == (0.02, None, -50.0)
    loaded = AccompGenProcessor.from_pretrained(tmp_path)
    assert loaded.to_dict() == processor.to_dict()
    assert loaded.semantic_feature_extractor.do_normalize is False
    assert type(loaded.codec_feature_extractor) is EncodecFeatureExtractor
    assert torch.equal(loaded(VOCALS, seed=1).input_values, processor(VOCALS, seed=1).input_values)
    assert AccompGenProcessor.from_pretrained(tmp_path, noise_std=0.0).noise_std == 0.0


@pytest.mark.slow
def test_the_input_is_bit_equal_in_another_process():
    program = (
        "import hashlib\nfrom accompgen_hf.accompgen.processing_accompgen import AccompGenProcessor\n"
        f"values = AccompGenProcessor()({str(VOCALS)!r}, seed=3).input_values.numpy()\n"
        "print(hashlib.sha256(values.tobytes()).hexdigest())"
    )
    runs = [subprocess.run([sys.executable, "-c", program], capture_output=True, text=True) for _ in range(2)]
    assert runs[0].stdout == runs[1].stdout
    assert len(runs[0].stdout.strip()) == 64
