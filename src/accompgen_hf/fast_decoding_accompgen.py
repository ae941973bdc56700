"""Lean decoding of one stage: fixed cache, fused weights, one bias row per step, the active quantizer's head alone.

It computes what the stage's `forward` computes with a cache, for one position at a time, without building what a step
does not need. `AccompGenGenerationMixin._sample` chooses it where it applies.

Letters: R rows (with guidance twice the batch), H heads, D head width, d hidden width, S positions, C codes.
"""

import torch
import torch.nn.functional as F
from torch import nn
from transformers.cache_utils import DynamicCache

from .codebooks_accompgen import relative_position_bucket


class FastStageDecoder:
    """Decodes rows that share one layout without padding.

    Args:
        model (`AccompGenStageForCausalLM`): Its weights are copied into fused ones; nothing of it is changed.
        segment_positions (`torch.LongTensor` of shape `(1, num_prompt_positions)`): Of the prompt.
        num_positions (`int`): Prompt and new positions together.
    """

    def __init__(self, model: nn.Module, segment_positions: torch.LongTensor, num_positions: int):
        self.model = model
        self.config = model.config
        self.target = model.config.target_segment
        self.num_positions = num_positions
        self.slot = int(segment_positions[0, -1])  # of the newest position inside the target
        self.index = segment_positions.shape[1] - 1  # of the newest position inside the sequence
        self.first_target = self.index - self.slot
        self.layers = [_FusedLayer(layer, self.config) for layer in model.model.layers]
        self.bias = _BiasRow(model.model.relative_bias, self.first_target, num_positions, self._prefix_lengths())
        self.target_embedding = model.model.embed_segments.weight[-1]
        self.dtype = self.target_embedding.dtype

    def _prefix_lengths(self) -> list[int]:
        """Positions of each conditioning segment: all last equally long."""
        segments = self.config.segments[:-1]
        rates = [segment.frame_rate * segment.num_codebooks for segment in segments]
        return [self.first_target * rate // sum(rates) for rate in rates]

    def prefill(
        self, input_ids: torch.LongTensor, segment_ids: torch.LongTensor, segment_positions: torch.LongTensor
    ) -> torch.FloatTensor:
        """Run the prompt through the stage and keep its keys and values; returns logits `(R, codebook_size)`."""
        cache = DynamicCache()
        hidden_states = self.model.model(input_ids, segment_ids, segment_positions, cache)[0]
        for layer, (keys, values) in zip(self.layers, _keys_and_values(cache), strict=True):
            layer.fill_cache(keys, values, self.num_positions)
        return self._logits(hidden_states[:, -1])

    def step(self, input_ids: torch.LongTensor) -> torch.FloatTensor:
        """Append one id per row, `(R,)`, and return the next slot's logits `(R, codebook_size)`."""
        self.slot += 1
        self.index += 1
        bias = self.bias.at(self.slot)
        hidden_states = F.embedding(input_ids, self.model.model.embed_tokens.weight) + self.target_embedding  # (R, d)
        for layer in self.layers:
            hidden_states = layer(hidden_states, bias, self.index)
        return self._logits(self.model.model.norm(hidden_states))

    @property
    def first_code_id(self) -> int:
        """Vocabulary id of code 0 of the codebook that the newest position predicts."""
        return self.target.offset + self.slot % self.target.num_codebooks * self.target.codebook_size

    def _logits(self, hidden_states: torch.Tensor) -> torch.FloatTensor:
        return self.model.heads[self.slot % self.target.num_codebooks](hidden_states).float()


class _FusedLayer:
    """One decoder layer with Q, K, V in one product, both GEGLU inputs in another, and norm gains folded in."""

    def __init__(self, layer: nn.Module, config):
        attention, mlp = layer.self_attn, layer.mlp
        self.num_heads, self.head_dim, self.eps = config.num_attention_heads, config.head_dim, config.rms_norm_eps
        qkv = torch.cat([attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight])
        self.qkv = qkv * layer.input_layernorm.weight
        self.output = attention.o_proj.weight
        gains = torch.stack([attention.q_norm.weight, attention.k_norm.weight])[:, None]  # (2, 1, D)
        self.qk_gains = gains.expand(2, self.num_heads, -1).reshape(2 * self.num_heads, -1)
        self.gate_up = torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]) * layer.post_attention_layernorm.weight
        self.down = mlp.down_proj.weight
        self.keys: torch.Tensor | None = None
        self.values: torch.Tensor | None = None

    def fill_cache(self, keys: torch.Tensor, values: torch.Tensor, num_positions: int) -> None:
        shape = (*keys.shape[:2], num_positions, keys.shape[3])  # (R, H, S, D)
        self.keys, self.values = keys.new_zeros(shape), values.new_zeros(shape)
        self.keys[:, :, : keys.shape[2]] = keys
        self.values[:, :, : values.shape[2]] = values

    def __call__(self, hidden_states: torch.Tensor, bias: torch.Tensor, index: int) -> torch.Tensor:
        qkv = F.linear(self._normalize(hidden_states), self.qkv).view(len(hidden_states), 3 * self.num_heads, -1)
        query_key = self._normalize(qkv[:, : 2 * self.num_heads]) * self.qk_gains  # (R, 2 H, D)
        self.keys[:, :, index] = query_key[:, self.num_heads :]
        self.values[:, :, index] = qkv[:, 2 * self.num_heads :]
        attended = F.scaled_dot_product_attention(
            query_key[:, : self.num_heads, None],  # (R, H, 1, D)
            self.keys[:, :, : index + 1],
            self.values[:, :, : index + 1],
            attn_mask=bias,
        )
        hidden_states = hidden_states + F.linear(attended.view(len(hidden_states), -1), self.output)
        gate, up = F.linear(self._normalize(hidden_states), self.gate_up).chunk(2, dim=-1)
        return hidden_states + F.linear(F.gelu(gate) * up, self.down)

    def _normalize(self, values: torch.Tensor) -> torch.Tensor:
        as_float = values.float()
        return (as_float * torch.rsqrt(as_float.square().mean(-1, keepdim=True) + self.eps)).to(values.dtype)


