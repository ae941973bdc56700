"""Read one audio file or its bytes, and refuse what is damaged (the files' half of `load_audio`).

soundfile reads wav, flac, mp3, ogg and opus; PyAV, where installed, reads m4a, aac and webm. Both accept half a file,
a sampling rate of 2 GHz or an empty file without a word: the checks are here.
"""

import contextlib
import io
import os
import re
import stat
import struct
import warnings
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np

from .optional_accompgen import import_optional

MIN_SAMPLING_RATE, MAX_SAMPLING_RATE = 4_000, 768_000
MAX_CHANNELS = 64
_BLOCK_VALUES = 1 << 20  # samples times channels decoded at once


def check_sampling_rate(sampling_rate: Any, name: str = "`sampling_rate`") -> int:
    """Return the rate as an int.

    Raises:
        TypeError: If it is not a number.
        ValueError: If it is not a whole number of Hz between 4000 and 768000.
    """
    if isinstance(sampling_rate, bool) or not isinstance(sampling_rate, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} must be a whole number of Hz, got {type(sampling_rate).__name__}.")
    if not MIN_SAMPLING_RATE <= sampling_rate <= MAX_SAMPLING_RATE or sampling_rate != int(sampling_rate):
        raise ValueError(
            f"{name} must be a whole number between {MIN_SAMPLING_RATE} and {MAX_SAMPLING_RATE} Hz, "
            f"got {sampling_rate}. Is the file's header damaged, or the number not in Hz?"
        )
    return int(sampling_rate)


def check_stated_rate(sampling_rate: int | None, file_rate: int) -> None:
    """Refuse another rate than that of the file.

    Raises:
        ValueError: If one is stated, and it differs.
    """
    if sampling_rate is not None and sampling_rate != file_rate:
        raise ValueError(
            f"`sampling_rate` is {sampling_rate}, but the file states {file_rate} Hz. Leave it out for files; "
            "`resample` changes the rate."
        )


def check_duration(num_samples: int, sampling_rate: int, name: str, max_duration_s: float | None = None) -> None:
    """Refuse less than 0.1 s, and more than `max_duration_s`.

    Raises:
        ValueError: If the audio is empty, too short or too long.
    """
    if num_samples == 0:
        raise ValueError(f"{name} is empty: it holds no audio. Record or export it again.")
    if num_samples < sampling_rate // 10:
        raise ValueError(
            f"{name} lasts {num_samples / sampling_rate:.3f} s ({num_samples} samples at {sampling_rate} Hz); "
            "at least 0.1 s is needed. Give a longer recording."
        )
    _check_limit(num_samples, sampling_rate, name, max_duration_s)


def _check_limit(num_samples: int, sampling_rate: int, name: str, max_duration_s: float | None) -> None:
    if max_duration_s is not None and num_samples > max_duration_s * sampling_rate:
        raise ValueError(
            f"{name} lasts more than {max_duration_s:g} s, which is the limit here (`max_duration_s`). "
            "Give a shorter part, or raise the limit."
        )


def read_audio_file(source: str | os.PathLike | bytes, **options: Any) -> tuple[np.ndarray, int]:
    """Decode a file to floating point at its own rate.

    Args:
        source, options: As in `iter_audio_file`.

    Returns:
        float32 array of shape `(channels, num_samples)`, full scale at 1.0, and the sampling rate in Hz. Values are
        not checked here.

    Raises:
        ValueError, ImportError: As in `iter_audio_file`.
    """
    blocks, rates = [], []
    for block, rate in iter_audio_file(source, **options):
        blocks.append(block)
        rates.append(rate)
    return _join(blocks, sum(block.shape[1] for block in blocks)), rates[0]


