"""The computed memory of a training step against the tensors that autograd keeps."""

from pathlib import Path

import pytest
import torch
import yaml

from accompgen_hf import AccompGenCoarseConfig, AccompGenCoarseForCausalLM
from accompgen_hf.accompgen.codebooks_accompgen import build_stage_inputs
from accompgen_hf.training.stages.memory import count_parameters, describe_memory, estimate_memory
from accompgen_hf.training.stages.setup import count_positions
from tiny import random_clip

CONFIGS = Path(__file__).parents[3] / "examples" / "configs"


def make_config(**fields) -> AccompGenCoarseConfig:
    sizes = {"hidden_size": 64, "num_attention_heads": 4, "head_dim": 16, "intermediate_size": 170}
    sizes |= {"num_hidden_layers": 3, "num_clusters": 20, "codebook_size": 32}
    return AccompGenCoarseConfig(**{**sizes, "clip_duration_s": 0.6, "window_overlap_s": 0.2, **fields})


def count_kept_bytes(config: AccompGenCoarseConfig, batch_size: int) -> int:
    """Bytes of the tensors of a forward that are kept for the backward pass, weights apart."""
    model = AccompGenCoarseForCausalLM(config)
    inputs = build_stage_inputs(config, *random_clip(config, batch_size, config.clip_duration_s))
    storages = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = (storage.nbytes(), tensor)  # held, so that no address comes twice
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16),
    ):
        model(**inputs)
    return sum(num_bytes for num_bytes, _ in storages.values())


def test_activations_per_clip_are_those_that_autograd_keeps():
    config = make_config()
    per_clip = (count_kept_bytes(config, 6) - count_kept_bytes(config, 2)) / 4
    parts = [estimate_memory(config, batch_size) for batch_size in (2, 6)]
    estimated = sum(parts[1][name] - parts[0][name] for name in ("activations", "logits")) / 4
    # The CPU has no fused norm: it keeps the float32 results of two norms, Q's and K's a layer, and of the last one.
    unfused = 4 * config.hidden_size * (4 * config.num_hidden_layers + 1) * count_positions(config)
    assert estimated + unfused == pytest.approx(per_clip, rel=0.02)


def test_checkpointing_keeps_the_inputs_of_the_layers_and_one_layer():
    config = make_config(num_hidden_layers=12)
    plain, spared = (estimate_memory(config, 4, is_spared)["activations"] for is_spared in (False, True))
    assert spared < plain / 4


def test_parameters_are_counted_but_for_norms_and_biases():
    config = make_config()
    actual = sum(parameter.numel() for parameter in AccompGenCoarseForCausalLM(config).parameters())
    assert count_parameters(config) == pytest.approx(actual, rel=0.02)


@pytest.mark.parametrize("stage", ["semantic", "coarse", "fine"])
def test_the_files_for_one_gpu_fit_24_gb_and_learn_the_same(stage):
    text = describe_memory(str(CONFIGS / "one_gpu_24gb" / f"{stage}.yaml"))
    total = float(text.split("about ")[1].split(" GiB")[0])
    assert 10 < total < 0.9 * 24e9 / 2**30
    ours, papers = (
        yaml.safe_load((CONFIGS / folder / f"{stage}.yaml").read_text()) for folder in ("one_gpu_24gb", ".")
    )
    allowed = {"micro_batch_size", "mixed_precision", "gradient_checkpointing", "num_workers"}
    assert {name for name in {*ours, *papers} if ours.get(name) != papers.get(name)} <= allowed
