"""Read one audio file or its bytes, and refuse what is damaged (the files' half of `load_audio`).

soundfile reads wav, flac, mp3, ogg and opus; PyAV, where installed, reads m4a, aac and webm. Both accept half a file,
a sampling rate of 2 GHz or an empty file without a word, and read only the first of several recordings in one file.
The checks are here, in `containers_accompgen` and in the two readers.
"""

import io
import os
import re
import stat
import warnings
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .audio_checks_accompgen import UnreadableError, check_duration, check_limit
from .containers_accompgen import (
    FilePart,
    Part,
    find_parts_behind_stray_bytes,
    has_ogg_end_mark,
    is_matroska_cut,
    list_parts,
)
from .mpeg_frames_accompgen import tag_size
from .pyav_reader_accompgen import read_with_pyav
from .resampling_accompgen import ChunkResampler
from .soundfile_reader_accompgen import Found, format_of, read_with_soundfile

# What is looked for in folders; a file that is named is read whatever its name.
AUDIO_SUFFIXES = (
    *(".wav", ".wave", ".bwf", ".rf64", ".w64", ".flac", ".mp3", ".mp2", ".ogg", ".oga", ".opus", ".aif", ".aiff"),
    *(".aifc", ".caf", ".au", ".snd", ".m4a", ".m4b", ".mp4", ".mov", ".aac", ".webm", ".mka", ".mkv"),
)
_TOLERANCE_S = 0.05  # a file that ends so little before its header says is whole: the writer miscounted
_MEDIA_KINDS = ("mov", "matroska", "aac")
_APPLE_DOUBLE = b"\0\5\x16\7"


def list_audio_files(folder: str | os.PathLike) -> list[Path]:
    """All files below a folder whose names end as in `AUDIO_SUFFIXES`, sorted; hidden ones left out.

    Hidden are also the companions `._NAME` that macOS writes beside a file on a foreign disk.
    """
    folder = Path(folder)
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in AUDIO_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    ]


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

    A file may be several recordings one behind the other, or change its format on the way: all of it comes out, at the
    rate and with the channels of its beginning.

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
    notes: list[str] = []
    with file:
        file_size = file.seek(0, os.SEEK_END)
        if file_size == 0:
            raise ValueError(f"{name} is empty (0 bytes). Record or export it again.")
        file.seek(0)
        head = file.read(4096)
        if head[:4] == _APPLE_DOUBLE:
            raise ValueError(f"{name} is no recording but what macOS notes about one. Give the file without `._`.")
        parts = list_parts(file, file_size)
        if parts[0].kind == "other":
            file_format = format_of(FilePart(file, 0, file_size))
            if file_format in (
                None,
                "MP3",
            ):  # libsndfile looks for MP3 behind stray bytes, too, and guesses its length
                parts = find_parts_behind_stray_bytes(file, file_size) or parts
            is_damaged_mp3 = file_format == "MP3" and parts[0].kind == "other"
        else:
            is_damaged_mp3 = parts[0].kind == "mp3" and not parts[0].end
        if is_damaged_mp3:
            raise ValueError(f"{name} is damaged: an MP3 without a readable beginning. Export it again.")
        same = _SameFormat()
        reading = _Reading(file, name, same, max_duration_s, allow_truncated, notes)
        try:
            found_s, declared_s = yield from reading.read(parts)
        except UnreadableError as error:
            if not _is_text(head):
                raise
            raise ValueError(f"{name} is text, not audio. Give a wav, flac, mp3, ogg or opus file.") from error
        if parts[-1].kind == "ogg" and not has_ogg_end_mark(file, parts[-1].start, parts[-1].end):
            notes.append(f"{name} has no end mark and may be cut off at {found_s:.2f} s.")
    if is_known:
        return
    check_limit(found_s, name, max_duration_s)
    if same.changes:
        notes.append(f"{name} changes its format {', then '.join(same.changes)}. All of it is given in the first.")
    if found_s < declared_s:
        notes.append(_check_truncation(name, found_s, declared_s, allow_truncated, is_mp3=parts[0].kind == "mp3"))
    for note in filter(None, notes):
        warnings.warn(note, UserWarning, stacklevel=4)
    check_duration(same.num_samples, same.sampling_rate or 1, name)


