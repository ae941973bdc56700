"""The semantic encoder of the shipped default: its centroids keep their precision, and it tells parts apart."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from accompgen_hf import DEFAULT_MODEL
from accompgen_hf.accompgen.modeling_accompgen_semantic_encoder import AccompGenSemanticEncoder
from accompgen_hf.model_parts import load_part
from accompgen_hf.songs.song import HELD_OUT_SEED, compose_song, synthesize_song

RATE = 16_000


@pytest.fixture(scope="module")
def encoder() -> AccompGenSemanticEncoder:
    return load_part(DEFAULT_MODEL, "semantic_encoder").eval()


def test_its_weights_are_half_precision_on_disk_and_float32_in_memory(encoder):
    stored = load_file(Path(DEFAULT_MODEL) / "model.safetensors")
    dtypes = {name: tensor.dtype for name, tensor in stored.items() if name.startswith("semantic_encoder.")}
    assert dtypes.pop("semantic_encoder.centroids") == torch.float32
    assert set(dtypes.values()) == {torch.float16}
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}
    assert encoder.config.num_clusters == 1000


def test_ids_of_a_band_change_with_its_key_and_those_of_drums_do_not(encoder):
    annotation = compose_song(HELD_OUT_SEED + 3, duration_s=5.0)
    songs = [synthesize_song(each, RATE, with_parts=True) for each in (annotation, annotation.transposed(3))]
    same = {}
    for part in ("drums", "other"):
        ids = [encoder(torch.from_numpy(song.parts[part].astype(np.float32))[None]).semantic_ids for song in songs]
        same[part] = (ids[0] == ids[1]).float().mean().item()
    assert same["drums"] > 0.6
    assert same["other"] < 0.3
