"""Frames of MP3 (MPEG audio) and ADTS (raw AAC) streams: where they begin, and where one recording ends.

Neither has a header for the whole. A frame states its own length, so that the next must begin right behind it: a place
is believed only where several frames follow each other.
"""

import io
import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

_BLOCK_BYTES = 1 << 20
_MAX_FRAME_BYTES = 8192  # ADTS: 13 bits; MP3 at most 2881
_DECODER_DELAY = 529  # samples
_CHAIN = 3  # frames behind each other that are believed
_NAMES = (b"Xing", b"Info")
_SYNC = re.compile(rb"\xff[\xe2-\xff]")
_MPEG1_KBPS = {
    1: (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    2: (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    3: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
}
_MPEG2_KBPS = {
    1: (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    3: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


class Mp3Part(NamedTuple):
    """One recording inside an MP3 stream.

    Attributes:
        start, end (`int`): Its bytes.
        prefix (`bytes`): What a decoder has to read before them: it states the length where the file does not.
            libsndfile would guess one, and lose what lies beyond: half of many recordings of variable bit rate.
        num_skipped (`int`): Samples that the prefix makes.
        min_duration_s (`float`): What its frames hold at least: an encoder adds up to three of them.
    """

    start: int
    end: int
    prefix: bytes = b""
    num_skipped: int = 0
    min_duration_s: float = 0.0


class _Frame(NamedTuple):
    """A frame: place, bytes, what stays the same within a recording, and its beginning."""

    start: int
    num_bytes: int
    kind: tuple[int, int, bool]
    head: bytes

    @property
    def num_stated(self) -> int | None:
        """How many frames follow, if this one holds no sound but their number (0 if it cannot be used)."""
        place = _statement_place(self.head)
        # The four letters alone are in the sound of one file in a few thousand.
        if self.head[place : place + 4] in _NAMES and self.head[place + 4 : place + 7] == bytes(3):
            has_number = self.head[place + 7] & 1 and len(self.head) >= place + 12
            return int.from_bytes(self.head[place + 8 : place + 12], "big") if has_number else 0
        return 0 if self.head[36:42] == b"VBRI\0\1" else None

    @property
    def end(self) -> int:
        return self.start + self.num_bytes


@cache
def _mp3_header(second: int, third: int) -> tuple[int, tuple[int, int]] | None:
    """(bytes of the frame, (layer, Hz)) of a header's second and third byte; `None` if it is no header."""
    version, layer = second >> 3 & 3, 4 - (second >> 1 & 3)  # version: 0 is MPEG 2.5, 2 MPEG 2, 3 MPEG 1
    rate_index, bit_rate_index = third >> 2 & 3, third >> 4
    if version == 1 or layer == 4 or rate_index == 3 or bit_rate_index in (0, 15):
        return None
    rate = (44_100, 48_000, 32_000)[rate_index] >> {3: 0, 2: 1, 0: 2}[version]
    kbps = (_MPEG1_KBPS if version == 3 else _MPEG2_KBPS)[layer][bit_rate_index - 1]
    padding = third >> 1 & 1
    if layer == 1:
        num_bytes = (12_000 * kbps // rate + padding) * 4
    else:
        samples_per_byte = 72 if layer == 3 and version != 3 else 144
        num_bytes = samples_per_byte * 1000 * kbps // rate + padding
    return num_bytes, (layer, rate)


def _mp3_frame(data: bytes, place: int) -> tuple[int, tuple] | None:
    """(bytes, what must stay the same within a recording) of the frame at `place`."""
    if data[place] != 0xFF or data[place + 1] < 0xE0:
        return None
    header = _mp3_header(data[place + 1], data[place + 2])
    return None if header is None else (header[0], (*header[1], data[place + 3] >> 6 == 3))


def _adts_frame(data: bytes, place: int) -> tuple[int, None] | None:
    if data[place] != 0xFF or data[place + 1] & 0xF6 != 0xF0 or data[place + 2] >> 2 & 15 > 12:
        return None
    num_bytes = (data[place + 3] & 3) << 11 | data[place + 4] << 3 | data[place + 5] >> 5
    return (num_bytes, None) if num_bytes > 7 else None


def _is_chain(data: bytes, place: int, frame_of, is_end: bool) -> bool:
    """Whether frames of one kind follow each other from `place` on, to the end of the data if that comes first."""
    kinds = []
    while len(kinds) < _CHAIN:
        if place + 7 > len(data):
            return is_end and len(kinds) > 1
        frame = frame_of(data, place)
        if frame is None or (kinds and frame[1] != kinds[0]):
            return False
        kinds.append(frame[1])
        place += frame[0]
    return True


def find_mpeg_frames(data: bytes, start: int = 0, is_end: bool = False) -> tuple[int, str] | None:
    """The first place from `start` on where frames follow each other, and whether they are `"mp3"` or `"aac"`.

    Args:
        is_end (`bool`): The file ends with `data`: two frames are then enough.
    """
    for match in _SYNC.finditer(data, start):
        for kind, frame_of in (("aac", _adts_frame), ("mp3", _mp3_frame)):
            if _is_chain(data, match.start(), frame_of, is_end):
                return match.start(), kind
    return None


def tag_size(head: bytes) -> int:
    """Bytes of the ID3 or APE tag that `head` begins with; 0 if it begins with none."""
    if head[:3] == b"ID3" and len(head) >= 10 and head[3] < 0xFF and head[4] < 0xFF and max(head[6:10]) < 0x80:
        has_footer = head[5] >> 4 & 1
        return 10 + 10 * has_footer + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9])
    if head[:8] == b"APETAGEX" and len(head) >= 24 and head[23] >> 5 & 1:  # a tag's header, not its footer
        return 32 + int.from_bytes(head[12:16], "little")
    if head[:3] == b"TAG" and len(head) >= 128:
        return 128
    return 0


def list_mp3_parts(file: io.BufferedIOBase, start: int, end: int) -> list[Mp3Part]:
    """The recordings of an MP3 stream, one behind the other.

    A new one begins with a frame that states a length (Xing, Info, VBRI), behind the length that such a frame states,
    where rate, layer or number of channels change, and where something else than frames lies between. What is no frame
    belongs to none.
    """
    parts: list[Mp3Part] = []
    first = last = beyond = None  # of the part; `beyond` is its first frame behind the stated length
    num_frames = 0
    for frame in _mp3_frames(file, start, end):
        if first is not None:
            is_behind = frame.start == last.end
            if frame.num_stated is not None or frame.kind != first.kind or not is_behind:
                parts += _as_part(first, last.end, num_frames)
                first = beyond = None
            elif first.num_stated and num_frames > first.num_stated + _CHAIN:
                parts += _as_part(first, beyond.start, num_frames - _CHAIN)
                first, num_frames, beyond = beyond, _CHAIN, None
        if first is None:
            if not parts and frame.num_stated is None and frame.head[_statement_place(frame.head) :][:4] in _NAMES:
                return []  # its number is damaged
            first, num_frames = frame, 0
        elif num_frames == (first.num_stated or 0) + 1:
            beyond = frame
        last, num_frames = frame, num_frames + 1
    return parts if first is None else parts + _as_part(first, last.end, num_frames)


def _as_part(first: _Frame, end: int, num_frames: int) -> list[Mp3Part]:
    """The part that begins with this frame; none if there is no sound behind a frame that states a length."""
    layer, rate, is_mono = first.kind
    samples_per_frame = {1: 384, 2: 1152, 3: 1152 if rate >= 32_000 else 576}[layer]
    min_duration_s = (num_frames * samples_per_frame - 3 * 1152) / rate
    if first.num_stated:
        return [Mp3Part(first.start, end, min_duration_s=min_duration_s)]
    start = first.start
    if first.num_stated is not None:  # a VBRI frame, which libsndfile does not know, or one without a number
        start, num_frames = first.end, num_frames - 1
    if num_frames == 0:
        return []
    if layer != 3:
        return [Mp3Part(start, end, min_duration_s=min_duration_s)]
    # A frame that states the length and one of silence. Of the silence the decoder leaves out its own delay, as it
    # does wherever a length is stated; the sound behind it is as long as its frames.
    version_bits = {3: 0xF8, 2: 0xF0, 0: 0xE0}[3 if rate >= 32_000 else 2 if rate >= 16_000 else 0]
    rate_index = {44_100: 0, 48_000: 1, 32_000: 2}[rate << {0xF8: 0, 0xF0: 1, 0xE0: 2}[version_bits]]
    for bit_rate_index in range(1, 15):
        third = bit_rate_index << 4 | rate_index << 2
        num_bytes = _mp3_header(version_bits | 3, third)[0]
        if num_bytes >= 64:
            break
    header = bytes([0xFF, version_bits | 3, third, 0xC0 if is_mono else 0])
    side_bytes = (17 if is_mono else 32) if version_bits == 0xF8 else (9 if is_mono else 17)
    statement = header + bytes(side_bytes) + b"Xing\0\0\0\1" + (num_frames + 1).to_bytes(4, "big")
    prefix = statement.ljust(num_bytes, b"\0") + header.ljust(num_bytes, b"\0")
    return [Mp3Part(start, end, prefix, samples_per_frame - _DECODER_DELAY, min_duration_s)]


def _mp3_frames(file: io.BufferedIOBase, start: int, end: int) -> Iterator[_Frame]:
    """Every frame; what lies between is left out."""
    file.seek(start)
    data, place, is_end, kind = b"", 0, False, None
    while True:
        if not is_end and len(data) - place < _BLOCK_BYTES // 2:
            start += place
            data = data[place:] + file.read(min(_BLOCK_BYTES, max(0, end - start - len(data) + place)))
            place, is_end = 0, start + len(data) >= end
            if is_end:
                data = data[: end - start]
            elif len(data) < _MAX_FRAME_BYTES * _CHAIN:
                return  # the file is shorter than it was
        if place + 4 > len(data):
            return
        frame = _mp3_frame(data, place)
        if frame is not None and (frame[1] == kind or _is_chain(data, place, _mp3_frame, is_end)):
            kind = frame[1]
            if place + frame[0] > len(data) and is_end:
                return  # cut off
            yield _Frame(start + place, frame[0], kind, data[place : place + 56])
            place += frame[0]
            continue
        size = tag_size(data[place : place + 128])
        if size:
            if place + size > len(data):
                file.seek(start + place + size)
                start, data, place = start + place + size, b"", 0
                is_end = start >= end
            else:
                place += size
            continue
        kind = None
        match = _SYNC.search(data, place + 1)
        places = [match.start() if match else max(place + 1, len(data) - 8)]
        places += [at for name in (b"ID3", b"APETAGEX") if (at := data.find(name, place + 1)) > 0]
        place = min(places)


def _statement_place(head: bytes) -> int:
    """Where in a frame a statement of the length stands: behind the side information."""
    is_mpeg1, is_mono, checksum = head[1] >> 3 & 3 == 3, head[3] >> 6 == 3, 2 * (1 - (head[1] & 1))
    return 4 + checksum + ((17 if is_mono else 32) if is_mpeg1 else (9 if is_mono else 17))


__all__ = ["Mp3Part", "find_mpeg_frames", "list_mp3_parts", "tag_size"]
