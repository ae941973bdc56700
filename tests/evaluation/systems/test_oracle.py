"""Oracles play what codec and later stages make of the truth."""

import numpy as np
import pytest
import torch

from accompgen_hf import AccompGenProcessor, VocalAccompanimentPipeline
from accompgen_hf.accompgen.codec_accompgen import decode_in_blocks, encode_in_blocks
from accompgen_hf.evaluation.systems.oracle import OracleSystem, StageOracleSystem
from accompgen_hf.evaluation.systems.system import (
    Window,
)
from tiny import tiny_model

RATE = 24_000


def tone(frequency: float, rate: int = RATE, seconds: float = 1.0) -> np.ndarray:
    return (0.2 * np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


WINDOW = Window("song-0000000ms", "song", 0.0, 1.0, lambda rate: tone(440, rate))


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    VocalAccompanimentPipeline(tiny_model(), AccompGenProcessor(), device="cpu").save_pretrained(folder)
    return folder


def test_the_oracle_is_what_the_codec_makes_of_the_truth(model_folder):
    system = OracleSystem(model_folder)
    audio = system.generate(tone(300), RATE, 0, WINDOW)
    assert audio.shape == (RATE,)
    codes = system.codec.encode(system_input(), bandwidth=2.4).audio_codes
    expected = system.codec.decode(codes, [None]).audio_values[0, 0, :RATE].clamp(-1, 1)
    assert np.abs(audio - expected.detach().numpy()).max() < 1e-5
    assert not np.allclose(audio, tone(440), atol=1e-2)


def system_input():
    import torch

    return torch.from_numpy(tone(440))[None, None]


def test_a_stage_oracle_hears_the_true_accompaniment_and_the_model_does_not(model_folder):
    others = Window("song-0000000ms", "song", 0.0, 1.0, lambda rate: tone(600, rate))
    for given in ("semantic", "coarse"):
        system = StageOracleSystem(model_folder, given)
        assert system.name == f"true-{given}"
        assert system.describe()["given"] == given
        audio = system.generate(tone(300), RATE, 0, WINDOW)
        assert audio.shape == (RATE,)
        assert not np.array_equal(audio, system.generate(tone(300), RATE, 0, others))
    with pytest.raises(ValueError, match=r"`given` must be one of .*, got 'fine'"):
        StageOracleSystem(model_folder, "fine")


def test_true_coarse_codes_reach_the_codec_unchanged(model_folder):
    codec = OracleSystem(model_folder).codec
    system = StageOracleSystem(model_folder, "coarse", preview=True)
    audio = system.generate(tone(300), RATE, 0, WINDOW)
    codes = encode_in_blocks(codec, torch.from_numpy(tone(440))[None], system.pipeline.model.config.bandwidth)[:, :4]
    expected = decode_in_blocks(codec, codes)[0, :RATE].numpy()
    np.testing.assert_allclose(audio, np.clip(expected, -1, 1), atol=1e-5)
