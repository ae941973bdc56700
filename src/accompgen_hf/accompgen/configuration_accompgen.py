"""Configurations: one class per stage over a small shared base, the semantic encoder, and the composite.

A stage's vocabulary is flat: three special ids, then the codes of every conditioning segment, then the codes of every
target codebook. `Segment` says where each of them begins; nothing else in the project computes an offset.
"""

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import PreTrainedConfig
from transformers.models.hubert.configuration_hubert import HubertConfig

from .configuration_accompgen_codec import AccompGenCodecConfig
from .model_checks_accompgen import CheckedConfigMixin
from .part_configs_accompgen import PartConfig, as_config
from .parts_accompgen import WHOLE_BAND, check_part_names, check_style_names

NUM_SPECIAL_TOKENS = 3  # padding, beginning of sequence, null (dropped) conditioning
TIME_UNITS_PER_SECOND = 150  # the least common multiple of 50 and 75 Hz: every frame starts on a whole unit
GRID_RATE = 25  # Hz; 50 and 75 Hz frames start together on this grid
SEMANTIC_FRAME_RATE = 50  # Hz (paper §3.2)
CODEC_FRAME_RATE = 75  # Hz (paper §3.2)
RELATIVE_POSITION_AXES = ("token", "time")
SEMANTIC_NAMES = ("vocal_semantic_ids", "instrumental_semantic_ids")


@dataclass(frozen=True)
class Segment:
    """One stretch of a stage's sequence whose slots share a frame rate and a block of the vocabulary.

    Attributes:
        name (`str`): The tensor it holds, for example `"vocal_semantic_ids"`.
        frame_rate (`int`): Frames per second.
        num_codebooks (`int`): Codes per frame, interleaved frame by frame; of semantic ids those of all parts.
        codebook_size (`int`): Codes of one codebook.
        offset (`int`): Vocabulary id of code 0 of codebook 0; codebook k begins at `offset + k * codebook_size`.
    """

    name: str
    frame_rate: int
    num_codebooks: int
    codebook_size: int
    offset: int

    @property
    def has_codebook_axis(self) -> bool:
        """Whether its tensors are `(batch_size, num_codebooks, num_frames)`; one semantic stream has no such axis."""
        return self.num_codebooks > 1 or not self.is_semantic

    @property
    def is_semantic(self) -> bool:
        """Whether it holds k-means ids, not codes of EnCodec."""
        return self.name in SEMANTIC_NAMES

    @property
    def num_ids(self) -> int:
        """Number of ids of all codebooks."""
        return self.num_codebooks * self.codebook_size

    @property
    def time_units_per_frame(self) -> int:
        """Length of a frame in units of the time axis, 1/150 s each."""
        return TIME_UNITS_PER_SECOND // self.frame_rate


if TYPE_CHECKING:
    from transformers.configuration_utils import PreTrainedConfig as _ExtendedConfig  # what stands right of the mixin
else:
    _ExtendedConfig = object


