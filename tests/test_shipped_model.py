"""The default that the package carries: whole, small, three parts in ten styles, and a short voice gets its band."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import pipeline

import accompgen_hf
from accompgen_hf import VocalAccompanimentPipeline
from accompgen_hf.accompgen.audio_accompgen import load_audio
from accompgen_hf.accompgen.manifest_accompgen import verify_manifest
from accompgen_hf.app.open_pipeline import SHIPPED_VOCALS
from accompgen_hf.songs.styles import STYLES

FOLDER = Path(accompgen_hf.DEFAULT_MODEL)
PARTS = ("drums", "bass", "other")
DURATION_S = 1.2


@pytest.fixture(scope="module")
def pipe() -> VocalAccompanimentPipeline:
    return pipeline("vocal-accompaniment", device="cpu")


@pytest.fixture(scope="module")
def take(pipe) -> dict[str, Any]:
    vocals, rate = load_audio(SHIPPED_VOCALS)
    recording = {"array": vocals[:, rate : rate + round(DURATION_S * rate)], "sampling_rate": rate}
    return pipe(recording, seed=1, style="waltz", return_codes=True, show_progress=False)


def test_it_is_whole_and_at_most_48_mb():
    assert verify_manifest(FOLDER) == []
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 48_000_000


def test_it_is_what_the_task_loads_without_a_model_and_float32_in_memory(pipe):
    assert Path(pipe.model.name_or_path) == FOLDER
    assert {parameter.dtype for parameter in pipe.model.parameters()} == {torch.float32}


def test_it_plays_three_parts_in_the_ten_styles_of_the_songs(pipe):
    config = pipe.model.config
    assert tuple(config.part_names) == PARTS
    assert len(config.style_names) == 10
    assert set(config.style_names) == set(STYLES)
    stages = (pipe.model.semantic, pipe.model.coarse, pipe.model.fine)
    assert {stage.config.token_fingerprint for stage in stages} == {config.token_fingerprint}


def test_its_semantic_stage_listens_and_weighs_evidence(pipe, take):
    semantic = pipe.model.semantic
    assert semantic.config.has_listener
    settings = semantic.generation_config
    assert (settings.listening_scale, settings.evidence_scale) == (3, 2)
    ids = take["vocal_semantic_ids"]
    ids = ids[None] if ids.ndim == 1 else ids
    plan = semantic.generate_codes(vocal_semantic_ids=ids, seed=0)
    for name in ("listening_scale", "evidence_scale"):
        assert not torch.equal(plan, semantic.generate_codes(vocal_semantic_ids=ids, seed=0, **{name: 0.0}))


def test_a_short_voice_gets_a_band_of_three_parts(take):
    num_samples = round(DURATION_S * take["sampling_rate"])
    assert take["audio"].shape == (num_samples,)
    assert tuple(take["stems"]) == PARTS
    np.testing.assert_allclose(sum(take["stems"].values()), take["audio"], atol=1e-6)
    for name, stem in take["stems"].items():
        assert np.sqrt(np.mean(stem**2)) > 1e-4, name
