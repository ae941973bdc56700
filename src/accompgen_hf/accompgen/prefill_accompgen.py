"""The prompt of a window by products of matrices, as decoding needs it: keys and values, and the newest position.

It computes what the stage's `forward` computes with an empty cache, without what nobody reads: the last layer answers
the newest positions alone, attention does not look at keys after a block of queries, and a bias is kept for the next
window, which has the same layout, or begins with it. Where rows begin with one id over and over, as without
conditioning they do, one position stands for all of these.

Letters: R rows, H heads, S positions, N newest positions, D head width, d hidden width.
"""

from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import nn

from .attention_accompgen import QUERY_BLOCK
from .fast_decoding_accompgen import weights_version

_MOST_KEPT_BYTES = 2**24  # a larger bias is made anew


class Prefill:
    """Runs prompts of one stage.

    Args:
        model (`AccompGenStageForCausalLM`): Stage whose weights it reads.
    """

    def __init__(self, model: nn.Module):
        self.decoder = model.model
        self.is_causal = not model.config.bidirectional_prefix
        self._kept_bias: dict[bool, tuple[int, torch.Tensor, torch.Tensor]] = {}  # num_alike, layout, bias

    def count_alike(self, input_ids: torch.LongTensor, segment_ids: torch.LongTensor) -> int:
        """Leading positions of the first segment that hold one id in each row; 0 unless there are several.

        Their keys and values are equal in every layer: no position is embedded, and what attention finds among equal
        values does not depend on its weights.
        """
        if not self.is_causal:
            return 0
        is_alike = (input_ids == input_ids[:, :1]).all(0) & (segment_ids[0] == segment_ids[0, 0])
        num_alike = int(is_alike.long().cumprod(0).sum())
        return num_alike if num_alike > 1 else 0

    def run(
        self,
        input_ids: torch.LongTensor,
        segment_ids: torch.LongTensor,
        segment_positions: torch.LongTensor,
        rows: torch.FloatTensor | None = None,
        num_alike: int = 0,
        num_newest: int = 1,
    ) -> tuple[torch.FloatTensor, list[tuple[torch.Tensor, torch.Tensor]]]:
        """Run one prompt; `rows` `(R, 1, d)` is added at every position.

        With `num_alike` (from `count_alike`), the first so many positions become one, the last of them.

        Returns:
            The last norm's output at the newest positions `(R, N, d)`, and every layer's keys and values.
        """
        bias = self._bias(segment_ids, segment_positions, num_alike)
        first = max(0, num_alike - 1)
        input_ids, segment_ids = input_ids[:, first:], segment_ids[:, first:]
        segments = self.decoder.embed_segments(segment_ids)
        hidden_states = self.decoder.embed_tokens(input_ids) + (segments if rows is None else segments + rows)
        cache, num_layers = [], len(self.decoder.layers)
        for index, layer in enumerate(self.decoder.layers):
            attention, normed = layer.self_attn, layer.input_layernorm(hidden_states)
            if index == num_layers - 1:
                hidden_states, bias = hidden_states[:, -num_newest:], bias[:, :, -num_newest:]
            queries = normed[:, -hidden_states.shape[1] :]
            query = attention.q_norm(self._split(attention.q_proj(queries), attention)).transpose(1, 2)
            key = attention.k_norm(self._split(attention.k_proj(normed), attention)).transpose(1, 2)
            value = self._split(attention.v_proj(normed), attention).transpose(1, 2)
            cache.append((key, value))
            attended = self._attend(query, key, value, bias).transpose(1, 2).flatten(2)  # (R, H, S, D) -> (R, S, d)
            hidden_states = hidden_states + attention.o_proj(attended)
            hidden_states = hidden_states + layer.mlp(layer.post_attention_layernorm(hidden_states))
        return self.decoder.norm(hidden_states), cache

    @staticmethod
    def _split(values: torch.Tensor, attention: nn.Module) -> torch.Tensor:
        return values.unflatten(-1, (-1, attention.head_dim))  # (R, S, H, D)

    def _attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """softmax(Q Kᵀ / sqrt(D) + B) V of the newest positions that `query` has; the bias holds the mask."""
        if not self.is_causal:
            return F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        num_queries, blocks = query.shape[2], []
        for start in range(0, num_queries, QUERY_BLOCK):
            end = min(start + QUERY_BLOCK, num_queries)
            seen = slice(key.shape[2] - num_queries + end)
            keys, values, own_bias = key[:, :, seen], value[:, :, seen], bias[:, :, start:end, seen]
            blocks.append(F.scaled_dot_product_attention(query[:, :, start:end], keys, values, attn_mask=own_bias))
        return torch.cat(blocks, dim=2)

    def _bias(
        self, segment_ids: torch.LongTensor, segment_positions: torch.LongTensor, num_alike: int
    ) -> torch.Tensor:
        layout = torch.cat([segment_ids, segment_positions])  # (2, S)
        num_positions, is_joined = layout.shape[1], num_alike > 0
        kept_alike, kept_layout, kept = self._kept_bias.get(is_joined, (0, layout[:, :0], None))
        if kept_alike == num_alike and torch.equal(kept_layout[:, :num_positions], layout):
            own = slice(num_positions - max(0, num_alike - 1))
            return kept[:, :, own, own]
        bias = self.decoder.relative_bias(segment_ids, segment_positions, num_positions, num_positions)
        if num_alike:  # a key that stands for several has the weight of all of them
            bias = bias[..., num_alike - 1 :, :]
            joined = bias[..., :num_alike].logsumexp(-1, keepdim=True)
            bias = torch.cat([joined, bias[..., num_alike:]], dim=-1)
        if bias.nbytes <= _MOST_KEPT_BYTES:
            self._kept_bias[is_joined] = (num_alike, layout, bias)
        return bias


def prefill_of(model: nn.Module) -> Prefill:
    """The stage's prefill, made anew whenever a parameter has changed."""
    version = weights_version(model)
    kept = _PREFILLS.get(model)
    if kept is None or kept[0] != version:
        kept = _PREFILLS[model] = (version, Prefill(model))
    return kept[1]


_PREFILLS: "WeakKeyDictionary[nn.Module, tuple[list, Prefill]]" = WeakKeyDictionary()

__all__ = ["Prefill", "prefill_of"]