class StreamsMixin(_ExtendedConfig):
    """Streams of a stage in one flat vocabulary, and the windows in which they are trained and generated.

    Stands left of the configuration that it extends, which has the fields `num_clusters`, `codebook_size`,
    `num_codebooks`, `clip_duration_s` and `window_overlap_s`.

    Attributes:
        conditioning_names (`tuple` of `str`): Streams that the stage reads.
        target_names (`tuple` of `str`): Streams that it writes; a base class without streams has none.
        plans_all_parts (`bool`): Whether its target holds the streams of all parts, as codebooks of each frame.
        part_names, style_names, style_dropout: As in `AccompGenStageConfig`; here the whole band in no style.
    """

    conditioning_names: ClassVar[tuple[str, ...]] = ()
    target_names: ClassVar[tuple[str, ...]] = ()
    plans_all_parts: ClassVar[bool] = False
    part_names: list[str] | tuple[str, ...] = WHOLE_BAND
    style_names: list[str] | tuple[str, ...] = ()
    style_dropout: float | int = 0.0
    vocab_size: int | None

    def __post_init__(self, **kwargs: Any) -> None:
        expected = self.segments[-1].offset + self.segments[-1].num_ids if self.target_names else NUM_SPECIAL_TOKENS
        if self.vocab_size is None:
            self.vocab_size = expected
        elif self.vocab_size != expected:
            raise ValueError(
                f"`vocab_size` must be {expected} (special ids, conditioning codes, target codes), "
                f"got {self.vocab_size}. Leave it out: it follows from the other fields."
            )
        super().__post_init__(**kwargs)

    def validate_windows(self) -> None:
        """Refuse windows off the 40-ms grid, and overlaps that leave no hop (called by `@strict`)."""
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
        """Conditioning segments in order, then the targets; a slot's `segment_ids` value is its index here."""
        segments, offset = [], NUM_SPECIAL_TOKENS
        for name in (*self.conditioning_names, *self.target_names):
            sizes = (CODEC_FRAME_RATE, self.num_codebooks, self.codebook_size)
            if name in SEMANTIC_NAMES:
                is_plan = self.plans_all_parts and name in self.target_names
                sizes = (SEMANTIC_FRAME_RATE, len(self.part_names) if is_plan else 1, self.num_clusters)
            segments.append(Segment(name, *sizes, offset))
            offset += segments[-1].num_ids
        return tuple(segments)

    @property
    def conditioning_segments(self) -> tuple[Segment, ...]:
        """Segments that the stage reads."""
        return self.segments[: len(self.conditioning_names)]

    @property
    def target_segments(self) -> tuple[Segment, ...]:
        """Segments that the stage writes."""
        return self.segments[len(self.conditioning_names) :]

    @property
    def target_segment(self) -> Segment:
        """The last stream that is written; its end is the target's end."""
        return self.segments[-1]

    @property
    def num_part_rows(self) -> int:
        """Rows of the part embedding, if a row of a batch is one part; 0 for one part, or where all are planned."""
        return 0 if self.plans_all_parts or len(self.part_names) == 1 else len(self.part_names)

    @property
    def num_style_rows(self) -> int:
        """Rows of the style embedding, the first for any style; 0 if there are no styles."""
        return len(self.style_names) + 1 if self.style_names else 0

    @property
    def target_name(self) -> str:
        """Name of the last segment that the stage writes."""
        if not self.target_names:
            raise NotImplementedError(f"{type(self).__name__} is a base class and names no target.")
        return self.target_names[-1]


