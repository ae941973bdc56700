"""The task with parts and a style: stems by name that add up to the accompaniment, also where its peaks are bent."""

import functools

import numpy as np
import pytest
import torch

from accompgen_hf import (
    AccompGenCoarseConfig,
    AccompGenFineConfig,
    AccompGenSemanticConfig,
    VocalAccompanimentPipeline,
)
from accompgen_hf.accompgen.audio_accompgen import soften_peaks
from accompgen_hf.accompgen.pipeline_accompgen import bend_parts
from tiny import tiny_model, tiny_stage_config

NAMED = {"part_names": ("drums", "bass", "other"), "style_names": ("bossa_nova", "rock")}
STEPS_OF_24_BITS = 2**-23


@functools.cache
def make_pipe() -> VocalAccompanimentPipeline:
    stages = {
        "semantic_config": AccompGenSemanticConfig,
        "coarse_config": AccompGenCoarseConfig,
        "fine_config": AccompGenFineConfig,
    }
    return VocalAccompanimentPipeline(
        model=tiny_model(**{name: tiny_stage_config(stage, **NAMED) for name, stage in stages.items()})
    )


def make_vocals(duration_s: float = 0.5, rate: int = 22_050) -> dict:
    tone = 0.2 * np.sin(2 * np.pi * 220 * np.arange(round(duration_s * rate)) / rate)
    return {"array": tone.astype(np.float32), "sampling_rate": rate}


@pytest.mark.parametrize("rate", [None, "input"])
def test_stems_add_up_to_the_accompaniment(rate):
    result = make_pipe()(make_vocals(), seed=3, style="rock", output_sampling_rate=rate)
    assert list(result["stems"]) == ["drums", "bass", "other"]
    total = sum(stem.astype(np.float64) for stem in result["stems"].values())
    assert np.abs(total - result["audio"]).max() <= 2 * STEPS_OF_24_BITS
    assert all(stem.dtype == np.float32 for stem in result["stems"].values())
    assert not np.array_equal(result["stems"]["drums"], result["stems"]["bass"])


def test_a_choice_of_parts_a_stream_and_known_codes():
    asked = {"seed": 3, "style": "rock", "parts": ["drums", "other"], "window_batch_size": 1}
    result = make_pipe()(make_vocals(), return_codes=True, **asked)
    assert list(result["stems"]) == ["drums", "other"]
    assert result["coarse_codes"].shape[:2] == (2, 4)
    streamed = np.concatenate([audio for _, audio in make_pipe().stream(make_vocals(), **asked)])
    np.testing.assert_array_equal(streamed, result["audio"])
    again = make_pipe()(make_vocals(), known_codes=result, parts=["drums", "other"], window_batch_size=1)
    np.testing.assert_array_equal(again["audio"], result["audio"])


def test_what_a_model_has_not_is_refused_with_what_it_has():
    with pytest.raises(ValueError, match="`parts` must be a list of names out of drums, bass, other, got"):
        make_pipe()(make_vocals(), parts=["guitar"])
    with pytest.raises(ValueError, match="`style` must be one of any, bossa_nova, rock, got 'polka'"):
        make_pipe()(make_vocals(), style="polka")
    plain = VocalAccompanimentPipeline(model=tiny_model())
    assert "stems" not in plain(make_vocals(0.12), seed=1)
    with pytest.raises(ValueError, match="`style` must be left out: this model knows no styles"):
        plain(make_vocals(0.12), style="rock")


def test_bent_peaks_of_a_sum_bend_every_part_alike():
    generator = torch.Generator().manual_seed(0)
    parts = (2 * torch.rand(3, 5000, generator=generator) - 1).numpy()
    total = parts.sum(axis=0)
    bent = soften_peaks(total)
    scaled = bend_parts(parts, total, bent)
    assert np.abs(scaled.sum(axis=0, dtype=np.float64) - bent).max() <= 2 * STEPS_OF_24_BITS
    is_bent = np.abs(total) > 0.9
    assert is_bent.any()
    np.testing.assert_allclose(scaled[0, is_bent] / parts[0, is_bent], (bent / total)[is_bent], rtol=1e-5)
    np.testing.assert_array_equal(scaled[:2, ~is_bent], parts[:2, ~is_bent])
