"""Recordings through encoder, stages and codec: many at once in shared batches, or one as it arrives.

The model's `generate` and `stream` are the way in. Both run the same windows and decode the same pieces: with one
window at a time they give the same bits.

A stream is a chain of generators that pull from each other: audio <- codec <- fine <- coarse <- semantic <- encoder <-
vocals. Each asks for no more than it needs for its next result, so the first audio waits for one window of each stage,
and each holds what its next window needs, so memory does not grow with the recording.

The first stage plans all parts. In the others each part that is asked for is a recording of its own, and those of one
recording run beside each other; their codes are joined again behind every stage, and the accompaniment is the sum.

Letters: P parts that are asked for, K codebooks, T frames; every tensor of codes has a leading axis of one recording.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

import torch

from .codec_accompgen import decode_stream
from .configuration_accompgen import CODEC_FRAME_RATE, SEMANTIC_NAMES
from .fingerprint_accompgen import check_token_fingerprints
from .modeling_accompgen_semantic_encoder import SAMPLES_PER_FRAME, list_semantic_blocks
from .regeneration_accompgen import Span
from .told_song_accompgen import NOTHING_TOLD, ToldSong
from .window_listening_accompgen import listening_context_s
from .windows_accompgen import (
    DEFAULT_WINDOW_BATCH_SIZE,
    PlayedPart,
    WindowedRecording,
    run_all_windows,
    run_next_windows,
)

STAGES = ("semantic", "coarse", "fine")
CODE_NAMES = ("vocal_semantic_ids", "instrumental_semantic_ids", "coarse_codes", "fine_codes")

Codes = dict[str, torch.LongTensor]


def stream_semantic_ids(
    encoder: Any, pieces: Iterable[torch.Tensor], known: torch.LongTensor | None = None
) -> Iterator[torch.LongTensor]:
    """Turn audio that arrives in pieces into semantic ids, block by block of the encoder's recipe.

    Args:
        encoder (`AccompGenSemanticEncoder`): The encoder. Its block recipe says where blocks begin and what they keep.
        pieces (iterable of `torch.FloatTensor` of shape `(num_samples,)`): Audio at 16 kHz, each piece a multiple of
            640 samples.
        known (`torch.LongTensor` of shape `(1, T)`, *optional*): The first ids, from an earlier run.

    Yields:
        `torch.LongTensor` of shape `(1, T)`: what each block keeps.
    """
    held, first = torch.zeros(0), 0  # samples from `first` on
    num_blocks, num_kept, ids = 0, 0, None

    def cut(block: tuple[int, ...], start: int, end: int) -> torch.LongTensor:
        nonlocal ids
        if known is not None and end // SAMPLES_PER_FRAME <= known.shape[-1]:
            return known[:, start // SAMPLES_PER_FRAME : end // SAMPLES_PER_FRAME].to(encoder.device)
        if ids is None:
            features = encoder.extract_block_features(held[block[0] - first : block[1] - first])
            ids = encoder.quantize(features)[None]  # (1, T of the block)
        return ids[:, (start - block[0]) // SAMPLES_PER_FRAME : (end - block[0]) // SAMPLES_PER_FRAME]

    for piece in chain(pieces, [None]):
        if piece is not None:
            held = torch.cat([held, piece])
        blocks = list_semantic_blocks(
            first + len(held), encoder.block_samples, encoder.hop_samples, is_final=piece is None
        )
        for block in blocks[num_blocks:]:
            ids = None
            num_blocks, num_kept = num_blocks + 1, block.keep_end
            yield cut(block, block.keep_start, block.keep_end)
        if piece is None and blocks and blocks[-1].keep_end > num_kept:  # the last block keeps its outer part, too
            yield cut(blocks[-1], num_kept, blocks[-1].keep_end)
        # The newest block stays until the next one is there: it may turn out to be the last.
        needed = max(0, num_blocks - 1) * encoder.hop_samples
        held, first = held[needed - first :], needed


def stream_stage(
    model: Any,
    pieces: Iterable[Codes],
    seed: int,
    known: torch.LongTensor | None = None,
    window_batch_size: int = 1,
    callback: Callable[[float], Any] | None = None,
    settings: dict[str, Any] | None = None,
    parts: tuple[int, ...] = (0,),
    style_id: int = 0,
    told: ToldSong = NOTHING_TOLD,
) -> Iterator[Codes]:
    """Run one stage over a recording that arrives in pieces.

    Args:
        model (`AccompGenStageForCausalLM`): The stage.
        pieces (iterable of `dict` of `str` to `torch.LongTensor`): Consecutive conditioning; other entries pass on.
        seed (`int`): Seed of the recording.
        known (`torch.LongTensor`, *optional*): The first target codes, from an earlier run.
        window_batch_size (`int`): Number of windows without overlap that run together; they wait for each other.
        callback, settings: The same as in `run_next_windows`.
        parts (`tuple` of `int`): Indices of the parts that are asked for.
        style_id (`int`): Row of the style.
        told (`ToldSong`): What is known of the song; only a stage with a listener asks for it.

    Yields:
        `dict`: The entries that came in, with the target, as soon as it is final.
    """
    heard_s = listening_context_s(model, settings)
    recordings = _record_parts(model.config, seed, known, parts, style_id, heard_s=heard_s, told=told)
    for piece in chain(pieces, [None]):
        for recording in recordings:
            if piece is None:
                recording.finish()
            else:
                recording.append(piece)
        is_running = recordings[0].has_ready(window_batch_size)
        while is_running:
            is_running = run_next_windows(model, recordings, window_batch_size, callback, settings)
            is_running = is_running and recordings[0].has_ready(window_batch_size)
            if final := _join_parts(model.config, [recording.take() for recording in recordings]):
                yield final


def stream_recording(
    model: Any,
    pieces: Iterable[torch.Tensor],
    seed: int,
    stage_settings: dict[str, dict[str, Any]],
    known_codes: Codes | None = None,
    window_batch_size: int = 1,
    callback: Callable[[str, float], Any] | None = None,
    on_codes: Callable[[str, torch.LongTensor], Any] | None = None,
    parts: tuple[int, ...] = (0,),
    style_id: int = 0,
    on_stems: Callable[[torch.FloatTensor], Any] | None = None,
    told: ToldSong = NOTHING_TOLD,
) -> Iterator[torch.FloatTensor]:
    """Accompany one recording that arrives in pieces.

    Args:
        model (`AccompGenForConditionalGeneration`): The composite, whose five parts run.
        stage_settings (`dict`): Settings of `generate` for each stage that runs, in order: without `"fine"` the
            coarse codes alone are decoded.
        known_codes (`dict` of `str` to `torch.LongTensor`, *optional*): The first codes of any name in `CODE_NAMES`.
        parts (`tuple` of `int`): Indices of the parts that are asked for.
        style_id (`int`): Row of the style.
        told (`ToldSong`): What is known of the song.
        pieces, seed, window_batch_size, callback, on_codes, on_stems: As in the model's `stream`.

    Yields:
        `torch.FloatTensor` of shape `(num_samples,)` at the codec's rate, gapless.
    """
    known_codes = known_codes or {}

    def note(name: str, pieces: Iterable[Codes]) -> Iterator[Codes]:
        for piece in pieces:
            if on_codes is not None:
                on_codes(name, piece[name])
            yield piece

    name = CODE_NAMES[0]
    ids = stream_semantic_ids(model.semantic_encoder, pieces, known_codes.get(name))
    codes = note(name, ({CODE_NAMES[0]: piece} for piece in ids))
    for stage, settings in stage_settings.items():
        part = getattr(model, stage)
        name = part.config.target_name
        own_callback = _of_stage(callback, stage)
        known = _to_device(known_codes.get(name), part.device)
        asked = (window_batch_size, own_callback, settings, parts, style_id, told)
        codes = note(name, stream_stage(part, codes, seed, known, *asked))
    grids = (_codec_grid(piece)[0] for piece in codes)
    for audio in _decode(model, _rechunk(grids, _decoded_frames(model, window_batch_size))):
        if on_stems is not None and len(model.config.part_names) > 1:
            on_stems(audio)
        yield audio[0] if len(audio) == 1 else audio.sum(0)


def generate_recordings(
    model: Any,
    input_values: list[torch.Tensor],
    seeds: list[int],
    stage_settings: dict[str, dict[str, Any]],
    known_codes: list[Codes] | None = None,
    window_batch_size: int | None = None,
    callback: Callable[[str, float], Any] | None = None,
    parts: tuple[int, ...] = (0,),
    style_ids: list[int] | None = None,
    spans: list[Span | None] | None = None,
    told: list[ToldSong] | None = None,
) -> list[dict[str, torch.Tensor]]:
    """Accompany recordings of any lengths together: stage after stage, windows of all of them in shared batches.

    Args:
        input_values, seeds, known_codes (`list`): One per recording, as the model's `generate` takes them.
        model, stage_settings, window_batch_size, callback, parts: As in `stream_recording`; `None` is 16 windows, or
            the number of recordings.
        style_ids (`list` of `int`, *optional*): Row of each recording's style.
        spans (`list` of `Span`, *optional*): What is made anew of each recording's known codes. Of a recording that is
            longer than these the ids of the vocals are found again.
        told (`list` of `ToldSong`, *optional*): What is known of each song.

    Returns:
        `list` of `dict`: Codes of each recording and its `audio` `(1, num_samples)`; of a model with several parts
        also `stems` `(1, P, num_samples)`, whose sum is `audio`.

    Raises:
        ValueError: If codes are known of more frames than a recording has.
    """
    known_codes, style_ids = known_codes or [{} for _ in seeds], style_ids or [0] * len(seeds)
    if window_batch_size is None:
        window_batch_size = max(DEFAULT_WINDOW_BATCH_SIZE, len(seeds))
    results: list[Codes] = []
    spans, told = spans or [None] * len(seeds), told or [NOTHING_TOLD] * len(seeds)
    for values, known, span in zip(input_values, known_codes, spans, strict=True):
        known_ids = known.get(CODE_NAMES[0])
        if span is not None and known_ids is not None and known_ids.shape[-1] * SAMPLES_PER_FRAME < len(values):
            known_ids = None
        ids = stream_semantic_ids(model.semantic_encoder, [values.cpu()], known_ids)
        results.append({CODE_NAMES[0]: torch.cat(list(ids), dim=-1)})
    for stage, settings in stage_settings.items():
        part = getattr(model, stage)
        groups, heard_s = [], listening_context_s(part, settings)
        of_recordings = zip(results, known_codes, seeds, style_ids, spans, told, strict=True)
        for result, known, seed, style_id, span, song in of_recordings:
            known_target = _to_device(known.get(part.config.target_name), part.device)
            groups.append(_record_parts(part.config, seed, known_target, parts, style_id, span, heard_s, song))
            for recording in groups[-1]:
                recording.append(result)
        recordings = [recording for group in groups for recording in group]
        of_parts = run_all_windows(part, recordings, window_batch_size, _of_stage(callback, stage), settings)
        size = len(groups[0])
        results = [_join_parts(part.config, of_parts[row : row + size]) for row in range(0, len(of_parts), size)]
    num_frames = _decoded_frames(model, window_batch_size)
    for rows in _equally_long(results, window_batch_size):
        grids = torch.cat([_codec_grid(results[row]) for row in rows])  # (B, P, K, T)
        for row, stems in zip(rows, _decode_whole(model, grids, num_frames), strict=True):
            results[row]["audio"] = stems if len(stems) == 1 else stems.sum(0, keepdim=True)
            if len(model.config.part_names) > 1:
                results[row]["stems"] = stems[None]
    return results


def _record_parts(
    config: Any,
    seed: int,
    known: torch.LongTensor | None,
    parts: tuple[int, ...],
    style_id: int,
    span: Span | None = None,
    heard_s: float = 0.0,
    told: ToldSong = NOTHING_TOLD,
) -> list[WindowedRecording]:
    """One recording in one stage, as one for each part that is asked for where a row is one part.

    Raises:
        ValueError: If codes are known of other parts.
    """
    if not config.num_part_rows:
        return [WindowedRecording(config, seed, known, None, style_id, span, heard_s, told)]
    if known is not None and (known.ndim != 4 or known.shape[1] != len(parts)):
        raise ValueError(
            f"`known_codes` must have `{config.target_name}` of the {len(parts)} parts that are asked for, (1, "
            f"{len(parts)}, num_codebooks, num_frames), got {tuple(known.shape)}."
        )
    recordings = []
    for row, index in enumerate(parts):
        own = PlayedPart(config.part_names[index], index, row, len(parts))
        own_known, own_span = None if known is None else known[:, row], None if span is None else span.of_part(index)
        recordings.append(WindowedRecording(config, seed, own_known, own, style_id, own_span))
    return recordings


def _join_parts(config: Any, results: list[Codes]) -> Codes:
    """What the recordings of one group have given, with the target's codes of all parts along axis 1."""
    if not config.num_part_rows or not results[0]:
        return results[0]
    name = config.target_name
    return {**results[0], name: torch.stack([result[name] for result in results], dim=1)}