def iter_audio_file(
    source: str | os.PathLike | bytes,
    *,
    allow_truncated: bool = False,
    max_duration_s: float | None = None,
    is_known: bool = False,
) -> Iterator[tuple[np.ndarray, int]]:
    """Decode a file block by block, in the memory of one block.

    Args:
        source (`str`, `os.PathLike` or `bytes`):
            A path or the content of a file. The header decides about the format, never the extension.
        allow_truncated (`bool`):
            Use what is there of a file that ends before its header says.
        max_duration_s (`float`):
            Stop reading and refuse as soon as the audio is longer than this.
        is_known (`bool`):
            It was read before: say nothing after the last block.

    Yields:
        float32 arrays of shape `(channels, num_samples)`, full scale at 1.0, each with the sampling rate in Hz.

    Raises:
        ValueError: If the file cannot be read, is not audio, or states a rate or a number of channels that no audio
            has; after its last block, if it is empty, too short or too long, or ends before its header says.
        ImportError: If the library that reads the format is missing.
    """
    if isinstance(source, bytes):
        name, file = "`source` (bytes)", io.BytesIO(source)
    else:
        name, file = f"`source` {os.fspath(source)!r}", _open_regular_file(source)
    with file:
        head = file.read(4096)
        file_size = file.seek(0, os.SEEK_END)
        file.seek(0)
        if file_size == 0:
            raise ValueError(f"{name} is empty (0 bytes). Record or export it again.")
        if _media_format(head) is not None:
            blocks = _read_with_pyav(file, name, _media_format(head), max_duration_s)
        else:
            blocks = _read_with_soundfile(file, name, head, file_size, max_duration_s)
        num_samples, file_rate, declared_s = yield from blocks
        is_unfinished_ogg = head[:4] == b"OggS" and not _has_ogg_end_mark(file, file_size)
    if is_known:
        return
    found_s = num_samples / file_rate
    _check_limit(num_samples, file_rate, name, max_duration_s)
    if declared_s is not None:
        _check_truncation(name, found_s, declared_s, allow_truncated, is_mp3=_looks_like_mp3(head))
    if is_unfinished_ogg:
        warnings.warn(f"{name} has no end mark and may be cut off at {found_s:.2f} s.", UserWarning, stacklevel=4)
    check_duration(num_samples, file_rate, name)


# What the readers below give: blocks with the rate, and in the end samples, rate and the declared duration if any.
_Blocks = Generator[tuple[np.ndarray, int], None, tuple[int, int, float | None]]


def _open_regular_file(path: str | os.PathLike) -> io.BufferedReader:
    """Open a path without waiting on a FIFO."""
    name = f"`source` {os.fspath(path)!r}"
    if re.match(r"[a-z][a-z0-9+.-]+://", str(os.fspath(path)), re.IGNORECASE):
        raise ValueError(f"{name} is an address. Download the file first and give its path.")
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise ValueError(f"{name} is a folder. Give the path of one audio file.")
        if not stat.S_ISREG(mode):
            raise ValueError(f"{name} is not a regular file but a pipe or device. Save it to a file first.")
        # O_NONBLOCK: a FIFO put in the file's place after the check must not hang the caller.
        flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
        return os.fdopen(os.open(path, flags), "rb")
    except FileNotFoundError as error:
        raise ValueError(f"{name} does not exist. Check the path.") from error
    except OSError as error:
        raise ValueError(f"{name} cannot be read: {error.strerror}. Check the path and its permissions.") from error
    except ValueError as error:
        if "null" not in str(error):
            raise
        raise ValueError(f"{name} is not a path: it holds a null character. Check the path.") from error


def _media_format(head: bytes) -> str | None:
    """FFmpeg's name of a container only PyAV reads. Chosen here by magic number and forced on FFmpeg, because its own
    guess would also follow playlists to other files and to the network."""
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return "mov"
    if head[:4] == b"\x1aE\xdf\xa3":
        return "matroska"
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:  # ADTS sync word with layer 0
        return "aac"
    return None


def _looks_like_mp3(head: bytes) -> bool:
    return head[:3] == b"ID3" or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0)


def _check_truncation(name: str, found_s: float, declared_s: float, allow_truncated: bool, is_mp3: bool) -> None:
    if found_s >= declared_s:
        return
    message = f"{name} is cut off: it holds {found_s:.2f} s of the {declared_s:.2f} s that its header declares."
    if declared_s == float("inf"):
        message = f"{name} is cut off or damaged after {found_s:.2f} s."
    if is_mp3:  # many healthy MP3 files only estimate their length
        warnings.warn(f"{message} Using what is there.", UserWarning, stacklevel=5)
    elif not allow_truncated:
        raise ValueError(f"{message} Copy it again, or pass `allow_truncated=True` to use what is there.")


def _has_ogg_end_mark(file: io.BufferedIOBase, file_size: int) -> bool:
    """Ogg declares no length, but its last page says that it is the last. Recordings of a radio stream lack it too."""
    file.seek(max(0, file_size - 65_307))  # the largest page
    tail = file.read()
    page = tail.rfind(b"OggS")
    return 0 <= page < len(tail) - 5 and bool(tail[page + 5] & 4)


