"""The model users load: HuBERT and centroids, three stages, EnCodec; vocals in, accompaniment out (Eq. 1).

Letters: B batch, T50 and T75 frames at 50 and 75 Hz.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from transformers.generation.configuration_utils import GenerationConfig
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import ModelOutput, logging

from .codec_accompgen import decode_in_blocks, encode_in_blocks
from .configuration_accompgen import AccompGenConfig
from .fingerprint_accompgen import check_token_fingerprints, compute_token_fingerprint
from .manifest_accompgen import ManifestSavingMixin
from .model_checks_accompgen import CheckedLoadingMixin, check_codebooks
from .modeling_accompgen_codec import AccompGenCodec
from .modeling_accompgen_semantic_encoder import (
    SAMPLES_PER_GRID_STEP,
    AccompGenSemanticEncoder,
    check_input_values,
)
from .modeling_accompgen_stages import (
    AccompGenCoarseForCausalLM,
    AccompGenFineForCausalLM,
    AccompGenSemanticForCausalLM,
)
from .options_accompgen import check_settings
from .padded_batches_accompgen import join_outputs, list_known_codes, list_lengths, list_output_lengths
from .parts_accompgen import choose_parts, style_id, style_ids
from .regeneration_accompgen import find_spans
from .seeds_accompgen import resolve_seeds
from .stage_chain_accompgen import STAGES, generate_recordings, stream_recording
from .told_song_accompgen import ToldSong, read_told_songs
from .torch_defaults_accompgen import usual_torch_defaults
from .training_record_accompgen import join_tracks
from .window_listening_accompgen import listening_context_s

SILENCE_DURATION_S = 4


@dataclass
class AccompGenOutput(ModelOutput):
    """What `AccompGenForConditionalGeneration.generate` returns; the fields stand in the order of computation.

    Attributes:
        audio (`torch.FloatTensor` of shape `(batch_size, T75 * 320)`): Accompaniment at 24 kHz.
        vocal_semantic_ids (`torch.LongTensor` of shape `(batch_size, T50)`): Ids of the vocals, the stages' input.
        instrumental_semantic_ids (`torch.LongTensor` of shape `(batch_size, T50)`): Result of stage 1.
        coarse_codes (`torch.LongTensor` of shape `(batch_size, num_codebooks, T75)`): Result of stage 2.
        fine_codes (`torch.LongTensor` of shape `(batch_size, num_codebooks, T75)`, *optional*): Result of stage 3;
            `None` for a preview.
        stems (`torch.FloatTensor` of shape `(batch_size, num_parts, num_frames * 320)`, *optional*): The parts that
            were asked for, whose sum is `audio`; `None` for a model of one part. With several parts the codes have an
            axis of parts behind the batch's: of stage 1 all parts of the model, of stages 2 and 3 those asked for.
        output_num_samples (`torch.LongTensor` of shape `(batch_size,)`, *optional*): Samples of `audio` that belong to
            each item, where the lengths of the vocals were given; behind them `audio` is 0 and the codes are -1.
    """

    audio: torch.FloatTensor | None = None
    vocal_semantic_ids: torch.LongTensor | None = None
    instrumental_semantic_ids: torch.LongTensor | None = None
    coarse_codes: torch.LongTensor | None = None
    fine_codes: torch.LongTensor | None = None
    stems: torch.FloatTensor | None = None
    output_num_samples: torch.LongTensor | None = None


class CompositeModel(PreTrainedModel):
    """What every whole system shares: parts in, one model out, one folder on disk; and its codec.

    Attributes:
        stage_configs (`dict`): Attribute of every stage and the field of its config, in their order.
    """

    main_input_name = "input_values"
    input_modalities = "audio"
    output_modalities = ("audio",)
    _supports_sdpa = True
    # Half precision moves features across centroid borders and breaks the codec's LSTM: other tokens, other sound.
    _keep_in_fp32_modules_strict = ["semantic_encoder", "codec"]
    stage_configs: ClassVar[dict[str, str]] = {}

    def decode(self, codes: torch.LongTensor) -> torch.FloatTensor:
        """EnCodec codes `(batch_size, num_codebooks, T75)` to audio `(batch_size, T75 * 320)` at 24 kHz."""
        config = self.config
        return decode_in_blocks(self.codec, codes, config.codec_block_duration_s, config.codec_context_duration_s)

    def forward(self, input_values: torch.FloatTensor, **kwargs: Any) -> AccompGenOutput:
        """The same as `generate`: the composite has no loss, its stages are trained one by one."""
        return self.generate(input_values, **kwargs)

    @classmethod
    def assemble(
        cls,
        stages: dict[str, PreTrainedModel],
        semantic_encoder: PreTrainedModel | str | os.PathLike,
        codec: PreTrainedModel | str | os.PathLike,
        **config_kwargs: Any,
    ) -> Any:
        """Join trained parts; `stages` holds models by the names of `stage_configs`.

        Raises:
            ValueError: If the stages were trained on tokens of other parts or settings (both are named), or sizes
                differ.
        """
        codec = load_part(codec, AccompGenCodec)
        semantic_encoder = load_part(semantic_encoder, AccompGenSemanticEncoder)
        config = cls.config_class(
            semantic_encoder_config=semantic_encoder.config.to_dict(),
            codec_config=codec.config.to_dict(),
            **{cls.stage_configs[name]: stage.config.to_dict() for name, stage in stages.items()},
            **config_kwargs,
        )
        config.token_fingerprint = fingerprint_of_parts(config, semantic_encoder, codec)
        equivalent = equivalent_fingerprints(config, semantic_encoder, codec)
        for name, stage in stages.items():
            found = stage.config.token_fingerprint
            check_token_fingerprints(
                found, config.token_fingerprint, f"stage `{name}`", "the parts given here", equivalent
            )
            if found is not None:
                getattr(config, cls.stage_configs[name]).token_fingerprint = config.token_fingerprint
        silence = encode_silence(config, semantic_encoder, codec)
        for name in stages:
            stage_config = getattr(config, cls.stage_configs[name])
            stage_config.silence_codes = {key: silence[key] for key in stage_config.conditioning_names}
        model = cls(config)
        for name, part in {**stages, "semantic_encoder": semantic_encoder, "codec": codec}.items():
            getattr(model, name).load_state_dict(part.state_dict())
        for name, stage in stages.items():
            getattr(model, name).generation_config = stage.generation_config
        model.training_tracks = join_tracks(getattr(stage, "training_tracks", None) for stage in stages.values())
        model.share_training_tracks()
        return model.eval()

    def share_training_tracks(self) -> None:
        """Give every stage the composite's record of training tracks: one that is saved alone carries it along."""
        for name in self.stage_configs:
            getattr(self, name).training_tracks = self.training_tracks

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Save the model with the generation settings of every stage, and the hashes of all files."""
        for name in self.stage_configs:
            settings = getattr(self, name).generation_config
            settings._from_model_config = False  # else loading drops what Transformers does not know
            settings.save_pretrained(save_directory, _generation_config_name(name))
        super().save_pretrained(save_directory, **kwargs)

    def load_generation_configs(self, source: str | os.PathLike, **hub_kwargs: Any) -> None:
        """Give every stage the generation settings that `save_pretrained` wrote beside the weights."""
        for name in self.stage_configs:
            getattr(self, name).generation_config = GenerationConfig.from_pretrained(
                source, _generation_config_name(name), **hub_kwargs
            )


class AccompGenForConditionalGeneration(CheckedLoadingMixin, ManifestSavingMixin, CompositeModel):
    """The composite of the paper: p(y | x) = p(a^f | a^c) p(a^c | s^v, s^i) p(s^i | s^v), then EnCodec (Eq. 1)."""

    config_class = AccompGenConfig
    supports_gradient_checkpointing = True
    stage_configs: ClassVar[dict[str, str]] = {stage: f"{stage}_config" for stage in STAGES}

    def __init__(self, config: AccompGenConfig):
        super().__init__(config)
        self.semantic_encoder = AccompGenSemanticEncoder(config.semantic_encoder_config)
        self.semantic = AccompGenSemanticForCausalLM(config.semantic_config)
        self.coarse = AccompGenCoarseForCausalLM(config.coarse_config)
        self.fine = AccompGenFineForCausalLM(config.fine_config)
        self.codec = AccompGenCodec(config.codec_config)
        self.post_init()

    @torch.no_grad()
    @usual_torch_defaults()
    def generate(
        self,
        input_values: torch.FloatTensor | list[torch.FloatTensor],
        seed: int | list[int] | None = None,
        preview: bool = False,
        semantic_kwargs: dict[str, Any] | None = None,
        coarse_kwargs: dict[str, Any] | None = None,
        fine_kwargs: dict[str, Any] | None = None,
        known_codes: dict[str, torch.LongTensor] | list[dict[str, torch.LongTensor]] | None = None,
        window_batch_size: int | None = None,
        callback: Callable[[str, float], Any] | None = None,
        parts: Sequence[str] | None = None,
        style: str | list[str | None] | None = None,
        attention_mask: torch.Tensor | None = None,
        num_samples: torch.Tensor | Sequence[int] | None = None,
        output_num_samples: torch.Tensor | Sequence[int] | None = None,
        regenerate: tuple[float, float | None] | list[tuple[float, float | None] | None] | None = None,
        regenerate_parts: Sequence[str] | None = None,
        key: str | list[str | None] | None = None,
        tempo_bpm: float | list[float | None] | None = None,
        chords: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> AccompGenOutput | list[AccompGenOutput]:
        """Accompany vocals: `model.generate(**processor(audio, sampling_rate=rate))`.

        Args:
            input_values (`torch.FloatTensor` of shape `(batch_size, num_samples)`): 16 kHz mono vocals with level and
                noise, a multiple of 640 samples, as `AccompGenProcessor` makes them. A list of tensors of shape
                `(num_samples,)` holds recordings of different lengths.
            seed (`int` or `list` of `int`, *optional*): Item i uses `seed + i`, or its own; `None` draws one.
            preview (`bool`): Decode the coarse codes alone and leave out the fine stage.
            semantic_kwargs, coarse_kwargs, fine_kwargs (`dict`, *optional*): Generation settings of one stage.
            known_codes (`dict` of `str` to `torch.LongTensor`, *optional*): Codes of an earlier run with the same
                vocals, seed and settings, by the names of the result's fields; they are not computed again. With a
                list of recordings, a list of these.
            window_batch_size (`int`, *optional*): Largest number of windows, of one item or several, that run
                together. `None` means 16, or as many as there are items. Another number of windows adds in another
                order, so that a near tie may fall to another code; with 1, each item equals itself alone to the bit.
            callback (`Callable`, *optional*): Called as `callback(stage, seconds_just_finished)`. An exception that it
                raises stops the generation.
            parts (sequence of `str`, *optional*): Parts of `config.part_names` to play; `None` plays all. What a part
                plays does not depend on the others that are asked for, since stage 1 plans all of them.
            style (`str` or `list` of `str`, *optional*): Style of `config.style_names` for all items, or one for each;
                `None` and `"any"` leave it to the model.
            attention_mask (`torch.Tensor` of shape `(batch_size, num_samples)`, *optional*): 0 marks what fills a
                shorter row of the batch up. Each row is accompanied as it would be alone with its seed, up to near
                ties.
            num_samples (`torch.Tensor` of shape `(batch_size,)`, *optional*): The same in samples, from the processor.
            output_num_samples (`torch.Tensor` of shape `(batch_size,)`, *optional*): Samples of audio that each item
                keeps, from the processor: those of its vocals. Without it, all of its 40 ms steps.
            regenerate (pair of `float`, or a `list` of pairs, *optional*): Start and end in seconds, rounded to 40 ms,
                of what is made anew of `known_codes` with the new `seed`; all other codes stay. An end of `None` is
                the recording's. A recording that is longer than its known codes is continued to its end.
            regenerate_parts (sequence of `str`, *optional*): Parts that are made anew; `None` is all of them.
            key (`str` or `list` of `str`, *optional*): Key of all songs or of each, such as "A minor" or "Bb", where
                the singer knows it. Without it the band finds one in the voice.
            tempo_bpm (`float` or `list` of `float`, *optional*): Tempo in beats per minute, likewise. Where beats
                begin is still found in the voice.
            chords (`list`, *optional*): Chords that the band plays, each `(start_s, end_s, name)` or a `dict` of
                these, such as a lead sheet has; the band finds its own where there is none. Or a list of such lists,
                one or `None` for each item.
            kwargs: Generation settings of all stages: `guidance_scale`, `temperature`, `top_k`, `top_p`,
                `do_sample`, ...

        Returns:
            One output for the batch; for a list of recordings a list of outputs, each with a batch axis of one.

        Raises:
            ValueError: If `input_values` has another shape, its lengths do not fit, a setting is not one of
                `generate`, the model does not know a part or a style, a key, tempo or chord is not understood, the
                model does not listen for it, or `regenerate` lies outside the known codes.
        """
        is_list = not isinstance(input_values, torch.Tensor)
        for values in [values[None] for values in input_values] if is_list else [input_values]:
            check_input_values(values)
        seeds = resolve_seeds(seed, len(input_values))
        has_lengths = any(given is not None for given in (attention_mask, num_samples, output_num_samples))
        if is_list and has_lengths:
            raise ValueError(
                "`attention_mask`, `num_samples` and `output_num_samples` belong to a batch in one tensor: a list "
                "holds recordings without padding."
            )
        lengths = output_lengths = None
        if not is_list:
            lengths = list_lengths(input_values, attention_mask, num_samples)
            if has_lengths:
                output_lengths = list_output_lengths(lengths, output_num_samples)
            input_values = [row[:length] for row, length in zip(input_values, lengths, strict=True)]
        settings = self.stage_settings(preview, semantic_kwargs, coarse_kwargs, fine_kwargs, **kwargs)
        chosen, styles = choose_parts(self.config, parts), style_ids(self.config, style, len(seeds))
        codes = list_known_codes(known_codes, lengths, len(seeds))
        num_steps = [len(values) // SAMPLES_PER_GRID_STEP for values in input_values]
        spans = find_spans(self.config, regenerate, regenerate_parts, codes, num_steps, chosen)
        told = self._read_told_songs(len(seeds), settings, key, tempo_bpm, chords)
        results = generate_recordings(
            self, list(input_values), seeds, settings, codes, window_batch_size, callback, chosen, styles, spans, told
        )
        if is_list:
            return [AccompGenOutput(**result) for result in results]
        return AccompGenOutput(**join_outputs(results, output_lengths))

    def stream(
        self,
        pieces: Iterable[torch.FloatTensor],
        seed: int | None = None,
        known_codes: dict[str, torch.LongTensor] | None = None,
        window_batch_size: int = 1,
        callback: Callable[[str, float], Any] | None = None,
        on_codes: Callable[[str, torch.LongTensor], Any] | None = None,
        parts: Sequence[str] | None = None,
        style: str | None = None,
        on_stems: Callable[[torch.FloatTensor], Any] | None = None,
        key: str | None = None,
        tempo_bpm: float | None = None,
        chords: Sequence[Any] | None = None,
        **settings: Any,
    ) -> Iterator[torch.FloatTensor]:
        """Accompany vocals that arrive in pieces; each piece of audio comes as soon as it is final.

        Args:
            pieces (iterable of `torch.FloatTensor` of shape `(num_samples,)`): Consecutive pieces of what `generate`
                takes, each a multiple of 640 samples.
            window_batch_size (`int`): Number of fine windows that run together. 1 gives the first audio after one
                window of each stage; a larger number makes it wait for that many fine windows.
            on_codes (`Callable`, *optional*): Called as `on_codes(name, codes)` with `(1, ...)` codes that have become
                final; all of them joined are `known_codes` of a later run.
            on_stems (`Callable`, *optional*): Called as `on_stems(stems)` before each piece of audio comes, with the
                `(num_parts, num_samples)` of which it is the sum; never by a model of one part.
            seed, known_codes, callback, parts, style, key, tempo_bpm, chords, settings: As in `generate`, of one item.

        Returns:
            Iterator over `torch.FloatTensor` of shape `(num_samples,)` at 24 kHz, gapless.
        """
        [own_seed] = resolve_seeds(seed, 1)
        of_stages = self.stage_settings(**settings)
        asked = (choose_parts(self.config, parts), style_id(self.config, style))
        [told] = self._read_told_songs(1, of_stages, key, tempo_bpm, chords)
        how = (known_codes, window_batch_size, callback, on_codes, *asked, on_stems, told)
        return stream_recording(self, pieces, own_seed, of_stages, *how)

    def _read_told_songs(self, num_items: int, of_stages: dict[str, dict[str, Any]], *told: Any) -> list[ToldSong]:
        """What is known of every song; the first stage has to listen for it."""
        songs = read_told_songs(num_items, *told)
        listening_context_s(self.semantic, of_stages["semantic"], songs)
        return songs

    def stage_settings(
        self,
        preview: bool = False,
        semantic_kwargs: dict[str, Any] | None = None,
        coarse_kwargs: dict[str, Any] | None = None,
        fine_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> dict[str, dict[str, Any]]:
        """Generation settings of each stage that runs, in order; a stage's own settings override those for all.

        Raises:
            ValueError: If a setting has no meaning for a whole recording.
        """
        own = {"semantic": semantic_kwargs, "coarse": coarse_kwargs, "fine": fine_kwargs}
        settings = {stage: {**kwargs, **(own[stage] or {})} for stage in (STAGES[:2] if preview else STAGES)}
        for of_stage in settings.values():
            check_settings(of_stage)
            if of_stage.get("temperature") == 0:  # the limit of small ones: the likeliest code
                del of_stage["temperature"]
                of_stage["do_sample"] = False
        return settings

    def set_weight_format(self, weight_format: str | None) -> "AccompGenForConditionalGeneration":
        """Let the stages decode with weights in fewer bits: see the stage's `set_weight_format`."""
        for name in STAGES:
            getattr(self, name).set_weight_format(weight_format)
        return self

    # ---- putting parts together ----------------------------------------------------------------------------------

    @classmethod
    def from_sub_models(
        cls,
        semantic: PreTrainedModel | str | os.PathLike,
        coarse: PreTrainedModel | str | os.PathLike,
        fine: PreTrainedModel | str | os.PathLike,
        semantic_encoder: PreTrainedModel | str | os.PathLike = "facebook/hubert-large-ll60k",
        codec: PreTrainedModel | str | os.PathLike = "facebook/encodec_24khz",
        centroids: Any = None,
        **config_kwargs: Any,
    ) -> "AccompGenForConditionalGeneration":
        """Assemble the composite from three trained stages, an encoder with centroids, and a codec.

        Args:
            semantic, coarse, fine: Stage models, folders or Hub ids.
            semantic_encoder: An `AccompGenSemanticEncoder`, its folder or Hub id, or (with `centroids`) a HuBERT's.
            codec: An `AccompGenCodec` or `EncodecModel`, its folder or Hub id.
            centroids: With a HuBERT: what `AccompGenSemanticEncoder.from_hubert` takes.
            config_kwargs: Fields of `AccompGenConfig`, such as `noise_std`.

        Raises:
            ValueError: If the stages were trained on tokens of other parts or settings (both are named), or sizes
                differ.
        """
        stages = {
            "semantic": load_part(semantic, AccompGenSemanticForCausalLM),
            "coarse": load_part(coarse, AccompGenCoarseForCausalLM),
            "fine": load_part(fine, AccompGenFineForCausalLM),
        }
        if centroids is not None:
            semantic_encoder = AccompGenSemanticEncoder.from_hubert(semantic_encoder, centroids)
        return cls.assemble(stages, semantic_encoder, codec, **config_kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, *args: Any, **kwargs: Any) -> Any:
        """Load the model with the generation settings of every stage, and check its codebooks."""
        # A folder is read in a moment; what comes from the Hub shows how far it is.
        has_bar = logging.is_progress_bar_enabled() and os.path.isdir(pretrained_model_name_or_path)
        try:
            if has_bar:
                logging.disable_progress_bar()
            loaded = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        finally:
            if has_bar:
                logging.enable_progress_bar()
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        check_codebooks(model.config)
        hub_names = ("revision", "token", "cache_dir", "local_files_only", "subfolder", "force_download", "proxies")
        hub_kwargs = {name: kwargs[name] for name in hub_names if name in kwargs}
        model.load_generation_configs(pretrained_model_name_or_path, **hub_kwargs)
        model.share_training_tracks()
        return loaded


