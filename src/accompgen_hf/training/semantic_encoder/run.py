"""A small HuBERT trained by masked prediction, as HuBERT is, on procedural vocals and instrumentals.

Spans of frames are hidden from the encoder, and it says from their surroundings to which class of every target family
(`targets`) each frame belongs. Vocals are heard with their noise while their classes come from the
clean signal. Frames that are not hidden count too, with `unmasked_weight`: the targets are good ones, and the features
of frames that ARE heard are what becomes tokens.

Every batch follows from (seed, step): a run that was killed goes on as if it had not been.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn
from transformers import HubertModel

from accompgen_hf.accompgen.modeling_accompgen_semantic_encoder import count_receptive_field
from accompgen_hf.accompgen.processing_accompgen import vocal_noise
from accompgen_hf.accompgen.progress_accompgen import ProgressBar
from accompgen_hf.training.learning_rate import LearningRate
from accompgen_hf.training.muon import OPTIMIZERS, Muon, group_parameters
from accompgen_hf.training.run_files import RunFolder, describe_run
from accompgen_hf.training.semantic_encoder.model import (
    SMALL_HUBERT,
    HubertForMaskedPrediction,
    draw_mask,
    initialise_filter_bank,
    load_hubert,
    make_hubert_config,
    normalise_crops,
)
from accompgen_hf.training.semantic_encoder.pool import CLIP_DURATION_S, SongPool
from accompgen_hf.training.semantic_encoder.targets import (
    HOP_SAMPLES,
    NO_TARGET,
    SAMPLING_RATE,
    TARGET_FAMILIES,
    SemanticTargets,
)
from accompgen_hf.training.semantic_encoder.vocal_augmentation import (
    CENTS,
    VocalAugmentation,
    augment_vocals,
    draw_augmentation,
)

KEPT_CHECKPOINTS = 2
FINAL_LEARNING_RATE = 0.01  # share of the peak
FREE_FIELDS = ("output_dir", "save_every", "evaluate_every", "evaluation_clips")  # these change no weight
FAMILY_WEIGHTS = {"timbre": 0.5, "pitch": 1.0, "harmony": 1.0, "chord": 1.0, "beat": 1.0}


@dataclass
class SemanticEncoderArguments:
    """How the small encoder is trained.

    Attributes:
        output_dir (`str`): Checkpoints, metrics and the finished `hubert` folder.
        max_steps (`int`): Updates.
        batch_clips (`int`): Crops per update, vocals and the pool's other kinds in turns.
        crop_duration_s (`float`): Length of a crop; a multiple of 0.04.
        mask_start_probability (`float`): Share of frames at which a hidden span begins.
        mask_length (`int`): Frames of a span.
        unmasked_weight (`float`): Weight of the loss on frames that are heard; 0 is HuBERT's default.
        family_weights (`dict[str, float]`): Weight of every target family's loss.
        noise_std (`float`): Standard deviation of the noise on vocals.
        augmentation_probability (`float`): Share of the vocal crops that are heard with another throat, room,
            microphone and tuning (`vocal_augmentation`); held-out crops never are.
        optimizer (`str`): `"adamw"`, or `"muon"` for the matrices inside the layers.
        hubert (`dict`): Fields of `HubertConfig`.
        init_from (`str`, *optional*): Folder of a semantic encoder whose HuBERT is gone on from; of the same sizes.
        seed (`int`): Seed of the initial weights, batches, masks and noise.
    """

    output_dir: str
    max_steps: int = 2600
    batch_clips: int = 3
    crop_duration_s: float = 8.0
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    mask_start_probability: float = 0.065
    mask_length: int = 10
    unmasked_weight: float = 1.0
    family_weights: dict[str, float] = field(default_factory=lambda: dict(FAMILY_WEIGHTS))
    noise_std: float = 0.01
    augmentation_probability: float = 0.5
    hubert: dict = field(default_factory=lambda: dict(SMALL_HUBERT))
    init_from: str | None = None
    seed: int = 0
    save_every: int = 100
    evaluate_every: int = 100
    evaluation_clips: int = 16


def make_optimizer(model: nn.Module, arguments: SemanticEncoderArguments) -> torch.optim.AdamW:
    """AdamW on everything, or Muon on the layers' matrices and AdamW on the rest."""
    options = {"lr": arguments.learning_rate, "betas": (0.9, 0.98)}
    if arguments.optimizer == "muon":
        return Muon(group_parameters(model, arguments.weight_decay), **options)
    return torch.optim.AdamW(model.parameters(), weight_decay=arguments.weight_decay, **options)


