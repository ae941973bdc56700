"""From a list of aligned (vocals, instrumental) tracks to token shards, restartable at any instant.

One track is one unit of work: its tokens are saved by themselves, and a shard is written once all of its tracks are
there. Shard k holds tracks [k M, (k + 1) M) of the sorted list, whichever process makes it. So any number of
processes, killed and started again at will, end with the same bytes.
"""

import json
import logging
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from accompgen_hf.accompgen.fingerprint_accompgen import hash_json
from accompgen_hf.accompgen.parts_accompgen import check_style_names
from accompgen_hf.accompgen.progress_accompgen import ProgressBar
from accompgen_hf.data.filter_picture import draw_histograms
from accompgen_hf.data.filtering import (
    GRID_RATE,
    ClipFilter,
    Verdict,
    add_counts,
    count_clips,
    describe_counts,
    filter_pair,
)
from accompgen_hf.data.shards import (
    FORMAT_VERSION,
    PARTS_FORMAT_VERSION,
    SHARD_SCHEMA,
    Manifest,
    TokenRow,
    assign_split,
    read_rows,
    shard_name,
    shard_schema,
    write_rows,
)
from accompgen_hf.data.sources import Track
from accompgen_hf.data.tokenization import TokenExtractor, measure_activity
from accompgen_hf.files import read_json, write_bytes, write_json

logger = logging.getLogger(__name__)


def prepare_shards(
    tracks: Sequence[Track],
    extractor: TokenExtractor,
    output_dir: str | os.PathLike,
    *,
    tracks_per_shard: int = 64,
    worker_index: int = 0,
    num_workers: int = 1,
    max_failures: float = 0.05,
    validation_share: float = 0.02,
    clip_filter: ClipFilter | None = None,
    source: dict[str, Any] | None = None,
) -> Manifest | None:
    """Make the shards of worker `worker_index`, and the manifest once every shard is there.

    Args:
        tracks (sequence of `Track`): All tracks, the same list for every worker.
        extractor (`TokenExtractor`): Makes the tokens.
        output_dir (`str`): Folder to create, or to go on with.
        tracks_per_shard (`int`): M: shard k holds tracks [k M, (k + 1) M) of the list sorted by id.
        worker_index (`int`): Shards k with `k % num_workers == worker_index` are this call's.
        num_workers (`int`): Number of workers.
        max_failures (`float`): Share of tracks that may give no tokens.
        validation_share (`float`):
            Share of groups that go to the validation split, chosen by hash, where the source names no split.
        clip_filter (`ClipFilter`, *optional*): Drops clips; rows are then runs of up to three kept clips, cut from the
            tokens of the whole track. Without it every track is one row.
        source (`dict`, *optional*): Origin of the tracks (corpus, separator), for the manifest.

    Returns:
        [`Manifest`], or `None` while shards of other workers are missing.

    Raises:
        ValueError: If ids repeat, a number is out of range, or `output_dir` holds shards of other tracks or settings.
        RuntimeError: If more than `max_failures` of the tracks failed.
    """
    tracks = sorted(tracks, key=lambda track: track.track_id)
    _check_arguments(tracks, tracks_per_shard, worker_index, num_workers, max_failures, validation_share)
    output_dir = Path(output_dir)
    progress_dir = output_dir / ".progress"
    progress_dir.mkdir(parents=True, exist_ok=True)
    settings = {
        **extractor.describe(),
        "tracks_per_shard": tracks_per_shard,
        "validation_share": validation_share,
        "tracks_sha256": hash_json([_identify(track) for track in tracks]),
    }
    style_names = sorted({track.style for track in tracks if track.style is not None})
    if style_names:
        settings["style_names"] = list(check_style_names(style_names))
    if clip_filter is not None:
        settings["clip_filter"] = asdict(clip_filter)
    if source is not None:
        settings["source"] = source
    _claim_folder(progress_dir / "settings.json", {"token_fingerprint": extractor.token_fingerprint, **settings})

    starts = range(0, len(tracks), tracks_per_shard)
    own = [index for index in range(len(starts)) if index % num_workers == worker_index]
    shards = {index: tracks[starts[index] : starts[index] + tracks_per_shard] for index in own}
    failures_allowed = int(max_failures * len(tracks))
    num_failed = 0
    part_names = extractor.recipe.part_names
    schema = shard_schema(len(part_names) > 1, bool(style_names))
    job = _Job(extractor, output_dir, validation_share, clip_filter, part_names, schema)
    with (
        _one_thread(),
        ProgressBar(
            total=sum(map(len, shards.values())), desc="Tokenizing", unit="track", mininterval=1.0
        ) as progress,
    ):
        for index in own:
            for failure in _prepare_shard(job, index, shards[index], progress):
                num_failed += 1
                logger.warning("Skipped track %s: %s", failure["track_id"], failure["error"])
                if num_failed > failures_allowed:
                    raise RuntimeError(
                        f"{num_failed} of {len(tracks)} tracks failed, more than `max_failures` {max_failures}; the "
                        f"last one is {failure['track_id']}: {failure['error']}"
                    )
    return _write_manifest(job, len(tracks), len(starts), settings, max_failures)


