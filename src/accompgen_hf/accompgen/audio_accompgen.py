"""Foreign audio in and out: read, check, fold, resample, measure and write. Every check on input lives here.

Waveforms are float32, full scale at 1.0, of shape (num_samples,) or (channels, num_samples), at `sampling_rate` Hz.
"""

import io
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from .audio_checks_accompgen import (
    MAX_CHANNELS,
    check_duration,
    check_samples,
    check_sampling_rate,
    check_stated_rate,
)
from .audio_files_accompgen import read_audio_file
from .loudness_accompgen import LoudnessMeter
from .mono_accompgen import fold_to_mono as fold_to_mono
from .optional_accompgen import import_optional
from .resampling_accompgen import ChunkResampler as ChunkResampler
from .resampling_accompgen import as_waveform
from .resampling_accompgen import fit_length as fit_length
from .resampling_accompgen import resample as resample
from .resampling_accompgen import resampled_length as resampled_length
from .whole_files_accompgen import written_whole

_BLOCK_SAMPLES = 1 << 18  # checked and written at once: hours must not need gigabytes
_KNEE, _HIGHEST_PEAK = np.float32(0.9), np.float32(0.98)
MAX_WAV_BYTES = 0xFFF00000  # WAV's sizes end at 4 GiB
_HEADER_BYTES = 120  # of WAV and RF64, as far as the peak of float samples
_INTEGER_SCALES = {"int8": 2**7, "int16": 2**15, "int32": 2**31}
_FLOAT_TYPES = ("float16", "float32", "float64")


def load_audio(
    source: Any,
    sampling_rate: int | None = None,
    *,
    allow_truncated: bool = False,
    max_duration_s: float | None = None,
) -> tuple[np.ndarray, int]:
    """Turn whatever holds a recording into a checked waveform at its own rate.

    Args:
        source:
            A path; the `bytes` of a file; a file opened in binary mode, read to its end; a NumPy array or tensor of
            shape `(num_samples,)` or `(channels, num_samples)`; `{"array" or "raw", "sampling_rate"}`; a pair
            `(array, rate)` or `(rate, array)` whose array may be `(num_samples, channels)`, as from gradio and scipy;
            a row of a datasets audio column, decoded (`get_all_samples`) or not (`{"path", "bytes"}`), or a whole row
            that has it as `"audio"`. Arrays are float16, float32, float64, bfloat16 (full scale at 1.0), int8, int16,
            int32 or uint8 (scaled by their full scale; uint8 is centred on 128).
        sampling_rate (`int`):
            Hz, for a bare array. A file, and a dict that states its rate, may only repeat it.
        allow_truncated (`bool`):
            Use what is there of a file that ends before its header says. A short MP3 only warns.
        max_duration_s (`float`):
            Refuse longer audio, before reading all of it.

    Returns:
        float32 array of shape `(channels, num_samples)`, never a view of the input, and the sampling rate in Hz.

    Raises:
        TypeError: If `source` is none of these, or of a sample type not named here.
        ValueError: If it is empty, shorter than 0.1 s, longer than `max_duration_s`, cut off, damaged, not audio,
            holds NaN or infinity, has samples and channels swapped, or a rate outside 4000-768000 Hz.
        ImportError: If soundfile is missing and a file is given.
    """
    if isinstance(source, dict) and source.get("audio") is not None and not _holds_samples(source):
        source = source["audio"]
    if hasattr(source, "read"):
        source = _read_to_end(source)
    if hasattr(source, "get_all_samples"):  # torchcodec's AudioDecoder, which datasets gives
        samples = source.get_all_samples()
        source = {"array": samples.data, "sampling_rate": samples.sample_rate}
    if isinstance(source, dict):
        source, sampling_rate = _open_dict(source, sampling_rate)
    if is_rate_pair(source):
        source, sampling_rate = _open_dict(_as_dict(source), sampling_rate)
    if isinstance(source, (bytearray, memoryview)):
        source = bytes(source)
    if isinstance(source, (str, os.PathLike, bytes)):
        audio, file_rate = read_audio_file(source, allow_truncated=allow_truncated, max_duration_s=max_duration_s)
        check_stated_rate(sampling_rate, file_rate)
        check_samples(audio)
        return audio, file_rate
    if not isinstance(source, (np.ndarray, torch.Tensor)):
        raise TypeError(
            "`source` must be a path, bytes, an open file, a NumPy array, a tensor or a dict with an array and its "
            f"sampling rate, got {type(source).__name__}."
        )
    if sampling_rate is None:
        raise ValueError("`sampling_rate` is needed with a bare array: give the rate of the recording in Hz.")
    sampling_rate = check_sampling_rate(sampling_rate)
    audio = _scale_samples(source)
    audio = _check_layout(audio)
    check_duration(audio.shape[1], sampling_rate, "`source`", max_duration_s)
    check_samples(audio)
    return audio, sampling_rate


