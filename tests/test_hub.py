"""Saving a whole repository."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import pipeline

from accompgen_hf import VocalAccompanimentPipeline
from accompgen_hf.hub import save_repository
from tiny import tiny_model

VOCALS = np.sin(np.arange(8000) * 0.1).astype(np.float32)


def test_half_precision_is_stored_but_float32_is_loaded(tmp_path):
    pipe = VocalAccompanimentPipeline(model=tiny_model(), device="cpu")
    folder = save_repository(pipe, tmp_path / "repo", half_precision=True, card="# Card\n")
    stored = load_file(folder / "model.safetensors")
    assert stored["coarse.heads.0.weight"].dtype == torch.float16
    assert stored["semantic_encoder.centroids"].dtype == torch.float32
    assert json.loads((folder / "config.json").read_text())["dtype"] == "float32"
    assert (folder / "README.md").read_text() == "# Card\n"

    loaded = pipeline("vocal-accompaniment", model=str(folder), device="cpu")
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.float32}
    rounded = pipe.model.coarse.heads[0].weight.half().float()
    assert torch.equal(loaded.model.coarse.heads[0].weight, rounded)
    assert loaded(VOCALS, sampling_rate=16_000, seed=1)["audio"].shape == (12_000,)


def test_weights_that_float16_cannot_hold_leave_nothing_behind(tmp_path):
    model = tiny_model()
    with torch.no_grad():
        model.fine.heads[0].weight[0, 0] = 1e6
    with pytest.raises(ValueError, match=r"`fine\.heads\.0\.weight` must be finite and fit float16"):
        save_repository(VocalAccompanimentPipeline(model=model, device="cpu"), tmp_path / "repo", half_precision=True)
    assert list(tmp_path.iterdir()) == []
