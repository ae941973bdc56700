"""Procedural songs as a source of aligned pairs, with a folder that keeps them between preparations."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from accompgen_hf.data.sources import SourceRecording, Stems, Track, mix_loader
from accompgen_hf.files import write_array
from accompgen_hf.songs.song import HELD_OUT_SEED, generate_song

SONG_SAMPLING_RATE = 24000
SONG_LICENCE = "CC0-1.0"


def song_tracks(
    first_seed: int, num_songs: int, duration_s: float = 10.0, songs_dir: str | os.PathLike | None = None
) -> list[Track]:
    """List procedural songs as tracks, one per seed.

    Args:
        first_seed (`int`): Seed of the first song.
        num_songs (`int`): Number of consecutive seeds.
        duration_s (`float`): Duration of each song.
        songs_dir (`str`, *optional*): Folder in which songs are kept as 16-bit `<seed>.npy`, `(2, num_samples)` at 24
            kHz: those that it lacks are synthesized into it, and all are read from it.

    Raises:
        ValueError: If a seed is held out for evaluation.
    """
    seeds = _check_seeds(first_seed, num_songs)
    return [Track(_name(seed), SONG_LICENCE, _song_loader(seed, duration_s, songs_dir)) for seed in seeds]


def song_recordings(
    first_seed: int, num_songs: int, duration_s: float = 10.0, songs_dir: str | os.PathLike | None = None
) -> list[SourceRecording]:
    """List procedural songs as recordings with stems; arguments and errors as in [`song_tracks`]."""
    recordings = []
    for seed in _check_seeds(first_seed, num_songs):
        load_stems = _as_channels(_song_loader(seed, duration_s, songs_dir))
        recordings.append(SourceRecording(_name(seed), mix_loader(load_stems), load_stems, SONG_LICENCE))
    return recordings


def _name(seed: int) -> str:
    return f"song-{seed:06d}"


def _check_seeds(first_seed: int, num_songs: int) -> range:
    if num_songs < 1 or first_seed < 0 or first_seed + num_songs > HELD_OUT_SEED:
        raise ValueError(
            f"`first_seed` and `num_songs` must stay in [0, {HELD_OUT_SEED}) (seeds above are held out for "
            f"evaluation), got {first_seed} and {num_songs}."
        )
    return range(first_seed, first_seed + num_songs)


def _song_loader(seed: int, duration_s: float, songs_dir: str | os.PathLike | None) -> Callable[[], Stems]:
    def load() -> Stems:
        if songs_dir is not None:
            return *_load_kept_song(Path(songs_dir), seed, duration_s), SONG_SAMPLING_RATE
        song = generate_song(seed, duration_s=duration_s, sampling_rate=SONG_SAMPLING_RATE)
        return song.vocals, song.instrumental, SONG_SAMPLING_RATE

    return load


def _as_channels(load: Callable[[], Stems]) -> Callable[[], Stems]:
    def load_channels() -> Stems:
        vocals, instrumental, sampling_rate = load()
        return vocals[None], instrumental[None], sampling_rate

    return load_channels


def _load_kept_song(songs_dir: Path, seed: int, duration_s: float) -> np.ndarray:
    """Vocals and instrumental of a song, through its 16-bit file in `songs_dir`."""
    path = songs_dir / f"{seed}.npy"
    if not path.is_file():
        song = generate_song(seed, duration_s=duration_s, sampling_rate=SONG_SAMPLING_RATE)
        pair = np.stack([song.vocals, song.instrumental])
        songs_dir.mkdir(parents=True, exist_ok=True)
        write_array(path, np.round(pair.clip(-1, 1) * 32767).astype(np.int16))
    pair = np.load(path)
    if pair.shape != (2, round(duration_s * SONG_SAMPLING_RATE)):
        raise ValueError(
            f"`songs_dir` has {path} of shape {pair.shape}, but songs of {duration_s} s at {SONG_SAMPLING_RATE} Hz "
            "were asked for. Use another folder."
        )
    return pair.astype(np.float32) / 32767
