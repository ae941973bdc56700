"""Training of a codec from a folder of songs to a folder that `AccompGenCodec.from_pretrained` loads.

The paper takes facebook/encodec_24khz as it is; this is for places where nothing can be downloaded, and for a decoder
that suits one's own music. How an update works: `trainer`; losses: `losses`; how codebooks learn: `quantizer`; where
the clips come from: `material`; what is measured: `evaluation`.
"""

import json
import os
import shutil
from pathlib import Path

from matplotlib.figure import Figure
from tqdm.auto import tqdm
from transformers import EncodecFeatureExtractor

from accompgen_hf.accompgen.modeling_accompgen_codec import TRAINING_ONLY_SUFFIXES, AccompGenCodec
from accompgen_hf.training.codec.arguments import CodecTrainingArguments
from accompgen_hf.training.codec.material import read_songs
from accompgen_hf.training.codec.samples import write_samples
from accompgen_hf.training.codec.trainer import CodecTrainer, list_checkpoints


def train_codec(arguments: CodecTrainingArguments) -> AccompGenCodec:
    """Train a codec, resuming from the newest checkpoint in `arguments.output_dir`, and save it in `final/`.

    Returns:
        `AccompGenCodec`: The codec as `final/` holds it: float32, every weight a float16 value.

    Raises:
        ValueError: If `songs_dir` has no songs, or if the checkpoint belongs to other arguments.
    """
    folder = Path(arguments.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    # 1. Songs, mapped from disk.
    songs = read_songs(arguments.songs_dir)
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
        step, is_last = trainer.completed_steps, trainer.completed_steps == arguments.num_steps
        if step % arguments.log_steps == 0:
            history.append({"step": step, **_mean_numbers(recent)})
            bar.set_postfix(mel=f"{history[-1]['mel_loss']:.3f}", spectrum=f"{history[-1]['spectrum_loss']:.3f}")
            recent = []
        if step % arguments.sample_steps == 0 or is_last:
            write_samples(trainer.model, songs, folder / "samples", step)
        if step % arguments.checkpoint_steps == 0 or is_last:
            trainer.save()
            _write_metrics(folder, history)
    bar.close()
    # 4. The codec, on float16 values.
    save_codec(trainer.model, folder / "final")
    return AccompGenCodec.from_pretrained(folder / "final")


def save_codec(model: AccompGenCodec, folder: Path) -> None:
    """Save a codec and its feature extractor: float16 tensors under a config that says float32.

    `dtype="auto"` would otherwise run half precision on the CPU, which is slow and gives other codes. The running sums
    of the codebooks' training stay out.
    """
    folder = Path(folder)
    staged = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(staged, ignore_errors=True)
    tensors = {
        name: value.detach().cpu().half().contiguous()
        for name, value in model.state_dict().items()
        if not name.endswith(TRAINING_ONLY_SUFFIXES)
    }
    model.save_pretrained(staged, state_dict=tensors)
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
    """Draw the spectral losses over steps."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for name in ("mel_loss", "spectrum_loss", "waveform_loss"):
        axes.plot([entry["step"] for entry in history], [entry[name] for entry in history], label=name)
    axes.set(xlabel="step", ylabel="loss", yscale="log", title="Codec: training losses")
    axes.grid(which="both", alpha=0.3)
    axes.legend()
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