class SemanticEncoderTrainer:
    """The training loop of the small encoder.

    Args:
        arguments (`SemanticEncoderArguments`): Settings of the run.
        pool, held_out_pool (`SongPool`): Clips to train on and clips to measure on.
        targets (`SemanticTargets`): Classes of the frames of both pools.

    Raises:
        ValueError: If a crop is too long for a voice that the augmentation made faster, the optimizer is unknown, or
            the encoder to go on from has other sizes.
    """

    def __init__(
        self, arguments: SemanticEncoderArguments, pool: SongPool, held_out_pool: SongPool, targets: SemanticTargets
    ):
        longest_s = CLIP_DURATION_S / VocalAugmentation(CENTS).speed
        if arguments.augmentation_probability and arguments.crop_duration_s > longest_s:
            raise ValueError(
                f"`crop_duration_s` must be at most {longest_s:.2f}, so that a faster voice has a crop, got "
                f"{arguments.crop_duration_s}. Shorten it, or set `augmentation_probability` to 0."
            )
        if arguments.optimizer not in OPTIMIZERS:
            raise ValueError(f"`optimizer` must be one of {', '.join(OPTIMIZERS)}, got {arguments.optimizer!r}.")
        self.arguments, self.pool, self.held_out_pool, self.targets = arguments, pool, held_out_pool, targets
        config = make_hubert_config(arguments.hubert)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(arguments.seed)
            self.model = HubertForMaskedPrediction(config, TARGET_FAMILIES)
        if arguments.init_from is None:
            initialise_filter_bank(self.model.hubert)
        else:
            load_hubert(self.model.hubert, arguments.init_from)
        self.padding = count_receptive_field(config) - HOP_SAMPLES
        self.optimizer = make_optimizer(self.model, arguments)
        self.step = 0

    def draw_batch(self, pool: SongPool, keys: tuple[int, ...], batch_clips: int) -> tuple:
        """Draw crops by `keys`: waveforms (B, num_samples), class ids per family (B, T50), hidden frames (B, T50)."""
        arguments = self.arguments
        generator = np.random.default_rng([arguments.seed, *keys])
        num_frames = round(arguments.crop_duration_s * 50)
        waveforms, ids = [], {name: [] for name in TARGET_FAMILIES}
        for row, clip in enumerate(generator.integers(pool.num_clips, size=batch_clips)):
            band = pool.kinds[1:]
            kind = band[(keys[-1] + row // 2) % len(band)] if row % 2 else "vocals"
            augmentation = VocalAugmentation()
            if kind == "vocals" and pool is self.pool and generator.random() < arguments.augmentation_probability:
                augmentation = draw_augmentation(generator)
            # A voice that is tuned higher is faster, too: its crop is longer, and frame t was frame `speed` t.
            num_read = math.ceil(num_frames * augmentation.speed)
            first = int(generator.integers(pool.num_frames - num_read + 1))
            waveform = pool.read_waveform(kind, clip)[first * HOP_SAMPLES : (first + num_read) * HOP_SAMPLES]
            frames = first + ((np.arange(num_frames) + 0.5) * augmentation.speed).astype(np.int64)
            if augmentation != VocalAugmentation():
                waveform = augment_vocals(waveform, augmentation, SAMPLING_RATE)[: num_frames * HOP_SAMPLES]
            if kind == "vocals":
                noise_seed = int(generator.integers(2**31))
                waveform = waveform + vocal_noise(noise_seed, 0, 0, len(waveform), arguments.noise_std)
            waveforms.append(waveform)
            for name in TARGET_FAMILIES:
                ids[name].append(self.targets.read_ids(pool, name, kind, clip)[frames])
        is_masked = draw_mask(
            (batch_clips, num_frames), arguments.mask_start_probability, arguments.mask_length, generator
        )
        targets = {name: torch.from_numpy(np.stack(rows).astype(np.int64)) for name, rows in ids.items()}
        return normalise_crops(np.stack(waveforms), self.padding), targets, is_masked

    def compute_loss(self, batch: tuple) -> tuple[torch.Tensor, dict[str, float]]:
        """Weigh cross-entropies of hidden and heard frames; also their accuracy per family."""
        input_values, targets, is_masked = batch
        metrics, loss, total_weight = {}, input_values.new_zeros(()), 0.0
        for name, logits in self.model(input_values, is_masked).items():
            weight = self.arguments.family_weights[name]
            for part, chosen, part_weight in (
                ("masked", is_masked, 1.0),
                ("heard", ~is_masked, self.arguments.unmasked_weight),
            ):
                chosen = chosen & (targets[name] != NO_TARGET)
                cross_entropy = nn.functional.cross_entropy(logits[chosen], targets[name][chosen])
                loss = loss + weight * part_weight * cross_entropy
                total_weight += weight * part_weight
                metrics[f"{name}_{part}_loss"] = cross_entropy.item()
                metrics[f"{name}_{part}_accuracy"] = (
                    (logits[chosen].argmax(-1) == targets[name][chosen]).float().mean().item()
                )
        loss = loss / total_weight
        return loss, {"loss": loss.item(), **metrics}

    def train(self, stop_at: int | None = None) -> HubertModel:
        """Train from the last checkpoint to `max_steps` (or pause at `stop_at`, with a checkpoint)."""
        arguments = self.arguments
        parts = {"model": self.model, "optimizer": self.optimizer}
        folder = RunFolder(arguments.output_dir, describe_run(arguments, FREE_FIELDS), parts, KEPT_CHECKPOINTS)
        self.step = folder.resume()
        rate = LearningRate(
            arguments.learning_rate, arguments.warmup_steps, arguments.max_steps, final_share=FINAL_LEARNING_RATE
        )
        stop = arguments.max_steps if stop_at is None else min(stop_at, arguments.max_steps)
        sums: dict[str, float] = {}
        num_summed = 0
        self.model.train()
        with ProgressBar(total=arguments.max_steps, initial=self.step, desc="encoder", disable=None) as progress:
            while self.step < stop:
                loss, metrics = self.compute_loss(self.draw_batch(self.pool, (0, self.step), arguments.batch_clips))
                self.optimizer.zero_grad(set_to_none=True)
                loss.backward()
                gradient_norm = nn.utils.clip_grad_norm_(self.model.parameters(), arguments.max_grad_norm).item()
                if not math.isfinite(gradient_norm):
                    raise FloatingPointError(
                        f"`learning_rate` {arguments.learning_rate} gave a gradient of {gradient_norm}."
                    )
                for group in self.optimizer.param_groups:
                    group["lr"] = rate.at(self.step)
                self.optimizer.step()
                self.step += 1
                for name, value in {**metrics, "gradient_norm": gradient_norm}.items():
                    sums[name] = sums.get(name, 0.0) + value
                num_summed += 1
                progress.update()
                if self.step % arguments.evaluate_every == 0 or self.step == arguments.max_steps:
                    means = {name: value / num_summed for name, value in sums.items()}
                    folder.metrics.write("train", self.step, learning_rate=rate.at(self.step - 1), **means)
                    folder.metrics.write("validation", self.step, **self.evaluate())
                    sums, num_summed = {}, 0
                    progress.set_postfix(loss=f"{means['loss']:.3f}")
                if self.step % arguments.save_every == 0 or self.step == stop:
                    folder.save(self.step)
        return self.model.hubert

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Measure the loss on held-out crops, the same ones every time."""
        self.model.eval()
        num_batches = max(1, self.arguments.evaluation_clips // self.arguments.batch_clips)
        results = [
            self.compute_loss(self.draw_batch(self.held_out_pool, (1, index), self.arguments.batch_clips))[1]
            for index in range(num_batches)
        ]
        self.model.train()
        return {name: sum(result[name] for result in results) / num_batches for name in results[0]}