@dataclass(frozen=True)
class _Job:
    """What all tracks of a preparation share."""

    extractor: TokenExtractor
    output_dir: Path
    validation_share: float
    clip_filter: ClipFilter | None
    part_names: tuple[str, ...]
    schema: pa.Schema


def _identify(track: Track) -> list[str | None]:
    identity = [track.track_id, track.licence, track.group]
    identity = identity if track.split is None else [*identity, track.split]
    return identity if track.style is None else [*identity, f"style {track.style}"]


def _prepare_shard(job: _Job, index: int, tracks: Sequence[Track], progress: ProgressBar) -> Iterator[dict[str, str]]:
    """Make the missing tracks of one shard, then the shard, and yield the tracks that gave no tokens."""
    summary_path = job.output_dir / ".progress" / f"shard-{index:05d}.json"
    parts_dir = summary_path.with_suffix("")
    if summary_path.is_file():
        progress.update(len(tracks))
        yield from read_json(summary_path)["failures"]
        return
    parts_dir.mkdir(exist_ok=True)
    rows, clips, failures = [], [], []
    for number, track in enumerate(tracks):
        part_path, failure_path = parts_dir / f"{number:05d}.parquet", parts_dir / f"{number:05d}.json"
        clips_path = parts_dir / f"{number:05d}.clips.json"
        if not part_path.is_file() and not failure_path.is_file():
            try:
                track_rows, track_clips = _make_rows(job, track)
                if job.clip_filter is not None:
                    write_json(clips_path, track_clips)
                write_rows(part_path, track_rows, job.schema)  # written last, so that a part that exists is whole
            except Exception as error:  # whatever is wrong with one file, the other tracks go on
                write_json(failure_path, {"track_id": track.track_id, "error": f"{type(error).__name__}: {error}"})
        if part_path.is_file():
            rows.extend(read_rows(part_path))
            clips.extend(read_json(clips_path) if clips_path.is_file() else [])
        else:
            failures.append(read_json(failure_path))
            yield failures[-1]
        progress.update()
    sha256 = write_rows(job.output_dir / shard_name(index), rows, job.schema)
    write_json(summary_path, _summarize(index, sha256, rows, clips, failures))
    shutil.rmtree(parts_dir)


def _summarize(index: int, sha256: str, rows: list[TokenRow], clips: list[dict], failures: list[dict]) -> dict:
    seconds_by_licence: Counter[str] = Counter()
    for row in rows:
        seconds_by_licence[row.licence] += len(row.vocal_semantic_ids) / 50
    return {
        "shard": {"file": shard_name(index), "sha256": sha256, "num_rows": len(rows)},
        "splits": dict(Counter(row.split for row in rows)),
        "duration_s": sum(len(row.vocal_semantic_ids) for row in rows) / 50,
        "seconds_by_licence": dict(seconds_by_licence),
        "failures": failures,
        "counts": count_clips(clips),
        "rejected": [clip for clip in clips if clip["reasons"]],
    }


def _make_rows(job: _Job, track: Track) -> tuple[list[TokenRow], list[dict]]:
    """The rows of one track, and the clips that were judged for them."""
    vocals, parts, sampling_rate = _load_parts(job, track)
    instrumental = parts[0] if len(parts) == 1 else sum_parts(parts)
    verdict = Verdict(vocals, instrumental, [(0, -1)])
    if job.clip_filter is not None:
        verdict = filter_pair(track.track_id, vocals, instrumental, sampling_rate, job.clip_filter)
    if not verdict.spans:
        return [], verdict.clips
    # The whole track is tokenized even if clips are dropped: level and blocks are those of the whole, as in inference.
    if len(parts) > 1:
        instrumental = np.stack([part[: len(verdict.instrumental)] for part in parts])
    else:
        instrumental = verdict.instrumental
    tokens = job.extractor.extract(verdict.vocals, instrumental, sampling_rate, track.track_id)
    split = track.split or assign_split(track.group or track.track_id, job.validation_share)
    rows = []
    for start, end in verdict.spans:
        last = None if end < 0 else end
        samples = slice(_to_samples(start, sampling_rate), None if last is None else _to_samples(last, sampling_rate))
        fifty, seventy_five = (slice(n * start, None if last is None else n * last) for n in (2, 3))
        rows.append(
            TokenRow(
                track_id=track.track_id,
                licence=track.licence,
                split=split,
                start_s=start / GRID_RATE,
                vocal_activity=measure_activity(verdict.vocals[samples], sampling_rate),
                vocal_semantic_ids=tokens["vocal_semantic_ids"][fifty],
                instrumental_semantic_ids=tokens["instrumental_semantic_ids"][..., fifty],
                codes=tokens["codes"][..., seventy_five],
                style=track.style,
            )
        )
    return rows, verdict.clips


