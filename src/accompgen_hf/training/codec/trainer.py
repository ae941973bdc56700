"""One update of the codec's training.

First without quantizer, then codebooks are set by k-means on the encoder's outputs and follow them by EMA (a quantized
start from noise collapses onto a few codes); from `discriminator_step` on discriminators judge the decoded audio, and
from `freeze_step` on the decoder trains alone. Small batches and many updates learn fastest per minute on a CPU.
Everything random is derived from (seed, step): a resumed run equals an unbroken one.

Letters: B batch, D codebook dimension, T codec frames, N samples.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from transformers.models.encodec.modeling_encodec import EncodecConv1d, EncodecConvTranspose1d

from accompgen_hf.accompgen.configuration_accompgen_codec import AccompGenCodecConfig
from accompgen_hf.accompgen.modeling_accompgen_codec import AccompGenCodec
from accompgen_hf.model_parts import load_part
from accompgen_hf.training.codec.arguments import CodecTrainingArguments
from accompgen_hf.training.codec.losses import CombLoss, Discriminators, SpectralLoss
from accompgen_hf.training.codec.material import CONTEXT_FRAMES, SongTracks, draw_clips, draw_coded_clips
from accompgen_hf.training.codec.quantizer import (
    fit_codebooks,
    quantize_and_update,
    start_running_sums,
    sum_code_vectors,
    sum_vectors_of,
)
from accompgen_hf.training.learning_rate import LearningRate

ADDED_LAYER_SCALE = 1e-3  # of a new block behind trained ones
DISCRIMINATOR_INTERVAL = 2  # turns of a discriminator per update of its own


def build_codec_config(**overrides) -> AccompGenCodecConfig:
    """Return the small codec's config: 24 kHz, 75 Hz, 8 codebooks x 1024, causal, with a Fourier decoder.

    The strides stand in reverse order of facebook/encodec_24khz: the encoder takes its longest stride first, few
    layers run at the full rate, and an update costs half.
    """
    settings = {
        "decoder_type": "fourier",
        "target_bandwidths": [1.5, 3.0, 6.0],
        "num_filters": 16,
        "hidden_size": 64,
        "upsampling_ratios": [2, 4, 5, 8],
        "num_lstm_layers": 1,
        "use_conv_shortcut": False,
        "pad_mode": "constant",
    }
    return AccompGenCodecConfig(**{**settings, **overrides})


@torch.no_grad()
def initialize_from_data(model: AccompGenCodec, clips: torch.Tensor) -> None:
    """Scale and shift every convolution of EnCodec once so that its outputs on `clips` have mean 0 and variance 1.

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
    if model.config.decoder_type == "fourier":
        return
    # The last convolution speaks at the clips' level.
    last = model.decoder.layers[-1].conv
    gain = clips.std() / decoded.std()
    last.parametrizations.weight.original0.mul_(gain)
    last.bias.mul_(gain)


def keep_decoder_layers(model: AccompGenCodec, kept: Sequence[int]) -> AccompGenCodec:
    """Return a codec with some blocks of another's Fourier decoder: smaller and faster, to be trained on.

    Raises:
        ValueError: If a block does not exist, or the codec has another decoder.
    """
    num_layers = model.config.num_decoder_layers
    if not kept or not set(kept) <= set(range(num_layers)):
        raise ValueError(f"`keep_decoder_layers` must name blocks from 0 to {num_layers - 1}, got {list(kept)}.")
    smaller = _of_layers(model, len(kept))
    blocks = model.decoder.blocks
    model.decoder.blocks = torch.nn.ModuleList(blocks[number] for number in kept)
    smaller.load_state_dict(model.state_dict())
    model.decoder.blocks = blocks
    return smaller


@torch.no_grad()
def add_decoder_layers(model: AccompGenCodec, num_added: int) -> AccompGenCodec:
    """Return a codec with more blocks behind those of another's Fourier decoder, which hardly change it at first.

    Raises:
        ValueError: If the codec has another decoder.
    """
    if not num_added:
        return model
    larger = _of_layers(model, model.config.num_decoder_layers + num_added)
    larger.load_state_dict({**larger.state_dict(), **model.state_dict()})
    for block in larger.decoder.blocks[-num_added:]:
        block.layer_scale.fill_(ADDED_LAYER_SCALE)
    return larger


def _of_layers(model: AccompGenCodec, num_layers: int) -> AccompGenCodec:
    """A new codec like another one but for the number of its decoder's blocks."""
    if model.config.decoder_type != "fourier":
        raise ValueError(
            "`keep_decoder_layers` and `num_added_decoder_layers` need a codec whose `decoder_type` is 'fourier', got "
            f"{model.config.decoder_type!r}. Leave both out, or name another codec with `init_from`."
        )
    return AccompGenCodec(AccompGenCodecConfig(**{**model.config.to_dict(), "num_decoder_layers": num_layers}))


