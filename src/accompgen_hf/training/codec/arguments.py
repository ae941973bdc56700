"""The arguments of a codec's training run."""

import math
from dataclasses import dataclass, field

# May differ when a run goes on: no update depends on them, or its user knows (more songs, a folder that moved).
FREE_NAMES = ("output_dir", "songs_dir", "checkpoint_steps", "log_steps", "sample_steps", "init_from")
# May differ as long as the step from which they count is still ahead.
SCHEDULE_NAMES = ("max_steps", "decay_share", "freeze_step", "discriminator_step", "discriminator_stop_step")


@dataclass
class CodecTrainingArguments:
    """Recipe of a codec.

    Args:
        output_dir (`str`): Folder for checkpoints, `metrics.jsonl`, `curves.png`, samples and the codec in `final/`.
        songs_dir (`str`): Folder of songs as `material` writes them.
        init_from (`str`, *optional*): Folder of a codec whose weights start the run.
        freeze_encoder (`bool`): Train the decoder alone; with `init_from`.
        max_steps (`int`): Updates in all; `num_continuous_steps` of them come before the quantizer.
        freeze_step (`int`, *optional*): Encoder and quantizer stay as they are from this update on.
        clip_num_frames (`int`): Length of a training clip in codec frames.
        clip_shares (`dict` of `str` to `float`): Relative shares of what is cut from a song: `"instrumental"` (all
            tracks but the vocals), `"mix"` (all tracks), or a track by its name. What a song lacks is left out.
        generated_share (`float`): Share of the updates on codes whose fine ones a model made, as examples/
            generate_fine_codes.py does; clips are then single parts. Needs `freeze_encoder`.
        gain_range_db (`tuple[float, float]`): Random gain of a clip, uniform.
        latent_noise_share (`float`): Noise on the encoder's outputs before there is a quantizer, relative to each
            channel's deviation.
        decay_share (`float`): Last share of the updates, over which the learning rate falls to zero.
        depth_shares (`tuple[float, ...]`): Share of clips decoded from the codebooks of each bandwidth.
        mel_scales (`tuple[tuple[int, int], ...]`): Window sizes (samples) and mel bands of the mel loss.
        linear_weight (`float`): Weight of the linear distance inside the mel loss.
        spectrum_scales (`tuple[tuple[int, float], ...]`): Window sizes of the linear-frequency loss and their weights.
        treble_weight (`float`): Weight of bins above 4 kHz in it, relative to those below.
        comb_weight (`float`): Weight of the hum at multiples of the frame rate.
        convergence_weight (`float`): Weight of the linear distance inside the linear-frequency loss.
        keep_decoder_layers (`tuple[int, ...]`, *optional*): With `init_from`: the blocks of its Fourier decoder that
            are kept, by their numbers. `None` keeps all.
        num_added_decoder_layers (`int`): With `init_from`: blocks that are added behind those of its Fourier decoder.
        discriminator_step (`int`, *optional*): First update with discriminators. `None` is never.
        discriminator_stop_step (`int`, *optional*): First update without them again. `None` is never.
        use_bf16 (`bool`): Encoder and decoder blocks compute in bfloat16; for GPUs, and processors that compute in it.
        seed (`int`): Seed of weights, clips and noise.
        num_continuous_steps (`int`): Updates before there is a quantizer.
        batch_size (`int`): Clips per update.
        learning_rate (`float`): Highest learning rate.
        warmup_steps (`int`): Updates over which it rises.
        max_grad_norm (`float`): Norm to which gradients are clipped.
        mel_weight (`float`): Weight of the mel loss.
        spectrum_weight (`float`): Weight of the linear-frequency loss.
        waveform_weight (`float`): Weight of the samples' distance.
        scale_weight (`float`): Weight of the level's distance.
        commitment_weight (`float`): Weight of the distance between the encoder's outputs and their codes.
        ema_decay (`float`): Decay of the codebooks' moving averages.
        dead_share (`float`): Share of its mean use below which a code is replaced.
        num_codebook_fit_batches (`int`): Batches to which the codebooks are fitted at first.
        discriminator_windows (`tuple[int, ...]`): Window sizes (samples) of the discriminators.
        discriminator_channels (`int`): Width of the discriminators.
        discriminator_learning_rate (`float`): Learning rate of the discriminators.
        adversarial_weight (`float`): Weight of what the discriminators say.
        feature_weight (`float`): Weight of the distance of their features.
        device (`str`): Where it runs.
        checkpoint_steps (`int`): Updates between checkpoints.
        log_steps (`int`): Updates between lines of `metrics.jsonl`.
        sample_steps (`int`): Updates between samples.
        model (`dict`): Fields of the codec's config that differ from `build_codec_config`'s.
    """

    output_dir: str
    songs_dir: str
    init_from: str | None = None
    freeze_encoder: bool = False
    keep_decoder_layers: tuple[int, ...] | None = None
    num_added_decoder_layers: int = 0
    seed: int = 0
    max_steps: int = 30_000
    num_continuous_steps: int = 1_200
    freeze_step: int | None = None
    batch_size: int = 4
    clip_num_frames: int = 40
    clip_shares: dict = field(
        default_factory=lambda: {
            "instrumental": 0.5,
            "other": 0.25,
            "drums": 0.06,
            "bass": 0.04,
            "vocals": 0.08,
            "mix": 0.07,
        }
    )
    generated_share: float = 0.0
    gain_range_db: tuple[float, float] = (-6.0, 3.0)
    learning_rate: float = 8e-4
    warmup_steps: int = 200
    decay_share: float = 0.5
    max_grad_norm: float = 1.0
    mel_weight: float = 1.0
    spectrum_weight: float = 1.0
    waveform_weight: float = 1.0
    scale_weight: float = 0.1
    commitment_weight: float = 0.25
    comb_weight: float = 1.0
    linear_weight: float = 0.5
    convergence_weight: float = 0.5
    latent_noise_share: float = 0.3
    ema_decay: float = 0.98
    dead_share: float = 0.2
    num_codebook_fit_batches: int = 160
    depth_shares: tuple[float, ...] = (0.0, 0.2, 0.8)
    mel_scales: tuple[tuple[int, int], ...] = ((2048, 128), (1024, 80), (256, 32))
    spectrum_scales: tuple[tuple[int, float], ...] = ((4096, 2), (2048, 1), (1024, 1), (512, 1), (256, 1))
    treble_weight: float = 0.4
    discriminator_step: int | None = None
    discriminator_stop_step: int | None = None
    discriminator_windows: tuple[int, ...] = (2048, 1024, 512)
    discriminator_channels: int = 16
    discriminator_learning_rate: float = 3e-4
    adversarial_weight: float = 0.1
    feature_weight: float = 0.5
    use_bf16: bool = False
    device: str = "cpu"
    checkpoint_steps: int = 1_000
    log_steps: int = 100
    sample_steps: int = 5_000
    model: dict = field(default_factory=dict)

    def __post_init__(self):
        if self.freeze_encoder and self.init_from is None:
            raise ValueError("`freeze_encoder` needs `init_from`, a codec whose encoder has learned; got None.")
        if self.keep_decoder_layers is not None and self.init_from is None:
            raise ValueError("`keep_decoder_layers` needs `init_from`, a codec that has them; got None.")
        if self.num_added_decoder_layers and (self.init_from is None or self.num_added_decoder_layers < 0):
            raise ValueError(
                "`num_added_decoder_layers` must be 0, or with `init_from` more, "
                f"got {self.num_added_decoder_layers} with {self.init_from}."
            )
        if not 0 <= self.generated_share <= 1 or (self.generated_share and not self.freeze_encoder):
            raise ValueError(
                "`generated_share` must be 0, or with `freeze_encoder` at most 1, "
                f"got {self.generated_share} with {self.freeze_encoder}."
            )
        if not 0 < self.decay_share <= 1:
            raise ValueError(f"`decay_share` must be above 0 and at most 1, got {self.decay_share}.")
        if self.freeze_step is not None and self.freeze_step <= self.num_continuous_steps:
            raise ValueError(
                f"`freeze_step` must come after `num_continuous_steps` ({self.num_continuous_steps}), when there is a "
                f"quantizer, got {self.freeze_step}."
            )


def movable_schedule(found: dict, asked: dict, completed_steps: int) -> dict:
    """The part of `found`'s schedule that a run may replace by that of `asked`: it is still ahead in both.

    Args:
        found, asked (`dict`): Recipes as `describe_run` gives them, of a checkpoint and of the run that goes on.
        completed_steps (`int`): Updates that the checkpoint has behind it.
    """

    def start(recipe: dict, name: str) -> float:
        if name in ("max_steps", "decay_share"):
            return recipe["max_steps"] * (1 - recipe["decay_share"])
        return math.inf if recipe[name] is None else recipe[name]

    return {
        name: found[name] for name in SCHEDULE_NAMES if min(start(found, name), start(asked, name)) >= completed_steps
    }
