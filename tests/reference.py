"""The stages a second time, from their equations: no line of the package's forward is used, only its weights.

One sequence at a time, one head at a time, buckets by transformers' own T5.
"""

import math

import torch
from transformers.models.t5.modeling_t5 import T5Attention


def t5_bucket(distance: torch.Tensor, num_buckets: int, max_distance: int, bidirectional: bool) -> torch.Tensor:
    # T5 counts key - query; `distance` is query - key.
    return T5Attention._relative_position_bucket(-distance, bidirectional, num_buckets, max_distance)


def reference_bias_rows(model, segment_ids: list[int], segment_positions: list[int]) -> torch.Tensor:
    """Row of the stacked bias tables for every (query, key), shape `(S, S)`; no padding."""
    config = model.config
    num_buckets, max_distance = config.relative_attention_num_buckets, config.relative_attention_max_distance
    last = len(config.segments) - 1
    num_positions = len(segment_ids)
    rows = torch.zeros(num_positions, num_positions, dtype=torch.long)
    for query in range(num_positions):
        for key in range(num_positions):
            query_segment, key_segment = segment_ids[query], segment_ids[key]
            is_both_ways = config.bidirectional_prefix and query_segment < last
            if config.relative_position_axis == "token" or query_segment == key_segment:
                distance = query - key
                if config.relative_position_axis == "time":
                    distance = segment_positions[query] - segment_positions[key]
                bucket = t5_bucket(torch.tensor(distance), num_buckets, max_distance, is_both_ways)
                rows[query, key] = bucket + (num_buckets if is_both_ways else 0)
                continue
            if (query_segment, key_segment) not in model.model.relative_bias.cross_pairs:
                continue  # cannot be attended
            times = []
            for position in (query, key):
                segment = config.segments[segment_ids[position]]
                times.append(segment_positions[position] // segment.num_codebooks * (150 // segment.frame_rate))
            frames = (times[0] - times[1]) // (150 // config.segments[key_segment].frame_rate)  # floor
            bucket = t5_bucket(
                torch.tensor(frames), config.cross_segment_num_buckets, config.cross_segment_max_distance, True
            )
            table = model.model.relative_bias.cross_pairs.index((query_segment, key_segment))
            first = num_buckets * (2 if config.bidirectional_prefix else 1)
            rows[query, key] = first + table * config.cross_segment_num_buckets + bucket
    return rows


def reference_visible(config, segment_ids: list[int]) -> torch.Tensor:
    last = len(config.segments) - 1
    is_prefix = torch.tensor(segment_ids) < last
    is_visible = torch.ones(len(segment_ids), len(segment_ids)).tril().bool()
    if config.bidirectional_prefix:
        is_visible |= is_prefix[:, None] & is_prefix[None, :]
    return is_visible


def root_mean_square_norm(values: torch.Tensor, gain: torch.Tensor, eps: float) -> torch.Tensor:
    return values / torch.sqrt((values**2).mean(-1, keepdim=True) + eps) * gain  # Eq. 2


@torch.no_grad()
def reference_logits(
    model, input_ids: torch.Tensor, segment_ids: torch.Tensor, segment_positions: torch.Tensor
) -> list[torch.Tensor | None]:
    """Logits of one sequence: per position `None` (conditioning) or `(codebook_size,)` of the codebook it predicts."""
    config, weights = model.config, model.state_dict()
    segments, positions = segment_ids.tolist(), segment_positions.tolist()
    bias = weights["model.relative_bias.weight"][reference_bias_rows(model, segments, positions)]  # (S, S, H)
    is_visible = reference_visible(config, segments)
    size, eps = config.head_dim, config.rms_norm_eps
    hidden = weights["model.embed_tokens.weight"][input_ids] + weights["model.embed_segments.weight"][segment_ids]
    for layer in range(config.num_hidden_layers):

        def weight(name, layer=layer):
            return weights[f"model.layers.{layer}.{name}.weight"]

        normed = root_mean_square_norm(hidden, weight("input_layernorm"), eps)
        heads = []
        for head in range(config.num_attention_heads):
            rows = slice(head * size, (head + 1) * size)
            query, key, value = (normed @ weight(f"self_attn.{name}_proj")[rows].T for name in "qkv")
            query = root_mean_square_norm(query, weight("self_attn.q_norm"), eps)
            key = root_mean_square_norm(key, weight("self_attn.k_norm"), eps)
            scores = query @ key.T / math.sqrt(size) + bias[..., head]  # Eq. 3
            heads.append(torch.softmax(scores.masked_fill(~is_visible, -torch.inf), -1) @ value)
        hidden = hidden + torch.cat(heads, -1) @ weight("self_attn.o_proj").T
        normed = root_mean_square_norm(hidden, weight("post_attention_layernorm"), eps)
        gate, up = normed @ weight("mlp.gate_proj").T, normed @ weight("mlp.up_proj").T
        gelu = 0.5 * gate * (1 + torch.erf(gate / math.sqrt(2)))
        hidden = hidden + (gelu * up) @ weight("mlp.down_proj").T  # Eq. 4
    hidden = root_mean_square_norm(hidden, weights["model.norm.weight"], eps)
    num_codebooks = config.target_segment.num_codebooks
    return [
        None
        if segment < len(config.segments) - 1
        else hidden[index] @ weights[f"heads.{position % num_codebooks}.weight"].T
        for index, (segment, position) in enumerate(zip(segments, positions, strict=True))
    ]
