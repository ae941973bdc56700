"""Windows of songs to accompany: chosen by a seed, and written once as files that any system can read.

A folder of windows holds `vocals/<window_id>.wav`, `instrumental/<window_id>.wav`, with separated vocals also
`separated/<window_id>.wav`, and `windows.json`, which is written last.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from accompgen_hf.accompgen.audio_accompgen import load_audio, resample, write_audio
from accompgen_hf.accompgen.fingerprint_accompgen import hash_json
from accompgen_hf.accompgen.progress_accompgen import ProgressBar
from accompgen_hf.data.sources import SourceRecording, Track, make_tracks
from accompgen_hf.data.tokenization import measure_activity
from accompgen_hf.evaluation.systems.system import Window
from accompgen_hf.files import read_json, write_json
from accompgen_hf.songs.recipe import PLAIN_SONGS, SongRecipe
from accompgen_hf.songs.song import HELD_OUT_SEED, SongAnnotation

SAMPLING_RATE = 24_000
REFERENCE_SEED = 900_000  # procedural songs of the reference set: held out, and never under test
CORPUS_SEED = 850_000  # of retrieval
MIN_VOCAL_ACTIVITY = 0.5
MIN_INSTRUMENTAL_RMS_DB = -50.0
SONG_TRACK = re.compile(r"song-(\d+)$")
VOCALS, INSTRUMENTAL, SEPARATED = "vocals", "instrumental", "separated"


@dataclass(frozen=True)
class WindowFolder:
    """Windows as files.

    Attributes:
        folder (`Path`): Folder of the files.
        sampling_rate (`int`): Rate of every file in Hz.
        windows (`tuple` of `Window`): The windows, in order.
        description (`dict`): Origin of the windows.
    """

    folder: Path
    sampling_rate: int
    windows: tuple[Window, ...]
    description: dict[str, Any]

    def load(self, window: Window, kind: str) -> np.ndarray:
        """float32 `(num_samples,)` of one window: `"vocals"`, `"instrumental"` or `"separated"`."""
        audio, rate = load_audio(self.path(window, kind))
        return resample(audio[0], rate, self.sampling_rate)

    def path(self, window: Window, kind: str) -> Path:
        """The file that `load` reads."""
        return self.folder / kind / f"{window.window_id}.wav"

    def annotation(self, window: Window) -> SongAnnotation | None:
        """What is known about a procedural song; `None` for others."""
        match = SONG_TRACK.fullmatch(window.song_id)
        if match is None:
            return None
        songs = self.description.get("songs", PLAIN_SONGS.describe())
        recipe = SongRecipe(composition=songs["composition"], singers=songs["singers"])
        return recipe.compose(int(match[1]), duration_s=window.duration_s)

    @property
    def song_ids(self) -> list[str]:
        """Every song once, in order."""
        return list(dict.fromkeys(window.song_id for window in self.windows))


def held_out_song_tracks(
    first_seed: int, num_songs: int, duration_s: float, recipe: SongRecipe = PLAIN_SONGS
) -> list[Track]:
    """Procedural songs, made as `recipe` says, that no training command accepts.

    Raises:
        ValueError: If a seed is not held out.
    """
    if first_seed < HELD_OUT_SEED or num_songs < 1:
        raise ValueError(
            f"`seed` must give songs from {HELD_OUT_SEED} on, got {num_songs} songs from {first_seed}. Lower seeds "
            "are for training."
        )

    def make_loader(seed: int):
        def load():
            song = recipe.generate(seed, duration_s=duration_s, sampling_rate=SAMPLING_RATE)
            return song.vocals, song.instrumental, song.sampling_rate

        return load

    seeds = range(first_seed, first_seed + num_songs)
    return [Track(f"song-{seed}", "CC0-1.0", make_loader(seed)) for seed in seeds]


def songs_under_test(num_songs: int, seed: int, duration_s: float, recipe: SongRecipe = PLAIN_SONGS) -> list[Track]:
    """The procedural songs of a test set: `num_songs` of them from `HELD_OUT_SEED + seed` on.

    Raises:
        ValueError: If they would run into those of the corpus or the reference.
    """
    if seed < 0 or HELD_OUT_SEED + seed + num_songs > CORPUS_SEED:
        raise ValueError(
            f"`seed` must be at least 0, and with `num_songs` at most {CORPUS_SEED - HELD_OUT_SEED}, got {seed} and "
            f"{num_songs}. Songs beyond are retrieval's corpus and the reference set."
        )
    return held_out_song_tracks(HELD_OUT_SEED + seed, num_songs, duration_s, recipe)


def describe_recipe(recipe: SongRecipe) -> dict[str, Any]:
    """What a folder of windows of such songs says about them: nothing for plain songs, which came first."""
    return {} if recipe == PLAIN_SONGS else {"songs": recipe.describe()}


def choose_recordings(
    recordings: Sequence[SourceRecording], num_songs: int, seed: int
) -> tuple[list[SourceRecording], list[SourceRecording]]:
    """Divide a corpus into songs under test and songs of the reference.

    Songs of the split `"test"` are tested and the others are reference; where the source states no such split, chance
    decides. An artist never stands on both sides.

    Raises:
        ValueError: If there are fewer than `num_songs`, or none is left for the reference.
    """
    stated = [recording for recording in recordings if recording.split == "test"]
    order = np.random.default_rng([seed, len(recordings)]).permutation(len(stated or recordings))
    candidates = [(stated or list(recordings))[index] for index in order]
    if num_songs < 1 or len(candidates) < num_songs:
        raise ValueError(
            f"`num_songs` must be in [1, {len(candidates)}], the songs of this test set, got {num_songs}."
        )
    tested = sorted(candidates[:num_songs], key=lambda recording: recording.track_id)
    tested_ids = {recording.track_id for recording in tested}
    artists = {recording.artist for recording in tested} - {None}
    reference = [
        recording
        for recording in recordings
        if recording.track_id not in tested_ids
        and recording.artist not in artists
        and (recording.split != "test" or not stated)
    ]
    return tested, reference


def recording_tracks(recordings: Sequence[SourceRecording]) -> list[Track]:
    """Recordings with stems as tracks.

    Raises:
        ValueError: If one has no stems: truth is needed.
    """
    return make_tracks(list(recordings), None)


def write_windows(
    tracks: Sequence[Track],
    folder: str | os.PathLike,
    *,
    window_s: float,
    windows_per_song: int = 1,
    seed: int = 0,
    sampling_rate: int = SAMPLING_RATE,
    source: dict[str, Any] | None = None,
    label: str = "inputs",
) -> WindowFolder:
    """Choose windows of songs and write their stems; what is there of the same request stays.

    Args:
        tracks (sequence of `Track`): Songs with their stems, mono.
        folder (`str`): Folder to write into.
        window_s (`float`): Length of a window.
        windows_per_song (`int`): Largest number of windows per song. They do not overlap, and hold a voice and a band.
        seed (`int`): Chooses them.
        sampling_rate (`int`): Hz, of the files.
        source (`dict`): Goes into the description.
        label (`str`): Label of the progress bar.

    Raises:
        ValueError: If no song has such a window, a song's stems are broken, or `folder` holds another request's.
    """
    folder = Path(folder)
    request = {
        "tracks": hash_json([track.track_id for track in tracks]),
        "window_s": window_s,
        "windows_per_song": windows_per_song,
        "seed": seed,
        "sampling_rate": sampling_rate,
        **(source or {}),
    }
    if (folder / "windows.json").is_file():
        return read_windows(folder, request)
    for kind in (VOCALS, INSTRUMENTAL):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    rows, skipped = [], []
    for track in ProgressBar(tracks, desc=label, unit="song"):
        chosen = list(_song_windows(track, window_s, windows_per_song, seed, sampling_rate))
        if not chosen:
            skipped.append(track.track_id)
        for start_s, vocals, instrumental in chosen:
            window_id = make_window_id(track.track_id, start_s)
            write_audio(folder / VOCALS / f"{window_id}.wav", vocals, sampling_rate)
            write_audio(folder / INSTRUMENTAL / f"{window_id}.wav", instrumental, sampling_rate)
            row = {"window_id": window_id, "song_id": track.track_id, "start_s": start_s, "duration_s": window_s}
            rows.append({**row, "licence": track.licence})
    if not rows:
        raise ValueError(
            f"`data` has no window of {window_s} s in which a voice sings (at least {MIN_VOCAL_ACTIVITY:.0%} of the "
            "time) and a band plays. Take a smaller `--window_s` or other songs."
        )
    identifiers = [row["window_id"] for row in rows]
    if len(set(identifiers)) != len(identifiers):
        raise ValueError("`data` has songs whose names differ in signs alone that no file name takes. Rename them.")
    write_json(folder / "windows.json", {"request": request, "skipped_songs": skipped, "windows": rows})
    return read_windows(folder, request)


def read_windows(folder: str | os.PathLike, request: dict[str, Any] | None = None) -> WindowFolder:
    """Open a folder of windows.

    Raises:
        ValueError: If there is none, or it holds another request's windows.
    """
    folder = Path(folder)
    path = folder / "windows.json"
    if not path.is_file():
        raise ValueError(f"{folder} holds no windows.json: it is not a folder of windows, or not a finished one.")
    content = read_json(path)
    if request is not None and content["request"] != json.loads(json.dumps(request)):
        raise ValueError(
            f"`output_dir` has windows of another test set in {folder}: {content['request']}, asked for {request}. "
            "Choose another `--output_dir`."
        )
    windows = [
        Window(**{name: row[name] for name in ("window_id", "song_id", "start_s", "duration_s")},
               load_instrumental=_instrumental_loader(folder / INSTRUMENTAL / f"{row['window_id']}.wav"))
        for row in content["windows"]
    ]  # fmt: skip
    description = {**content["request"], "skipped_songs": content["skipped_songs"]}
    return WindowFolder(folder, content["request"]["sampling_rate"], tuple(windows), description)


def _instrumental_loader(path: Path):
    def load(sampling_rate: int) -> np.ndarray:
        audio, rate = load_audio(path)
        return resample(audio[0], rate, sampling_rate)

    return load


def _song_windows(
    track: Track, window_s: float, windows_per_song: int, seed: int, sampling_rate: int
) -> Iterator[tuple[float, np.ndarray, np.ndarray]]:
    """Yield (start_s, vocals, instrumental) of a song's chosen windows."""
    vocals, instrumental, rate = track.load()
    vocals, instrumental = resample(vocals, rate, sampling_rate), resample(instrumental, rate, sampling_rate)
    difference_s = abs(len(vocals) - len(instrumental)) / sampling_rate
    if difference_s > 0.05:
        raise ValueError(
            f"`data` {track.track_id}: vocals and instrumental are a mismatched pair, their lengths differ by "
            f"{difference_s:.2f} s."
        )
    num_samples = round(window_s * sampling_rate)
    starts = range(0, min(len(vocals), len(instrumental)) - num_samples + 1, num_samples)
    good = []
    for start in starts:
        piece = slice(start, start + num_samples)
        level = np.sqrt(np.mean(np.square(instrumental[piece], dtype=np.float64)))
        has_band = level > 10 ** (MIN_INSTRUMENTAL_RMS_DB / 20)
        if has_band and measure_activity(vocals[piece], sampling_rate) >= MIN_VOCAL_ACTIVITY:
            good.append(start)
    digest = hashlib.sha256(f"{seed} {track.track_id}".encode()).digest()
    order = np.random.default_rng(list(digest[:8])).permutation(len(good))
    for start in sorted(good[index] for index in order[:windows_per_song]):
        piece = slice(start, start + num_samples)
        peak = max(1.0, float(np.abs(vocals[piece]).max()), float(np.abs(instrumental[piece]).max()))
        yield start / sampling_rate, vocals[piece] / peak, instrumental[piece] / peak


def make_window_id(song_id: str, start_s: float) -> str:
    """A file name that every system can write: letters, digits, `.`, `_` and `-`."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", song_id).strip("._")
    return f"{name[:100]}-{round(start_s * 1000):07d}ms"
