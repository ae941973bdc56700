"""EnCodec over audio of any length: the one block recipe of preparation, inference and streaming.

EnCodec carries an LSTM, so codes depend on where encoding began. Every caller therefore cuts at the same places: block
b covers [b (D - C), b (D - C) + D) seconds, D = 10 s, and its first C = 2 s are context that block b - 1 has already
delivered (block 0 has none). Audio of at most D seconds is one plain `encode` or `decode`; memory never exceeds that
of one block. The numbers are ours, since the paper states none.

A Fourier decoder looks a few frames back and two ahead (`decoder_context_frames`). A block then also decodes the
frames that follow it and drops their samples, and a stream delivers a frame when those behind it have arrived: blocks
and streams equal the whole decode up to rounding.

Letters: B batch, K codebooks, T EnCodec frames (75 per second).
"""

from collections.abc import Iterable, Iterator
from itertools import chain

import torch
from transformers import EncodecModel

CODEC_BANDWIDTH = 6.0  # kbps; the default of `EncodecModel.encode` is 1.5
CODEC_BLOCK_DURATION_S = 10.0
CODEC_CONTEXT_DURATION_S = 2.0


def encode_in_blocks(
    codec: EncodecModel,
    waveform: torch.FloatTensor,
    bandwidth: float = CODEC_BANDWIDTH,
    block_duration_s: float = CODEC_BLOCK_DURATION_S,
    context_duration_s: float = CODEC_CONTEXT_DURATION_S,
) -> torch.LongTensor:
    """Encode mono audio block by block.

    Args:
        codec (`EncodecModel`):
            A causal mono model without chunking of its own, such as `facebook/encodec_24khz`.
        waveform (`torch.FloatTensor` of shape `(batch_size, num_samples)`):
            Audio at the codec's sampling rate. It is moved to the codec's device and dtype.
        bandwidth (`float`):
            Rate in kbps: 6.0 gives 8 codebooks, 3.0 the 4 coarse ones.
        block_duration_s (`float`):
            Length of one forward in seconds, the context included.
        context_duration_s (`float`):
            Seconds at the start of every block but the first whose codes are discarded.

    Returns:
        `torch.LongTensor` of shape `(batch_size, num_codebooks, num_frames)`, `num_frames` being
        `ceil(num_samples / hop_length)`.

    Raises:
        ValueError: If `codec` is of another kind, `waveform` is empty or not two-dimensional, `bandwidth` is not one
            of the codec's, or the durations do not fit.
    """
    _check_codec(codec)
    if waveform.ndim != 2 or waveform.shape[1] == 0:
        raise ValueError(
            f"`waveform` must be (batch_size, num_samples) with at least one sample, got {tuple(waveform.shape)}."
        )
    if bandwidth not in codec.config.target_bandwidths:
        raise ValueError(f"`bandwidth` must be one of {codec.config.target_bandwidths} kbps, got {bandwidth}.")
    hop_length = codec.config.hop_length
    num_frames = -(-waveform.shape[1] // hop_length)
    weight = next(codec.parameters())
    pieces = []
    for start, kept, end in _plan_blocks(codec, num_frames, block_duration_s, context_duration_s):
        block = waveform[:, start * hop_length : end * hop_length].to(weight.device, weight.dtype)
        with torch.no_grad():
            codes = codec.encode(block.unsqueeze(1), bandwidth=bandwidth).audio_codes[0]  # (B, K, T of the block)
        pieces.append(codes[..., kept - start :])
    return torch.cat(pieces, dim=-1)


def decode_in_blocks(
    codec: EncodecModel,
    codes: torch.LongTensor,
    block_duration_s: float = CODEC_BLOCK_DURATION_S,
    context_duration_s: float = CODEC_CONTEXT_DURATION_S,
) -> torch.FloatTensor:
    """Decode codes block by block; the first codebooks alone give the preview (4 codebooks: 3.0 kbps).

    Args:
        codec (`EncodecModel`):
            The codec, as in [`encode_in_blocks`].
        codes (`torch.LongTensor` of shape `(batch_size, num_codebooks, num_frames)`):
            Codes in `[0, codebook_size)`.
        block_duration_s (`float`):
            Length of one forward in seconds, the context included.
        context_duration_s (`float`):
            Seconds at the start of every block but the first whose samples are discarded.

    Returns:
        `torch.FloatTensor` of shape `(batch_size, num_frames * hop_length)` on the codec's device.

    Raises:
        ValueError: If `codec` is of another kind, `codes` is empty, not three-dimensional or has more codebooks than
            the codec, or the durations do not fit.
    """
    return torch.cat(list(iter_decoded_blocks(codec, codes, block_duration_s, context_duration_s)), dim=-1)


def iter_decoded_blocks(
    codec: EncodecModel,
    codes: torch.LongTensor,
    block_duration_s: float = CODEC_BLOCK_DURATION_S,
    context_duration_s: float = CODEC_CONTEXT_DURATION_S,
) -> Iterator[torch.FloatTensor]:
    """Yield what [`decode_in_blocks`] joins: one `(batch_size, num_samples)` piece per block, in order.

    Raises:
        ValueError: As [`decode_in_blocks`], when the first piece is asked for.
    """
    _check_codec(codec)
    _check_codes(codec, codes)
    num_frames = codes.shape[-1]
    num_ahead = _frames_ahead(codec)
    for start, kept, end in _plan_blocks(codec, num_frames, block_duration_s, context_duration_s):
        start = _decoding_start(codec, start, kept)
        block = codes[..., start : min(end + num_ahead, num_frames)]
        yield _decode_range(codec, block, kept - start, end - start)


def decode_stream(
    codec: EncodecModel,
    code_chunks: Iterable[torch.LongTensor],
    block_duration_s: float = CODEC_BLOCK_DURATION_S,
    context_duration_s: float = CODEC_CONTEXT_DURATION_S,
) -> Iterator[torch.FloatTensor]:
    """Decode codes that arrive in chunks of any length, delivering what is final with every chunk.

    EnCodec is causal, so a block decoded up to the newest frame already has its final samples. A Fourier decoder's
    last `decoder_context_frames[1]` frames wait for the next chunk and come in a piece of their own at the end. The
    pieces join to what [`decode_in_blocks`] gives for the whole sequence (equal up to the rounding of differently
    shaped sums).

    Args:
        codec (`EncodecModel`):
            The codec, as in [`encode_in_blocks`].
        code_chunks (iterable of `torch.LongTensor` of shape `(batch_size, num_codebooks, num_new_frames)`):
            Consecutive chunks. At most one block of them is kept.
        block_duration_s (`float`):
            The same as in [`decode_in_blocks`].
        context_duration_s (`float`):
            The same as in [`decode_in_blocks`].

    Yields:
        `torch.FloatTensor` of shape `(batch_size, num_final_frames * hop_length)` per chunk that makes a frame final.

    Raises:
        ValueError: As [`decode_in_blocks`], for each chunk.
    """
    _check_codec(codec)
    block_frames, context_frames = _block_sizes(codec, block_duration_s, context_duration_s)
    num_ahead = _frames_ahead(codec)
    start, kept = 0, 0  # of the current block: where the recipe starts it, and the first frame not yet delivered
    held, first = None, 0  # codes from frame `first` on
    for chunk in chain(code_chunks, [None]):
        if chunk is not None:
            _check_codes(codec, chunk)
            held = chunk if held is None else torch.cat([held, chunk], dim=-1)
        elif held is None:
            return
        num_known = first + held.shape[-1]
        num_final = num_known if chunk is None else num_known - num_ahead
        pieces = []
        while kept < num_final:
            if kept == start + block_frames:
                start = kept - context_frames
            end = min(num_final, start + block_frames)
            begin = _decoding_start(codec, start, kept)
            block = held[..., begin - first : min(end + num_ahead, num_known) - first]
            pieces.append(_decode_range(codec, block, kept - begin, end - begin))
            kept = end
        if pieces:
            yield torch.cat(pieces, dim=-1)
        # What the next piece may need: the current block, or the start of the one that follows it.
        needed = start if kept < start + block_frames else kept - context_frames
        needed = max(first, _decoding_start(codec, needed, kept))
        held, first = held[..., needed - first :], needed


def _frames_ahead(codec: EncodecModel) -> int:
    return _decoder_context(codec)[1]


def _decoding_start(codec: EncodecModel, start: int, kept: int) -> int:
    """First frame to decode for samples from frame `kept` on, in a block that the recipe starts at `start`."""
    num_before = _decoder_context(codec)[0]
    return start if num_before is None else max(0, kept - num_before)


def _decoder_context(codec: EncodecModel) -> tuple[int | None, int]:
    """Frames before (`None`: the whole block) and after a frame on which its samples depend."""
    return getattr(codec.config, "decoder_context_frames", (None, 0))


def _decode_range(codec: EncodecModel, codes: torch.LongTensor, start: int, end: int) -> torch.FloatTensor:
    """Decode one block and keep the samples of its frames from `start` to `end`."""
    hop_length = codec.config.hop_length
    device = next(codec.parameters()).device
    with torch.no_grad():
        waveform = codec.decode(codes.to(device).unsqueeze(0), [None]).audio_values[:, 0]  # (B, num_samples)
    return waveform[:, start * hop_length : end * hop_length]


def _plan_blocks(
    codec: EncodecModel, num_frames: int, block_duration_s: float, context_duration_s: float
) -> Iterator[tuple[int, int, int]]:
    """Yield (first frame of the block, first frame kept, end) until `num_frames` frames are covered."""
    block_frames, context_frames = _block_sizes(codec, block_duration_s, context_duration_s)
    start, kept = 0, 0
    while kept < num_frames:
        end = min(start + block_frames, num_frames)
        yield start, kept, end
        start, kept = start + block_frames - context_frames, end


def _block_sizes(codec: EncodecModel, block_duration_s: float, context_duration_s: float) -> tuple[int, int]:
    """Block and context in whole frames."""
    frame_rate = codec.config.sampling_rate / codec.config.hop_length
    block_frames, context_frames = round(block_duration_s * frame_rate), round(context_duration_s * frame_rate)
    if not 0 <= context_frames < block_frames:
        raise ValueError(
            "`context_duration_s` must be at least 0 and less than `block_duration_s`, "
            f"got {context_duration_s} and {block_duration_s} s."
        )
    return block_frames, context_frames


def _check_codec(codec: EncodecModel) -> None:
    """Refuse models whose codes would depend on the future or on a gain that codes do not carry."""
    config = codec.config
    if config.audio_channels != 1 or config.chunk_length is not None or config.normalize or not config.use_causal_conv:
        raise ValueError(
            "`codec` must be a causal mono EnCodec model without chunking and normalisation "
            f"(like facebook/encodec_24khz), got audio_channels={config.audio_channels}, "
            f"chunk_length_s={config.chunk_length_s}, normalize={config.normalize}, "
            f"use_causal_conv={config.use_causal_conv}."
        )


def _check_codes(codec: EncodecModel, codes: torch.LongTensor) -> None:
    num_codebooks = len(codec.quantizer.layers)
    if codes.ndim != 3 or codes.shape[-1] == 0 or not 1 <= codes.shape[1] <= num_codebooks:
        raise ValueError(
            f"`codes` must be (batch_size, 1 to {num_codebooks} codebooks, num_frames) with at least one frame, "
            f"got {tuple(codes.shape)}."
        )