def _holds_samples(source: dict) -> bool:
    return any(source.get(name) is not None for name in ("array", "raw", "bytes", "path"))


def _read_to_end(file: Any) -> bytes:
    content = "" if isinstance(file, io.TextIOBase) else file.read()  # text that is audio cannot even be read
    if not isinstance(content, bytes):
        raise TypeError('`source` is a file in text mode. Open it with `open(path, "rb")`.')
    if not content:
        raise ValueError("`source` is a file with nothing behind its position. Is it empty, or is `seek(0)` missing?")
    return content


def is_rate_pair(source: Any) -> bool:
    """Whether this is one recording and its rate, in either order, and not a batch of recordings."""
    if not isinstance(source, (list, tuple)) or len(source) != 2:
        return False
    are_arrays = [isinstance(item, (np.ndarray, torch.Tensor, list)) and not _is_number(item) for item in source]
    return sum(map(_is_number, source)) == sum(are_arrays) == 1


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) or getattr(value, "ndim", None) == 0


def _as_dict(pair: tuple) -> dict[str, Any]:
    rate, array = pair if _is_number(pair[0]) else pair[::-1]
    try:
        rate = check_sampling_rate(rate, "The rate")
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`source` is a pair whose number is no rate ({error}) Pass "
            '{"array": array, "sampling_rate": rate} with the rate in Hz.'
        ) from error
    array = _as_array(array) if isinstance(array, list) else array
    if _is_number(pair[0]) and array.ndim == 2 and array.shape[0] > MAX_CHANNELS >= array.shape[1]:
        array = array.T
    return {"array": array, "sampling_rate": rate}


def _as_array(samples: list | tuple) -> np.ndarray:
    """Samples as Python lists, such as JSON gives them."""
    try:
        return np.asarray(samples)
    except ValueError as error:
        raise ValueError("`source` holds lists of different lengths: give every channel the same.") from error


def load_chunk(chunk: np.ndarray | torch.Tensor) -> np.ndarray:
    """Check a piece of a recording, of any length, as `load_audio` checks a whole one.

    Returns:
        float32 array of shape `(channels, num_samples)`.

    Raises:
        TypeError: If it is no array or tensor, or of a sample type that `load_audio` does not take.
        ValueError: If it has another shape, or holds NaN, infinity or samples far beyond full scale.
    """
    if not isinstance(chunk, (np.ndarray, torch.Tensor)):
        raise TypeError(f"A chunk of vocals must be an array or tensor, got {type(chunk).__name__}.")
    audio = _check_layout(_scale_samples(chunk))
    check_samples(audio)
    return audio


def _open_dict(source: dict, sampling_rate: int | None) -> tuple[Any, int | None]:
    array = source.get("array") if source.get("array") is not None else source.get("raw")
    if array is not None:
        stated = source.get("sampling_rate")
        if stated is None and sampling_rate is None:
            raise ValueError('`source` holds an array without its rate: add the key "sampling_rate" (Hz).')
        stated = None if stated is None else check_sampling_rate(stated, '`source["sampling_rate"]`')
        if stated is not None and sampling_rate is not None and stated != sampling_rate:
            raise ValueError(f"`sampling_rate` is {sampling_rate}, but `source` states {stated}. Leave one out.")
        if isinstance(array, (list, tuple)):
            array = _as_array(array)
        return array, sampling_rate if stated is None else stated
    if source.get("bytes") is not None:
        return source["bytes"], sampling_rate
    if source.get("path") is not None:
        return source["path"], sampling_rate
    raise ValueError(
        '`source` must hold "array" or "raw" with "sampling_rate", or one of "bytes" and "path", '
        f"got the keys {sorted(map(str, source))}."
    )


