"""Training of a codec from a folder of songs to a folder that `AccompGenCodec.from_pretrained` loads.

The paper takes facebook/encodec_24khz as it is; this is for places where nothing can be downloaded, and for a decoder
that suits one's own music. How an update works: `trainer`; losses: `losses`; how codebooks learn: `quantizer`; where
the clips come from: `material`; what is measured: `evaluation`.
"""

import json
from pathlib import Path

import torch
from transformers import EncodecFeatureExtractor

from accompgen_hf.accompgen.modeling_accompgen_codec import TRAINING_ONLY_SUFFIXES, AccompGenCodec
from accompgen_hf.accompgen.progress_accompgen import ProgressBar
from accompgen_hf.files import folder_written_whole
from accompgen_hf.training.codec.arguments import FREE_NAMES, CodecTrainingArguments, movable_schedule
from accompgen_hf.training.codec.material import read_songs
from accompgen_hf.training.codec.samples import write_samples
from accompgen_hf.training.codec.trainer import CodecTrainer
from accompgen_hf.training.curves import Curve, Panel, draw_curves
from accompgen_hf.training.run_files import RunFolder, describe_run, find_checkpoint
from accompgen_hf.training.sigterm import SigtermFlag

LOSSES = ("mel", "spectrum", "comb", "waveform", "adversarial", "feature", "discriminator")
PANELS = (
    Panel("loss", [Curve("train", f"{name}_loss", name) for name in LOSSES], scale="log"),
    Panel("gradient norm before clipping", [Curve("train", "grad_norm")], scale="log"),
)


def train_codec(arguments: CodecTrainingArguments) -> AccompGenCodec | None:
    """Train a codec, resuming from the newest checkpoint in `arguments.output_dir`, and save it in `final/`.

    On SIGTERM the update is finished and saved, and the run ends.

    Returns:
        `AccompGenCodec`: The codec as `final/` holds it: float32, every weight a float16 value. `None` after a
        SIGTERM.

    Raises:
        ValueError: If `songs_dir` has no songs, or if the checkpoint belongs to other arguments.
    """
    if arguments.device.startswith("cuda"):
        torch.set_float32_matmul_precision("high")  # TF32 where bfloat16 is not
    # 1. Songs, mapped from disk.
    songs = read_songs(arguments.songs_dir)
    # 2. A new trainer, or the state of the newest checkpoint.
    trainer = CodecTrainer(arguments, songs)
    folder = resume_run(trainer)
    # 3. Updates.
    recent = []
    bar = ProgressBar(total=arguments.max_steps, initial=trainer.completed_steps, desc="codec", mininterval=1.0)
    with bar, SigtermFlag() as sigterm:
        while trainer.completed_steps < arguments.max_steps and not sigterm.is_set:
            recent.append(trainer.step())
            bar.update()
            step = trainer.completed_steps
            is_last = step == arguments.max_steps or sigterm.is_set
            if step % arguments.log_steps == 0:
                numbers = _mean_numbers(recent)
                folder.metrics.write("train", step, **numbers)
                bar.set_postfix(mel=f"{numbers['mel_loss']:.3f}", spectrum=f"{numbers['spectrum_loss']:.3f}")
                recent = []
            if step % arguments.sample_steps == 0 or step == arguments.max_steps:
                write_samples(trainer.model, songs, folder.path / "samples", step)
            if step % arguments.checkpoint_steps == 0 or is_last:
                folder.save(step)
                draw_curves(folder.path, PANELS)
    if trainer.completed_steps < arguments.max_steps:
        return None
    # 4. The codec, on float16 values.
    save_codec(trainer.model, folder.path / "final")
    return AccompGenCodec.from_pretrained(folder.path / "final")


def resume_run(trainer: CodecTrainer) -> RunFolder:
    """Bring a trainer to the newest checkpoint in its folder; the schedule may have changed where it is ahead."""
    arguments = trainer.arguments
    run = describe_run(arguments, FREE_NAMES)
    parts = {
        "model": trainer.model,
        "optimizer": trainer.optimizer,
        "discriminators": trainer.discriminators,
        "discriminator_optimizer": trainer.discriminator_optimizer,
    }
    folder = RunFolder(arguments.output_dir, run, parts, keep_checkpoints=1)
    found = find_checkpoint(folder.path)
    if found is not None:
        folder.run = {**run, **movable_schedule(found[1]["run"], run, found[1]["step"])}
    trainer.completed_steps = folder.resume()
    folder.run = run
    return folder


def save_codec(model: AccompGenCodec, folder: Path) -> None:
    """Save a codec and its feature extractor: float16 tensors under a config that says float32.

    `dtype="auto"` would otherwise run half precision on the CPU, which is slow and gives other codes. The running sums
    of the codebooks' training stay out.
    """
    tensors = {
        name: value.detach().cpu().half().contiguous()
        for name, value in model.state_dict().items()
        if not name.endswith(TRAINING_ONLY_SUFFIXES)
    }
    config = model.config
    extractor = EncodecFeatureExtractor(feature_size=config.audio_channels, sampling_rate=config.sampling_rate)
    with folder_written_whole(folder) as staging:
        model.save_pretrained(staging, state_dict=tensors)
        extractor.save_pretrained(staging)
        settings = json.loads((staging / "config.json").read_text("utf-8"))
        settings["dtype"] = "float32"
        (staging / "config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", "utf-8")


def _mean_numbers(entries: list[dict]) -> dict[str, float]:
    """Mean of each number over the updates that have it."""
    names = dict.fromkeys(name for entry in entries for name in entry)
    return {
        name: sum(entry[name] for entry in entries if name in entry) / sum(name in entry for entry in entries)
        for name in names
    }
