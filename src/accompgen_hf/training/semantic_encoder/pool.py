"""Procedural clips on disk, at 16 kHz and with frame labels: what the semantic encoder is trained and probed on.

Synthesis costs more than a training step, so clips are made once, in chunks; a chunk that is there is not made again.
Labels come from the songs' annotations: chord and beat teach the encoder (`targets`), all serve probes.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from accompgen_hf.accompgen.audio_accompgen import resample
from accompgen_hf.accompgen.processing_accompgen import level_vocals
from accompgen_hf.accompgen.progress_accompgen import ProgressBar
from accompgen_hf.files import write_array, write_arrays
from accompgen_hf.songs.annotation import SongAnnotation
from accompgen_hf.songs.recipe import PLAIN_SONGS, SongRecipe

SAMPLING_RATE = 16_000
FRAME_RATE = 50
CLIP_DURATION_S = 10.0
CHUNK_CLIPS = 50
KINDS = ("vocals", "instrumental")
PART_KINDS = ("drums", "bass", "other")
PHASES_PER_BEAT = 4


def label_frames(annotation: SongAnnotation, num_frames: int) -> dict[str, np.ndarray]:
    """Say for every 20-ms frame what is sung and played, at the frame's centre.

    Args:
        annotation (`SongAnnotation`): The window that the frames cover from its start.
        num_frames (`int`): Frames, 50 per second.

    Returns:
        `dict[str, np.ndarray]` of int8 arrays `(num_frames,)`: `midi_pitch` (-1 where nobody sings), `is_onset` (a
        note begins within 30 ms), `is_beat` (a beat within 30 ms), `beat_phase` (the quarter of the beat, 0 from the
        beat on), `chord_root` (0-11, -1 without chord), `is_minor_chord` (its third is minor), `tonic` and
        `is_minor_key` (the same in all frames).
    """
    centres = (np.arange(num_frames) + 0.5) / FRAME_RATE
    labels = {name: np.full(num_frames, -1, np.int8) for name in ("midi_pitch", "chord_root")}
    names = ("is_onset", "is_beat", "is_minor_chord")
    labels.update({name: np.zeros(num_frames, np.int8) for name in names})
    for note in annotation.melody:
        labels["midi_pitch"][(centres >= note.start_s) & (centres < note.end_s)] = note.midi_pitch
        if note.start_s > 0:
            labels["is_onset"][np.abs(centres - note.start_s) < 0.03] = 1
    for beat_s in annotation.beat_times:
        labels["is_beat"][np.abs(centres - beat_s) < 0.03] = 1
    labels["beat_phase"] = find_beat_places(annotation, num_frames, PHASES_PER_BEAT).astype(np.int8)
    for chord in annotation.chords:
        is_chord = (centres >= chord.start_s) & (centres < chord.end_s)
        labels["chord_root"][is_chord] = chord.root
        labels["is_minor_chord"][is_chord] = (chord.root + 3) % 12 in chord.pitch_classes
    labels["tonic"] = np.full(num_frames, annotation.tonic, np.int8)
    labels["is_minor_key"] = np.full(num_frames, annotation.mode == "minor", np.int8)
    return labels


def find_beat_places(annotation: SongAnnotation, num_frames: int, places_per_beat: int) -> np.ndarray:
    """Place in its beat of every 20-ms frame's centre as int64, 0 from the beat on to `places_per_beat` - 1."""
    centres = (np.arange(num_frames) + 0.5) / FRAME_RATE
    return ((centres + annotation.start_s) / annotation.beat_s % 1 * places_per_beat).astype(np.int64)


def number_chords(labels: dict[str, np.ndarray], without: int) -> np.ndarray:
    """Chord of every frame as int64, 2 root + (its third is minor), or `without` where there is none.

    The encoder's taught classes and the listener's tables have this number. What is heard in audio has that of
    `harmony_accompgen`, root + 12 (it is minor). Neither is ever turned into the other.
    """
    roots = labels["chord_root"].astype(np.int64)
    return np.where(roots >= 0, 2 * roots + labels["is_minor_chord"], without)


def join_kinds(paths: dict[str, list[Path]]) -> tuple[list[Path], list[Path]]:
    """Files of the vocals, and those of everything that the band plays: k-means gives both the same weight."""
    return paths["vocals"], [path for kind, files in paths.items() if kind != "vocals" for path in files]


