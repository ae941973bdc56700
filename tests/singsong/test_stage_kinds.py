"""SingSong's models as stages that training can train."""

import pytest
from torch.utils.flop_counter import FlopCounterMode

from accompgen_hf.singsong.batches import build_singsong_inputs
from accompgen_hf.singsong.configuration import SingSongConfig, SingSongFineConfig
from accompgen_hf.training.stages.throughput import count_clip_flops
from tiny_singsong import random_streams, tiny_singsong


@pytest.mark.parametrize("config_class", [SingSongConfig, SingSongFineConfig])
def test_operations_of_an_encoder_decoder_are_those_that_pytorch_counts(config_class):
    stage = tiny_singsong(config_class, attn_implementation="eager")  # all of the square, as plain products
    config = stage.config
    inputs = build_singsong_inputs(config, *random_streams(config, 1, round(config.clip_duration_s * 25)))
    with FlopCounterMode(display=False) as counter:
        stage(**inputs).loss.backward()
    num_positions = inputs["labels"].shape[1]
    masked_half = 6 * num_positions**2 * config.num_heads * config.d_kv * config.num_layers
    assert counter.get_total_flops() == pytest.approx(count_clip_flops(config) + masked_half, rel=0.01)