def _join(blocks: list[np.ndarray], num_samples: int) -> np.ndarray:
    """Blocks (channels, n) side by side; each is freed once copied, so that a song is in memory about once."""
    audio = np.empty((blocks[0].shape[0], num_samples), dtype=np.float32)
    blocks.reverse()
    end = 0
    while blocks:
        block = blocks.pop()
        audio[:, end : end + block.shape[1]] = block
        end += block.shape[1]
    return audio


def _read_with_soundfile(
    file: io.BufferedIOBase, name: str, head: bytes, file_size: int, max_duration_s: float | None
) -> _Blocks:
    soundfile = import_optional("soundfile", "Reading audio files")
    data_bytes = _declared_and_found_bytes(file, file_size)
    num_found, error = 0, None
    try:
        for max_values in (_BLOCK_VALUES, 0):  # a block that meets damage is lost whole: small ones come closer to it
            file.seek(0)
            with soundfile.SoundFile(_SeekableFile(file)) as reader:
                sampling_rate = check_sampling_rate(reader.samplerate, f"The sampling rate of {name}")
                if reader.channels > MAX_CHANNELS:
                    raise ValueError(
                        f"{name} has {reader.channels} channels, at most {MAX_CHANNELS} are read. "
                        "Is its header damaged?"
                    )
                num_declared = reader.frames if reader.frames < 1 << 62 else None  # FLAC may leave its length out
                _check_limit(num_declared or 0, sampling_rate, name, max_duration_s)
                blocks = _decode_blocks(reader, max(1024, max_values // reader.channels), num_found, max_duration_s)
                num_new, error = yield from blocks
            num_found += num_new
            if error is None:
                break
    except (RuntimeError, TypeError) as unreadable:  # LibsndfileError is a RuntimeError
        raise ValueError(_unreadable(name, head, unreadable)) from unreadable
    if num_found == 0 and error is not None:
        raise ValueError(f"{name} is damaged: no audio could be decoded ({error}). Export it again.") from error
    if data_bytes is not None and data_bytes[1] < data_bytes[0]:
        num_declared = round(num_found * data_bytes[0] / max(1, data_bytes[1]))
    elif error is not None and num_declared is None:
        num_declared = float("inf")  # a FLAC stream of unknown length that ends in the middle of a frame
    return num_found, sampling_rate, None if num_declared is None else num_declared / sampling_rate


class _SeekableFile:
    """A file for libsndfile that stays where it is when a damaged header sends it before its start.

    It has no name either: for some endings libsndfile would believe the name and not the content.
    """

    def __init__(self, file: io.BufferedIOBase):
        self.readinto, self.read, self.tell, self._seek = file.readinto, file.read, file.tell, file.seek

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> None:
        with contextlib.suppress(ValueError, OSError):
            self._seek(offset, whence)


def _decode_blocks(
    reader: Any, block_size: int, num_known: int, max_duration_s: float | None
) -> Generator[tuple[np.ndarray, int], None, tuple[int, Exception | None]]:
    """All that can be decoded after `num_known` samples; returns how many they were, and the error that ended them."""
    limit = float("inf") if max_duration_s is None else max_duration_s * reader.samplerate
    # soundfile seeks after every read of a seekable file, which fails in FLAC from a pipe and is slow in others.
    reader.seekable = lambda: False
    num_read = 0
    while num_read <= limit:
        try:
            block = reader.read(block_size, dtype="float32", always_2d=True)
        except RuntimeError as error:
            return max(0, num_read - num_known), error
        if len(block) == 0:
            break
        num_read += len(block)
        new = block[max(0, len(block) - max(0, num_read - num_known)) :]
        if len(new):
            yield np.ascontiguousarray(new.T), reader.samplerate
    return max(0, num_read - num_known), None


def _unreadable(name: str, head: bytes, error: Exception) -> str:
    try:
        head[:-4].decode("utf-8")  # the last character may be cut
        is_text = b"\0" not in head
    except UnicodeDecodeError:
        is_text = False
    if is_text:
        return f"{name} is text, not audio. Give a wav, flac, mp3, ogg or opus file."
    reason = str(getattr(error, "error_string", error))
    return f"{name} is not audio that can be read ({reason.rstrip('.')}). Convert it to wav, flac, mp3, ogg or opus."


def _declared_and_found_bytes(file: io.BufferedIOBase, file_size: int) -> tuple[int, int] | None:
    """Size of the audio data as a WAV, RF64, W64, AIFF or AU header declares it, and as it is; `None` if not declared.

    libsndfile silently replaces the first number by the second.
    """
    file.seek(0)
    head = file.read(40)
    if head[:4] == b".snd" and len(head) >= 12:
        offset, declared = struct.unpack(">II", head[4:12])
        return _plausible(declared, file_size - offset)
    if head[:4] == b"riff" and head[24:28] == b"wave":  # Sony Wave64: 16-byte names, sizes include the 24-byte header
        data = _find_chunk(file, 40, file_size, "<Q", b"data", name_size=16, is_header_counted=True)
    elif head[:4] in (b"RIFF", b"RF64", b"BW64"):
        data = _find_chunk(file, 12, file_size, "<I", b"data")
        if data is not None and data[0] == 0xFFFFFFFF and head[:4] != b"RIFF":
            size64 = _find_chunk(file, 12, file_size, "<I", b"ds64")
            if size64 is not None:
                file.seek(size64[1] + 8)
                data = (int.from_bytes(file.read(8), "little"), data[1])
    elif head[:4] == b"RIFX":
        data = _find_chunk(file, 12, file_size, ">I", b"data")
    elif head[:4] == b"FORM":
        data = _find_chunk(file, 12, file_size, ">I", b"SSND")
    else:
        return None
    return None if data is None else _plausible(data[0], file_size - data[1])


def _plausible(declared: int, found: int) -> tuple[int, int] | None:
    # Programs that write to a pipe cannot know the length and write 0, 0x7FFFF... or 0xFFFFF... for it.
    if declared == 0 or declared & 0x7FFFF000 == 0x7FFFF000:
        return None
    return declared, found


def _find_chunk(
    file: io.BufferedIOBase,
    position: int,
    file_size: int,
    size_format: str,
    wanted: bytes,
    name_size: int = 4,
    is_header_counted: bool = False,
) -> tuple[int, int] | None:
    """(declared size, position of the content) of the first chunk called `wanted`."""
    header_size = name_size + struct.calcsize(size_format)
    for _ in range(1000):  # a damaged file may hold any number of empty chunks
        file.seek(position)
        header = file.read(header_size)
        if len(header) < header_size:
            return None
        (size,) = struct.unpack(size_format, header[name_size:])
        size = max(0, size - header_size) if is_header_counted else size
        if header[:4] == wanted:
            return size, position + header_size
        alignment = 8 if is_header_counted else 2
        position += header_size + -(-size // alignment) * alignment
        if position >= file_size:
            return None
    return None


def _read_with_pyav(
    file: io.BufferedIOBase, name: str, container_format: str, max_duration_s: float | None
) -> _Blocks:
    try:
        av = import_optional("av", "Reading m4a, aac and webm", "accompgen-hf[media]")
    except ImportError as error:
        raise ValueError(
            f"{name} is an m4a, mp4, aac or webm file, which needs PyAV: install the extra `media` "
            f"(`pip install accompgen-hf[media]`), or convert the file to wav. ({error})"
        ) from error
    sampling_rate, declared_s, num_samples = None, None, 0
    try:
        with av.open(file, mode="r", format=container_format) as container:
            if not container.streams.audio:
                raise ValueError(f"{name} holds no audio stream. Give a file with sound.")
            stream = container.streams.audio[0]
            if stream.duration is not None and stream.time_base is not None:
                declared_s = float(stream.duration * stream.time_base)
            elif container.duration is not None:
                declared_s = container.duration / 1e6
            if container_format == "aac":
                declared_s = None  # raw AAC has no header for the whole: FFmpeg estimates
            resampler = None
            for frame in container.decode(stream):
                if resampler is None:
                    sampling_rate = check_sampling_rate(frame.sample_rate, f"The sampling rate of {name}")
                    resampler = av.AudioResampler(format="fltp", layout=frame.layout, rate=sampling_rate)
                for part in resampler.resample(frame):
                    num_samples += part.samples
                    yield part.to_ndarray(), sampling_rate
                if max_duration_s is not None and num_samples > max_duration_s * sampling_rate:
                    break
    except av.FFmpegError as error:
        if not num_samples:
            raise ValueError(f"{name} is damaged or cut off: {error}. Export it again.") from error
    if not num_samples:
        raise ValueError(f"{name} is empty: no audio could be decoded. Export it again.")
    # An encoder's own padding makes the decoded length differ by up to a few packets.
    if declared_s is not None and num_samples / sampling_rate > declared_s - 0.15:
        declared_s = None
    return num_samples, sampling_rate, declared_s
