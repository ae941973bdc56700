"""Where in a file its recordings begin and end, and whether all the bytes that its headers promise are there.

A file may begin with a tag or stray bytes, and may be several files written one behind the other. Programs that read
sound see the first recording, or none; here the file is laid out as parts, each a file of its own.
"""

import contextlib
import io
import os
import re
import struct
from typing import NamedTuple

from .mpeg_frames_accompgen import find_mpeg_frames, list_mp3_parts, tag_size

_SEARCHED_BYTES = 1 << 16  # before the first recording
_BLOCK_BYTES = 1 << 20
_MATROSKA = b"\x1aE\xdf\xa3"
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
_BEGINNING = re.compile(
    rb"(RIFF|RF64|BW64|RIFX).{4}WAVE|FORM.{4}AIF[FC]|fLaC\x00|OggS\x00|caff\x00\x01|.{4}ftyp|\x1aE\xdf\xa3", re.DOTALL
)


class Part(NamedTuple):
    """One recording of a file: bytes `start` to `end`.

    Attributes:
        kind (`str`): `mov`, `matroska` or `aac`, FFmpeg's names of what only PyAV reads; `mp3`, `ogg`, `flac`, `wav`,
            `w64`, `aiff`, `au`, `caf`, or `other`.
        prefix, num_skipped, min_duration_s: Fields of an MP3 file; see `Mp3Part`.
    """

    kind: str
    start: int
    end: int
    prefix: bytes = b""
    num_skipped: int = 0
    min_duration_s: float = 0.0


