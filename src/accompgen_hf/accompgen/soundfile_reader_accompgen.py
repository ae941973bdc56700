"""Read one part of a file with libsndfile: wav, aiff, flac, mp3, ogg, opus and its other formats."""

from collections.abc import Generator
from typing import Any, NamedTuple

import numpy as np

from .audio_checks_accompgen import UnreadableError, check_limit, check_num_channels, check_sampling_rate
from .containers_accompgen import FilePart, declared_and_found_bytes
from .optional_accompgen import import_optional

_BLOCK_VALUES = 1 << 20  # samples times channels decoded at once


class Found(NamedTuple):
    """What a part held: seconds decoded, seconds that its header declares if it does, packets that were damaged."""

    found_s: float
    declared_s: float | None
    num_damaged: int = 0


def format_of(file: FilePart) -> str | None:
    """libsndfile's name of the format, `None` if it does not know it."""
    soundfile = import_optional("soundfile", "Reading audio files")
    try:
        file.seek(0)
        with soundfile.SoundFile(file) as reader:
            return reader.format
    except (RuntimeError, TypeError):  # LibsndfileError is a RuntimeError
        return None


def read_with_soundfile(
    file: FilePart, name: str, file_size: int, num_skipped: int, max_duration_s: float | None
) -> Generator[tuple[np.ndarray, int], None, Found]:
    """Decode block by block.

    Args:
        file (`FilePart`): One recording.
        name (`str`): Name of the source, for messages.
        file_size (`int`): Bytes of the part.
        num_skipped (`int`): Samples at the beginning that are no part of the recording.
        max_duration_s (`float`, *optional*): Stop as soon as the audio is longer.

    Yields:
        float32 arrays of shape `(channels, num_samples)`, each with the sampling rate in Hz.

    Raises:
        UnreadableError: If libsndfile cannot open it, or nothing of it can be decoded.
        ValueError: If its rate or number of channels is none that audio has, or it is too long.
    """
    soundfile = import_optional("soundfile", "Reading audio files")
    data_bytes = declared_and_found_bytes(file, file_size)
    num_found, error = 0, None
    try:
        for max_values in (_BLOCK_VALUES, 0):  # a block that meets damage is lost whole: small ones come closer to it
            file.seek(0)
            with soundfile.SoundFile(file) as reader:
                sampling_rate = check_sampling_rate(reader.samplerate, f"The sampling rate of {name}")
                check_num_channels(reader.channels, name)
                num_declared = reader.frames - num_skipped if reader.frames < 1 << 62 else None  # FLAC may not say
                check_limit((num_declared or 0) / sampling_rate, name, max_duration_s)
                # soundfile seeks after every read of a seekable file, which fails in FLAC from a pipe and is slow in
                # others.
                reader.seekable = lambda: False
                if num_skipped:
                    reader.read(num_skipped)
                block_size = max(1024, max_values // reader.channels)
                blocks = _decode_blocks(reader, block_size, num_found, num_declared, max_duration_s)
                num_new, error = yield from blocks
            num_found += num_new
            if error is None:
                break
    except (RuntimeError, TypeError) as unreadable:
        reason = str(getattr(unreadable, "error_string", unreadable)).rstrip(".")
        message = f"{name} is not audio that can be read ({reason}). Convert it to wav, flac, mp3, ogg or opus."
        raise UnreadableError(message) from unreadable
    if num_found == 0 and error is not None:
        raise UnreadableError(f"{name} is damaged: no audio could be decoded ({error}). Export it again.") from error
    if data_bytes is not None and data_bytes[1] < data_bytes[0]:
        num_declared = round(num_found * data_bytes[0] / max(1, data_bytes[1]))
    elif error is not None and num_declared is None:
        num_declared = float("inf")  # a FLAC stream of unknown length that ends in the middle of a frame
    return Found(num_found / sampling_rate, None if num_declared is None else num_declared / sampling_rate)


def _decode_blocks(
    reader: Any, block_size: int, num_known: int, num_declared: int | None, max_duration_s: float | None
) -> Generator[tuple[np.ndarray, int], None, tuple[int, Exception | None]]:
    """All that can be decoded after `num_known` samples; returns how many they were, and the error that ended them."""
    limit = float("inf") if max_duration_s is None else max_duration_s * reader.samplerate
    num_read = 0
    while num_read <= limit:
        # Not beyond the declared end: what programs leave there (tags, padding) is damage to a decoder.
        size = block_size if num_declared is None else min(block_size, num_declared - num_read)
        if size <= 0:
            break
        try:
            block = reader.read(size, dtype="float32", always_2d=True)
        except RuntimeError as error:
            return max(0, num_read - num_known), error
        if len(block) == 0:
            break
        num_read += len(block)
        new = block[max(0, len(block) - max(0, num_read - num_known)) :]
        if len(new):
            yield np.ascontiguousarray(new.T), reader.samplerate
    return max(0, num_read - num_known), None


__all__ = ["Found", "format_of", "read_with_soundfile"]
