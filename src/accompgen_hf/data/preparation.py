"""From a list of aligned (vocals, instrumental) tracks to token shards, restartable at any instant.

One track is one unit of work: its tokens are saved by themselves, and a shard is written once all of its tracks are
there. Shard k holds tracks [k M, (k + 1) M) of the sorted list whoever makes it, so any number of processes, killed
and started again at will, end with the same bytes.
"""

import io
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from accompgen_hf.data.shards import (
    Manifest,
    TokenRow,
    assign_split,
    read_rows,
    shard_name,
    write_bytes,
    write_json,
    write_rows,
)
from accompgen_hf.data.songs import HELD_OUT_SEED, generate_song
from accompgen_hf.data.tokenization import TokenExtractor
from accompgen_hf.fingerprint_accompgen import hash_json

logger = logging.getLogger(__name__)

SONG_SAMPLING_RATE = 24000


@dataclass(frozen=True)
class Track:
    """One aligned pair to tokenize.

    Attributes:
        track_id (`str`): Unique, and stable between runs.
        licence (`str`): Of the recording.
        load (`callable`): Gives vocals and instrumental, float32 `(num_samples,)` of equal length, and their
            sampling rate.
        group (`str`, *optional*): What must not be divided between splits (artist, album); the track by default.
    """

    track_id: str
    licence: str
    load: Callable[[], tuple[np.ndarray, np.ndarray, int]]
    group: str | None = None


def song_tracks(
    first_seed: int, num_songs: int, duration_s: float = 10.0, songs_dir: str | os.PathLike | None = None
) -> list[Track]:
    """List procedural songs as tracks, one per seed.

    Args:
        first_seed (`int`):
            Of the first song.
        num_songs (`int`):
            How many consecutive seeds.
        duration_s (`float`):
            Of each song.
        songs_dir (`str`, *optional*):
            Folder in which songs are kept as 16-bit `<seed>.npy`, `(2, num_samples)` at 24 kHz: those that it lacks
            are synthesized into it, and all are read from it.

    Raises:
        ValueError: If a seed is held out for evaluation.
    """
    if num_songs < 1 or first_seed < 0 or first_seed + num_songs > HELD_OUT_SEED:
        raise ValueError(
            f"`first_seed` and `num_songs` must stay in [0, {HELD_OUT_SEED}) (seeds above are held out for "
            f"evaluation), got {first_seed} and {num_songs}."
        )

    def make_loader(seed: int):
        def load():
            if songs_dir is not None:
                return *_load_kept_song(Path(songs_dir), seed, duration_s), SONG_SAMPLING_RATE
            song = generate_song(seed, duration_s=duration_s, sampling_rate=SONG_SAMPLING_RATE)
            return song.vocals, song.instrumental, SONG_SAMPLING_RATE

        return load

    seeds = range(first_seed, first_seed + num_songs)
    return [Track(f"song-{seed:06d}", "CC0-1.0", make_loader(seed)) for seed in seeds]