class FilePart:
    """Bytes `start` to `end` of a file, as a file of its own.

    Args:
        prefix (`bytes`): Stands before them.

    It stays where it is when a damaged header sends a reader before its start, and it has no name: for some endings
    libsndfile would believe the name and not the content.
    """

    def __init__(self, file: io.BufferedIOBase, start: int, end: int, prefix: bytes = b""):
        self._file, self._prefix, self._start, self._place = file, prefix, start - len(prefix), 0
        self._size = max(0, end - self._start)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a place, as every file does."""
        place = offset + (0, self._place, self._size)[whence]
        if place >= 0:
            self._place = place
        return self._place

    def tell(self) -> int:
        """Give the place."""
        return self._place

    def seekable(self) -> bool:
        """Always true."""
        return True

    def readable(self) -> bool:
        """Always true."""
        return True

    def read(self, num_bytes: int = -1) -> bytes:
        """Read up to `num_bytes`, prefix first."""
        left = max(0, self._size - self._place)
        left = left if num_bytes is None or num_bytes < 0 else min(left, num_bytes)
        if self._place < len(self._prefix):
            content = self._prefix[self._place : self._place + left]
            self._place += len(content)
            return content + (self.read(left - len(content)) if len(content) < left else b"")
        with contextlib.suppress(ValueError, OSError, OverflowError):
            self._file.seek(self._start + self._place)
            content = self._file.read(left)
            self._place += len(content)
            return content
        return b""

    def readinto(self, buffer: memoryview) -> int:
        """Read into a buffer and give the number of bytes."""
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)


def list_parts(file: io.BufferedIOBase, file_size: int) -> list[Part]:
    """The recordings of a file in their order; one of the kind `other` if it is none that is known here."""
    start = _skip_tags(file, file_size)
    head = _read(file, start, 4096)
    kind = _kind_of(head, is_end=start + len(head) >= file_size)
    if kind is None:
        return [Part("other", 0, file_size)]
    return _split(file, kind, start, file_size)


def find_parts_behind_stray_bytes(file: io.BufferedIOBase, file_size: int) -> list[Part]:
    """The recordings of a file that begins with something else; empty if there are none in its first 64 kB."""
    start = _skip_tags(file, file_size)
    head = _read(file, start, _SEARCHED_BYTES)
    if not head.strip(b"\0"):
        return []
    signature = _BEGINNING.search(head)
    frames = find_mpeg_frames(head, is_end=start + len(head) >= file_size)
    if signature is not None and (frames is None or signature.start() <= frames[0]):
        place = start + signature.start()
        return _split(file, _kind_of(_read(file, place, 4096), is_end=False) or "other", place, file_size)
    if frames is not None and frames[1] == "mp3" and re.search(rb"Xing|Info\x00|VBRI", head[: frames[0]]):
        return []  # the frame that states the length is damaged
    return [] if frames is None else _split(file, frames[1], start + frames[0], file_size)


def _read(file: io.BufferedIOBase, start: int, num_bytes: int) -> bytes:
    file.seek(start)
    return file.read(num_bytes)


def _skip_tags(file: io.BufferedIOBase, file_size: int) -> int:
    """Where the sound begins: behind ID3 and APE tags, and the zeros that some programs leave behind them."""
    start = 0
    while size := tag_size(_read(file, start, 128)):
        start = min(start + size, file_size)
        while start < file_size and not (block := _read(file, start, _BLOCK_BYTES)).strip(b"\0"):
            start += len(block)
        block = _read(file, start, _BLOCK_BYTES)
        start += len(block) - len(block.lstrip(b"\0"))
        near = _read(file, start, 8)
        for place in range(1, 5):
            if near[place : place + 4] in _MP4_BOXES:
                start += place - 4  # the length of a box begins with zeros, too
                break
    return start


def _kind_of(head: bytes, is_end: bool) -> str | None:
    if head[8:12] == b"WAVE" and head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64"):
        return "wav"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    names = {b"fLaC": "flac", b"OggS": "ogg", b"riff": "w64", b".snd": "au", b"caff": "caf", _MATROSKA: "matroska"}
    if head[:4] in names:
        return names[head[:4]]
    if head[4:8] in _MP4_BOXES:
        return "mov"
    frames = find_mpeg_frames(head[:4096], is_end=is_end) if head[:1] == b"\xff" else None
    if frames is not None and frames[0] == 0:
        return frames[1]
    return "aac" if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0 else None


def _split(file: io.BufferedIOBase, kind: str, start: int, end: int) -> list[Part]:
    """Parts of one kind behind each other; what is no further recording belongs to the last."""
    if kind == "mp3":
        return [Part(kind, *part) for part in list_mp3_parts(file, start, end)] or [Part(kind, start, 0)]
    if kind == "ogg":
        starts = _ogg_starts(file, start, end)
    else:
        end = _without_trailer(file, start, end) if kind == "flac" else end
        starts = [start]
        while (next_start := _next_start(file, kind, starts[-1], end)) is not None:
            starts.append(next_start)
    return [Part(kind, first, last) for first, last in zip(starts, [*starts[1:], end], strict=True)]


def _without_trailer(file: io.BufferedIOBase, start: int, end: int) -> int:
    """Where the sound ends: before tags and padding, which to a FLAC decoder are damage."""
    for _ in range(10):
        tail = _read(file, max(start, end - 128), min(128, end - start))
        if tail[:3] == b"TAG" and len(tail) == 128:
            end -= 128
        elif tail[-32:-24] == b"APETAGEX":
            size = int.from_bytes(tail[-20:-16], "little")
            end -= size + 32 * (tail[-9] >> 7)
        elif not tail.strip(b"\0") and len(tail) == 128:  # a frame may end in a few zeros
            end -= 128
            while end - start > _BLOCK_BYTES and not _read(file, end - _BLOCK_BYTES, _BLOCK_BYTES).strip(b"\0"):
                end -= _BLOCK_BYTES
            block = _read(file, max(start, end - _BLOCK_BYTES), min(_BLOCK_BYTES, end - start))
            end -= len(block) - len(block.rstrip(b"\0"))
        else:
            break
        if end <= start:
            break
    return max(start, end)


def _next_start(file: io.BufferedIOBase, kind: str, start: int, end: int) -> int | None:
    """Where the next recording of the same kind begins, or `None`."""
    if kind == "flac":
        return _find(file, rb"fLaC[\x00\x80]\x00\x00\x22", start + 4, end)
    if kind == "matroska":
        return _next_matroska(file, start, end)
    if kind == "mov":
        return _next_mp4(file, start, end)
    head = _read(file, start, 24)
    place = None
    if kind in ("wav", "aiff") and len(head) >= 12:
        size = int.from_bytes(head[4:8], "big" if head[:4] in (b"RIFX", b"FORM") else "little")
        if head[:4] in (b"RF64", b"BW64"):
            size = int.from_bytes(_read(file, start + 20, 8), "little")
        place = start + 8 + size + size % 2
    elif kind == "w64" and len(head) == 24:
        place = start + int.from_bytes(head[16:24], "little")
    elif kind == "au" and len(head) >= 12:
        offset, size = struct.unpack(">II", head[4:12])
        place = start + offset + size
    elif kind == "caf":
        place = _end_of_caf(file, start, end)
    for candidate in (place, None if place is None else place - 1):  # a pad byte that is not there
        is_inside = candidate is not None and start < candidate < end - 12
        if is_inside and _kind_of(_read(file, candidate, 16), is_end=False) == kind:
            return candidate
    return None


def _find(file: io.BufferedIOBase, pattern: bytes, start: int, end: int) -> int | None:
    rest = b""
    while start < end:
        block = rest + _read(file, start, min(_BLOCK_BYTES, end - start))
        found = re.search(pattern, block)
        if found:
            return start - len(rest) + found.start()
        if len(block) == len(rest):
            return None
        start += len(block) - len(rest)
        rest = block[-16:]
    return None


def _ogg_starts(file: io.BufferedIOBase, start: int, end: int) -> list[int]:
    """Places of the pages that begin a link of the chain: they begin a stream and do not follow one that does."""
    starts, place, was_beginning = [start], start, True
    while place < end:
        header = _read(file, place, 27)
        if header[:4] != b"OggS" or len(header) < 27:
            found = _find(file, b"OggS", place + 1, end)
            if found is None:
                break
            place = found
            continue
        is_beginning = bool(header[5] & 2)
        if is_beginning and not was_beginning:
            starts.append(place)
        was_beginning = is_beginning
        place += 27 + header[26] + sum(file.read(header[26]))
    return starts


def _next_mp4(file: io.BufferedIOBase, start: int, end: int) -> int | None:
    place, has_sound = start, False
    for _ in range(1_000_000):
        header = _read(file, place, 16)
        if len(header) < 8 or place >= end:
            return None
        size, name = int.from_bytes(header[:4], "big"), header[4:8]
        if name == b"ftyp" and has_sound:
            return place
        has_sound = has_sound or name in (b"mdat", b"moof")
        size = int.from_bytes(header[8:16], "big") if size == 1 else size
        if size < 8:
            return None
        place += size
    return None


def _matroska_size(data: bytes) -> tuple[int | None, int]:
    """(content size, bytes of the number) of an EBML size; `None` where it is left open."""
    width = 9 - data[0].bit_length() if data and data[0] else 9
    if width > 8 or len(data) < width:
        return None, 1
    value = int.from_bytes(data[:width], "big") & (1 << 7 * width) - 1
    return (None if value == (1 << 7 * width) - 1 else value), width


def _matroska_segment(file: io.BufferedIOBase, start: int, end: int) -> tuple[int, int | None] | None:
    """(first byte, end as declared) of the segment's content."""
    head_size, width = _matroska_size(_read(file, start + 4, 8))
    if head_size is None:
        return None
    place = start + 4 + width + head_size
    head = _read(file, place, 12)
    if head[:4] != b"\x18S\x80g":
        return None
    size, width = _matroska_size(head[4:])
    return place + 4 + width, None if size is None else place + 4 + width + size