class _Reading(NamedTuple):
    """What the parts of one file are read with; what is to be said about them goes into `notes`."""

    file: io.BufferedIOBase
    name: str
    same: "_SameFormat"
    max_duration_s: float | None
    allow_truncated: bool
    notes: list[str]

    def read(self, parts: list[Part]) -> Generator[tuple[np.ndarray, int], None, tuple[float, float]]:
        """One part after the other; returns the seconds found, and those that the headers declare."""
        found_s = declared_s = 0.0
        for index, part in enumerate(parts):
            if index and part.kind == "mp3" and self._is_damaged(parts[index - 1].end, part.start):
                self._refuse_unless_allowed(f"is damaged at {found_s:.2f} s: there are bytes that are no sound")
            left_s = None if self.max_duration_s is None else self.max_duration_s - found_s
            try:
                found = yield from self.same.adapt(self._read_part(part, left_s))
            except UnreadableError as error:
                if index == 0:
                    raise
                where = f"part {index + 1} of {len(parts)} recordings one behind the other, at {found_s:.2f} s"
                message = f"{self.name}: {where}, cannot be read."
                if part.kind != "mp3" and not self.allow_truncated:
                    raise ValueError(f"{message} Separate them, or pass `allow_truncated=True`. ({error})") from error
                self.notes.append(message)
                continue
            if found.num_damaged:
                cure = (
                    "They are left out" if part.kind == "aac" else "Silence stands for them"
                )  # aac has no time stamps
                message = f"is damaged: {found.num_damaged} of its packets could not be decoded"
                if part.kind == "aac" and found.num_damaged > 2:  # what follows would come over 50 ms too early
                    self._refuse_unless_allowed(message)
                else:
                    self.notes.append(f"{self.name} {message}. {cure}.")
            is_too_long = self.max_duration_s is not None and found_s + found.found_s > self.max_duration_s
            if found.found_s < part.min_duration_s and not is_too_long:
                durations = f"{found.found_s:.2f} s of at least {part.min_duration_s:.2f} s"
                self._refuse_unless_allowed(f"is damaged: {durations} could be decoded")
            found_s += found.found_s
            declared_s += found.found_s if found.declared_s is None else found.declared_s
            if is_too_long:
                break
        yield from self.same.finish()
        return found_s, declared_s

    def _refuse_unless_allowed(self, message: str) -> None:
        if not self.allow_truncated:
            cure = "Export it again, or pass `allow_truncated=True` to use what is there"
            raise ValueError(f"{self.name} {message}. {cure}.")
        self.notes.append(f"{self.name} {message}. Using what is there.")

    def _read_part(self, part: Part, max_duration_s: float | None) -> Generator[tuple[np.ndarray, int], None, Found]:
        view = FilePart(self.file, part.start, part.end, part.prefix)
        if part.kind in _MEDIA_KINDS:
            is_cut = part.kind == "matroska" and is_matroska_cut(self.file, part.start, part.end)
            return read_with_pyav(view, self.name, part.kind, is_cut, max_duration_s)
        size = part.end - part.start + len(part.prefix)
        return read_with_soundfile(view, self.name, size, part.num_skipped, max_duration_s)

    def _is_damaged(self, start: int, end: int) -> bool:
        """Whether something else than tags lies between two parts."""
        self.file.seek(start)
        return start < end and tag_size(self.file.read(128)) == 0


class _SameFormat:
    """Blocks of any rates and channels brought to those of the first.

    Attributes:
        sampling_rate (`int`): Hz, of the first block; `None` before it.
        num_samples (`int`): Given by now.
        changes (`list` of `str`): Where the format changed, and to what.
    """

    def __init__(self):
        self.sampling_rate: int | None = None
        self.num_samples, self.changes = 0, []
        self._num_channels = 0
        self._format: tuple[int, int] | None = None
        self._resampler: ChunkResampler | None = None

    def adapt(self, blocks: Generator[tuple[np.ndarray, int], None, Found]) -> Generator:
        """The blocks in the first format; returns what they return."""
        while True:
            try:
                block, rate = next(blocks)
            except StopIteration as end:
                return end.value
            if (block.shape[0], rate) != self._format:
                yield from self._change(block.shape[0], rate)
            if block.shape[0] != self._num_channels:
                block = block.mean(axis=0, dtype=np.float32, keepdims=True).repeat(self._num_channels, axis=0)
            yield from self._give(block if self._resampler is None else self._resampler.push(block))

    def finish(self) -> Iterator[tuple[np.ndarray, int]]:
        """What the resampler still holds."""
        if self._resampler is not None:
            yield from self._give(self._resampler.finish())
            self._resampler = None

    def _change(self, num_channels: int, rate: int) -> Iterator[tuple[np.ndarray, int]]:
        yield from self.finish()
        if self._format is None:
            self.sampling_rate, self._num_channels = rate, num_channels
        else:
            at_s = self.num_samples / self.sampling_rate
            self.changes.append(f"at {at_s:.2f} s to {rate} Hz and {num_channels} channel" + "s" * (num_channels > 1))
        self._format = num_channels, rate
        if rate != self.sampling_rate:
            self._resampler = ChunkResampler(rate, self.sampling_rate, self._num_channels)

    def _give(self, block: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
        if block.shape[1]:
            self.num_samples += block.shape[1]
            yield block, self.sampling_rate


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


def _is_text(head: bytes) -> bool:
    try:
        head[:-4].decode("utf-8")  # the last character may be cut
    except UnicodeDecodeError:
        return False
    return b"\0" not in head


def _check_truncation(name: str, found_s: float, declared_s: float, allow_truncated: bool, is_mp3: bool) -> str | None:
    """What is to be said about a file that ends before its header says.

    Raises:
        ValueError: If it is refused.
    """
    missing_s = declared_s - found_s
    if missing_s < _TOLERANCE_S:
        is_worth_a_word = missing_s > 1e-6 and not allow_truncated
        return f"{name} ends {1000 * missing_s:.1f} ms before its header says." if is_worth_a_word else None
    message = f"{name} is cut off: it holds {found_s:.2f} s of the {declared_s:.2f} s that its header declares."
    if declared_s == float("inf"):
        message = f"{name} is cut off or damaged after {found_s:.2f} s."
    if allow_truncated:
        return None
    if is_mp3:  # players take them as they are
        return f"{message} Using what is there."
    raise ValueError(f"{message} Copy it again, or pass `allow_truncated=True` to use what is there.")


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
