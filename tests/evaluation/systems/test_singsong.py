"""SingSong in the evaluation: outputs of the vocals' length, the seed decides."""

import json

import numpy as np
import pytest

from accompgen_hf.evaluation.systems.singsong import SingSongSystem
from accompgen_hf.evaluation.systems.system import Window
from accompgen_hf.singsong.accompaniment import SingSongForAccompaniment
from tiny_singsong import tiny_accompaniment


@pytest.fixture(scope="module")
def model() -> SingSongForAccompaniment:
    return tiny_accompaniment()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("singsong")
    model.save_pretrained(path)
    return path


def test_the_evaluation_gets_an_accompaniment_of_equal_length(folder):
    system = SingSongSystem(folder)
    window = Window("song-0", "song", 0.0, 0.2, lambda rate: np.zeros(1))
    vocals = 0.1 * np.random.default_rng(0).normal(size=3000).astype(np.float32)
    first, second = (system.generate(vocals, 16_000, 3, window) for _ in range(2))
    assert first.shape == vocals.shape
    assert first.dtype == np.float32
    assert np.array_equal(first, second)
    other = system.generate(vocals, 16_000, 4, window)
    assert not np.array_equal(first, other)
    together = system.generate_batch([vocals, vocals], 16_000, [3, 4], [window, window])
    np.testing.assert_allclose(together, [first, other], atol=1e-4)
    description = system.describe()
    assert (system.name, description["system"]) == ("singsong", "singsong")
    assert "model.safetensors" in description["files"]
    assert json.dumps(SingSongSystem(folder, guidance_scale=2.0).describe()) != json.dumps(description)
