"""Operations of a clip against PyTorch's own counter, and peaks by name."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from accompgen_hf import AccompGenCoarseConfig, AccompGenSemanticConfig
from accompgen_hf.accompgen.codebooks_accompgen import build_stage_inputs
from accompgen_hf.training.stages.throughput import count_clip_flops, find_peak_tflops, look_up_peak_tflops
from tiny import random_clip, tiny_stage


@pytest.mark.parametrize("config_class", [AccompGenSemanticConfig, AccompGenCoarseConfig])
def test_operations_are_those_that_pytorch_counts(config_class):
    stage = tiny_stage(config_class)
    stage.config._attn_implementation = "eager"  # all of the square, as plain products
    config = stage.config
    inputs = build_stage_inputs(config, *random_clip(config, batch_size=1, duration_s=config.clip_duration_s))
    with FlopCounterMode(display=False) as counter:
        stage(**inputs).loss.backward()
    num_positions = inputs["input_ids"].shape[1]
    masked_half = 6 * num_positions**2 * config.num_attention_heads * config.head_dim * config.num_hidden_layers
    assert counter.get_total_flops() == pytest.approx(count_clip_flops(config) + masked_half, rel=0.01)


def test_peaks_are_found_by_the_name_of_the_gpu():
    assert look_up_peak_tflops("NVIDIA H100 80GB HBM3", "bf16") == 989
    assert look_up_peak_tflops("NVIDIA H100 PCIe", "bf16") == 756
    assert look_up_peak_tflops("NVIDIA A100-SXM4-40GB", "fp16") == 312
    assert look_up_peak_tflops("NVIDIA A10G", "bf16") == 70
    assert look_up_peak_tflops("NVIDIA GeForce RTX 4090", "no") == 82.6
    assert look_up_peak_tflops("NVIDIA RTX A6000", "bf16") == 155
    assert look_up_peak_tflops("Some new card", "bf16") is None


def test_a_processor_has_the_peak_that_it_is_given():
    assert find_peak_tflops(torch.device("cpu"), "no", None) is None
    assert find_peak_tflops(torch.device("cpu"), "no", 0.1) == 0.1