def _load_parts(job: _Job, track: Track) -> tuple[np.ndarray, list[np.ndarray], int]:
    """Vocals, the parts to tokenize, of one length, and their rate.

    Raises:
        ValueError: If the track lacks a part.
    """
    if len(job.part_names) == 1:
        vocals, instrumental, sampling_rate = track.load()
        return vocals, [instrumental], sampling_rate
    if track.load_parts is None:
        raise ValueError(f"`part_names` {', '.join(job.part_names)} need tracks with parts, but this one has none.")
    vocals, by_name, sampling_rate = track.load_parts()
    missing = [name for name in job.part_names if name not in by_name]
    if missing:
        raise ValueError(f"`part_names` must be among {', '.join(by_name)}, got {', '.join(missing)}.")
    parts = [by_name[name] for name in job.part_names]
    num_samples = min(map(len, parts))
    return vocals, [part[:num_samples] for part in parts], sampling_rate


def sum_parts(parts: Sequence[np.ndarray]) -> np.ndarray:
    """What parts sound like together: float32, the filters' instrumental."""
    return np.sum(np.stack(parts), axis=0, dtype=np.float32)


def _to_samples(grid_frames: int, sampling_rate: int) -> int:
    return round(grid_frames * sampling_rate / GRID_RATE)


def _write_manifest(
    job: _Job, num_tracks: int, num_shards: int, settings: dict, max_failures: float
) -> Manifest | None:
    """Join the shards' summaries. Any worker may do this, since all would write the same bytes."""
    output_dir = job.output_dir
    paths = [output_dir / ".progress" / f"shard-{index:05d}.json" for index in range(num_shards)]
    if not all(path.is_file() for path in paths):
        return None
    summaries = [read_json(path) for path in paths]
    failures = [failure for summary in summaries for failure in summary["failures"]]
    if len(failures) > int(max_failures * num_tracks):
        raise RuntimeError(f"{len(failures)} of {num_tracks} tracks failed, more than `max_failures` {max_failures}.")
    splits, seconds_by_licence = Counter({"train": 0, "validation": 0}), Counter()
    for summary in summaries:
        splits.update(summary["splits"])
        seconds_by_licence.update(summary.get("seconds_by_licence", {}))
    clips = {} if job.clip_filter is None else _write_filter_report(job, summaries)
    manifest = Manifest(
        token_fingerprint=job.extractor.token_fingerprint,
        settings=settings,
        shards=[summary["shard"] for summary in summaries],
        splits=dict(splits),
        num_tracks=num_tracks,
        failed_tracks=[failure["track_id"] for failure in failures],
        duration_s=round(sum(summary["duration_s"] for summary in summaries), 2),
        hours_by_licence={name: round(seconds / 3600, 4) for name, seconds in sorted(seconds_by_licence.items())},
        clips=clips,
        format_version=FORMAT_VERSION if job.schema == SHARD_SCHEMA else PARTS_FORMAT_VERSION,
    )
    write_json(output_dir / "failures.json", failures)
    manifest.save(output_dir)
    return manifest


def _write_filter_report(job: _Job, summaries: list[dict]) -> dict[str, Any]:
    """Write `rejected.jsonl`, `filtering.json` and `filtering.png`; return the numbers for the manifest."""
    rejected = [clip for summary in summaries for clip in summary["rejected"]]
    lines = "".join(json.dumps(clip, sort_keys=True, ensure_ascii=False) + "\n" for clip in rejected)
    write_bytes(job.output_dir / "rejected.jsonl", lines.encode())
    counts = add_counts(summary["counts"] for summary in summaries)
    write_json(job.output_dir / "filtering.json", counts)
    draw_histograms(job.output_dir / "filtering.png", counts, job.clip_filter)
    logger.info("%s", describe_counts(counts))
    return {**counts["clips"], "reasons": counts["reasons"]}


def _check_arguments(tracks, tracks_per_shard, worker_index, num_workers, max_failures, validation_share) -> None:
    num_unique = len({track.track_id for track in tracks})
    if not tracks or num_unique != len(tracks):
        raise ValueError(f"`tracks` must be at least one, with unique ids, got {len(tracks)} ({num_unique} unique).")
    if tracks_per_shard < 1:
        raise ValueError(f"`tracks_per_shard` must be at least 1, got {tracks_per_shard}.")
    if not 0 <= worker_index < num_workers:
        raise ValueError(f"`worker_index` must be in [0, num_workers = {num_workers}), got {worker_index}.")
    for name, value in (("max_failures", max_failures), ("validation_share", validation_share)):
        if not 0 <= value <= 1:
            raise ValueError(f"`{name}` must be in [0, 1], got {value}.")


def _claim_folder(path: Path, settings: dict) -> None:
    """Write down what this folder is for, or refuse to mix two preparations in it."""
    if path.is_file():
        found = read_json(path)
        wrong = [name for name in sorted({*found, *settings}) if found.get(name) != settings.get(name)]
        if wrong:
            differences = "; ".join(f"{name}: {found.get(name)} there, {settings.get(name)} asked" for name in wrong)
            raise ValueError(
                f"`output_dir` {path.parent.parent} holds shards of other tracks or settings ({differences}). "
                "Choose another folder or delete it."
            )
    else:
        write_json(path, settings)


@contextmanager
def _one_thread():
    """Run on one thread: sums depend on the number of threads, and a near tie between two tokens on the sums."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)
