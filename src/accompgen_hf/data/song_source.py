"""Procedural songs as a source of aligned pairs, with a folder that keeps them between preparations."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from accompgen_hf.data.sources import PartStems, SourceRecording, Stems, Track, mix_loader
from accompgen_hf.files import write_array
from accompgen_hf.songs.band import PARTS
from accompgen_hf.songs.composition import MAX_CLIP_DURATION_S
from accompgen_hf.songs.recipe import PLAIN_SONGS, SongRecipe
from accompgen_hf.songs.song import HELD_OUT_SEED, Song

SONG_SAMPLING_RATE = 24000
SONG_LICENCE = "CC0-1.0"


def song_tracks(
    first_seed: int,
    num_songs: int,
    duration_s: float = 10.0,
    songs_dir: str | os.PathLike | None = None,
    recipe: SongRecipe = PLAIN_SONGS,
    parts: bool = False,
    styles: bool = False,
) -> list[Track]:
    """List procedural songs as tracks, one per seed.

    Args:
        first_seed (`int`): Seed of the first song.
        num_songs (`int`): Number of consecutive seeds.
        duration_s (`float`): Duration of each song.
        songs_dir (`str`, *optional*): Folder in which songs are kept as 16-bit arrays of vocals and instrumental (with
            `parts`, of vocals, drums, bass and other) at 24 kHz: those that it lacks are synthesized into it, and all
            are read from it. Each recipe has its own file names.
        recipe ([`SongRecipe`]): How the songs are made.
        parts (`bool`): Give every track `load_parts`.
        styles (`bool`): Give every track the style that its song is played in.

    Raises:
        ValueError: If a seed is held out for evaluation, or there is no song or duration.
    """
    keeper = _SongKeeper(duration_s, songs_dir, recipe)
    return [
        Track(
            _name(seed),
            SONG_LICENCE,
            keeper.loader(seed),
            load_parts=keeper.parts_loader(seed) if parts else None,
            style=recipe.compose(seed, duration_s=duration_s).style if styles else None,
        )
        for seed in _check_seeds(first_seed, num_songs)
    ]


def song_track(song: Song, style_names: Sequence[str] = ()) -> Track:
    """A song that is there already as preparation reads it, whole or in parts; its style if it is one of these."""
    return Track(
        f"song-{song.annotation.seed:06d}",
        SONG_LICENCE,
        lambda: (song.vocals, song.instrumental, song.sampling_rate),
        load_parts=lambda: (song.vocals, song.parts, song.sampling_rate),
        style=song.annotation.style if song.annotation.style in style_names else None,
    )


def song_recordings(
    first_seed: int,
    num_songs: int,
    duration_s: float = 10.0,
    songs_dir: str | os.PathLike | None = None,
    recipe: SongRecipe = PLAIN_SONGS,
) -> list[SourceRecording]:
    """List procedural songs as recordings with stems and parts; arguments and errors as in [`song_tracks`]."""
    keeper = _SongKeeper(duration_s, songs_dir, recipe)
    recordings = []
    for seed in _check_seeds(first_seed, num_songs):
        load_stems, load_parts = _as_channels(keeper.loader(seed)), _as_part_channels(keeper.parts_loader(seed))
        mix = mix_loader(load_stems)
        recordings.append(SourceRecording(_name(seed), mix, load_stems, SONG_LICENCE, load_parts=load_parts))
    return recordings


def _name(seed: int) -> str:
    return f"song-{seed:06d}"


def _check_seeds(first_seed: int, num_songs: int) -> range:
    if num_songs < 1:
        raise ValueError(f"`num_songs` must be at least 1, got {num_songs}. Or name another `source` of music.")
    if first_seed < 0 or first_seed + num_songs > HELD_OUT_SEED:
        raise ValueError(
            f"`first_seed` and `num_songs` must stay in [0, {HELD_OUT_SEED}) (seeds above are held out for "
            f"evaluation), got {first_seed} and {num_songs}."
        )
    return range(first_seed, first_seed + num_songs)


class _SongKeeper:
    """Makes songs of one recipe, and keeps them in a folder if there is one."""

    def __init__(self, duration_s: float, songs_dir: str | os.PathLike | None, recipe: SongRecipe):
        if not 0 < duration_s <= MAX_CLIP_DURATION_S:  # here already: songs are composed as they are asked for
            raise ValueError(
                f"`duration_s` of a song must be in (0, {MAX_CLIP_DURATION_S:.0f}] seconds, got {duration_s}."
            )
        self.duration_s, self.recipe = duration_s, recipe
        self.songs_dir = None if songs_dir is None else Path(songs_dir)
        self.tag = "" if songs_dir is None else recipe.tag()

    def loader(self, seed: int) -> Callable[[], Stems]:
        """Function that gives vocals, instrumental and their rate."""

        def load() -> Stems:
            if self.songs_dir is not None:
                return *self._read(seed, f"{seed}{self.tag}.npy", with_parts=False), SONG_SAMPLING_RATE
            song = self.recipe.generate(seed, duration_s=self.duration_s, sampling_rate=SONG_SAMPLING_RATE)
            return song.vocals, song.instrumental, SONG_SAMPLING_RATE

        return load

    def parts_loader(self, seed: int) -> Callable[[], PartStems]:
        """Function that gives vocals, the band's parts and their rate."""

        def load() -> PartStems:
            if self.songs_dir is not None:
                vocals, *parts = self._read(seed, f"{seed}{self.tag}-parts.npy", with_parts=True)
                return vocals, dict(zip(PARTS, parts, strict=True)), SONG_SAMPLING_RATE
            song = self.recipe.generate(
                seed, duration_s=self.duration_s, sampling_rate=SONG_SAMPLING_RATE, with_parts=True
            )
            return song.vocals, song.parts, SONG_SAMPLING_RATE

        return load

    def _read(self, seed: int, name: str, with_parts: bool) -> np.ndarray:
        """Vocals and instrumental of a song, or its parts, through a 16-bit file."""
        path = self.songs_dir / name
        if not path.is_file():
            song = self.recipe.generate(
                seed, duration_s=self.duration_s, sampling_rate=SONG_SAMPLING_RATE, with_parts=with_parts
            )
            rows = [song.vocals, *(song.parts.values() if with_parts else [song.instrumental])]
            self.songs_dir.mkdir(parents=True, exist_ok=True)
            write_array(path, np.round(np.stack(rows).clip(-1, 1) * 32767).astype(np.int16))
        rows = np.load(path)
        if rows.shape != (1 + len(PARTS) if with_parts else 2, round(self.duration_s * SONG_SAMPLING_RATE)):
            raise ValueError(
                f"`songs_dir` has {path} of shape {rows.shape}, but songs of {self.duration_s} s at "
                f"{SONG_SAMPLING_RATE} Hz were asked for. Use another folder."
            )
        return rows.astype(np.float32) / 32767


def _as_channels(load: Callable[[], Stems]) -> Callable[[], Stems]:
    def load_channels() -> Stems:
        vocals, instrumental, sampling_rate = load()
        return vocals[None], instrumental[None], sampling_rate

    return load_channels


def _as_part_channels(load: Callable[[], PartStems]) -> Callable[[], PartStems]:
    def load_channels() -> PartStems:
        vocals, parts, sampling_rate = load()
        return vocals[None], {name: part[None] for name, part in parts.items()}, sampling_rate

    return load_channels