def _next_matroska(file: io.BufferedIOBase, start: int, end: int) -> int | None:
    segment = _matroska_segment(file, start, end)
    if segment is None:
        return None
    if segment[1] is not None:
        return segment[1] if _read(file, segment[1], 4) == _MATROSKA and segment[1] < end else None
    place = _find(file, re.escape(_MATROSKA), segment[0], end)
    return place if place is not None and b"B\x82" in _read(file, place, 64) else None


def is_matroska_cut(file: io.BufferedIOBase, start: int, end: int) -> bool:
    """Whether the file ends before its segment."""
    segment = _matroska_segment(file, start, end)
    return segment is not None and segment[1] is not None and segment[1] > end


def _end_of_caf(file: io.BufferedIOBase, start: int, end: int) -> int | None:
    place = start + 8
    for _ in range(1000):
        header = _read(file, place, 12)
        if len(header) < 12 or header[:4] == b"caff":
            return place if header[:4] == b"caff" else None
        size = int.from_bytes(header[4:12], "big", signed=True)
        if size < 0:
            return None
        place += 12 + size
    return None


def has_ogg_end_mark(file: io.BufferedIOBase, start: int, end: int) -> bool:
    """Ogg declares no length, but its last page says that it is the last. Recordings of a radio stream lack it too."""
    first = max(start, end - 65_307)  # the largest page
    tail = _read(file, first, end - first)
    page = tail.rfind(b"OggS")
    return 0 <= page < len(tail) - 5 and bool(tail[page + 5] & 4)


def declared_and_found_bytes(file: io.BufferedIOBase, file_size: int) -> tuple[int, int] | None:
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