@strict
class AccompGenStageConfig(StreamsMixin, CheckedConfigMixin, PreTrainedConfig):
    """What the three stages share (paper §3.4); the defaults are the paper's base size, 250 M over three stages.

    Args:
        intermediate_size (`int`): Inner width of GEGLU, floor(2/3 * 4 * hidden_size) in the paper.
        relative_attention_num_buckets (`int`): Buckets of the same-segment (or whole-sequence) T5 bias.
        relative_attention_max_distance (`int`, *optional*): Tokens from which that bias is constant; `None` is 128,
            times the number of parts where the target holds them all.
        relative_position_axis (`str`): `"token"`, the paper's token distance over the whole sequence, or `"time"`,
            which compares segments by the instant at which their frames sound.
        cross_segment_num_buckets (`int`): Buckets of the bias between segments on the `"time"` axis, both directions.
        cross_segment_max_distance (`int`): Key frames from which the bias between segments is constant.
        relative_bias_slope (`float`): How much the bias of a new model falls per bucket in its first head; every
            further head falls half as much, the last one not at all. 0 is T5's start, where training has to find out
            which frames sound together; it moves a bias by one learning rate per step at most.
        bidirectional_prefix (`bool`): Whether conditioning slots attend to later conditioning slots (paper: no).
        condition_dropout (`float`): Probability of hiding a training sample's conditioning (paper §3.5).
        history_dropout (`float`): Largest share of a training sample's own past that is hidden, in blocks of 0.4 s,
            so that codes which repeat themselves cannot be told by copying; the share is uniform below it (paper: 0).
            Above 1, 1 - 1 / `history_dropout` of the samples hide all of it, as `evidence_scale` asks for.
        part_names (`list` of `str`): Parts of the accompaniment, in the order of their streams.
        style_names (`list` of `str`): Styles that can be asked for.
        style_dropout (`float`): Probability of hiding a training sample's style.
        clip_duration_s (`float`): Seconds of a training clip, and of a generation window.
        window_overlap_s (`float`): Seconds that consecutive generation windows share.
        silence_codes (`dict`, *optional*): Codes of silence, one list (a value per codebook) per conditioning name;
            they fill a window whose input is shorter; `None` is code 0.
        token_fingerprint (`str`, *optional*): Identity of the encoder, centroids, codec and recipe that made the
            training tokens.
    """

    model_type = "accompgen_stage"
    keys_to_ignore_at_inference = ["past_key_values"]

    vocab_size: int | None = None
    hidden_size: int = 1024
    num_hidden_layers: int = 6
    num_attention_heads: int = 16
    head_dim: int = 64
    intermediate_size: int = 2730
    hidden_act: str = "gelu"
    rms_norm_eps: float = 1e-6
    initializer_range: float = 0.02
    dropout: float | int = 0.0
    relative_attention_num_buckets: int = 32
    relative_attention_max_distance: int | None = None
    relative_position_axis: str = "token"
    cross_segment_num_buckets: int = 64
    cross_segment_max_distance: int = 500
    relative_bias_slope: float | int = 0.0
    bidirectional_prefix: bool = False
    condition_dropout: float | int = 0.1
    history_dropout: float | int = 0.0
    part_names: list[str] | tuple[str, ...] = WHOLE_BAND
    style_names: list[str] | tuple[str, ...] = ()
    style_dropout: float | int = 0.3
    num_clusters: int = 500
    codebook_size: int = 1024
    num_codebooks: int = 4
    clip_duration_s: float | int = 10.0
    window_overlap_s: float | int = 0.0
    silence_codes: dict[str, list[int]] | None = None
    token_fingerprint: str | None = None
    use_cache: bool = True
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    null_token_id: int = 2
    eos_token_id: int | list[int] | None = None
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        self.part_names = check_part_names(self.part_names)
        self.style_names = check_style_names(self.style_names)
        if self.relative_attention_max_distance is None:
            self.relative_attention_max_distance = 128 * (len(self.part_names) if self.plans_all_parts else 1)
        super().__post_init__(**kwargs)

    def validate_stage(self) -> None:
        """Refuse values that would build another model than asked for (called by `@strict`)."""
        if self.relative_position_axis not in RELATIVE_POSITION_AXES:
            raise ValueError(
                f"`relative_position_axis` must be in {RELATIVE_POSITION_AXES}, got {self.relative_position_axis!r}."
            )
        if self.hidden_act != "gelu":
            raise ValueError(f"`hidden_act` must be 'gelu' (GEGLU, Eq. 4), got {self.hidden_act!r}.")
        if self.tie_word_embeddings:
            raise ValueError("`tie_word_embeddings` must be False: a stage has one head per quantizer.")
        for name in ("relative_attention_num_buckets", "cross_segment_num_buckets"):
            if getattr(self, name) < 4 or getattr(self, name) % 4:
                raise ValueError(f"`{name}` must be a multiple of 4 and at least 4, got {getattr(self, name)}.")


