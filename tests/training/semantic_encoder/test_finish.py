"""From a trained HuBERT to a folder that says what it holds, and its curves."""

import json

import numpy as np
import pytest
import torch

pytest.importorskip("sklearn")
from accompgen_hf.accompgen.modeling_accompgen_semantic_encoder import AccompGenSemanticEncoder
from accompgen_hf.training.run_files import MetricsLog
from accompgen_hf.training.semantic_encoder.finish import (
    draw_accuracies,
    fit_pool_centroids,
    probe_encoder,
    save_encoder,
)
from accompgen_hf.training.semantic_encoder.model import (
    save_rounded_hubert,
)
from tiny_encoder import make_trainer


def test_finished_encoder_is_half_precision_on_disk_and_float32_in_its_config(parts, tmp_path):
    pool, held_out_pool, _ = parts
    hubert = make_trainer(parts, tmp_path / "run").train()
    save_rounded_hubert(hubert, tmp_path / "hubert")
    blank = AccompGenSemanticEncoder.from_hubert(tmp_path / "hubert", np.zeros((1, 16), np.float32), layer=2)
    centroids, report = fit_pool_centroids(blank, pool, tmp_path / "features", num_clusters=8)
    assert report["num_frames"] == 2000
    encoder = AccompGenSemanticEncoder.from_hubert(tmp_path / "hubert", centroids, layer=2)
    audio = torch.from_numpy(pool.read_waveform("vocals", 0))[None]
    expected = encoder(audio)
    save_encoder(encoder, tmp_path / "final")
    assert json.loads((tmp_path / "final" / "config.json").read_text())["dtype"] == "float32"
    from safetensors.torch import load_file

    dtypes = {name: value.dtype for name, value in load_file(tmp_path / "final" / "model.safetensors").items()}
    assert dtypes.pop("centroids") == torch.float32
    assert set(dtypes.values()) == {torch.float16}
    loaded = AccompGenSemanticEncoder.from_pretrained(tmp_path / "final")
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    assert torch.equal(loaded(audio).features, expected.features)
    assert torch.equal(loaded(audio).semantic_ids, expected.semantic_ids)
    probes = probe_encoder(loaded, pool, held_out_pool)
    assert 0 < probes["vocals"]["pitch_class"]["accuracy"] <= 1
    with torch.no_grad():
        loaded.hubert.encoder.layers[0].attention.k_proj.bias.fill_(0.1)
    with pytest.raises(ValueError, match="`encoder` must have weights rounded to half precision"):
        save_encoder(loaded, tmp_path / "other")


def test_accuracies_are_drawn(tmp_path):
    log = MetricsLog(tmp_path, 0)
    for step in (1, 2):
        for kind in ("train", "validation"):
            log.write(kind, step, **{f"pitch_{part}_accuracy": 0.5 for part in ("masked", "heard")})
    draw_accuracies(tmp_path)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
