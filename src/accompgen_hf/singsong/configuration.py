"""SingSong's two models as configurations: T5 v1.1 over one flat vocabulary of codes (Donahue et al. 2023, S-SA).

The vocabulary is that of our stages: padding, BOS and null, then every code of the encoder's streams, then every code
of the decoder's. No id means two things, and `segments` says where each stream begins.
"""

from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers.models.t5.configuration_t5 import T5Config

from accompgen_hf.accompgen.configuration_accompgen import (
    AccompGenSemanticEncoderConfig,
    CompositeConfig,
    StreamsMixin,
)
from accompgen_hf.accompgen.configuration_accompgen_codec import AccompGenCodecConfig
from accompgen_hf.accompgen.model_checks_accompgen import CheckedConfigMixin


@strict
class SingSongStageConfig(StreamsMixin, CheckedConfigMixin, T5Config):
    """The settings that both models share; the defaults are T5 v1.1's base size.

    Args:
        vocab_size (`int`, *optional*): Size of the vocabulary, which follows from the other fields.
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
        super().__post_init__(**kwargs)
        # T5 v1.1: the head has its own weights, so its input is not scaled. The flag ties the two embeddings.
        self.scale_decoder_outputs = False
        self.tie_word_embeddings = True

    def validate_stage(self):
        """Refuse depths that cannot generate (called by `@strict`)."""
        if self.num_decoder_layers != self.num_layers:
            # The cache of Transformers' `generate` counts the encoder's layers.
            raise ValueError(
                f"`num_decoder_layers` must equal `num_layers` {self.num_layers}, got {self.num_decoder_layers}."
            )


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
class SingSongAccompanimentConfig(CompositeConfig):
    """The whole system: semantic encoder, both models and EnCodec, with the settings that made the tokens."""

    model_type = "singsong_accompaniment"
    sub_configs: ClassVar[dict] = {
        "semantic_encoder_config": AccompGenSemanticEncoderConfig,
        "coarse_config": SingSongConfig,
        "fine_config": SingSongFineConfig,
        "codec_config": AccompGenCodecConfig,
    }