def add_batch_axis(name: str, codes: torch.LongTensor, num_parts: int = 1) -> torch.LongTensor:
    """`(T,)` or `(K, T)` to `(1, T)` or `(1, K, T)`, behind an axis of several parts too; a batch's stays."""
    has_part_axis = num_parts > 1 and name != CODE_NAMES[0]
    return codes if codes.ndim == (2 if name in SEMANTIC_NAMES else 3) + has_part_axis else codes[None]


def codes_of_result(result: dict[str, Any] | None, config: Any) -> Codes:
    """The codes of an earlier result of the pipeline, each with an axis for the batch.

    Raises:
        ValueError: If they are another model's.
    """
    result, own = result or {}, getattr(config, "token_fingerprint", None)
    check_token_fingerprints(result.get("token_fingerprint"), own, "`known_codes`", "this model")
    num_parts = len(config.part_names)
    return {name: add_batch_axis(name, result[name], num_parts) for name in CODE_NAMES if name in result}


def _of_stage(callback: Callable[[str, float], Any] | None, stage: str) -> Callable[[float], Any] | None:
    return None if callback is None else lambda seconds: callback(stage, seconds)


def _to_device(codes: torch.LongTensor | None, device: torch.device) -> torch.LongTensor | None:
    return None if codes is None else codes.to(device, torch.long)