def _scale_samples(source: np.ndarray | torch.Tensor) -> np.ndarray:
    """float32 copy, full scale at 1.0."""
    if isinstance(source, torch.Tensor):
        source = source.detach().cpu()
        source = (source.float() if source.dtype == torch.bfloat16 else source).numpy()
    kind = source.dtype.newbyteorder("=").name
    if kind in _INTEGER_SCALES:
        return (source / np.float64(_INTEGER_SCALES[kind])).astype(np.float32)
    if kind == "uint8":
        return (source.astype(np.float32) - 128) / 128
    if kind in _FLOAT_TYPES:
        with np.errstate(over="ignore"):  # beyond float32 becomes infinity, which is refused below
            return source.astype(np.float32)
    raise TypeError(
        f"`source` holds samples of type {source.dtype}, allowed are float16, float32, float64, bfloat16, int8, "
        "int16, int32 and uint8. Convert them: other integer types do not say where full scale is."
    )


def _check_layout(audio: np.ndarray) -> np.ndarray:
    """(num_samples,) or (channels, num_samples) -> (channels, num_samples)."""
    if audio.ndim == 1:
        return audio[None]
    if audio.ndim != 2:
        raise ValueError(
            f"`source` must be (num_samples,) or (channels, num_samples), got {audio.shape}. Give one recording at a "
            "time: a batch is a list of recordings."
        )
    # 0.1 s is at least 400 samples, so no valid shape can be read both ways.
    if audio.shape[0] > MAX_CHANNELS and 0 < audio.shape[1] <= MAX_CHANNELS:
        raise ValueError(
            f"`source` must be (channels, num_samples), got {audio.shape}, which looks like (num_samples, channels). "
            "Pass the transposed array (`array.T`)."
        )
    if not 1 <= audio.shape[0] <= MAX_CHANNELS:
        raise ValueError(
            f"`source` must be (channels, num_samples) with 1 to {MAX_CHANNELS} channels, got {audio.shape}."
        )
    return audio


def soften_peaks(audio: np.ndarray) -> np.ndarray:
    """Bend float samples above 0.9 of full scale, so that the loudest come near 0.98 instead of being cut off.

    Sample by sample, so that pieces of a recording give what the whole gives; the same shape.
    """
    softened = np.empty_like(audio)
    room = np.float32(_HIGHEST_PEAK - _KNEE)
    for block in _blocks(audio.shape[-1]):
        piece = audio[..., block]
        excess = np.abs(piece) - _KNEE
        bent = _KNEE + room * excess / (room + np.maximum(excess, 0))
        softened[..., block] = np.where(excess > 0, np.copysign(bent, piece), piece)
    return softened


