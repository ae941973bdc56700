"""What masked prediction predicts: frames of classical features, grouped by k-means.

HuBERT begins with clusters of MFCCs, which say little about pitch. A band follows the singer's notes, so three views
of the audio give three sets of target classes (HuBERT's "cluster ensembles"), each with a window of its own:

    timbre    log-mel bands and their change over 80 ms                 25 ms   vowels, drums, onsets
    pitch     salience of 61 semitones: overtones summed                128 ms  the sung note, the lead line
    harmony   pitch classes above and pitch classes of the bass         256 ms  chord and bass, averaged over 0.5 s

Two more families come from the annotation, for voice and band alike: the chord, and the quarter of the beat with the
first 60 ms of a beat apart, so that an id can say "now" where the band strikes. Nothing in a single frame of a voice
says where the beat falls or which chord is meant; the encoder, which hears seconds on both sides, learns to infer
them, and so the ids of the voice carry what a band has to know (ours: HuBERT has no labels).

Frame t of every view is centred on sample 320 t + 160, as HuBERT's frame t is.

Letters: F frequency bins, P semitones, T frames.
"""

import os
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from accompgen_hf.accompgen.progress_accompgen import ProgressBar
from accompgen_hf.data.kmeans import assign_centroids, fit_centroids, write_feature_shard
from accompgen_hf.training.semantic_encoder.pool import (
    CHUNK_CLIPS,
    PHASES_PER_BEAT,
    SongPool,
    join_kinds,
    number_chords,
)

SAMPLING_RATE = 16_000
HOP_SAMPLES = 320
HEARD_FAMILIES = {"timbre": 200, "pitch": 200, "harmony": 100}  # name -> number of classes, found by k-means
NO_CHORD = 24
BEAT_FRAMES = 3  # a beat's first 60 ms are a class of their own: where the band strikes
TAUGHT_FAMILIES = {"chord": NO_CHORD + 1, "beat": PHASES_PER_BEAT + 1}  # from the annotation
TARGET_FAMILIES = {**HEARD_FAMILIES, **TAUGHT_FAMILIES}
NO_TARGET = -100  # a frame that a family says nothing about; cross-entropy leaves it out

_PITCH_RANGE = (40, 101)  # MIDI, E2 to E7
_HARMONY_RANGE = (28, 89)  # MIDI, E1 to E6
_LAST_BASS_PITCH = 50
_NUM_MELS = 40
_OVERTONE_DECAY = 0.8


def compute_target_features(waveform: np.ndarray) -> dict[str, np.ndarray]:
    """Compute the three views of a clip.

    Args:
        waveform (`np.ndarray` of shape `(num_samples,)`):
            16 kHz mono, `num_samples` a multiple of 320; without the noise that the encoder will hear.

    Returns:
        `dict[str, np.ndarray]`: for every name of `HEARD_FAMILIES` float32 `(num_samples // 320, dimensions)`.

    Raises:
        ValueError: If `waveform` is not one-dimensional or its length is not a multiple of 320.
    """
    if waveform.ndim != 1 or len(waveform) == 0 or len(waveform) % HOP_SAMPLES:
        raise ValueError(f"`waveform` must be (num_samples,), a multiple of {HOP_SAMPLES}, got {waveform.shape}.")
    samples = torch.from_numpy(np.ascontiguousarray(waveform, dtype=np.float32))
    samples = (samples - samples.mean()) / torch.sqrt(samples.var(correction=0) + 1e-7)
    views = {"timbre": _timbre(samples), "pitch": _pitch_salience(samples), "harmony": _harmony(samples)}
    return {name: view.numpy() for name, view in views.items()}