class SongPool:
    """Clips of consecutive seeds in a folder.

    Args:
        folder (path): Folder of the chunks.
        num_clips (`int`): Clips in all; a multiple of 50.
        first_seed (`int`): Seed of clip 0; clip i has seed `first_seed + i`.
        recipe ([`SongRecipe`]): How the songs are made; each recipe has its own chunks.
        with_parts (`bool`): Whether the pool has the band's parts, too; they make its `kinds` five.

    Raises:
        ValueError: If `num_clips` is not a positive multiple of 50.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        num_clips: int,
        first_seed: int = 0,
        recipe: SongRecipe = PLAIN_SONGS,
        with_parts: bool = False,
    ):
        if num_clips <= 0 or num_clips % CHUNK_CLIPS:
            raise ValueError(f"`num_clips` must be a positive multiple of {CHUNK_CLIPS}, got {num_clips}.")
        self.folder = Path(folder)
        self.num_clips = num_clips
        self.first_seed = first_seed
        self.recipe = recipe
        self.kinds = KINDS + PART_KINDS if with_parts else KINDS
        self._tag = recipe.tag()
        self.num_samples = round(CLIP_DURATION_S * SAMPLING_RATE)
        self.num_frames = round(CLIP_DURATION_S * FRAME_RATE)
        self._open: dict[Path, np.ndarray] = {}

    def build(self) -> "SongPool":
        """Make the chunks that are missing."""
        self.folder.mkdir(parents=True, exist_ok=True)
        names = ("labels", *self.kinds)
        chunks = range(self.num_clips // CHUNK_CLIPS)
        chunks = [index for index in chunks if not all(self._path(name, index).exists() for name in names)]
        for index in ProgressBar(chunks, desc="songs", disable=None):
            self._build_chunk(index)
        return self

    def read_waveform(self, kind: str, clip: int) -> np.ndarray:
        """Read one clip, float32 `(160000,)`; `kind` is one of `kinds`, "vocals" leveled and without noise."""
        path = self._path(kind, clip // CHUNK_CLIPS)
        if path not in self._open:
            self._open[path] = np.load(path, mmap_mode="r")
        return self._open[path][clip % CHUNK_CLIPS].astype(np.float32)

    def read_labels(self, clips: Sequence[int]) -> dict[str, np.ndarray]:
        """Read labels of clips, every array of shape `(num_clips, num_frames)`."""
        parts = []
        for clip in clips:
            with np.load(self._path("labels", clip // CHUNK_CLIPS)) as labels:
                parts.append({name: labels[name][clip % CHUNK_CLIPS] for name in labels.files})
        return {name: np.stack([part[name] for part in parts]) for name in parts[0]}

    def _path(self, kind: str, chunk: int) -> Path:
        suffix = "npz" if kind == "labels" else "npy"
        return self.folder / f"{kind}_{self.first_seed + chunk * CHUNK_CLIPS:06d}{self._tag}.{suffix}"

    def _build_chunk(self, chunk: int) -> None:
        audio = {kind: np.empty((CHUNK_CLIPS, self.num_samples), np.float16) for kind in self.kinds}
        labels: list[dict[str, np.ndarray]] = []
        for row in range(CHUNK_CLIPS):
            song = self.recipe.generate(
                self.first_seed + chunk * CHUNK_CLIPS + row,
                duration_s=CLIP_DURATION_S,
                with_parts=self.kinds != KINDS,
            )
            tracks = {"vocals": song.vocals, "instrumental": song.instrumental, **(song.parts or {})}
            for kind, waveform in tracks.items():
                waveform = resample(waveform, song.sampling_rate, SAMPLING_RATE)
                waveform = level_vocals(waveform, SAMPLING_RATE) if kind == "vocals" else waveform
                audio[kind][row] = waveform[: self.num_samples]
            labels.append(label_frames(song.annotation, self.num_frames))
        for kind in self.kinds:
            write_array(self._path(kind, chunk), audio[kind])
        # Last: a chunk whose labels are there is whole.
        joined = {name: np.stack([label[name] for label in labels]) for name in labels[0]}
        write_arrays(self._path("labels", chunk), **joined)