def _codec_grid(codes: Codes) -> torch.LongTensor:
    """Join all codebooks that were generated to `(1, P, K, T)`."""
    grid = torch.cat([codes[name] for name in CODE_NAMES[2:] if name in codes], dim=-2)
    return grid if grid.ndim == 4 else grid[:, None]


def _decoded_frames(model: Any, window_batch_size: int) -> int:
    """Frames that are decoded at once, streamed or not: those of the fine windows that run together."""
    return round(model.fine.config.clip_duration_s * CODEC_FRAME_RATE) * window_batch_size


def _decode(model: Any, pieces: Iterable[torch.LongTensor]) -> Iterator[torch.FloatTensor]:
    config = model.config
    return decode_stream(model.codec, pieces, config.codec_block_duration_s, config.codec_context_duration_s)


def _decode_whole(model: Any, grids: torch.LongTensor, num_frames: int) -> list[torch.FloatTensor]:
    """What `_decode` gives for pieces of so many frames, written where it belongs: (B, P, K, T) -> B times (P, N).

    A long song is held once, and what is kept of one recording does not hold the others.
    """
    codec, num_parts = model.codec, grids.shape[1]
    num_samples = grids.shape[-1] * codec.config.hop_length
    whole = [torch.empty(num_parts, num_samples, dtype=codec.dtype, device=codec.device) for _ in grids]
    end = 0
    for piece in _decode(model, grids.flatten(0, 1).split(num_frames, dim=-1)):
        start, end = end, end + piece.shape[-1]
        for audio, own in zip(whole, piece.split(num_parts), strict=True):
            audio[:, start:end] = own
    return whole


def _rechunk(pieces: Iterable[torch.LongTensor], num_frames: int) -> Iterator[torch.LongTensor]:
    """Cut consecutive pieces of any length into pieces of `num_frames`, and the rest."""
    held = None
    for piece in pieces:
        held = piece if held is None else torch.cat([held, piece], dim=-1)
        while held.shape[-1] >= num_frames:
            yield held[..., :num_frames]
            held = held[..., num_frames:]
    if held is not None and held.shape[-1]:
        yield held


def _equally_long(results: list[Codes], batch_size: int) -> Iterator[list[int]]:
    by_length: dict[int, list[int]] = {}
    for index, result in enumerate(results):
        by_length.setdefault(result[CODE_NAMES[0]].shape[-1], []).append(index)
    for alike in by_length.values():
        for first in range(0, len(alike), batch_size):
            yield alike[first : first + batch_size]


__all__ = [
    "CODE_NAMES",
    "STAGES",
    "add_batch_axis",
    "codes_of_result",
    "generate_recordings",
    "stream_recording",
    "stream_semantic_ids",
    "stream_stage",
]