class _BiasRow:
    """The bias of one target slot against all positions before it, cut from tables made once.

    A step moves every table by a whole number of entries, so a row is a few contiguous copies.
    """

    def __init__(self, relative_bias: nn.Module, first_target: int, num_positions: int, prefix_lengths: list[int]):
        config = relative_bias.config
        self.weight, device = relative_bias.weight, relative_bias.weight.device
        self.is_time = config.relative_position_axis == "time"
        self.first_target = first_target
        self.target = config.target_segment
        self.row = self.weight.new_zeros(1, config.num_attention_heads, 1, num_positions)
        # Distance falls along the keys: `same` holds the largest distance first.
        num_distances = num_positions - first_target if self.is_time else num_positions
        distance = torch.arange(num_distances - 1, -1, -1, device=device)
        num_buckets, max_distance = config.relative_attention_num_buckets, config.relative_attention_max_distance
        self.same = self._lookup(relative_position_bucket(distance, num_buckets, max_distance, bidirectional=False))
        self.cross = []
        if self.is_time:
            last_time = (
                (num_positions - first_target - 1) // self.target.num_codebooks * self.target.time_units_per_frame
            )
            start = 0
            for index, (segment, length) in enumerate(zip(config.segments[:-1], prefix_lengths, strict=True)):
                last_frame = last_time // segment.time_units_per_frame
                distance = torch.arange(last_frame, -(length // segment.num_codebooks), -1, device=device)
                bucket = relative_position_bucket(
                    distance, config.cross_segment_num_buckets, config.cross_segment_max_distance, bidirectional=True
                )
                table = relative_bias.cross_pairs.index((len(config.segments) - 1, index))
                bucket = bucket + relative_bias.first_cross_row + table * config.cross_segment_num_buckets
                values = self._lookup(bucket).repeat_interleave(segment.num_codebooks, dim=-1)
                self.cross.append((segment, slice(start, start + length), last_frame, values))
                start += length

    def _lookup(self, rows: torch.LongTensor) -> torch.Tensor:
        return self.weight[rows].T[None, :, None]  # (1, H, 1, distances)

    def at(self, slot: int) -> torch.Tensor:
        """Bias `(1, H, 1, first_target + slot + 1)` of a target slot."""
        num_keys = self.first_target + slot + 1
        if not self.is_time:
            return self.same[..., self.same.shape[-1] - num_keys :]
        self.row[..., self.first_target : num_keys] = self.same[..., self.same.shape[-1] - slot - 1 :]
        time = slot // self.target.num_codebooks * self.target.time_units_per_frame
        for segment, columns, last_frame, values in self.cross:
            first = (last_frame - time // segment.time_units_per_frame) * segment.num_codebooks
            self.row[..., columns] = values[..., first : first + columns.stop - columns.start]
        return self.row[..., :num_keys]


def _keys_and_values(cache: DynamicCache) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(layer.keys, layer.values) for layer in cache.layers]