def fingerprint_of_parts(
    config: AccompGenConfig, semantic_encoder: PreTrainedModel, codec: PreTrainedModel, covers_decoder: bool = False
) -> str:
    """Identity of the tokens that these parts make with the settings of `config`."""
    return compute_token_fingerprint(
        semantic_encoder,
        codec,
        bandwidth=config.bandwidth,
        noise_std=config.noise_std,
        vocal_target_lufs=config.vocal_target_lufs,
        codec_block_duration_s=config.codec_block_duration_s,
        codec_context_duration_s=config.codec_context_duration_s,
        covers_decoder=covers_decoder,
        part_names=config.part_names,
    )


def equivalent_fingerprints(
    config: AccompGenConfig, semantic_encoder: PreTrainedModel, codec: PreTrainedModel
) -> tuple[str, str]:
    """Fingerprints of the tokens that these parts make: the current one and the older one, over the decoder too."""
    return (
        fingerprint_of_parts(config, semantic_encoder, codec),
        fingerprint_of_parts(config, semantic_encoder, codec, covers_decoder=True),
    )


def encode_silence(
    config: AccompGenConfig, semantic_encoder: PreTrainedModel, codec: PreTrainedModel
) -> dict[str, list[int]]:
    """Find the commonest code of silence (for vocals: of their noise) per conditioning name and codebook."""
    num_samples = SILENCE_DURATION_S * 16_000 // SAMPLES_PER_GRID_STEP * SAMPLES_PER_GRID_STEP
    noise = torch.randn(1, num_samples, generator=torch.Generator().manual_seed(0)) * config.noise_std
    codes = encode_in_blocks(codec, torch.zeros(1, num_samples * 3 // 2), config.bandwidth)
    num_coarse = config.coarse_config.num_codebooks
    return {
        "vocal_semantic_ids": [int(semantic_encoder(noise).semantic_ids.mode().values)],
        "instrumental_semantic_ids": [int(semantic_encoder(torch.zeros_like(noise)).semantic_ids.mode().values)],
        "coarse_codes": codes[0, :num_coarse].mode(dim=-1).values.tolist(),
    }


def load_part(part: PreTrainedModel | str | os.PathLike, model_class: type[PreTrainedModel]) -> PreTrainedModel:
    """A part of a composite, loaded if it is a folder or a Hub id."""
    if isinstance(part, (str, os.PathLike)):
        return model_class.from_pretrained(part)
    return part


def _generation_config_name(stage: str) -> str:
    return f"{stage}_generation_config.json"


__all__ = ["AccompGenForConditionalGeneration", "AccompGenOutput", "CompositeModel"]