@strict
class AccompGenSemanticConfig(AccompGenStageConfig):
    """Stage 1: p(s^i | s^v), vocal semantic ids to instrumental semantic ids, both at 50 Hz (paper §3.3).

    Args:
        has_listener (`bool`): Whether it has the tables of an [`AccompGenListener`] (paper: no).
    """

    model_type = "accompgen_semantic"
    base_config_key = "semantic_config"
    conditioning_names: ClassVar[tuple[str, ...]] = ("vocal_semantic_ids",)
    target_names: ClassVar[tuple[str, ...]] = ("instrumental_semantic_ids",)
    plans_all_parts: ClassVar[bool] = True

    clip_duration_s: float | int = 10.0
    window_overlap_s: float | int = 5.0
    has_listener: bool = False


@strict
class AccompGenCoarseConfig(AccompGenStageConfig):
    """Stage 2: p(a^c | s^v, s^i), both semantic streams to EnCodec codebooks 1-4, interleaved (paper §3.3)."""

    model_type = "accompgen_coarse"
    base_config_key = "coarse_config"
    conditioning_names: ClassVar[tuple[str, ...]] = ("vocal_semantic_ids", "instrumental_semantic_ids")
    target_names: ClassVar[tuple[str, ...]] = ("coarse_codes",)

    clip_duration_s: float | int = 5.0
    window_overlap_s: float | int = 2.4


@strict
class AccompGenFineConfig(AccompGenStageConfig):
    """Stage 3: p(a^f | a^c), EnCodec codebooks 1-4 to codebooks 5-8 (paper §3.3).

    Args:
        condition_on_semantics (`bool`): Whether both semantic streams stand before the coarse codes (paper: no).
    """

    model_type = "accompgen_fine"
    base_config_key = "fine_config"
    target_names: ClassVar[tuple[str, ...]] = ("fine_codes",)

    clip_duration_s: float | int = 3.0
    window_overlap_s: float | int = 0.0
    condition_on_semantics: bool = False

    @property
    def conditioning_names(self) -> tuple[str, ...]:  # type: ignore[override]  # of one stage alone a field decides
        """Names of the conditioning segments, in their order."""
        semantics = SEMANTIC_NAMES if self.condition_on_semantics else ()
        return (*semantics, "coarse_codes")


@strict
class AccompGenSemanticEncoderConfig(CheckedConfigMixin, PreTrainedConfig):
    """HuBERT cut to `layer` layers, and a k-means codebook over its hidden states (paper §3.2).

    Args:
        layer (`int`): Index into HuBERT's hidden states; 0 is the input of the first layer.
        num_clusters (`int`): Centroids of k-means.
        do_normalize (`bool`): Whether each block is brought to zero mean and unit variance, as HuBERT Large expects.
        block_duration_s (`float`): Seconds that HuBERT sees at once.
        block_hop_s (`float`): Seconds kept from the middle of each block.
    """

    model_type = "accompgen_semantic_encoder"
    base_config_key = "semantic_encoder_config"
    sub_configs: ClassVar[dict] = {"hubert_config": HubertConfig}

    hubert_config: PartConfig = None
    layer: int = 9
    num_clusters: int = 500
    do_normalize: bool = True
    block_duration_s: float | int = 10.0
    block_hop_s: float | int = 8.0
    token_fingerprint: str | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        self.hubert_config = as_config(self.hubert_config, HubertConfig)
        super().__post_init__(**kwargs)


