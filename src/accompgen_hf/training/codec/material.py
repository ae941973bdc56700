"""What a codec learns from: a folder of songs in tracks, and clips drawn from it.

`songs_dir` holds folders, each with `tracks.json` (names of the tracks and the rate) and one 16-bit `<seed>.npy` of
shape `(num_tracks, num_samples)` per song. Folders may have different tracks; songs can be added between runs. Beside
the songs, `codes/<seed>.npy` may have codes of their parts (`generated_codes`).

Letters: B batch, K codebooks, T codec frames, N samples.
"""

import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from accompgen_hf.accompgen.progress_accompgen import ProgressBar
from accompgen_hf.files import write_bytes
from accompgen_hf.songs.song import HELD_OUT_SEED, generate_song
from accompgen_hf.training.codec.arguments import CodecTrainingArguments

SAMPLING_RATE = 24_000
TRACKS_NAME = "tracks.json"
CODES_NAME = "codes"
SILENT_PEAK = 33  # of 32767: -60 dB
NUM_TRIES = 3  # to find a clip that is not silent
CONTEXT_FRAMES = 8  # before a clip of codes: what a decoder has heard of the song

TrackSource = Callable[[int], Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class SongTracks:
    """A song, mapped from disk.

    Attributes:
        names (`tuple[str, ...]`): Names of the tracks, in their order; `"vocals"` is no part of the instrumental.
        samples (`np.ndarray` of shape `(num_tracks, num_samples)`): int16.
        codes (`np.ndarray` of shape `(num_parts, K, T)`, *optional*): int16, of the tracks but the vocals.
    """

    names: tuple[str, ...]
    samples: np.ndarray
    codes: np.ndarray | None = None

    def rows(self, kind: str) -> list[int]:
        """Tracks that a kind of clip sums; none if the song lacks it."""
        if kind == "mix":
            return list(range(len(self.names))) if "vocals" in self.names else []
        if kind == "instrumental":
            return [row for row, name in enumerate(self.names) if name != "vocals"]
        return [self.names.index(kind)] if kind in self.names else []


def synthesize_tracks(seed: int, renderer: str = "numpy") -> dict[str, np.ndarray]:
    """Vocals and the band's parts of a procedural song, 24 kHz, 10 s; `renderer` as in `generate_song`."""
    song = generate_song(seed, sampling_rate=SAMPLING_RATE, renderer=renderer, with_parts=True)
    return {"vocals": song.vocals, **song.parts}


def write_songs(folder: str | os.PathLike, seeds: Sequence[int], source: TrackSource) -> None:
    """Synthesize the songs that a folder lacks.

    Args:
        folder (`str`): One folder inside `songs_dir`.
        seeds (`Sequence[int]`): Seeds of the songs.
        source (`Callable`): Gives the tracks of a seed by name, float32 of one length at 24 kHz.

    Raises:
        ValueError: If a seed is held out for evaluation, or if the folder has other tracks than the source.
    """
    if seeds and max(seeds) >= HELD_OUT_SEED:
        raise ValueError(f"`seeds` must be below {HELD_OUT_SEED}: {max(seeds)} is held out for evaluation.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    missing = [seed for seed in seeds if not (folder / f"{seed}.npy").exists()]
    for seed in ProgressBar(missing, desc=folder.name, disable=not missing):
        tracks = source(seed)
        described = {"track_names": list(tracks), "sampling_rate": SAMPLING_RATE}
        if not (folder / TRACKS_NAME).exists():
            write_bytes(folder / TRACKS_NAME, (json.dumps(described) + "\n").encode())
        found = json.loads((folder / TRACKS_NAME).read_text("utf-8"))
        if found != described:
            raise ValueError(f"`folder` {folder} must have the tracks {described}, found {found}. Use another folder.")
        samples = np.stack(list(tracks.values())).clip(-1, 1)
        content = io.BytesIO()
        np.save(content, np.round(samples * 32767).astype(np.int16))
        write_bytes(folder / f"{seed}.npy", content.getvalue())


def read_songs(songs_dir: str | os.PathLike) -> list[SongTracks]:
    """Map all songs of a folder of folders, in order of the folders' names and the seeds.

    Raises:
        ValueError: If there is no song.
    """
    songs = []
    for described in sorted(Path(songs_dir).glob(f"*/{TRACKS_NAME}")):
        names = tuple(json.loads(described.read_text("utf-8"))["track_names"])
        for path in sorted(described.parent.glob("*.npy"), key=lambda path: int(path.stem)):
            coded = path.parent / CODES_NAME / path.name
            codes = np.load(coded, mmap_mode="r") if coded.is_file() else None
            songs.append(SongTracks(names, np.load(path, mmap_mode="r"), codes))
    if not songs:
        raise ValueError(
            f"`songs_dir` {songs_dir} must hold folders with {TRACKS_NAME} and songs, found none. Write some with "
            "examples/train_codec.py --num_songs N."
        )
    return songs


def draw_clips(
    songs: Sequence[SongTracks], arguments: CodecTrainingArguments, step: int, hop_length: int
) -> torch.FloatTensor:
    """Return the clips of a step, float32 `(batch_size, 1, num_samples)`: a function of (seed, step) and the songs."""
    generator = np.random.default_rng((arguments.seed, step))
    num_samples = arguments.clip_num_frames * hop_length
    clips = np.empty((arguments.batch_size, 1, num_samples), dtype=np.float32)
    for clip in clips:
        song = songs[generator.integers(len(songs))]
        kinds = [kind for kind, share in arguments.clip_shares.items() if share > 0 and song.rows(kind)]
        if not kinds:
            raise ValueError(
                f"`clip_shares` must name something that every song has, got {arguments.clip_shares} for a song of "
                f"{song.names}."
            )
        shares = np.array([arguments.clip_shares[kind] for kind in kinds])
        rows = song.rows(kinds[generator.choice(len(kinds), p=shares / shares.sum())])
        _, samples = _draw_samples(generator, song, rows, num_samples, song.samples.shape[1] - num_samples + 1)
        clip[0] = samples / 32767 * 10 ** (generator.uniform(*arguments.gain_range_db) / 20)
    return torch.from_numpy(clips)


def draw_coded_clips(
    songs: Sequence[SongTracks], arguments: CodecTrainingArguments, step: int, hop_length: int
) -> tuple[torch.FloatTensor, torch.LongTensor]:
    """Return clips of single parts, `(B, 1, N)`, and their codes, `(B, K, T)`.

    They are a function of (seed, step) and the songs. Both begin `CONTEXT_FRAMES` before the clip that is asked for.

    Raises:
        ValueError: If no song has codes, or `clip_shares` names no part of one.
    """
    songs = [song for song in songs if song.codes is not None]
    if not songs:
        raise ValueError(
            f"`generated_share` needs songs with codes, got {arguments.generated_share} and a `songs_dir` without "
            f"{CODES_NAME}/. Make them by examples/generate_fine_codes.py."
        )
    generator = np.random.default_rng((arguments.seed, step))
    num_frames = CONTEXT_FRAMES + arguments.clip_num_frames
    clips, codes = [], []
    for _ in range(arguments.batch_size):
        song = songs[generator.integers(len(songs))]
        rows = song.rows("instrumental")
        parts = [song.names[row] for row in rows]
        shares = np.array([arguments.clip_shares.get(name, 0.0) for name in parts])
        if not shares.sum() > 0:
            raise ValueError(f"`clip_shares` must name a part of {parts}, got {arguments.clip_shares}.")
        part = generator.choice(len(parts), p=shares / shares.sum())
        num_starts = song.codes.shape[-1] - num_frames + 1
        start, samples = _draw_samples(generator, song, [rows[part]], num_frames * hop_length, num_starts, hop_length)
        first = start // hop_length
        clips.append(samples[None] / 32767)
        codes.append(song.codes[part, :, first : first + num_frames].astype(np.int64))
    return torch.from_numpy(np.stack(clips)), torch.from_numpy(np.stack(codes))


def _draw_samples(
    generator: np.random.Generator, song: SongTracks, rows: list[int], num_samples: int, num_starts: int, unit: int = 1
) -> tuple[int, np.ndarray]:
    """First sample and sum of some tracks, `(num_samples,)`, not silent if a few tries find such; starts in units."""
    for _ in range(NUM_TRIES):
        start = unit * int(generator.integers(num_starts))
        samples = song.samples[rows, start : start + num_samples].astype(np.float32).sum(axis=0)
        if np.abs(samples).max() > SILENT_PEAK:
            break
    return start, samples
