"""Samples of a codec in training."""

import soundfile

from accompgen_hf.training.codec.run import train_codec
from tiny_codec_training import tiny_arguments


def test_samples_can_be_heard_and_seen(tmp_path):
    train_codec(tiny_arguments(tmp_path))
    folder = tmp_path / "run" / "samples"
    names = {path.name for path in folder.iterdir()}
    assert {"step-0000004.png", "step-0000006.png", "step-0000004-0.wav", "step-0000006-2.wav"} <= names
    audio, sampling_rate = soundfile.read(folder / "step-0000006-0.wav")
    assert (len(audio), sampling_rate) == (48_000, 24_000)
