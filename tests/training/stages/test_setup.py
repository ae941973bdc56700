"""The model that a run starts from."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

import accompgen_hf  # noqa: F401  (registers the stages with AutoModelForCausalLM)
from accompgen_hf.data.shards import Manifest, shard_name
from accompgen_hf.training.stages.loop import train_stage
from tiny_shards import make_arguments, write_shards


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    return write_shards(tmp_path_factory.mktemp("data") / "shards")


def read_weights(output_dir: Path) -> dict[str, torch.Tensor]:
    model = AutoModelForCausalLM.from_pretrained(output_dir / "final")
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def test_init_from_takes_weights_and_starts_a_new_schedule(shards, tmp_path):
    train_stage(make_arguments(shards, tmp_path / "base"))
    fields = {"init_from": str(tmp_path / "base" / "final"), "model": {}, "max_steps": 1, "learning_rate": 1e-9}
    train_stage(make_arguments(shards, tmp_path / "tuned", **fields))
    ours, theirs = read_weights(tmp_path / "tuned"), read_weights(tmp_path / "base")
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-7) for name in ours)
    with pytest.raises(ValueError, match=r"`init_from` must be a folder of model_type accompgen_fine.* got accomp"):
        train_stage(make_arguments(shards, tmp_path / "x", stage="fine", **fields))
    manifest = Manifest.load(shards)
    manifest.token_fingerprint = "a" * 64
    other = tmp_path / "other"
    other.mkdir()
    (other / shard_name(0)).write_bytes((shards / shard_name(0)).read_bytes())
    manifest.save(other)
    with pytest.raises(ValueError, match=r"of the accompgen_semantic config is f+, that of shards"):
        train_stage(make_arguments(other, tmp_path / "x", **fields))
