"""One update of the codec's training, its clips and its checkpoints.

Two phases: first without quantizer, then codebooks are set by k-means on the encoder's outputs and follow them by EMA
(a quantized start from noise collapses onto a few codes). Small batches and many updates learn fastest per minute on
a CPU. Everything random is derived from (seed, step): a resumed run equals an unbroken one.

Letters: B batch, D codebook dimension, T EnCodec frames, N samples.
"""

import json
import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import EncodecConfig, EncodecModel
from transformers.models.encodec.modeling_encodec import EncodecConv1d, EncodecConvTranspose1d

from accompgen_hf.training.codec.evaluation import SpectralLoss
from accompgen_hf.training.codec.quantizer import QuantizerOutput, fit_codebooks, quantize_and_update


@dataclass
class CodecTrainingArguments:
    """Recipe of a codec.

    Args:
        output_dir (`str`): Receives checkpoints, `metrics.jsonl`, `learning_curve.png` and the codec in `final/`.
        songs_dir (`str`): Keeps the training waveforms, one file per song; existing files are used as they are.
        num_songs (`int`): Songs with the seeds `first_song_seed`, `first_song_seed + 1`, ...
        num_steps (`int`): Updates in all; `num_continuous_steps` of them come before the quantizer.
        clip_num_frames (`int`): Length of a training clip in EnCodec frames.
        source_shares (`tuple[float, ...]`): Shares of instrumentals, mixes and vocals among the clips.
        gain_range_db (`tuple[float, float]`): Random gain of a clip, uniform.
        latent_noise_share (`float`):
            Noise on the encoder's outputs before there is a quantizer, relative to each channel's deviation.
        decay_share (`float`): Last share of the steps, over which the learning rate falls to zero.
        depth_shares (`tuple[float, ...]`): Share of clips decoded from the codebooks of each bandwidth.
        mel_scales (`tuple[tuple[int, int], ...]`): Window sizes (samples) and mel bands of the spectral loss.
    """

    output_dir: str
    songs_dir: str
    seed: int = 0
    num_songs: int = 300
    first_song_seed: int = 0
    num_steps: int = 11_000
    num_continuous_steps: int = 1_200
    batch_size: int = 4
    clip_num_frames: int = 40
    source_shares: tuple[float, ...] = (0.7, 0.15, 0.15)
    gain_range_db: tuple[float, float] = (-6.0, 3.0)
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    decay_share: float = 0.3
    max_grad_norm: float = 1.0
    waveform_weight: float = 2.0
    scale_weight: float = 0.1
    commitment_weight: float = 0.25
    linear_weight: float = 0.5
    latent_noise_share: float = 0.3
    ema_decay: float = 0.98
    dead_share: float = 0.2
    num_codebook_fit_batches: int = 160
    depth_shares: tuple[float, ...] = (0.1, 0.3, 0.6)
    mel_scales: tuple[tuple[int, int], ...] = ((2048, 128), (1024, 80), (256, 32))
    checkpoint_steps: int = 200
    log_steps: int = 50
    model: dict = field(default_factory=dict)


def build_codec_config(**overrides) -> EncodecConfig:
    """Return the small codec's config: 24 kHz, 75 Hz, 8 codebooks x 1024, about 1 M numbers, causal.

    The strides stand in reverse order of facebook/encodec_24khz: the encoder takes its longest stride first, few
    layers run at the full rate, and an update costs half.
    """
    settings = {
        "target_bandwidths": [1.5, 3.0, 6.0],
        "num_filters": 8,
        "hidden_size": 32,
        "upsampling_ratios": [2, 4, 5, 8],
        "num_lstm_layers": 1,
        "use_conv_shortcut": False,
        "pad_mode": "constant",
    }
    return EncodecConfig(**{**settings, **overrides})


def draw_clips(songs: Sequence[np.ndarray], arguments: CodecTrainingArguments, step: int, hop_length: int):
    """Return the clips of a step, float32 `(batch_size, 1, num_samples)`: a function of (seed, step) alone."""
    generator = np.random.default_rng((arguments.seed, step))
    num_samples = arguments.clip_num_frames * hop_length
    clips = np.empty((arguments.batch_size, 1, num_samples), dtype=np.float32)
    for clip in clips:
        song = songs[generator.integers(len(songs))]
        start = generator.integers(song.shape[1] - num_samples + 1)
        vocals, instrumental = song[:, start : start + num_samples].astype(np.float32) / 32767
        kind = generator.choice(3, p=arguments.source_shares)
        clip[0] = (instrumental, vocals + instrumental, vocals)[kind]
        clip *= 10 ** (generator.uniform(*arguments.gain_range_db) / 20)
    return torch.from_numpy(clips)


