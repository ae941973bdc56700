"""Order of codes inside one autoregressive sequence, and the clock both frame rates share (paper §3.2-3.3).

Letters: B batch, K codebooks, T frames, N = K * T slots of a segment, S positions of a sequence.

A stage's sequence is [conditioning segments | BOS | target]. `segment_ids` and `segment_positions` say where every
position belongs; -1 marks padding. The target's position 0 is BOS, and position p predicts code p of the target, so
position p of any segment sounds at frame p // K.
"""

import math

import torch

PADDING = -1
IGNORED_LABEL = -100


def interleave_codes(codes: torch.LongTensor) -> torch.LongTensor:
    """Lay codes out frame by frame: every codebook of frame 0, then every codebook of frame 1.

    Args:
        codes (`torch.LongTensor` of shape `(batch_size, num_codebooks, num_frames)`):
            Codes in `[0, codebook_size)`, without the per-codebook offset.

    Returns:
        `torch.LongTensor` of shape `(batch_size, num_frames * num_codebooks)`.

    Raises:
        ValueError: If `codes` does not have three dimensions.
    """
    if codes.ndim != 3:
        raise ValueError(f"`codes` must be (batch_size, num_codebooks, num_frames), got {tuple(codes.shape)}.")
    return codes.transpose(1, 2).flatten(1)  # (B, K, T) -> (B, T, K) -> (B, N)


def deinterleave_codes(codes: torch.LongTensor, num_codebooks: int) -> torch.LongTensor:
    """Undo `interleave_codes`: `(B, num_frames * num_codebooks)` to `(B, num_codebooks, num_frames)`.

    Raises:
        ValueError: If `codes` is not two-dimensional or ends inside a frame.
    """
    if codes.ndim != 2 or codes.shape[1] % num_codebooks:
        raise ValueError(
            f"`codes` must be (batch_size, num_frames * {num_codebooks}) and end on a whole frame, "
            f"got {tuple(codes.shape)}."
        )
    return codes.unflatten(1, (-1, num_codebooks)).transpose(1, 2)  # (B, N) -> (B, T, K) -> (B, K, T)


def codes_to_ids(segment, codes: torch.LongTensor) -> torch.LongTensor:
    """Map a segment's codes to vocabulary ids in sequence order.

    Args:
        segment (`Segment`): The segment, which says where its codes begin in the vocabulary.
        codes (`torch.LongTensor`): `(batch_size, num_frames)` for one semantic stream, else
            `(batch_size, num_codebooks, num_frames)`.

    Returns:
        `torch.LongTensor` of shape `(batch_size, num_frames * num_codebooks)`.

    Raises:
        ValueError: If the shape or a code does not fit the segment.
    """
    expected_ndim = 3 if segment.has_codebook_axis else 2
    if codes.ndim != expected_ndim or (codes.ndim == 3 and codes.shape[1] != segment.num_codebooks):
        shape = (
            "(batch_size, num_frames)" if expected_ndim == 2 else f"(batch_size, {segment.num_codebooks}, num_frames)"
        )
        raise ValueError(f"`{segment.name}` must be {shape}, got {tuple(codes.shape)}.")
    if codes.dtype not in (torch.int64, torch.int32, torch.int16):
        raise ValueError(f"`{segment.name}` must hold integers, got {codes.dtype}.")
    if codes.numel() and (codes.min() < 0 or codes.max() >= segment.codebook_size):
        raise ValueError(
            f"`{segment.name}` must be in [0, {segment.codebook_size}), got {int(codes.min())} to {int(codes.max())}. "
            "Were the tokens made with another codebook?"
        )
    codes = codes.long()
    if codes.ndim == 2:
        return codes + segment.offset
    codebook_offsets = torch.arange(segment.num_codebooks, device=codes.device) * segment.codebook_size
    return interleave_codes(codes + codebook_offsets[:, None]) + segment.offset


def ids_to_codes(segment, ids: torch.LongTensor) -> torch.LongTensor:
    """Undo `codes_to_ids` for whole frames: `(B, N)` to `(B, T)` (one semantic stream) or `(B, K, T)`."""
    if not segment.has_codebook_axis:
        return ids - segment.offset
    codebook_offsets = torch.arange(segment.num_codebooks, device=ids.device) * segment.codebook_size
    return deinterleave_codes(ids - segment.offset, segment.num_codebooks) - codebook_offsets[:, None]