def bend_parts(parts: np.ndarray, total: np.ndarray, bent: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Give every part the gain per sample that bending the peaks of their sum means.

    Args:
        parts (`np.ndarray` of shape `(num_parts, num_samples)`): Parts, float32. One alone may pass full scale.
        total, bent (`np.ndarray` of shape `(num_samples,)`): Their sum before and after.
        out (`np.ndarray`, *optional*): Receives the result; it may be `parts`.

    Returns:
        Parts whose sum is `bent`: the last one takes what rounding has left.
    """
    out = np.empty(parts.shape, np.float32) if out is None else out
    for block in _blocks(parts.shape[1]):
        gain = np.divide(bent[block], total[block], out=np.ones_like(total[block]), where=total[block] != 0)
        out[:, block] = parts[:, block] * gain
        out[-1, block] += bent[block] - out[:, block].sum(axis=0)
    return out


def _blocks(num_samples: int) -> Iterator[slice]:
    """Slices of a long recording, so that what is computed on the way needs little memory."""
    return (slice(start, start + _BLOCK_SAMPLES) for start in range(0, num_samples, _BLOCK_SAMPLES))


def integrated_loudness(audio: np.ndarray, sampling_rate: int) -> float:
    """Gated loudness of ITU-R BS.1770 in LUFS, with pyloudnorm's filters; measured in blocks.

    Returns:
        `-inf` for less than 0.4 s, and where everything is below the gate at -70 LUFS. Channels are taken in the order
        of WAV files: from six on, the fourth is the bass effect channel and does not count.
    """
    audio = np.atleast_2d(as_waveform(audio))
    meter = LoudnessMeter(audio.shape[0], sampling_rate)
    meter.push(audio)
    return meter.loudness()


def as_finite(audio: np.ndarray, name: str) -> np.ndarray:
    """`as_waveform` of what holds samples, all finite.

    Raises:
        ValueError: If it is empty, holds NaN or infinity, or is no waveform.
    """
    audio = as_waveform(audio, name)
    if audio.size == 0 or not np.isfinite(audio.sum()):  # one NaN or infinity anywhere shows in the sum
        raise ValueError(f"{name} must hold finite samples, got {audio.shape} with NaN, infinity or nothing in it.")
    return audio


def write_audio(path: str | os.PathLike, audio: np.ndarray, sampling_rate: int, subtype: str = "PCM_24") -> None:
    """Write a sound file whole or not at all; the path's ending (.wav, .flac) names the format.

    Args:
        audio: float array of shape `(num_samples,)` or `(channels, num_samples)`; beyond full scale is clipped, unless
            the subtype is `"FLOAT"`.

    Raises:
        ValueError: If the samples are not finite, or libsndfile cannot write this ending with this subtype.
        OSError: If the disk is full or the folder cannot be written; a file that was at `path` is still there.
    """
    audio = np.atleast_2d(as_finite(audio, "`audio`"))
    write_audio_blocks(path, [audio], sampling_rate, *audio.shape, subtype)


def write_audio_blocks(
    path: str | os.PathLike,
    blocks: Iterable[np.ndarray],
    sampling_rate: int,
    num_channels: int,
    num_samples: int,
    subtype: str = "PCM_24",
    tags: Mapping[str, str] | None = None,
) -> None:
    """`write_audio` for audio that comes in consecutive blocks `(channels, num_samples)`, `num_samples` in all.

    Args:
        tags (`dict` of `str` to `str`, *optional*): Tags of the file by their names in soundfile, such as `"comment"`.
    """
    soundfile = import_optional("soundfile", "Writing audio files")
    sampling_rate = check_sampling_rate(sampling_rate)
    path = os.fspath(path)
    file_format = os.path.splitext(path)[1][1:].upper()
    if not soundfile.available_formats().get(file_format) or not soundfile.check_format(file_format, subtype):
        raise ValueError(f"`path` must end in .wav or .flac for the subtype {subtype}, got {path!r}.")
    if file_format == "WAV" and num_channels * num_samples * 4 > MAX_WAV_BYTES:
        file_format = "RF64"
    try:
        with written_whole(path) as temporary:
            with soundfile.SoundFile(
                temporary, "w", sampling_rate, num_channels, subtype=subtype, format=file_format
            ) as writer:
                for name, text in (tags or {}).items():
                    setattr(writer, name, text)
                for block in blocks:
                    for start in range(0, block.shape[1], _BLOCK_SAMPLES):
                        samples = block[:, start : start + _BLOCK_SAMPLES].T
                        writer.write(samples if subtype == "FLOAT" else np.clip(samples, -1.0, 1.0))
            if subtype == "FLOAT":
                erase_write_time(temporary)
            # libsndfile says nothing when the disk fills up while it closes the file.
            if soundfile.info(temporary).frames != num_samples:
                raise OSError(f"{path!r} could not be written completely. Is the disk full?")
    except (RuntimeError, AssertionError) as error:  # soundfile asserts that all frames were written
        raise OSError(f"{path!r} could not be written ({error}). Is the disk full, or the folder missing?") from error


def erase_write_time(path: str | os.PathLike) -> None:
    """Take the time of writing out of a WAV file, where libsndfile notes it beside the peak of float samples.

    Without it the same audio is the same bytes.
    """
    with open(path, "r+b") as file:
        place = file.read(_HEADER_BYTES).find(b"PEAK")
        if place >= 0:
            file.seek(place + 12)  # behind the chunk's name, size and version
            file.write(bytes(4))