@strict
class CompositeConfig(CheckedConfigMixin, PreTrainedConfig):
    """What every whole system has: a semantic encoder, stages up to coarse and fine codes, and EnCodec.

    Args:
        vocal_target_lufs (`float`, *optional*): Loudness to which one gain brings the vocals before the noise; `None`
            leaves the level alone, as the paper does.
        noise_std (`float`): Standard deviation of the white noise added to the vocals (paper §3.2).
        bandwidth (`float`): EnCodec's kbps for coarse and fine codes together.
        preview_bandwidth (`float`): EnCodec's kbps for the coarse codes alone.
        codec_block_duration_s (`float`): Seconds of a block that EnCodec encodes or decodes at once.
        codec_context_duration_s (`float`): Seconds at the left of a block that are computed and discarded.
        token_fingerprint (`str`, *optional*): Identity of the tokens that encoder, codec and these settings make.
    """

    semantic_encoder_config: PartConfig = None
    coarse_config: PartConfig = None
    fine_config: PartConfig = None
    codec_config: PartConfig = None
    vocal_target_lufs: float | int | None = -20.0
    noise_std: float | int = 0.01
    bandwidth: float | int = 6.0
    preview_bandwidth: float | int = 3.0
    codec_block_duration_s: float | int = 10.0
    codec_context_duration_s: float | int = 2.0
    token_fingerprint: str | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        for name, config_class in self.sub_configs.items():
            setattr(self, name, as_config(getattr(self, name), config_class))
        super().__post_init__(**kwargs)

    @property
    def part_names(self) -> tuple[str, ...]:
        """Parts of the accompaniment, which all stages share."""
        return self.coarse_config.part_names

    @property
    def style_names(self) -> tuple[str, ...]:
        """Styles that can be asked for, which all stages share."""
        return self.coarse_config.style_names


@strict
class AccompGenConfig(CompositeConfig):
    """The composite: semantic encoder, three stages and EnCodec.

    Args:
        is_placeholder (`bool`): Whether the weights have not learned to accompany yet; programs say so to the user.
    """

    model_type = "accompgen"
    sub_configs: ClassVar[dict] = {
        "semantic_encoder_config": AccompGenSemanticEncoderConfig,
        "semantic_config": AccompGenSemanticConfig,
        "coarse_config": AccompGenCoarseConfig,
        "fine_config": AccompGenFineConfig,
        "codec_config": AccompGenCodecConfig,
    }

    semantic_config: PartConfig = None
    is_placeholder: bool = False
    initializer_range: float = 0.02

    def validate_parts(self) -> None:
        """Refuse parts that cannot work together, naming both sides (called by `@strict`)."""
        encoder, codec = self.semantic_encoder_config, self.codec_config
        for name, stage in product(("part_names", "style_names"), (self.coarse_config, self.fine_config)):
            if getattr(stage, name) != getattr(self.semantic_config, name):
                raise ValueError(
                    f"`{name}` of {stage.base_config_key} are {getattr(stage, name)}, but those of semantic_config "
                    f"are {getattr(self.semantic_config, name)}. Assemble stages trained on the same shards."
                )
        for stage in (self.semantic_config, self.coarse_config, self.fine_config):
            if stage.num_clusters != encoder.num_clusters:
                raise ValueError(
                    f"`num_clusters` of {stage.base_config_key} is {stage.num_clusters}, but the semantic encoder has "
                    f"{encoder.num_clusters} centroids. Use the encoder that made this stage's training tokens."
                )
            if stage.codebook_size != codec.codebook_size:
                raise ValueError(
                    f"`codebook_size` of {stage.base_config_key} is {stage.codebook_size}, but the codec has "
                    f"{codec.codebook_size}. Use the codec that made this stage's training tokens."
                )
            fingerprint = stage.token_fingerprint
            if None not in (fingerprint, self.token_fingerprint) and fingerprint != self.token_fingerprint:
                raise ValueError(
                    f"`token_fingerprint` of {stage.base_config_key} is {fingerprint}, but the composite's encoder, "
                    f"centroids, codec and recipe give {self.token_fingerprint}. Assemble parts made for each other."
                )
        for name in ("bandwidth", "preview_bandwidth"):
            if getattr(self, name) not in codec.target_bandwidths:
                raise ValueError(
                    f"`{name}` must be one of the codec's {codec.target_bandwidths} kbps, got {getattr(self, name)}."
                )


__all__ = [
    "AccompGenCoarseConfig",
    "AccompGenConfig",
    "AccompGenFineConfig",
    "AccompGenSemanticConfig",
    "AccompGenSemanticEncoderConfig",
    "AccompGenStageConfig",
    "SEMANTIC_NAMES",
    "CompositeConfig",
    "Segment",
    "StreamsMixin",
]
