"""Lean decoding of one stage: fixed cache, fused weights, one bias row per step, the active quantizer's head alone.

It computes what the stage's `forward` computes with a cache, for one position at a time, without building what a step
does not need. `AccompGenGenerationMixin._sample` chooses it where it applies.

Between the embedding and the last norm a step reads and writes fixed buffers only, and what it does depends on no
value in them: on a GPU it is captured as a CUDA graph, once for a shape, and replayed for every slot of every window.

Letters: R rows (with guidance twice the batch), H heads, D head width, d hidden width, S positions, C codes.
"""

import math
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import nn
from transformers.cache_utils import DynamicCache

from .attention_accompgen import MASKED_SCORE
from .codebooks_accompgen import relative_position_bucket
from .weight_formats_accompgen import check_weight_format, make_projection

_KEY_BLOCK = 32  # attention looks at whole blocks of keys, so that its views are made once per block


class FastStageDecoder:
    """Decodes rows that share one layout without padding.

    Args:
        model (`AccompGenStageForCausalLM`): Its weights are copied into fused ones; nothing of it is changed.
        segment_positions (`torch.LongTensor` of shape `(1, num_prompt_positions)`): Positions of the prompt.
        num_positions (`int`): Prompt and new positions together.
    """

    def __init__(self, model: nn.Module, segment_positions: torch.LongTensor, num_positions: int):
        self.model = model
        self.target = model.config.target_segment
        self.slot = int(segment_positions[0, -1])  # of the newest position inside the target
        self.index = segment_positions.shape[1] - 1  # of the newest position inside the sequence
        self.first_target = self.index - self.slot
        self.num_positions = num_positions
        self.weights = fuse_weights(model)
        self.state: _StepState | None = None

    def prefill(
        self,
        input_ids: torch.LongTensor,
        segment_ids: torch.LongTensor,
        segment_positions: torch.LongTensor,
        part_ids: torch.LongTensor | None = None,
        style_ids: torch.LongTensor | None = None,
    ) -> torch.FloatTensor:
        """Run the prompt through the stage and keep its keys and values; returns logits `(R, codebook_size)`."""
        cache = DynamicCache()
        rows = {"part_ids": part_ids, "style_ids": style_ids}
        hidden_states = self.model.model(input_ids, segment_ids, segment_positions, cache, **rows)[0]
        self.begin([(layer.keys, layer.values) for layer in cache.layers])
        self.state.set_rows(self.model.model.embed_rows(len(input_ids), part_ids, style_ids))
        head = self.model.heads[self.slot % self.target.num_codebooks]
        return head(hidden_states[:, -1]).float()

    def begin(self, keys_and_values: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Take the prompt's keys and values of every layer, each `(R, H, num_prompt_positions, D)`."""
        self.state = self.weights.take_state(len(keys_and_values[0][0]), self._num_keys())
        self.state.restart(keys_and_values)
        self.bias = BiasRow(self.model.model.relative_bias, self.state.bias, self.first_target)

    def _num_keys(self) -> int:
        """Positions that the buffers hold; on a GPU those of a whole window, so that all windows share one graph."""
        if self.weights.device.type != "cuda":
            return self.num_positions
        rates = [segment.frame_rate * segment.num_codebooks for segment in self.model.config.segments]
        num_slots = self.first_target * rates[-1] // sum(rates[:-1])
        return max(self.first_target + 1 + num_slots, self.num_positions)

    def step(self, input_ids: torch.LongTensor) -> torch.FloatTensor:
        """Append one id per row, `(R,)`, or `(R / 2,)` for both halves; returns logits `(R, codebook_size)`."""
        self.slot += 1
        self.index += 1
        self.bias.write(self.slot)
        hidden_states = self.state.advance(input_ids, self.index)
        return self.weights.heads[self.slot % self.target.num_codebooks](hidden_states).float()

    def release(self) -> None:
        """Give the buffers back: the next window of the same shape replays their graph."""
        self.weights.keep_state(self.state)
        self.state = None

    @property
    def first_code_id(self) -> int:
        """Vocabulary id of code 0 of the codebook that the newest position predicts."""
        return self.target.offset + self.slot % self.target.num_codebooks * self.target.codebook_size


def fuse_weights(model: nn.Module) -> "FusedWeights":
    """The stage's weights as decoding reads them, made anew whenever a parameter or their format has changed."""
    version = weights_version(model)
    weights = _FUSED_WEIGHTS.get(model)
    if weights is None or weights.version != version:
        weights = _FUSED_WEIGHTS[model] = FusedWeights(model, version)
    return weights


def weights_version(model: nn.Module) -> list:
    """Something that differs whenever a parameter or the format of a stage has changed."""
    states = [
        (parameter.data_ptr(), 0 if parameter.is_inference() else parameter._version)
        for parameter in model.parameters()
    ]
    return [model.weight_format, *states]


class FusedWeights:
    """Copies of a stage's weights: Q, K, V in one product, both GEGLU inputs in another, in `model.weight_format`."""

    def __init__(self, model: nn.Module, version: list):
        check_weight_format(model.weight_format, model.model.embed_tokens.weight)
        self.version = version
        self.config = model.config
        self.embedding = model.model.embed_tokens.weight
        self.target_embedding = model.model.embed_segments.weight[-1]
        self.layers = [_FusedLayer(layer, model.config, model.weight_format) for layer in model.model.layers]
        self.norm = _Norm(model.model.norm.weight, model.config.rms_norm_eps)
        self.heads = [make_projection(head.weight, model.weight_format) for head in model.heads]
        self._idle_states: dict[tuple[int, int], list[_StepState]] = {}

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.embedding.device

    def take_state(self, num_rows: int, num_keys: int) -> "_StepState":
        """Buffers of this shape that nobody uses (threads may decode side by side), or new ones."""
        idle = self._idle_states.get((num_rows, num_keys))
        try:
            return idle.pop()
        except (AttributeError, IndexError):
            return _StepState(self, num_rows, num_keys)

    def keep_state(self, state: "_StepState") -> None:
        """Keep the buffers of a finished window for the next one of the same shape."""
        if state.graph is not None:  # without a graph new buffers cost nothing
            self._idle_states.setdefault((state.num_rows, state.num_keys), []).append(state)


_FUSED_WEIGHTS: "WeakKeyDictionary[nn.Module, FusedWeights]" = WeakKeyDictionary()


class _StepState:
    """The buffers of a step, and the step itself as a function of them alone."""

    def __init__(self, weights: FusedWeights, num_rows: int, num_keys: int):
        config, like = weights.config, weights.embedding
        self.weights, self.num_rows, self.num_keys = weights, num_rows, num_keys
        self.input_ids = torch.zeros(num_rows, dtype=torch.long, device=like.device)
        self.index = torch.zeros(1, dtype=torch.long, device=like.device)
        self.bias = like.new_full((1, config.num_attention_heads, 1, num_keys), MASKED_SCORE)
        shape = (num_rows, config.num_attention_heads, num_keys, config.head_dim)
        self.caches = [(like.new_zeros(shape), like.new_zeros(shape)) for _ in weights.layers]  # keys, values
        self.scratch = _Scratch(config, num_rows, like)
        self.target_embedding = weights.target_embedding  # (d,)
        if config.num_part_rows or config.num_style_rows:
            self.target_embedding = self.target_embedding.repeat(num_rows, 1)  # (R, d), a buffer that a graph reads
        self.graph: torch.cuda.CUDAGraph | None = None
        self.output: torch.Tensor | None = None
        self._show(num_keys)

    def restart(self, keys_and_values: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Begin a window with the keys and values of its prompt, each `(R, H, S, D)`."""
        self.bias.fill_(MASKED_SCORE)
        num_positions = keys_and_values[0][0].shape[2]
        for cache, prompt in zip(self.caches, keys_and_values, strict=True):
            for buffer, values in zip(cache, prompt, strict=True):
                buffer[:, :, :num_positions] = values
        if self.input_ids.device.type != "cuda":
            self._show(num_positions)

    def set_rows(self, rows: torch.Tensor | None) -> None:
        """Add what the window's rows have at every position, `(R, 1, d)`, to the target's embedding."""
        if rows is not None:
            torch.add(self.weights.target_embedding, rows[:, 0], out=self.target_embedding)

    def _show(self, num_keys: int) -> None:
        """Let attention see the first `num_keys` positions of the buffers."""
        self.num_shown = num_keys
        is_plain = self.bias.device.type == "cpu" and self.bias.dtype == torch.float32
        attention = _PlainAttention if is_plain else _FusedAttention
        self.scratch.show(num_keys)
        self.attention = [attention(self.scratch, *cache, self.bias) for cache in self.caches]

    def advance(self, input_ids: torch.LongTensor, index: int) -> torch.Tensor:
        """Append one id per row at position `index`; returns the last norm's output `(R, d)`."""
        self.input_ids.view(-1, len(input_ids)).copy_(input_ids)  # both branches of guidance hear the same code
        self.index.fill_(index)
        if index >= self.num_shown:
            self._show(min(self.num_keys, (index // _KEY_BLOCK + 1) * _KEY_BLOCK))
        if self.input_ids.device.type != "cuda":
            return self.compute()
        if self.graph is None:
            self._capture()
        self.graph.replay()
        return self.output

    def compute(self) -> torch.Tensor:
        """One step, from the buffers into the buffers."""
        hidden_states = F.embedding(self.input_ids, self.weights.embedding) + self.target_embedding  # (R, d)
        for layer, cache, attend in zip(self.weights.layers, self.caches, self.attention, strict=True):
            hidden_states = layer(hidden_states, self.index, cache, attend, self.scratch)
        return self.weights.norm(hidden_states)

    def _capture(self) -> None:
        # Run beside the main stream first: libraries allocate their workspaces then, which a capture may not.
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):  # writes the keys and values that the replay writes again
                self.compute()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.output = self.compute()
        self.graph = graph


class _Scratch:
    """What the layers of a step write and read in turn, and the views of it: made once, since a view costs a call."""

    def __init__(self, config, num_rows: int, like: torch.Tensor):
        num_heads, head_dim = config.num_attention_heads, config.head_dim
        self.qkv = like.new_zeros(num_rows, 3 * num_heads * head_dim)
        heads = self.qkv.view(num_rows, 3, num_heads, 1, head_dim)
        self.query_key, self.value = heads[:, :2], heads[:, 2]
        normed = like.new_zeros(2, num_rows, num_heads, 1, head_dim)  # every half in one piece
        self.normed_query_key, self.query, self.key = normed.transpose(0, 1), normed[0], normed[1]
        self.attended = like.new_zeros(num_rows, num_heads * head_dim)
        self.gate_up = like.new_zeros(num_rows, 2 * config.intermediate_size)
        self.gate, self.up = self.gate_up.chunk(2, dim=-1)

    def show(self, num_keys: int) -> None:
        """Make room for the scores of as many keys as attention sees."""
        self.scores = self.qkv.new_zeros(self.query.shape[:2].numel(), 1, num_keys)
        self.weights = torch.zeros_like(self.scores)


class _PlainAttention:
    """softmax(q Kᵀ / sqrt(D) + B) V as products of its parts: for one query faster on a CPU than PyTorch's kernel."""

    def __init__(self, scratch: _Scratch, keys: torch.Tensor, values: torch.Tensor, bias: torch.Tensor):
        num_shown = scratch.scores.shape[-1]
        self.query = scratch.query.flatten(0, 1)  # (R H, 1, D)
        self.keys = keys.flatten(0, 1)[:, :num_shown].transpose(1, 2)  # (R H, D, S)
        self.values = values.flatten(0, 1)[:, :num_shown]
        self.scores, self.weights = scratch.scores, scratch.weights  # (R H, 1, S)
        self.scores_by_row = scratch.scores.view(*keys.shape[:2], 1, num_shown)
        self.bias, self.scale = bias[..., :num_shown], keys.shape[-1] ** -0.5
        self.output = scratch.attended.view(len(self.query), 1, -1)

    def __call__(self) -> None:
        torch.bmm(self.query, self.keys, out=self.scores)
        torch.add(self.bias, self.scores_by_row, alpha=self.scale, out=self.scores_by_row)
        torch.softmax(self.scores, -1, out=self.weights)
        torch.bmm(self.weights, self.values, out=self.output)


class _FusedAttention:
    """The same by PyTorch's kernel, whose sums are float32 whatever it reads."""

    def __init__(self, scratch: _Scratch, keys: torch.Tensor, values: torch.Tensor, bias: torch.Tensor):
        num_shown = scratch.scores.shape[-1]
        self.query, self.output, self.bias = scratch.query, scratch.attended, bias[..., :num_shown]
        self.keys, self.values = keys[:, :, :num_shown], values[:, :, :num_shown]

    def __call__(self) -> None:
        attended = F.scaled_dot_product_attention(self.query, self.keys, self.values, attn_mask=self.bias)
        self.output.copy_(attended.view_as(self.output))


class _FusedLayer:
    """One decoder layer for one position per row (Eq. 2-4)."""

    def __init__(self, layer: nn.Module, config, weight_format: str | None):
        attention, mlp = layer.self_attn, layer.mlp
        num_heads = config.num_attention_heads
        self.attention_norm = _Norm(layer.input_layernorm.weight, config.rms_norm_eps)
        qkv = torch.cat([attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight])
        self.qkv = make_projection(qkv, weight_format)
        gains = torch.stack([attention.q_norm.weight, attention.k_norm.weight])[:, None, None]  # (2, 1, 1, D)
        self.qk_norm = _Norm(gains.expand(2, num_heads, 1, -1), config.rms_norm_eps)
        self.output = make_projection(attention.o_proj.weight, weight_format)
        self.mlp_norm = _Norm(layer.post_attention_layernorm.weight, config.rms_norm_eps)
        self.gate_up = make_projection(torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]), weight_format)
        self.down = make_projection(mlp.down_proj.weight, weight_format)

    def __call__(
        self,
        hidden_states: torch.Tensor,
        index: torch.LongTensor,
        cache: tuple[torch.Tensor, torch.Tensor],
        attend: _PlainAttention | _FusedAttention,
        scratch: _Scratch,
    ) -> torch.Tensor:
        """Write this position's keys and values into `cache` and add what both blocks say to `hidden_states`."""
        self.qkv.write(self.attention_norm(hidden_states), scratch.qkv)
        self.qk_norm(scratch.query_key, out=scratch.normed_query_key)
        cache[0].index_copy_(2, index, scratch.key)
        cache[1].index_copy_(2, index, scratch.value)
        attend()
        hidden_states = self.output.add_to(hidden_states, scratch.attended)
        self.gate_up.write(self.mlp_norm(hidden_states), scratch.gate_up)
        return self.down.add_to(hidden_states, F.gelu(scratch.gate).mul_(scratch.up))


class _Norm:
    """RN(x) = x / sqrt(mean(x²) + ε) · g over the last axis, in float32 (Eq. 2 and 3)."""

    def __init__(self, gain: torch.Tensor, eps: float):
        size = gain.shape[-1]
        self.gain, self.eps = gain.detach().float(), eps
        # On the CPU rms_norm is made of seven operations. Here sqrt(n) moves to the gain:
        # x / sqrt(Σ x² / n + ε) = sqrt(n) x / sqrt(Σ x² + n ε), and the root of two squares is one operation.
        self.scaled_gain, self.floor = math.sqrt(size) * self.gain, torch.tensor(math.sqrt(size * eps))

    def __call__(self, values: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        if values.device.type == "cpu" and values.dtype == torch.float32:
            length = torch.linalg.vector_norm(values, dim=-1, keepdim=True).hypot_(self.floor)
            return torch.mul(values / length, self.scaled_gain, out=out)
        normed = F.rms_norm(values.float(), values.shape[-1:], eps=self.eps) * self.gain
        return normed.to(values.dtype) if out is None else out.copy_(normed)


class BiasRow:
    """The bias of one target slot against all positions, kept in a buffer `(1, H, 1, S)`, from tables made once.

    A step moves every table by a whole number of entries, so a row is a few contiguous copies. What is not written yet
    stays masked.
    """

    def __init__(self, relative_bias: nn.Module, row: torch.Tensor, first_target: int):
        config, device = relative_bias.config, row.device
        self.weight, self.row, self.first_target = relative_bias.weight, row, first_target
        self.target = config.target_segment
        self.is_time = config.relative_position_axis == "time"
        # Distance falls along the keys: `same` holds the largest distance first.
        num_distances = row.shape[-1] - (first_target if self.is_time else 0)
        distance = torch.arange(num_distances - 1, -1, -1, device=device)
        num_buckets, max_distance = config.relative_attention_num_buckets, config.relative_attention_max_distance
        self.same = self._lookup(relative_position_bucket(distance, num_buckets, max_distance, bidirectional=False))
        self.cross = self._cross_tables(relative_bias, num_distances) if self.is_time else []
        self.shown_frames: list[int | None] = [None] * len(self.cross)

    def _cross_tables(self, relative_bias: nn.Module, num_slots: int) -> list[tuple]:
        """Per conditioning segment: itself, its columns, the newest of its frames, and the bias around that."""
        config, device = relative_bias.config, self.row.device
        rates = [segment.frame_rate * segment.num_codebooks for segment in config.segments[:-1]]
        last_time = (num_slots - 1) // self.target.num_codebooks * self.target.time_units_per_frame
        tables, start = [], 0
        for index, segment in enumerate(config.segments[:-1]):
            length = self.first_target * rates[index] // sum(rates)  # all segments last equally long
            last_frame = last_time // segment.time_units_per_frame
            distance = torch.arange(last_frame, -(length // segment.num_codebooks), -1, device=device)
            bucket = relative_position_bucket(
                distance, config.cross_segment_num_buckets, config.cross_segment_max_distance, bidirectional=True
            )
            table = relative_bias.cross_pairs.index((len(config.segments) - 1, index))
            bucket = bucket + relative_bias.first_cross_row + table * config.cross_segment_num_buckets
            values = self._lookup(bucket).repeat_interleave(segment.num_codebooks, dim=-1)
            tables.append((segment, slice(start, start + length), last_frame, values))
            start += length
        return tables

    def _lookup(self, rows: torch.LongTensor) -> torch.Tensor:
        return self.weight[rows].T[None, :, None]  # (1, H, 1, distances)

    def write(self, slot: int) -> None:
        """Make the row that of a target slot; slots come in order."""
        num_keys = self.first_target + slot + 1
        num_same = slot + 1 if self.is_time else num_keys
        self.row[..., num_keys - num_same : num_keys] = self.same[..., self.same.shape[-1] - num_same :]
        time = slot // self.target.num_codebooks * self.target.time_units_per_frame
        for index, (segment, columns, last_frame, values) in enumerate(self.cross):
            frame = time // segment.time_units_per_frame
            if frame != self.shown_frames[index]:
                first = (last_frame - frame) * segment.num_codebooks
                self.row[..., columns] = values[..., first : first + columns.stop - columns.start]
                self.shown_frames[index] = frame
