"""SingSong's two models as configurations: T5 v1.1 over one flat vocabulary of codes (Donahue et al. 2023, S-SA).

The vocabulary is that of our stages: padding, BOS and null, then every code of the encoder's streams, then every code
of the decoder's. No id means two things, and `segments` says where each stream begins.
"""

from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import PreTrainedConfig
from transformers.models.encodec.configuration_encodec import EncodecConfig
from transformers.models.t5.configuration_t5 import T5Config

from accompgen_hf.accompgen.configuration_accompgen import (
    CODEC_FRAME_RATE,
    GRID_RATE,
    NUM_SPECIAL_TOKENS,
    SEMANTIC_FRAME_RATE,
    AccompGenSemanticEncoderConfig,
    Segment,
    as_config,
)
from accompgen_hf.accompgen.model_checks_accompgen import CheckedConfigMixin


@strict
class SingSongStageConfig(CheckedConfigMixin, T5Config):
    """What both models share; the defaults are T5 v1.1's base size.

    Args:
        vocab_size (`int`, *optional*): Follows from the other fields.
        condition_dropout (`float`): Probability of hiding a training sample's vocals, which guidance needs; SingSong
            itself has none.
        history_dropout (`float`): Largest share of a training sample's own semantic past that is hidden, as in our
            semantic stage; SingSong itself has none.
        clip_duration_s (`float`): Seconds of a training clip, and of a generation window.
        window_overlap_s (`float`): Seconds that consecutive generation windows share.
        silence_codes (`dict`, *optional*): Codes of silence per encoder stream; they fill a window whose input is
            shorter; `None` is code 0.
        token_fingerprint (`str`, *optional*): Identity of the parts that made the training tokens.
    """

    model_type = "singsong_stage"
    attribute_map = {**T5Config.attribute_map, "dropout": "dropout_rate", "intermediate_size": "d_ff"}
    conditioning_names: ClassVar[tuple[str, ...]] = ()
    target_names: ClassVar[tuple[str, ...]] = ()

    vocab_size: int | None = None
    d_model: int = 768
    d_kv: int = 64
    d_ff: int = 2048
    num_layers: int = 12
    num_heads: int = 12
    dropout_rate: float | int = 0.0
    feed_forward_proj: str = "gated-gelu"
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    null_token_id: int = 2
    eos_token_id: int | list[int] | None = None
    decoder_start_token_id: int = 1
    num_clusters: int = 500
    codebook_size: int = 1024
    num_codebooks: int = 4
    condition_dropout: float | int = 0.0
    history_dropout: float | int = 0.0
    clip_duration_s: float | int = 10.0
    window_overlap_s: float | int = 0.0
    silence_codes: dict[str, list[int]] | None = None
    token_fingerprint: str | None = None

    def __post_init__(self, **kwargs: Any):
        expected = self.segments[-1].offset + self.segments[-1].num_ids if self.target_names else NUM_SPECIAL_TOKENS
        if self.vocab_size is None:
            self.vocab_size = expected
        elif self.vocab_size != expected:
            raise ValueError(
                f"`vocab_size` must be {expected} (special ids, then every stream's codes), got {self.vocab_size}. "
                "Leave it out: it follows from the other fields."
            )
        super().__post_init__(**kwargs)
        # T5 v1.1: the head has its own weights, so its input is not scaled. The flag ties the two embeddings.
        self.scale_decoder_outputs = False
        self.tie_word_embeddings = True

    def validate_stage(self):
        """Refuse depths that cannot generate, and windows off the 40-ms grid (called by `@strict`)."""
        if self.num_decoder_layers != self.num_layers:
            # The cache of Transformers' `generate` counts the encoder's layers.
            raise ValueError(
                f"`num_decoder_layers` must equal `num_layers` {self.num_layers}, got {self.num_decoder_layers}."
            )
        for name in ("clip_duration_s", "window_overlap_s"):
            if abs(getattr(self, name) * GRID_RATE - round(getattr(self, name) * GRID_RATE)) > 1e-6:
                raise ValueError(f"`{name}` must be a multiple of 0.04 s, got {getattr(self, name)}.")
        if not 0 <= self.window_overlap_s < self.clip_duration_s:
            raise ValueError(
                f"`window_overlap_s` must be at least 0 and below `clip_duration_s` {self.clip_duration_s}, "
                f"got {self.window_overlap_s}."
            )

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The encoder's streams in order, then the decoder's."""
        segments, offset = [], NUM_SPECIAL_TOKENS
        for name in (*self.conditioning_names, *self.target_names):
            sizes = (CODEC_FRAME_RATE, self.num_codebooks, self.codebook_size)
            if name.endswith("semantic_ids"):
                sizes = (SEMANTIC_FRAME_RATE, 1, self.num_clusters)
            segments.append(Segment(name, *sizes, offset))
            offset += segments[-1].num_ids
        return tuple(segments)

    @property
    def conditioning_segments(self) -> tuple[Segment, ...]:
        return self.segments[: len(self.conditioning_names)]

    @property
    def target_segments(self) -> tuple[Segment, ...]:
        return self.segments[len(self.conditioning_names) :]

    @property
    def target_segment(self) -> Segment:
        """The last stream of the decoder; its end is the target's end."""
        return self.segments[-1]


@strict
class SingSongConfig(SingSongStageConfig):
    """S-SA: vocal semantic ids into the encoder; the decoder writes all instrumental semantic ids, then all coarse
    codes, frame by frame."""

    model_type = "singsong"
    base_config_key = "coarse_config"
    conditioning_names: ClassVar[tuple[str, ...]] = ("vocal_semantic_ids",)
    target_names: ClassVar[tuple[str, ...]] = ("instrumental_semantic_ids", "coarse_codes")

    clip_duration_s: float | int = 10.0
    window_overlap_s: float | int = 5.0


@strict
class SingSongFineConfig(SingSongStageConfig):
    """Coarse to fine: codebooks 1-4 into the encoder, codebooks 5-8 out of the decoder, in windows of their own."""

    model_type = "singsong_fine"
    base_config_key = "fine_config"
    conditioning_names: ClassVar[tuple[str, ...]] = ("coarse_codes",)
    target_names: ClassVar[tuple[str, ...]] = ("fine_codes",)

    clip_duration_s: float | int = 3.0
    window_overlap_s: float | int = 0.0


@strict
class SingSongAccompanimentConfig(CheckedConfigMixin, PreTrainedConfig):
    """The whole system: semantic encoder, both models and EnCodec, with the settings that made the tokens.

    The fields are those of [`AccompGenConfig`].
    """

    model_type = "singsong_accompaniment"
    sub_configs: ClassVar[dict] = {
        "semantic_encoder_config": AccompGenSemanticEncoderConfig,
        "coarse_config": SingSongConfig,
        "fine_config": SingSongFineConfig,
        "codec_config": EncodecConfig,
    }

    semantic_encoder_config: dict | PreTrainedConfig | None = None
    coarse_config: dict | PreTrainedConfig | None = None
    fine_config: dict | PreTrainedConfig | None = None
    codec_config: dict | PreTrainedConfig | None = None
    vocal_target_lufs: float | int | None = -20.0
    noise_std: float | int = 0.01
    bandwidth: float | int = 6.0
    preview_bandwidth: float | int = 3.0
    codec_block_duration_s: float | int = 10.0
    codec_context_duration_s: float | int = 2.0
    token_fingerprint: str | None = None

    def __post_init__(self, **kwargs: Any):
        for name, config_class in self.sub_configs.items():
            setattr(self, name, as_config(getattr(self, name), config_class))
        super().__post_init__(**kwargs)
