"""The number of operations that training a stage takes, and the share of the hardware's peak that they are (MFU).

The count has the matrix products that a step needs: two operations per multiply-add, the backward pass twice the
forward one, attention over the visible half only. What gradient checkpointing computes again does not count.
"""

import torch

from accompgen_hf.accompgen.configuration_accompgen import AccompGenStageConfig
from accompgen_hf.data.stage_kinds import kind_of
from accompgen_hf.training.stages.setup import count_positions, count_targets

# Dense peaks in TFLOPS from the makers' data sheets: products of half precision summed in float32, float32 products.
PEAK_TFLOPS = {
    "H200": (989.0, 67.0),
    "H100 PCIE": (756.0, 51.0),
    "H100": (989.0, 67.0),
    "A100": (312.0, 19.5),
    "L40S": (362.0, 91.6),
    "L4": (121.0, 30.3),
    "A10G": (70.0, 31.2),
    "A10": (125.0, 31.2),
    "A6000": (155.0, 38.7),
    "V100": (125.0, 15.7),
    "T4": (65.0, 8.1),
    "RTX 4090": (165.2, 82.6),
    "RTX 3090": (71.0, 35.6),
}


def count_clip_flops(config: AccompGenStageConfig) -> float:
    """Operations of one training clip, forward and backward."""
    count_own = kind_of(config).count_clip_flops
    if count_own is not None:
        return count_own(config)
    num_positions = count_positions(config)
    inner_size = config.num_attention_heads * config.head_dim
    weights_per_layer = 4 * config.hidden_size * inner_size + 3 * config.hidden_size * config.intermediate_size
    layer = 6 * num_positions * weights_per_layer
    attention = 6 * num_positions**2 * inner_size  # QKᵀ and PV: 2 S² each, half of it visible, times three
    heads = 6 * count_targets(config) * config.hidden_size * config.target_segment.codebook_size
    return float(config.num_hidden_layers * (layer + attention) + heads)


def find_peak_tflops(device: torch.device, mixed_precision: str, given: float | None) -> float | None:
    """Peak of one device: `given`, or what the table says about a GPU; `None` if neither knows."""
    if given is not None or device.type != "cuda":
        return given
    return look_up_peak_tflops(torch.cuda.get_device_name(device), mixed_precision)


def look_up_peak_tflops(device_name: str, mixed_precision: str) -> float | None:
    """Peak of the GPU of this name, `None` if the table lacks it."""
    words = device_name.upper().replace("-", " ").split()
    for name, (half, single) in PEAK_TFLOPS.items():
        if set(name.split()) <= set(words):
            return single if mixed_precision == "no" else half
    return None