def _load_kept_song(songs_dir: Path, seed: int, duration_s: float) -> np.ndarray:
    """Vocals and instrumental of a song, through its 16-bit file in `songs_dir`."""
    path = songs_dir / f"{seed}.npy"
    if not path.is_file():
        song = generate_song(seed, duration_s=duration_s, sampling_rate=SONG_SAMPLING_RATE)
        content = io.BytesIO()
        pair = np.stack([song.vocals, song.instrumental])
        np.save(content, np.round(pair.clip(-1, 1) * 32767).astype(np.int16))
        songs_dir.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content.getvalue())
    pair = np.load(path)
    if pair.shape != (2, round(duration_s * SONG_SAMPLING_RATE)):
        raise ValueError(
            f"`songs_dir` has {path} of shape {pair.shape}, but songs of {duration_s} s at {SONG_SAMPLING_RATE} Hz "
            "were asked for. Use another folder."
        )
    return pair.astype(np.float32) / 32767


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
) -> Manifest | None:
    """Make the shards of worker `worker_index`, and the manifest once every shard is there.

    Args:
        tracks (sequence of `Track`):
            All tracks, the same list for every worker.
        extractor (`TokenExtractor`):
            Makes the tokens.
        output_dir (`str`):
            Folder to create, or to go on with.
        tracks_per_shard (`int`):
            M: shard k holds tracks [k M, (k + 1) M) of the list sorted by id.
        worker_index (`int`):
            Shards k with `k % num_workers == worker_index` are this call's.
        num_workers (`int`):
            Of how many.
        max_failures (`float`):
            Share of tracks that may give no tokens.
        validation_share (`float`):
            Share of groups that go to the validation split, chosen by hash.

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
        "tracks_sha256": hash_json([[track.track_id, track.licence, track.group] for track in tracks]),
    }
    _claim_folder(progress_dir / "settings.json", {"token_fingerprint": extractor.token_fingerprint, **settings})

    starts = range(0, len(tracks), tracks_per_shard)
    own = [index for index in range(len(starts)) if index % num_workers == worker_index]
    shards = {index: tracks[starts[index] : starts[index] + tracks_per_shard] for index in own}
    failures_allowed = int(max_failures * len(tracks))
    num_failed = 0
    with _one_thread(), tqdm(total=sum(map(len, shards.values())), desc="Tokenizing", unit="track") as progress:
        for index in own:
            for failure in _prepare_shard(index, shards[index], extractor, output_dir, validation_share, progress):
                num_failed += 1
                logger.warning("Skipped track %s: %s", failure["track_id"], failure["error"])
                if num_failed > failures_allowed:
                    raise RuntimeError(
                        f"{num_failed} of {len(tracks)} tracks failed, more than `max_failures` {max_failures}; the "
                        f"last one is {failure['track_id']}: {failure['error']}"
                    )
    return _write_manifest(output_dir, len(tracks), len(starts), extractor.token_fingerprint, settings, max_failures)


def _prepare_shard(
    index: int,
    tracks: Sequence[Track],
    extractor: TokenExtractor,
    output_dir: Path,
    validation_share: float,
    progress: tqdm,
) -> Iterator[dict[str, str]]:
    """Make one shard, or what is missing of it, and yield the tracks that gave nothing."""
    summary_path = output_dir / ".progress" / f"shard-{index:05d}.json"
    parts_dir = summary_path.with_suffix("")
    if summary_path.is_file():
        progress.update(len(tracks))
        yield from json.loads(summary_path.read_text("utf-8"))["failures"]
        return
    parts_dir.mkdir(exist_ok=True)
    rows, failures = [], []
    for number, track in enumerate(tracks):
        part_path, failure_path = parts_dir / f"{number:05d}.parquet", parts_dir / f"{number:05d}.json"
        if not part_path.is_file() and not failure_path.is_file():
            try:
                write_rows(part_path, [_make_row(track, extractor, validation_share)])
            except Exception as error:  # whatever a foreign file does, the other tracks go on
                write_json(failure_path, {"track_id": track.track_id, "error": f"{type(error).__name__}: {error}"})
        if part_path.is_file():
            rows.extend(read_rows(part_path))
        else:
            failures.append(json.loads(failure_path.read_text("utf-8")))
            yield failures[-1]
        progress.update()
    sha256 = write_rows(output_dir / shard_name(index), rows)
    counts = {split: sum(row.split == split for row in rows) for split in ("train", "validation")}
    summary = {
        "shard": {"file": shard_name(index), "sha256": sha256, "num_rows": len(rows)},
        "splits": counts,
        "duration_s": sum(len(row.vocal_semantic_ids) for row in rows) / 50,
        "failures": failures,
    }
    write_json(summary_path, summary)
    shutil.rmtree(parts_dir)


def _make_row(track: Track, extractor: TokenExtractor, validation_share: float) -> TokenRow:
    vocals, instrumental, sampling_rate = track.load()
    tokens = extractor.extract(vocals, instrumental, sampling_rate, track.track_id)
    split = assign_split(track.group or track.track_id, validation_share)
    return TokenRow(track_id=track.track_id, licence=track.licence, split=split, start_s=0.0, **tokens)


def _write_manifest(
    output_dir: Path, num_tracks: int, num_shards: int, token_fingerprint: str, settings: dict, max_failures: float
) -> Manifest | None:
    """Join the shards' summaries; any worker may do it, all would write the same bytes."""
    paths = [output_dir / ".progress" / f"shard-{index:05d}.json" for index in range(num_shards)]
    if not all(path.is_file() for path in paths):
        return None
    summaries = [json.loads(path.read_text("utf-8")) for path in paths]
    failures = [failure for summary in summaries for failure in summary["failures"]]
    if len(failures) > int(max_failures * num_tracks):
        raise RuntimeError(f"{len(failures)} of {num_tracks} tracks failed, more than `max_failures` {max_failures}.")
    manifest = Manifest(
        token_fingerprint=token_fingerprint,
        settings=settings,
        shards=[summary["shard"] for summary in summaries],
        splits={split: sum(summary["splits"][split] for summary in summaries) for split in ("train", "validation")},
        num_tracks=num_tracks,
        failed_tracks=[failure["track_id"] for failure in failures],
        duration_s=round(sum(summary["duration_s"] for summary in summaries), 2),
    )
    write_json(output_dir / "failures.json", failures)
    manifest.save(output_dir)
    return manifest


def _check_arguments(tracks, tracks_per_shard, worker_index, num_workers, max_failures, validation_share) -> None:
    ids = [track.track_id for track in tracks]
    if not ids or len(set(ids)) != len(ids):
        num_unique = len(set(ids))
        raise ValueError(f"`tracks` must be at least one, with unique ids, got {len(ids)} ({num_unique} unique).")
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
        found = json.loads(path.read_text("utf-8"))
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
    """Sums over threads depend on how many there are, and with them a near tie between two tokens."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)
