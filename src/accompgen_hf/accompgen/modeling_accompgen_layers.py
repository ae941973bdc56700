"""The layers of a stage: RMS norm, attention, feed-forward and the learned relative bias (paper §3.4).

Letters: B batch, R rows of metadata (B, or 1 when all samples share a layout), S positions, H heads, D head width,
d hidden width.
"""

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn
from transformers.cache_utils import Cache
from transformers.modeling_layers import GradientCheckpointingLayer

from .attention_accompgen import MASKED_SCORE, attend
from .codebooks_accompgen import PADDING, relative_position_bucket
from .configuration_accompgen import AccompGenStageConfig


class AccompGenRMSNorm(nn.Module):
    """RN(x) = x / sqrt(mean(x²) + ε) · g, in float32 (Eq. 2)."""

    def __init__(self, size: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Normalise the last axis; the shape stays."""
        return F.rms_norm(hidden_states.float(), self.weight.shape, self.weight.float(), self.eps).to(
            hidden_states.dtype
        )


class AccompGenAttention(nn.Module):
    """softmax(RN(Q) RN(K)ᵀ / sqrt(d_head) + B) V, RN per head with a learned gain (Eq. 3)."""

    def __init__(self, config: AccompGenStageConfig, layer_idx: int):
        super().__init__()
        self.config = config
        self.layer_idx = layer_idx
        self.head_dim = config.head_dim
        inner_size = config.num_attention_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, inner_size, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, inner_size, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, inner_size, bias=False)
        self.o_proj = nn.Linear(inner_size, config.hidden_size, bias=False)
        self.q_norm = AccompGenRMSNorm(config.head_dim, config.rms_norm_eps)
        self.k_norm = AccompGenRMSNorm(config.head_dim, config.rms_norm_eps)

    def forward(
        self, hidden_states: torch.Tensor, attention_bias: torch.Tensor, past_key_values: Cache | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attend with QK-norm and the additive bias: (R, S, d) -> (R, S, d)."""
        split = (*hidden_states.shape[:2], -1, self.head_dim)
        query = self.q_norm(self.q_proj(hidden_states).view(split)).transpose(1, 2)  # (B, S, H * D) -> (B, H, S, D)
        key = self.k_norm(self.k_proj(hidden_states).view(split)).transpose(1, 2)
        value = self.v_proj(hidden_states).view(split).transpose(1, 2)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        weights = None
        if self.config._attn_implementation == "eager":
            scores = query @ key.transpose(2, 3) / math.sqrt(self.head_dim) + attention_bias
            weights = scores.softmax(-1, dtype=torch.float32).to(query.dtype)
            attended = weights @ value
        else:
            is_causal = not self.config.bidirectional_prefix
            attended = attend(query, key, value, attention_bias, is_causal)
        return self.o_proj(attended.transpose(1, 2).flatten(2)), weights  # (B, H, S, D) -> (B, S, d)


class AccompGenMLP(nn.Module):
    """FFN(x) = W₃(GELU(x W₁) ⊙ x W₂) (Eq. 4); no biases, which the paper does not state."""

    def __init__(self, config: AccompGenStageConfig):
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Apply GEGLU: (R, S, d) -> (R, S, d)."""
        return self.down_proj(F.gelu(self.gate_proj(hidden_states)) * self.up_proj(hidden_states))


class AccompGenDecoderLayer(GradientCheckpointingLayer):
    """Pre-norm attention, then pre-norm feed-forward (Eq. 2)."""

    def __init__(self, config: AccompGenStageConfig, layer_idx: int):
        super().__init__()
        self.input_layernorm = AccompGenRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = AccompGenAttention(config, layer_idx)
        self.post_attention_layernorm = AccompGenRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = AccompGenMLP(config)
        self.dropout = config.dropout

    def forward(
        self, hidden_states: torch.Tensor, attention_bias: torch.Tensor, past_key_values: Cache | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Apply attention and feed-forward, each behind its norm: (R, S, d) -> (R, S, d)."""
        attended, weights = self.self_attn(self.input_layernorm(hidden_states), attention_bias, past_key_values)
        hidden_states = hidden_states + F.dropout(attended, self.dropout, self.training)
        fed_forward = self.mlp(self.post_attention_layernorm(hidden_states))
        return hidden_states + F.dropout(fed_forward, self.dropout, self.training), weights


class AccompGenRowEmbedding(nn.Module):
    """What every position of a row gets besides its token and segment: the part that it plays, and its style.

    Both are the paper's future work. A table is there only if the config has something to choose from.
    """

    def __init__(self, config: AccompGenStageConfig):
        super().__init__()
        self.part_names = config.part_names
        if config.num_part_rows:
            self.parts = nn.Embedding(config.num_part_rows, config.hidden_size)
        if config.num_style_rows:
            self.styles = nn.Embedding(config.num_style_rows, config.hidden_size)

    def forward(
        self, num_rows: int, part_ids: torch.LongTensor | None, style_ids: torch.LongTensor | None
    ) -> torch.Tensor | None:
        """Embed parts and styles of rows, `(num_rows,)` each; returns `(num_rows, 1, hidden_size)`, or `None`.

        Raises:
            ValueError: If parts are missing, parts or styles are given where there is no table, or there are not as
                many as rows.
        """
        embedded = None
        for name, ids in (("part_ids", part_ids), ("style_ids", style_ids)):
            table = getattr(self, name.replace("_ids", "s"), None)
            if table is None:
                if ids is not None:
                    raise ValueError(f"`{name}` must be left out: this stage has no embedding of them.")
                continue
            if ids is None and name == "part_ids":
                raise ValueError(
                    f"`part_ids` must say which of {', '.join(self.part_names)} each row plays, in a tensor of shape "
                    f"({num_rows},); got None."
                )
            ids = torch.zeros(num_rows, dtype=torch.long, device=table.weight.device) if ids is None else ids
            if ids.shape != (num_rows,):
                raise ValueError(f"`{name}` must have the shape ({num_rows},), got {tuple(ids.shape)}.")
            embedded = table(ids)[:, None] + (0 if embedded is None else embedded)  # (R, 1, d)
        return embedded


class AccompGenRelativeBias(nn.Module):
    """The learned bias B of Eq. 3 with the causal mask, one tensor for all layers.

    `weight` stacks the tables: same segment (or whole sequence); with `bidirectional_prefix` the same inside the
    prefix, both directions; on the `"time"` axis one table per ordered (query, key) pair of different segments.
    """

    def __init__(self, config: AccompGenStageConfig):
        super().__init__()
        self.config = config
        self.num_segments = len(config.segments)
        num_rows = config.relative_attention_num_buckets * (2 if config.bidirectional_prefix else 1)
        self.first_cross_row = num_rows
        self.cross_pairs = self._attended_pairs() if config.relative_position_axis == "time" else []
        num_rows += config.cross_segment_num_buckets * len(self.cross_pairs)
        self.weight = nn.Parameter(torch.empty(num_rows, config.num_attention_heads))

    def initial_fall(self) -> torch.Tensor:
        """What a new model's bias loses with distance, in the shape of `weight`."""
        config = self.config
        steps = torch.arange(config.relative_attention_num_buckets)
        if config.bidirectional_prefix:
            steps = torch.cat([steps, steps % (config.relative_attention_num_buckets // 2)])
        cross_steps = torch.arange(config.cross_segment_num_buckets) % (config.cross_segment_num_buckets // 2)
        steps = torch.cat([steps, cross_steps.repeat(len(self.cross_pairs))])
        slopes = config.relative_bias_slope * 0.5 ** torch.arange(config.num_attention_heads)
        slopes[-1] = 0.0  # one head sees far from the start
        return steps[:, None] * slopes

    def _attended_pairs(self) -> list[tuple[int, int]]:
        pairs = [(query, key) for query in range(self.num_segments) for key in range(query)]
        if self.config.bidirectional_prefix:
            prefix = range(self.num_segments - 1)
            pairs += [(query, key) for query in prefix for key in prefix if key > query]
        return pairs

    def forward(
        self, segment_ids: torch.LongTensor, segment_positions: torch.LongTensor, num_queries: int, num_keys: int
    ) -> torch.Tensor:
        """Compute the bias of the last `num_queries` positions against all.

        Args:
            segment_ids, segment_positions (`torch.LongTensor` of shape `(num_rows, num_positions)`): Segment and
                place of every position so far, cached ones included; -1 is padding.
            num_queries (`int`): Positions that ask.
            num_keys (`int`): Keys that the cache holds; those past `num_positions` are not written yet.

        Returns:
            `torch.FloatTensor` of shape `(num_rows, num_attention_heads, num_queries, num_keys)`.
        """
        rows = self.bucket_rows(segment_ids, segment_positions, num_queries)  # (R, S_query, S_key)
        bias = F.embedding(rows, self.weight).permute(0, 3, 1, 2)  # (R, H, S_query, S_key)
        is_visible = self._visible(segment_ids, num_queries)[:, None]
        bias = bias.masked_fill(~is_visible, MASKED_SCORE)
        num_unwritten = num_keys - segment_ids.shape[1]
        return F.pad(bias, (0, num_unwritten), value=MASKED_SCORE) if num_unwritten else bias

    def _visible(self, segment_ids: torch.LongTensor, num_queries: int) -> torch.BoolTensor:
        num_positions = segment_ids.shape[1]
        index = torch.arange(num_positions, device=segment_ids.device)
        is_visible = index[None, :] <= index[num_positions - num_queries :, None]  # (S_query, S_key)
        is_visible = is_visible & (segment_ids != PADDING)[:, None, :]
        if self.config.bidirectional_prefix:
            is_prefix = (segment_ids != PADDING) & (segment_ids < self.num_segments - 1)
            is_visible = is_visible | (is_prefix[:, -num_queries:, None] & is_prefix[:, None, :])
        return is_visible

    def bucket_rows(
        self, segment_ids: torch.LongTensor, segment_positions: torch.LongTensor, num_queries: int
    ) -> torch.LongTensor:
        """Row of `weight` for every (query, key) pair, shape `(num_rows, num_queries, num_positions)`."""
        config = self.config
        num_buckets = config.relative_attention_num_buckets
        max_distance = cast(int, config.relative_attention_max_distance)  # the config has filled it
        is_time = config.relative_position_axis == "time"
        # On the token axis a position counts every position before it in the whole sequence.
        positions = segment_positions if is_time else (segment_ids != PADDING).cumsum(1) - 1
        distance = positions[:, -num_queries:, None] - positions[:, None, :]
        rows = relative_position_bucket(distance, num_buckets, max_distance, bidirectional=False)
        query_segments, key_segments = segment_ids[:, -num_queries:, None], segment_ids[:, None, :]
        if config.bidirectional_prefix:
            both_ways = num_buckets + relative_position_bucket(distance, num_buckets, max_distance, bidirectional=True)
            rows = torch.where((query_segments < self.num_segments - 1) & (query_segments != PADDING), both_ways, rows)
        if is_time:
            cross_rows = self._cross_rows(segment_ids, segment_positions, num_queries)
            rows = torch.where(query_segments == key_segments, rows, cross_rows)
        return rows

    def _cross_rows(
        self, segment_ids: torch.LongTensor, segment_positions: torch.LongTensor, num_queries: int
    ) -> torch.LongTensor:
        config, device = self.config, segment_ids.device
        units = torch.tensor([segment.time_units_per_frame for segment in config.segments], device=device)
        codebooks = torch.tensor([segment.num_codebooks for segment in config.segments], device=device)
        table_of_pair = torch.zeros(self.num_segments, self.num_segments, dtype=torch.long, device=device)
        for table, (query, key) in enumerate(self.cross_pairs):
            table_of_pair[query, key] = table
        segments = segment_ids.clamp(min=0)
        times = segment_positions.clamp(min=0) // codebooks[segments] * units[segments]  # (R, S), 1/150 s
        key_units = units[segments][:, None, :]
        distance = torch.div(times[:, -num_queries:, None] - times[:, None, :], key_units, rounding_mode="floor")
        bucket = relative_position_bucket(
            distance, config.cross_segment_num_buckets, config.cross_segment_max_distance, bidirectional=True
        )
        table = table_of_pair[segments[:, -num_queries:, None], segments[:, None, :]]
        return self.first_cross_row + table * config.cross_segment_num_buckets + bucket


__all__ = [
    "AccompGenAttention",
    "AccompGenDecoderLayer",
    "AccompGenMLP",
    "AccompGenRMSNorm",
    "AccompGenRelativeBias",
    "AccompGenRowEmbedding",
]