class SemanticTargets:
    """Classes of every frame of pools of clips, on disk.

    Args:
        folder (path): Folder of features, centroids and ids.
        seed (`int`): Seed of k-means.
    """

    def __init__(self, folder: str | os.PathLike, seed: int = 0):
        self.folder = Path(folder)
        self.seed = seed
        self._open: dict[Path, np.ndarray] = {}

    def build(self, pool: SongPool, *other_pools: SongPool) -> "SemanticTargets":
        """Fit the classes on `pool` and assign them in all pools; what is there is not made again."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for each in (pool, *other_pools):
            self._write_features(each)
        for name, num_classes in HEARD_FAMILIES.items():
            path = self.folder / f"{name}_centroids.npy"
            if not path.exists():
                paths = {kind: [self._path(pool, name, kind, chunk) for chunk in _chunks(pool)] for kind in pool.kinds}
                shards = join_kinds(paths)
                write_feature_shard(path, fit_centroids(*shards, num_clusters=num_classes, seed=self.seed))
            centroids = np.load(path)
            for each in (pool, *other_pools):
                self._write_ids(each, name, centroids)
        return self

    def read_ids(self, pool: SongPool, name: str, kind: str, clip: int) -> np.ndarray:
        """Read the classes of family `name` of one clip, int16 `(num_frames,)`.

        Taught ones are the same for all kinds, but drums play no chord: there it is `NO_TARGET`.
        """
        if name == "chord" and kind == "drums":
            return np.full(pool.num_frames, NO_TARGET, np.int16)
        if name in TAUGHT_FAMILIES:
            return self._read_taught(pool, name, clip)
        path = self._path(pool, f"{name}_ids", kind, clip // CHUNK_CLIPS)
        if path not in self._open:
            self._open[path] = np.load(path)
        return self._open[path].reshape(CHUNK_CLIPS, -1)[clip % CHUNK_CLIPS]

    def _read_taught(self, pool: SongPool, name: str, clip: int) -> np.ndarray:
        place = Path(name) / str(pool.first_seed + clip)
        if place not in self._open:
            labels = {key: rows[0] for key, rows in pool.read_labels([clip]).items()}
            classes = number_chords(labels, NO_CHORD) if name == "chord" else number_beats(labels["beat_phase"])
            self._open[place] = classes.astype(np.int16)
        return self._open[place]

    def _path(self, pool: SongPool, name: str, kind: str, chunk: int) -> Path:
        return self.folder / f"{name}_{kind}_{pool.first_seed + chunk * CHUNK_CLIPS:06d}.npy"

    def _write_features(self, pool: SongPool) -> None:
        last = list(HEARD_FAMILIES)[-1]
        missing = [
            (kind, chunk)
            for kind in pool.kinds
            for chunk in _chunks(pool)
            if not self._path(pool, last, kind, chunk).exists()
        ]
        for kind, chunk in ProgressBar(missing, desc="target features", disable=None):
            clips = range(chunk * CHUNK_CLIPS, (chunk + 1) * CHUNK_CLIPS)
            views = [compute_target_features(pool.read_waveform(kind, clip)) for clip in clips]
            for name in HEARD_FAMILIES:
                features = np.concatenate([view[name] for view in views]).astype(np.float16)
                write_feature_shard(self._path(pool, name, kind, chunk), features)

    def _write_ids(self, pool: SongPool, name: str, centroids: np.ndarray) -> None:
        for kind in pool.kinds:
            for chunk in _chunks(pool):
                path = self._path(pool, f"{name}_ids", kind, chunk)
                if not path.exists():
                    ids = assign_centroids(np.load(self._path(pool, name, kind, chunk)), centroids)[0]
                    write_feature_shard(path, ids.astype(np.int16))


def number_beats(beat_phase: np.ndarray) -> np.ndarray:
    """Quarter of the beat of every frame, but `PHASES_PER_BEAT` in the first frames of a beat; (num_frames,)."""
    earlier = np.concatenate([np.repeat(beat_phase[:1], BEAT_FRAMES), beat_phase[:-BEAT_FRAMES]])
    return np.where((beat_phase == 0) & (earlier != 0), PHASES_PER_BEAT, beat_phase)


def _chunks(pool: SongPool) -> range:
    return range(pool.num_clips // CHUNK_CLIPS)


def _magnitudes(samples: torch.Tensor, window_samples: int) -> torch.Tensor:
    """Magnitude spectra (T, F), scaled so that a full-scale sine is about 1 whatever the window."""
    padding = (window_samples - HOP_SAMPLES) // 2
    padded = torch.nn.functional.pad(samples, (padding, window_samples - HOP_SAMPLES - padding))
    window = torch.hann_window(window_samples)
    frames = padded.unfold(0, window_samples, HOP_SAMPLES) * window
    return torch.fft.rfft(frames).abs() / (window.sum() / 2)


def _timbre(samples: torch.Tensor) -> torch.Tensor:
    spectra = _magnitudes(samples, 400)
    bands = torch.log(spectra.square() @ _mel_filters(400).T + 1e-4)  # the floor is 40 dB below the clip's mean power
    later = torch.cat([bands[2:], bands[-1:], bands[-1:]])
    earlier = torch.cat([bands[:1], bands[:1], bands[:-2]])
    return torch.cat([bands - bands.mean(0), later - earlier], dim=1)  # (T, 2 mels)


def _pitch_salience(samples: torch.Tensor) -> torch.Tensor:
    lines = _spectral_lines(_magnitudes(samples, 2048), 2048, _PITCH_RANGE)  # (T, P)
    salience = torch.zeros_like(lines)
    for overtone in range(1, 6):
        shift = round(12 * np.log2(overtone))
        salience[:, : lines.shape[1] - shift] += _OVERTONE_DECAY ** (overtone - 1) * lines[:, shift:]
    # Squaring makes the strongest candidate stand out before k-means compares whole profiles.
    return _unit_norm(salience.square(), floor=1.0)


def _harmony(samples: torch.Tensor) -> torch.Tensor:
    lines = _spectral_lines(_magnitudes(samples, 4096), 4096, _HARMONY_RANGE)
    pitches = torch.arange(*_HARMONY_RANGE)
    folding = torch.nn.functional.one_hot(pitches % 12, 12).float()  # (P, 12)
    is_bass = (pitches <= _LAST_BASS_PITCH)[:, None]
    chroma = torch.cat([lines @ (folding * ~is_bass), lines @ (folding * is_bass)], dim=1)  # (T, 24)
    kernel = torch.hann_window(27)[1:-1]
    smooth = torch.nn.functional.conv1d(
        torch.nn.functional.pad(chroma.T[:, None], (12, 12), mode="replicate"), (kernel / kernel.sum())[None, None]
    )[:, 0].T
    return torch.cat([_unit_norm(smooth[:, :12], floor=0.3), _unit_norm(smooth[:, 12:], floor=0.3)], dim=1)


def _spectral_lines(spectra: torch.Tensor, window_samples: int, pitch_range: tuple[int, int]) -> torch.Tensor:
    """Semitone bands above their neighbourhood (T, P): what is tonal stays, what is broad goes."""
    bands = torch.log1p(spectra @ _semitone_filters(window_samples, pitch_range).T / 0.02)
    around = torch.nn.functional.avg_pool1d(bands[:, None], 13, stride=1, padding=6, count_include_pad=False)[:, 0]
    return (bands - around).clamp(min=0)


def _unit_norm(values: torch.Tensor, floor: float) -> torch.Tensor:
    return values / (values.norm(dim=1, keepdim=True) + floor)


@lru_cache
def _semitone_filters(window_samples: int, pitch_range: tuple[int, int]) -> torch.Tensor:
    """Triangles one semitone (or two bins) to either side of each pitch (P, F); rows have maximum 1."""
    frequencies = np.arange(window_samples // 2 + 1) * SAMPLING_RATE / window_samples
    centres = 440.0 * 2.0 ** ((np.arange(*pitch_range) - 69) / 12)
    widths = np.maximum(centres * (2 ** (1 / 12) - 1), 1.5 * SAMPLING_RATE / window_samples)
    return torch.from_numpy(
        np.clip(1 - np.abs(frequencies - centres[:, None]) / widths[:, None], 0, None).astype(np.float32)
    )


@lru_cache
def _mel_filters(window_samples: int) -> torch.Tensor:
    """Triangles on the mel scale from 60 to 7800 Hz (mels, F)."""
    frequencies = np.arange(window_samples // 2 + 1) * SAMPLING_RATE / window_samples
    mels = np.linspace(*(2595 * np.log10(1 + np.array([60.0, 7800.0]) / 700)), _NUM_MELS + 2)
    edges = 700 * (10 ** (mels / 2595) - 1)
    rising = (frequencies - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - frequencies) / (edges[2:] - edges[1:-1])[:, None]
    return torch.from_numpy(np.clip(np.minimum(rising, falling), 0, None).astype(np.float32))