@torch.no_grad()
def initialize_from_data(model: EncodecModel, clips: torch.Tensor) -> None:
    """Scale and shift every convolution once so that its outputs on `clips` are centred with unit variance.

    Weight normalisation's own data-dependent start (Salimans and Kingma, 2016). From the default initialization each
    stride shrinks what changes over time to a third, the decoder hardly sees its input, and the first thousands of
    updates only fit the mean spectrum.
    """

    def normalize(module, inputs, output):
        mean = output.mean(dim=(0, 2))  # (B, C, T) -> (C,)
        scale = 1 / (output - mean[:, None]).std().clamp(min=1e-6)
        module.conv.parametrizations.weight.original0.mul_(scale)
        module.conv.bias.sub_(mean).mul_(scale)
        return (output - mean[:, None]) * scale

    convolutions = [
        module for module in model.modules() if isinstance(module, (EncodecConv1d, EncodecConvTranspose1d))
    ]
    hooks = [module.register_forward_hook(normalize) for module in convolutions]
    decoded = model.decoder(model.encoder(clips))
    for hook in hooks:
        hook.remove()
    # The last convolution speaks at the clips' level.
    last = model.decoder.layers[-1].conv
    gain = clips.std() / decoded.std()
    last.parametrizations.weight.original0.mul_(gain)
    last.bias.mul_(gain)


