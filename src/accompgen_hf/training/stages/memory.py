"""An estimate of the memory that a GPU needs to train a stage, computed from sizes, not measured.

    python -m accompgen_hf.training.stages.memory examples/configs/one_gpu_24gb/*.yaml

Activations are counted tensor by tensor as autograd keeps them under bf16 or fp16 autocast with fused norms. A test
compares that with what autograd really keeps, on the CPU. What a GPU's allocator loses between tensors comes on top:
leave a tenth free.

Letters: B clips per forward, S positions, H heads, d hidden width, i inner width of attention, f of the feed-forward.
"""

import sys

from accompgen_hf.accompgen.configuration_accompgen import AccompGenStageConfig
from accompgen_hf.data.stage_kinds import STAGE_KINDS
from accompgen_hf.training.stages.arguments import StageTrainingArguments
from accompgen_hf.training.stages.setup import count_positions, count_targets

GIB = 2**30


def estimate_memory(
    config: AccompGenStageConfig, micro_batch_size: int, gradient_checkpointing: bool = False
) -> dict[str, float]:
    """Bytes that training with mixed precision takes at its widest moment, by what they are for."""
    num_parameters = count_parameters(config)
    num_positions = count_positions(config)
    kept, recomputed = count_layer_bytes(config)
    layers = config.num_hidden_layers * kept
    if gradient_checkpointing:  # each layer's float32 input, and one layer at a time
        layers = config.num_hidden_layers * 4 * config.hidden_size + kept
    bias = config.num_attention_heads * num_positions**2
    return {
        "weights, gradients, AdamW": 16.0 * num_parameters,
        "half-precision weights": 2.0 * num_parameters,
        "activations": float(micro_batch_size * num_positions * (layers + recomputed)),
        "logits": 10.0 * micro_batch_size * count_targets(config) * config.target_segment.codebook_size,
        # Indices, two float32 and one half-precision copy, and a copy per layer that is padded to a multiple of 8.
        "attention bias": 8.0 * num_positions**2 + bias * (10.0 + 2.0 * config.num_hidden_layers),
        "gradient of the bias": bias * (2.0 * micro_batch_size + 10.0),
    }


def count_layer_bytes(config: AccompGenStageConfig) -> tuple[int, int]:
    """Bytes per position that autograd keeps of one layer, and of what stands around the layers."""
    d, i, f = config.hidden_size, config.num_attention_heads * config.head_dim, config.intermediate_size
    attention = 4 * d + 3 * 2 * d  # float32 input of the norm, its half-precision copies for Q, K and V
    attention += 2 * (4 + 2) * i + 2 * i  # Q and K before their norms (float32) and after; V
    attention += 2 * i  # output, in the order that the projection reads
    feed_forward = 4 * d + 2 * 2 * d  # float32 input of the norm, its copies for the two gates
    feed_forward += 4 * 2 * f  # gate before and after GELU, up, their product
    return attention + feed_forward, 4 * d + 2 * d


def count_parameters(config: AccompGenStageConfig) -> int:
    """Weights of a stage, but for the few of norms and bias tables."""
    d, i, f = config.hidden_size, config.num_attention_heads * config.head_dim, config.intermediate_size
    segment = config.target_segment
    heads = segment.num_codebooks * segment.codebook_size * d
    return config.vocab_size * d + heads + config.num_hidden_layers * (4 * d * i + 3 * d * f)


def describe_memory(path: str) -> str:
    """The estimate for a training file, in words."""
    arguments = StageTrainingArguments.from_yaml(path, data="", output_dir="")
    config = STAGE_KINDS[arguments.stage].model_class.config_class(**arguments.model)
    micro_batch_size = arguments.divide_batch(1)[0]
    parts = estimate_memory(config, micro_batch_size, arguments.gradient_checkpointing)
    lines = [f"  {bytes_ / GIB:6.2f} GiB {name}" for name, bytes_ in parts.items()]
    total = sum(parts.values()) / GIB
    head = f"{path}: {micro_batch_size} clips per forward, about {total:.1f} GiB (computed, not measured)"
    return "\n".join([head, *lines])


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print(describe_memory(argument))
