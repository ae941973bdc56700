"""The stages a second time, from their equations: no line of the package's forward is used, only its weights.

One sequence at a time, one head at a time, buckets by transformers' own T5.
"""

import functools
import math

import torch
from transformers.models.t5.modeling_t5 import T5Attention


def t5_bucket(distance: torch.Tensor, num_buckets: int, max_distance: int, bidirectional: bool) -> torch.Tensor:
    # T5 counts key - query; `distance` is query - key.
    return T5Attention._relative_position_bucket(-distance, bidirectional, num_buckets, max_distance)


@functools.cache
def one_t5_bucket(distance: int, num_buckets: int, max_distance: int, bidirectional: bool) -> int:
    return int(t5_bucket(torch.tensor(distance), num_buckets, max_distance, bidirectional))


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
                bucket = one_t5_bucket(distance, num_buckets, max_distance, is_both_ways)
                rows[query, key] = bucket + (num_buckets if is_both_ways else 0)
                continue
            if (query_segment, key_segment) not in model.model.relative_bias.cross_pairs:
                continue  # cannot be attended
            times = []
            for position in (query, key):
                segment = config.segments[segment_ids[position]]
                times.append(segment_positions[position] // segment.num_codebooks * (150 // segment.frame_rate))
            frames = (times[0] - times[1]) // (150 // config.segments[key_segment].frame_rate)  # floor
            bucket = one_t5_bucket(frames, config.cross_segment_num_buckets, config.cross_segment_max_distance, True)
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
    model,
    input_ids: torch.Tensor,
    segment_ids: torch.Tensor,
    segment_positions: torch.Tensor,
    part: int | None = None,
    style: int | None = None,
) -> list[torch.Tensor | None]:
    """Logits of one sequence: per position `None` (conditioning) or `(codebook_size,)` of the codebook it predicts.

    Part and style are rows of their tables.
    """
    config, weights = model.config, model.state_dict()
    segments, positions = segment_ids.tolist(), segment_positions.tolist()
    bias = weights["model.relative_bias.weight"][reference_bias_rows(model, segments, positions)]  # (S, S, H)
    is_visible = reference_visible(config, segments)
    size, eps = config.head_dim, config.rms_norm_eps
    hidden = weights["model.embed_tokens.weight"][input_ids] + weights["model.embed_segments.weight"][segment_ids]
    for name, row in (("parts", part), ("styles", style)):
        if row is not None:
            hidden = hidden + weights[f"model.embed_rows.{name}.weight"][row]
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


def reference_choice(
    logits: torch.Tensor,
    uniform: float | None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
) -> tuple[int, float]:
    """Choose a code of one slot: the code, and how far the decision was from another one.

    `uniform` is `None` for greedy search. The margin is in logits for ranks, in probability for the choice.
    """
    scores = logits.double() / (temperature if uniform is not None else 1.0)
    ranked, order = scores.sort(descending=True, stable=True)
    if uniform is None:
        return int(order[0]), float(ranked[0] - ranked[1])
    margins, num_kept = [], len(scores)
    if top_k is not None and top_k < num_kept:
        num_kept = top_k
        margins.append(float(ranked[top_k - 1] - ranked[top_k]))
    if top_p < 1.0:
        reached = ranked[:num_kept].softmax(-1).cumsum(-1)
        margins.append(float((reached - top_p).abs().min()))
        num_kept = int((reached < top_p).sum()) + 1
    probabilities = torch.zeros_like(scores)
    probabilities[order[:num_kept]] = ranked[:num_kept].softmax(-1)
    cumulative = probabilities.cumsum(-1)
    borders = cumulative[:-1][(cumulative[:-1] > 0) & (cumulative[:-1] < 1 - 1e-9)]
    margins.append(float((borders - uniform).abs().min()) if len(borders) else 1.0)
    return int((cumulative <= uniform).sum()), min(margins)


@torch.no_grad()
def reference_decode(
    model,
    inputs: dict[str, torch.Tensor],
    num_new: int,
    uniforms: torch.Tensor | None = None,
    guidance_scale: float = 1.0,
    style_guided_rows: tuple[int, ...] = (),
    **settings,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Decode without cache: one whole forward per row and slot. Returns new ids and margins, `(B, num_new)`.

    Rows that are style-guided are compared with what they say without a style, all others with what they say deaf.
    """
    config, target = model.config, model.config.target_segment
    all_ids, all_margins = [], []
    for row, prompt in enumerate(inputs["input_ids"]):
        pick = 0 if inputs["segment_ids"].shape[0] == 1 else row
        segments, positions = inputs["segment_ids"][pick], inputs["segment_positions"][pick]
        is_real = segments >= 0  # a padded row without its padding
        ids, segments, positions = prompt[is_real], segments[is_real], positions[is_real]
        margins = []
        for index in range(num_new):
            layout = {"segment_ids": segments[None], "segment_positions": positions[None]}
            parts = {"part_ids": inputs["part_ids"][row : row + 1]} if "part_ids" in inputs else {}
            styles = {"style_ids": inputs["style_ids"][row : row + 1]} if "style_ids" in inputs else {}
            slot = int(positions[-1])
            start = target.offset + slot % target.num_codebooks * target.codebook_size
            deaf = torch.where(segments < len(config.segments) - 1, config.null_token_id, ids)
            deaf = ids if row in style_guided_rows else deaf
            heard, unheard = (
                model(each[None], **layout, **parts, **known, use_cache=False).logits[0, -1]
                for each, known in ((ids, styles), (deaf, {}))  # no style is any style
            )
            heard, unheard = (each[start : start + target.codebook_size] for each in (heard, unheard))
            logits = unheard + guidance_scale * (heard - unheard)  # Eq. 5
            uniform = None if uniforms is None else float(uniforms[row, index])
            code, margin = reference_choice(logits, uniform, **settings)
            ids = torch.cat([ids, torch.tensor([start + code])])
            segments = torch.cat([segments, segments[-1:]])
            positions = torch.cat([positions, positions[-1:] + 1])
            margins.append(margin)
        all_ids.append(ids[-num_new:])
        all_margins.append(torch.tensor(margins))
    return torch.stack(all_ids), torch.stack(all_margins)


def assert_equal_up_to_ties(ids: torch.Tensor, expected: torch.Tensor, margins: torch.Tensor) -> None:
    """Rows are equal up to their first decision that rounding could turn; most decisions must not be like that."""
    assert ids.shape == expected.shape
    num_compared = 0
    for row, (row_ids, row_expected) in enumerate(zip(ids, expected, strict=True)):
        ties = (margins[row] < 1e-4).nonzero()
        end = int(ties[0]) if len(ties) else len(row_ids)
        assert torch.equal(row_ids[:end], row_expected[:end])
        num_compared += end
    assert num_compared >= expected.numel() / 4, "too many ties: take another seed"