class CodecTrainer:
    """A codec, its optimizers and the place in the run; one `step()` is one update."""

    def __init__(self, arguments: CodecTrainingArguments, songs: Sequence[SongTracks]):
        self.arguments, self.songs, self.completed_steps = arguments, songs, 0
        self.device = torch.device(arguments.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(arguments.seed)
            self.model = self._build_model()
            self.discriminators = Discriminators(arguments.discriminator_windows, arguments.discriminator_channels)
        config = self.model.config
        self.model.to(self.device).train()
        self.discriminators.to(self.device)
        self.loss = SpectralLoss(
            config.sampling_rate,
            arguments.mel_scales,
            arguments.spectrum_scales if arguments.spectrum_weight else (),
            arguments.linear_weight,
            arguments.convergence_weight,
            arguments.treble_weight,
        ).to(self.device)
        self.comb_loss = CombLoss(config.sampling_rate, config.hop_length)
        self.optimizer = self._build_optimizer(self.model, arguments.learning_rate)
        self.discriminator_optimizer = self._build_optimizer(
            self.discriminators, arguments.discriminator_learning_rate
        )
        self.rate_share = LearningRate(1.0, arguments.warmup_steps, arguments.max_steps, arguments.decay_share)
        # Codebooks per bandwidth, e.g. 2, 4, 8: what quantizer dropout chooses from.
        self.depths = [
            self.model.quantizer.get_num_quantizers_for_bandwidth(bandwidth) for bandwidth in config.target_bandwidths
        ]

    def _build_model(self) -> AccompGenCodec:
        if self.arguments.init_from is not None:
            model = load_part(self.arguments.init_from, "codec", dtype=torch.float32)
            start_running_sums(model.quantizer)
            if self.arguments.keep_decoder_layers is not None:
                model = keep_decoder_layers(model, self.arguments.keep_decoder_layers)
            return add_decoder_layers(model, self.arguments.num_added_decoder_layers)
        model = AccompGenCodec(build_codec_config(**self.arguments.model))
        clips = draw_clips(self.songs, self.arguments, 0, model.config.hop_length)
        initialize_from_data(model, clips)
        return model

    def _build_optimizer(self, module: torch.nn.Module, learning_rate: float) -> torch.optim.Optimizer:
        return torch.optim.Adam(module.parameters(), lr=learning_rate, betas=(0.8, 0.99), fused=True)

    # ---- the schedule -----------------------------------------------------------------------------------------------

    @property
    def is_frozen(self) -> bool:
        """Whether encoder and quantizer stay as they are in the coming step."""
        freeze_step = self.arguments.freeze_step
        return self.arguments.freeze_encoder or (freeze_step is not None and self.completed_steps >= freeze_step)

    @property
    def has_quantizer(self) -> bool:
        """Whether the coming step decodes codes, and not the encoder's outputs with noise."""
        return self.arguments.init_from is not None or self.completed_steps >= self.arguments.num_continuous_steps

    @property
    def has_generated_codes(self) -> bool:
        """Whether the coming update decodes codes whose fine ones a model made."""
        drawn = torch.rand((), generator=self._generator(4)).item()
        return drawn < self.arguments.generated_share

    @property
    def has_discriminators(self) -> bool:
        """Whether the coming update uses discriminators."""
        start, stop = self.arguments.discriminator_step, self.arguments.discriminator_stop_step
        return start is not None and start <= self.completed_steps < (math.inf if stop is None else stop)

    # ---- an update --------------------------------------------------------------------------------------------------

    def step(self) -> dict[str, float]:
        """Make one update and return its numbers."""
        arguments, step = self.arguments, self.completed_steps
        if step == arguments.num_continuous_steps and arguments.init_from is None:
            self._fit_codebooks()
        for optimizer, peak in (
            (self.optimizer, arguments.learning_rate),
            (self.discriminator_optimizer, arguments.discriminator_learning_rate),
        ):
            for group in optimizer.param_groups:
                group["lr"] = peak * self.rate_share.at(step)
        self.model.encoder.requires_grad_(not self.is_frozen)
        decoded, target, losses = self._decode_clips()
        losses |= self.loss(decoded, target)
        if arguments.comb_weight:
            losses["comb"] = self.comb_loss(decoded, target)
        # Relative to the clips, so that 1 is what silence would get.
        losses["waveform"] = (decoded - target).abs().mean() / target.abs().mean().clamp(min=1e-3)
        if self.has_discriminators:
            losses |= self._judge(decoded, target)
        numbers = {f"{name}_loss": loss.item() for name, loss in losses.items()}
        self.optimizer.zero_grad()
        self._weigh(losses).backward()
        numbers["grad_norm"] = torch.nn.utils.clip_grad_norm_(
            self.model.parameters(), arguments.max_grad_norm, error_if_nonfinite=True
        ).item()
        self.optimizer.step()
        self.completed_steps += 1
        return numbers

    def _decode_clips(self) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
        """Decoded and true clips of an update, `(B, N)` both, and the losses of encoder and quantizer."""
        hop_length, num_skipped = self.model.config.hop_length, 0
        drawn = (self.songs, self.arguments, self.completed_steps, hop_length)
        if self.has_generated_codes:
            num_skipped = CONTEXT_FRAMES * hop_length
            clips, codes = (tensor.to(self.device) for tensor in draw_coded_clips(*drawn))
            depths = self._draw_depths(len(clips))
            embeddings, losses = sum_vectors_of(self.model.quantizer, codes.transpose(0, 1), depths), {}
        else:
            clips = draw_clips(*drawn).to(self.device)
            embeddings, losses = self._embed(clips)
        with self._autocast():
            decoded = self.model.decode_embeddings(embeddings, self.depths[-1])  # (B, D, T) -> (B, 1, N)
        return decoded.float()[:, 0, num_skipped:], clips[:, 0, num_skipped:], losses

    def _weigh(self, losses: dict[str, torch.Tensor]) -> torch.Tensor:
        weights = {
            name: getattr(self.arguments, f"{name}_weight")
            for name in ("mel", "spectrum", "comb", "waveform", "scale", "commitment", "adversarial", "feature")
        }
        return sum(weights[name] * loss for name, loss in losses.items() if weights.get(name))

    def _embed(self, clips: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """What the decoder is given for clips, `(B, D, T)`, and the losses of encoder and quantizer."""
        with self._autocast(), torch.set_grad_enabled(not self.is_frozen):
            hidden_states = self.model.encoder(clips).float()  # (B, 1, N) -> (B, D, T)
        if self.is_frozen:
            return sum_code_vectors(self.model.quantizer, hidden_states, self._draw_depths(len(clips))), {}
        # Channels of one size: the codebooks' Euclidean distance then weighs them alike and none runs away.
        losses = {"scale": (hidden_states.std(dim=(0, 2)) - 1).square().mean()}
        if not self.has_quantizer:
            return self._add_noise(hidden_states), losses
        quantized = quantize_and_update(
            self.model.quantizer,
            hidden_states,
            self._draw_depths(len(clips)),
            self._generator(2),
            self.arguments.ema_decay,
            self.arguments.dead_share,
        )
        return quantized.embeddings, losses | {"commitment": quantized.commitment_loss}

    def _judge(self, decoded: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
        """Losses by the discriminator whose turn it is, which is itself trained in every other turn."""
        num_rounds, turn = divmod(self.completed_steps, len(self.discriminators))
        losses = {}
        if num_rounds % DISCRIMINATOR_INTERVAL == 0:
            with self._autocast():
                loss = self.discriminators.own_loss(decoded, target, turn)
            self.discriminator_optimizer.zero_grad()
            loss.backward()
            self.discriminator_optimizer.step()
            losses["discriminator"] = loss.detach()
        self.discriminators.requires_grad_(False)
        with self._autocast():
            losses |= self.discriminators.codec_losses(decoded, target, turn)
        self.discriminators.requires_grad_(True)
        return losses

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.arguments.use_bf16)

    def _generator(self, purpose: int) -> torch.Generator:
        # SeedSequence mixes the numbers: plain sums would repeat streams between seeds.
        entropy = (self.arguments.seed, self.completed_steps, purpose)
        seed = np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]
        return torch.Generator().manual_seed(int(seed) % 2**63)

    def _add_noise(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Stand in for the coming quantizer: what the decoder needs must be louder than the quantization error."""
        noise = torch.randn(hidden_states.shape, generator=self._generator(1)).to(hidden_states.device)
        deviation = hidden_states.detach().std(dim=(0, 2))[:, None]  # (B, D, T) -> (D, 1)
        return hidden_states + self.arguments.latent_noise_share * deviation * noise

    def _draw_depths(self, batch_size: int) -> torch.LongTensor:
        """Codebooks that each item is decoded from (quantizer dropout)."""
        shares = torch.tensor(self.arguments.depth_shares, dtype=torch.float32)  # JSON may hold whole numbers
        choice = torch.multinomial(shares, batch_size, replacement=True, generator=self._generator(1))
        return torch.tensor(self.depths)[choice].to(self.device)

    @torch.no_grad()
    def _fit_codebooks(self) -> None:
        """Start the codebooks by k-means on the outputs for the coming steps' clips."""
        outputs = []
        for ahead in range(self.arguments.num_codebook_fit_batches):
            step = self.completed_steps + ahead
            clips = draw_clips(self.songs, self.arguments, step, self.model.config.hop_length).to(self.device)
            with self._autocast():
                hidden_states = self.model.encoder(clips).float()
            outputs.append(hidden_states.transpose(1, 2).flatten(0, 1))  # (B, D, T) -> (B * T, D)
        fit_codebooks(self.model.quantizer, torch.cat(outputs), self._generator(3))