def build_stage_inputs(
    config,
    conditioning: dict[str, torch.LongTensor],
    target: torch.LongTensor | None = None,
    condition_dropped: torch.BoolTensor | None = None,
    history_dropped: torch.BoolTensor | None = None,
    part_ids: torch.LongTensor | None = None,
    style_ids: torch.LongTensor | None = None,
) -> dict[str, torch.LongTensor]:
    """Build one stage's batch: [conditioning | BOS | target].

    Args:
        config (`AccompGenStageConfig`): Config with the segments and their places in the vocabulary.
        conditioning (`dict` of `str` to `torch.LongTensor`): One entry per `config.conditioning_names`, shaped as
            `codes_to_ids` takes it.
        target (`torch.LongTensor`, *optional*): Codes of the target (all of a training clip, or a window's prefix).
        condition_dropped (`torch.BoolTensor` of shape `(batch_size,)`, *optional*): Rows whose conditioning codes
            become the null id; lengths, segments and times stay (paper §3.5).
        history_dropped (`torch.BoolTensor` of shape `(batch_size, num_frames)`, *optional*): Frames of the target
            that are hidden from later positions; the labels stay.
        part_ids (`torch.LongTensor` of shape `(batch_size,)`, *optional*): Part of each row, for stages in which a
            row is one part.
        style_ids (`torch.LongTensor` of shape `(batch_size,)`, *optional*): Style of each row, for stages with
            styles; it becomes 0, any style, where the conditioning is dropped.

    Returns:
        `dict` with `input_ids` and `labels` of shape `(batch_size, num_positions)`, and `segment_ids` and
        `segment_positions` of shape `(1, num_positions)`: one row, since all samples share the layout. `part_ids` and
        `style_ids` are in it if they were given.

    Raises:
        ValueError: If a conditioning name is missing or unknown, or its durations differ.
    """
    names = config.conditioning_names
    if set(conditioning) != set(names):
        raise ValueError(f"`conditioning` must have exactly the keys {list(names)}, got {sorted(conditioning)}.")
    segments = config.segments
    _check_equal_durations(segments[:-1], conditioning)
    first = conditioning[names[0]]
    batch_size, device = first.shape[0], first.device

    ids = [codes_to_ids(segment, conditioning[segment.name]) for segment in segments[:-1]]
    if condition_dropped is not None:
        dropped = condition_dropped.to(device)[:, None]
        ids = [torch.where(dropped, config.null_token_id, segment_ids) for segment_ids in ids]
    bos = torch.full((batch_size, 1), config.bos_token_id, device=device)
    target_ids = first.new_empty((batch_size, 0), dtype=torch.long)
    if target is not None:
        target_ids = codes_to_ids(segments[-1], target).to(device)
    pieces = [*ids, torch.cat([bos, target_ids], dim=1)]

    lengths = [piece.shape[1] for piece in pieces]
    segment_ids = torch.cat([torch.full((length,), index) for index, length in enumerate(lengths)])
    segment_positions = torch.cat([torch.arange(length) for length in lengths])
    input_ids = torch.cat(pieces, dim=1)
    labels = torch.full_like(input_ids, IGNORED_LABEL)
    labels[:, input_ids.shape[1] - target_ids.shape[1] :] = target_ids
    if history_dropped is not None:
        is_hidden = history_dropped.to(device).repeat_interleave(segments[-1].num_codebooks, dim=1)  # (B, T) -> (B, N)
        input_ids[:, input_ids.shape[1] - target_ids.shape[1] :].masked_fill_(is_hidden, config.null_token_id)
    if style_ids is not None and condition_dropped is not None:
        style_ids = style_ids.masked_fill(condition_dropped.to(style_ids.device), 0)
    rows = {"part_ids": part_ids, "style_ids": style_ids}
    return {
        "input_ids": input_ids,
        "segment_ids": segment_ids[None].to(device),
        "segment_positions": segment_positions[None].to(device),
        "labels": labels,
        **{name: ids.to(device) for name, ids in rows.items() if ids is not None},
    }


def _check_equal_durations(segments, conditioning: dict[str, torch.LongTensor]) -> None:
    durations = {segment.name: conditioning[segment.name].shape[-1] / segment.frame_rate for segment in segments}
    if max(durations.values()) - min(durations.values()) > 1e-6:
        raise ValueError(f"`conditioning` must cover one duration, got {durations} seconds.")
    if len({conditioning[segment.name].shape[0] for segment in segments}) > 1:
        raise ValueError("`conditioning` must have one batch size in all its entries.")


def relative_position_bucket(
    distance: torch.LongTensor, num_buckets: int, max_distance: int, bidirectional: bool
) -> torch.LongTensor:
    """T5's logarithmic buckets of `distance` = query - key (Raffel et al. 2020; paper §3.4).

    Small distances have a bucket each, larger ones share logarithmically wider buckets up to `max_distance`. With
    `bidirectional` the second half of the buckets holds keys after the query; otherwise those fall into bucket 0.
    """
    first_bucket = torch.zeros_like(distance)
    if bidirectional:
        num_buckets //= 2
        first_bucket = (distance < 0).long() * num_buckets
        distance = distance.abs()
    distance = distance.clamp(min=0, max=max_distance)
    num_exact = num_buckets // 2
    scale = (num_buckets - num_exact) / math.log(max_distance / num_exact)
    logarithmic = num_exact + (torch.log(distance.clamp(min=1).float() / num_exact) * scale).long()
    logarithmic = logarithmic.clamp(max=num_buckets - 1)
    return first_bucket + torch.where(distance < num_exact, distance, logarithmic)