class CodecTrainer:
    """A codec, its optimizer and the place in the run; one `step()` is one update."""

    def __init__(self, arguments: CodecTrainingArguments, songs: Sequence[np.ndarray]):
        self.arguments, self.songs, self.completed_steps = arguments, songs, 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(arguments.seed)
            self.model = EncodecModel(build_codec_config(**arguments.model))
        config = self.model.config
        self.model.train()
        initialize_from_data(self.model, draw_clips(songs, arguments, 0, config.hop_length))
        self.loss = SpectralLoss(config.sampling_rate, arguments.mel_scales, arguments.linear_weight)
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=arguments.learning_rate, betas=(0.8, 0.99), fused=True
        )
        # Codebooks per bandwidth, e.g. 2, 4, 8: what quantizer dropout chooses from.
        self.depths = [
            self.model.quantizer.get_num_quantizers_for_bandwidth(bandwidth) for bandwidth in config.target_bandwidths
        ]

    def learning_rate(self) -> float:
        """Return the rate of the coming step: linear warm-up, a plateau, a cosine down over the last steps.

        Until the descent begins nothing depends on the number of steps: a run can be made longer by then.
        """
        arguments = self.arguments
        warmup = min(1.0, (self.completed_steps + 1) / arguments.warmup_steps)
        remaining = (arguments.num_steps - self.completed_steps) / (arguments.decay_share * arguments.num_steps)
        descent = (1 - math.cos(math.pi * min(1.0, remaining))) / 2
        return arguments.learning_rate * warmup * descent

    def step(self) -> dict:
        """Make one update and return its numbers."""
        arguments, step = self.arguments, self.completed_steps
        clips = draw_clips(self.songs, arguments, step, self.model.config.hop_length)  # (B, 1, N)
        if step == arguments.num_continuous_steps:
            self._fit_codebooks()
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate()
        hidden_states = self.model.encoder(clips)  # (B, 1, N) -> (B, D, T)
        quantized = self._quantize(hidden_states) if step >= arguments.num_continuous_steps else None
        embeddings = self._add_noise(hidden_states) if quantized is None else quantized.embeddings
        decoded = self.model.decoder(embeddings)  # (B, D, T) -> (B, 1, N)
        spectral_loss = self.loss(decoded[:, 0], clips[:, 0])
        # Relative to the clips, so that 1 is what silence would get.
        waveform_loss = (decoded - clips).abs().mean() / clips.abs().mean().clamp(min=1e-3)
        # Channels of one size: the codebooks' Euclidean distance then weighs them alike and none runs away.
        scale_loss = (hidden_states.std(dim=(0, 2)) - 1).square().mean()
        loss = spectral_loss + arguments.waveform_weight * waveform_loss + arguments.scale_weight * scale_loss
        numbers = {"spectral_loss": spectral_loss.item(), "waveform_loss": waveform_loss.item()}
        if quantized is not None:
            loss = loss + arguments.commitment_weight * quantized.commitment_loss
            numbers["commitment_loss"] = quantized.commitment_loss.item()
            numbers["num_restarted"] = quantized.num_restarted
        self.optimizer.zero_grad()
        loss.backward()
        numbers["grad_norm"] = torch.nn.utils.clip_grad_norm_(
            self.model.parameters(), arguments.max_grad_norm, error_if_nonfinite=True
        ).item()
        self.optimizer.step()
        self.completed_steps += 1
        return numbers

    def _generator(self) -> torch.Generator:
        # SeedSequence mixes the pair: plain sums would repeat streams between seeds.
        seed = np.random.SeedSequence((self.arguments.seed, self.completed_steps, 1)).generate_state(1, np.uint64)[0]
        return torch.Generator().manual_seed(int(seed) % 2**63)

    def _add_noise(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Stand in for the coming quantizer: what the decoder needs must be louder than the quantization error."""
        noise = torch.randn(hidden_states.shape, generator=self._generator())
        deviation = hidden_states.detach().std(dim=(0, 2))[:, None]  # (B, D, T) -> (D, 1)
        return hidden_states + self.arguments.latent_noise_share * deviation * noise

    def _quantize(self, hidden_states: torch.Tensor) -> QuantizerOutput:
        generator = self._generator()
        shares = torch.tensor(self.arguments.depth_shares)
        choice = torch.multinomial(shares, hidden_states.shape[0], replacement=True, generator=generator)
        return quantize_and_update(
            self.model.quantizer,
            hidden_states,
            torch.tensor(self.depths)[choice],
            generator,
            self.arguments.ema_decay,
            self.arguments.dead_share,
        )

    @torch.no_grad()
    def _fit_codebooks(self) -> None:
        """Start the codebooks by k-means on the outputs for the coming steps' clips."""
        outputs = []
        for ahead in range(self.arguments.num_codebook_fit_batches):
            step = self.completed_steps + ahead
            clips = draw_clips(self.songs, self.arguments, step, self.model.config.hop_length)
            outputs.append(self.model.encoder(clips).transpose(1, 2).flatten(0, 1))  # (B, D, T) -> (B * T, D)
        fit_codebooks(self.model.quantizer, torch.cat(outputs), self._generator())

    def save(self) -> Path:
        """Write `checkpoint-<step>` in one move and remove older ones."""
        folder = Path(self.arguments.output_dir)
        staged, final = folder / "checkpoint.tmp", folder / f"checkpoint-{self.completed_steps:07d}"
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(parents=True)
        save_file(
            {name: value.contiguous() for name, value in self.model.state_dict().items()}, staged / "model.safetensors"
        )
        torch.save(self.optimizer.state_dict(), staged / "optimizer.pt")
        state = {"completed_steps": self.completed_steps, "arguments": asdict(self.arguments)}
        (staged / "state.json").write_text(json.dumps(state, indent=2), "utf-8")
        shutil.rmtree(final, ignore_errors=True)
        os.replace(staged, final)
        for old in list_checkpoints(folder)[:-1]:
            shutil.rmtree(old)
        return final

    def load(self, checkpoint: Path) -> None:
        """Continue from a checkpoint of the same recipe.

        Raises:
            ValueError: If the checkpoint was written with other arguments.
        """
        state = json.loads((checkpoint / "state.json").read_text("utf-8"))
        free = {"output_dir", "songs_dir", "checkpoint_steps", "log_steps"}
        ours = json.loads(json.dumps(asdict(self.arguments)))
        differing = sorted(name for name in ours if name not in free and ours[name] != state["arguments"].get(name))
        if differing:
            raise ValueError(
                f"`arguments` must equal those of {checkpoint} to resume, but {', '.join(differing)} differ. "
                "Choose another `output_dir` or the old values."
            )
        self.model.load_state_dict(load_file(checkpoint / "model.safetensors"))
        self.optimizer.load_state_dict(torch.load(checkpoint / "optimizer.pt", weights_only=True))
        self.completed_steps = state["completed_steps"]


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in `folder`, oldest first."""
    return sorted(folder.glob("checkpoint-*"))
