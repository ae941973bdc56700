"""The same recording under two names must not stand on both sides of a split: files of equal audio, found by hash."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from accompgen_hf.accompgen.progress_accompgen import ProgressBar
from accompgen_hf.data.sources import SourceRecording, Track

_SEVEREST_FIRST = ("test", "validation", "train", None)


def audio_span(path: Path) -> tuple[int, int]:
    """Find the first byte and the end of a file without its ID3 tags: two copies often differ only in their tags."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(10)
        start = 0
        if head[:3] == b"ID3" and len(head) == 10:
            start = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
        end = size
        if size >= 128:
            file.seek(-128, 2)
            end -= 128 * (file.read(3) == b"TAG")
    return (start, end) if start < end else (0, size)


def audio_hash(path: Path) -> str:
    """sha256 of a file without its ID3 tags."""
    start, end = audio_span(path)
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        file.seek(start)
        while start < end:
            block = file.read(min(1 << 20, end - start))
            if not block:
                break
            digest.update(block)
            start += len(block)
    return digest.hexdigest()


def find_duplicates(recordings: Sequence[SourceRecording]) -> list[list[int]]:
    """Indices of recordings that share a file of equal audio, as groups of two or more; only equal sizes are read."""
    by_size: dict[int, list[tuple[int, Path]]] = {}
    for index, recording in enumerate(recordings):
        for path in recording.files:
            start, end = audio_span(path)
            by_size.setdefault(end - start, []).append((index, path))
    crowded = [item for items in by_size.values() if len({index for index, _ in items}) > 1 for item in items]
    by_hash: dict[str, set[int]] = {}
    for index, path in ProgressBar(crowded, desc="Looking for equal files", unit="file", disable=len(crowded) < 100):
        by_hash.setdefault(audio_hash(path), set()).add(index)
    return sorted(sorted(indices) for indices in by_hash.values() if len(indices) > 1)


def join_duplicates(tracks: Sequence[Track], duplicates: Sequence[Sequence[int]]) -> list[Track]:
    """Put equal tracks into one group, and with them the groups (artists, albums) that they belong to.

    If the source names their splits and these differ, all of them go to the split that training uses least.
    """
    leader = {track.group: track.group for track in tracks}

    def find(group: str) -> str:
        while leader[group] != group:
            group = leader[group]
        return group

    splits: dict[int, str | None] = {}
    for indices in duplicates:
        joined = sorted({find(tracks[index].group) for index in indices})
        for group in joined:
            leader[group] = joined[0]
        severest = min((splits.get(i, tracks[i].split) for i in indices), key=_SEVEREST_FIRST.index)
        splits.update(dict.fromkeys(indices, severest))
    return [
        replace(track, group=find(track.group), split=splits.get(index, track.split))
        for index, track in enumerate(tracks)
    ]
