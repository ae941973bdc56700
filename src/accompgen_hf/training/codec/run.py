"""Training of the small EnCodec that the shipped default carries: `transformers.EncodecModel`, 75 Hz, 8 x 1024 codes.

The paper takes facebook/encodec_24khz as it is; this is for places where nothing can be downloaded, and it writes a
folder of the same class, so that `EncodecModel.from_pretrained` loads either. How an update works: `codec_trainer`;
how codebooks learn: `codec_quantizer`; what is measured: `codec_evaluation`.
"""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tqdm.auto import tqdm
from transformers import EncodecFeatureExtractor, EncodecModel

from accompgen_hf.songs.song import HELD_OUT_SEED, generate_song
from accompgen_hf.training.codec.trainer import (
    CodecTrainer,
    CodecTrainingArguments,
    list_checkpoints,
)

WaveformSource = Callable[[int], tuple[np.ndarray, np.ndarray]]


def synthesize_song(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return vocals and instrumental of a procedural song, 24 kHz."""
    song = generate_song(seed, sampling_rate=24_000)
    return song.vocals, song.instrumental


def prepare_songs(songs_dir: str, seeds: Sequence[int], waveforms: WaveformSource) -> list[np.ndarray]:
    """Synthesize what `songs_dir` lacks and map all songs into memory.

    Returns:
        `list[np.ndarray]`: int16, `(2, num_samples)` each: vocals, instrumental.

    Raises:
        ValueError: If a seed is held out for evaluation.
    """
    if max(seeds) >= HELD_OUT_SEED:
        raise ValueError(f"`seeds` must be below {HELD_OUT_SEED}: {max(seeds)} is held out for evaluation.")
    folder = Path(songs_dir)
    folder.mkdir(parents=True, exist_ok=True)
    for seed in tqdm(seeds, desc="songs", disable=all((folder / f"{seed}.npy").exists() for seed in seeds)):
        path = folder / f"{seed}.npy"
        if path.exists():
            continue
        song = np.stack(waveforms(seed))
        staged = folder / f"{seed}.{os.getpid()}.tmp.npy"
        np.save(staged, np.round(song.clip(-1, 1) * 32767).astype(np.int16))
        os.replace(staged, path)
    return [np.load(folder / f"{seed}.npy", mmap_mode="r") for seed in seeds]


def train_codec(arguments: CodecTrainingArguments, waveforms: WaveformSource = synthesize_song) -> EncodecModel:
    """Train a codec, resuming from the newest checkpoint in `arguments.output_dir`, and save it in `final/`.

    Args:
        waveforms (`Callable[[int], tuple[np.ndarray, np.ndarray]]`):
            Gives vocals and instrumental, float32 of one length at the codec's sampling rate, for a song's seed.

    Returns:
        `EncodecModel`: The codec as `final/` holds it: float32, every weight a float16 value.

    Raises:
        ValueError: If a seed is held out, or if the checkpoint belongs to other arguments.
    """
    folder = Path(arguments.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    # 1. Waveforms: synthesized once, then mapped from disk.
    seeds = range(arguments.first_song_seed, arguments.first_song_seed + arguments.num_songs)
    songs = prepare_songs(arguments.songs_dir, seeds, waveforms)
    # 2. A new trainer, or the state of the newest checkpoint.
    trainer = CodecTrainer(arguments, songs)
    checkpoints = list_checkpoints(folder)
    if checkpoints:
        trainer.load(checkpoints[-1])
    history = _read_metrics(folder / "metrics.jsonl", trainer.completed_steps)
    # 3. Updates.
    bar = tqdm(total=arguments.num_steps, initial=trainer.completed_steps, desc="codec", mininterval=1.0)
    recent = []
    while trainer.completed_steps < arguments.num_steps:
        recent.append(trainer.step())
        bar.update()
        if trainer.completed_steps % arguments.log_steps == 0:
            history.append({"step": trainer.completed_steps, **_mean_numbers(recent)})
            bar.set_postfix(spectral_loss=f"{history[-1]['spectral_loss']:.3f}")
            recent = []
        if trainer.completed_steps % arguments.checkpoint_steps == 0 or trainer.completed_steps == arguments.num_steps:
            trainer.save()
            _write_metrics(folder, history)
    bar.close()
    # 4. The codec, on float16 values.
    save_codec(trainer.model, folder / "final")
    return EncodecModel.from_pretrained(folder / "final")


def save_codec(model: EncodecModel, folder: Path) -> None:
    """Save a codec and its feature extractor: float16 tensors under a config that says float32.

    `dtype="auto"` would otherwise run half precision on the CPU, which is slow and gives other codes.
    """
    folder = Path(folder)
    staged = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(staged, ignore_errors=True)
    deepcopy(model).half().save_pretrained(staged)
    config = model.config
    EncodecFeatureExtractor(feature_size=config.audio_channels, sampling_rate=config.sampling_rate).save_pretrained(
        staged
    )
    settings = json.loads((staged / "config.json").read_text("utf-8"))
    settings["dtype"] = "float32"
    (staged / "config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", "utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(staged, folder)


def plot_learning_curve(history: list[dict], path: Path) -> None:
    """Draw the spectral loss over steps."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([entry["step"] for entry in history], [entry["spectral_loss"] for entry in history])
    axes.set(xlabel="step", ylabel="spectral loss", yscale="log", title="Codec: training loss")
    axes.grid(which="both", alpha=0.3)
    staged = path.with_name("tmp." + path.name)
    figure.savefig(staged, dpi=100)
    os.replace(staged, path)


def _mean_numbers(entries: list[dict]) -> dict:
    return {name: sum(entry[name] for entry in entries) / len(entries) for name in entries[-1] if name in entries[0]}


def _read_metrics(path: Path, completed_steps: int) -> list[dict]:
    """Return what was logged up to the checkpoint; later lines belong to updates that will be made again."""
    if not path.exists():
        return []
    entries = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [entry for entry in entries if entry["step"] <= completed_steps]


def _write_metrics(folder: Path, history: list[dict]) -> None:
    staged = folder / "metrics.tmp"
    staged.write_text("".join(json.dumps(entry) + "\n" for entry in history), "utf-8")
    os.replace(staged, folder / "metrics.jsonl")
    if history:
        plot_learning_curve(history, folder / "learning_curve.png")
