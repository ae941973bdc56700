"""Generation of one stage: the windows of a song, transformers' `generate`, and the choice of the decoding loop.

Every stage produces exactly its number of tokens; there is no end-of-sequence token.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from transformers.cache_utils import DynamicCache
from transformers.generation import GenerationMixin
from transformers.generation.configuration_utils import GenerationConfig
from transformers.generation.logits_process import (
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from transformers.generation.stopping_criteria import MaxLengthCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from .codebooks_accompgen import PADDING, build_stage_inputs, ids_to_codes, list_windows
from .configuration_accompgen import GRID_RATE
from .fast_decoding_accompgen import FastStageDecoder
from .logits_accompgen import (
    AccompGenCodebookLogitsProcessor,
    AccompGenGuidanceLogitsProcessor,
    AccompGenKeyedChoiceLogitsProcessor,
    draw_uniforms,
    inverse_cdf_choice,
    resolve_seeds,
)

CONDITIONAL, UNCONDITIONAL, BOTH = "conditional", "unconditional", "both"
DEFAULT_WINDOW_BATCH_SIZE = 16


class _ProgressStreamer(BaseStreamer):
    """Report the seconds of music that a stage has finished; an exception raised by the callback stops it."""

    def __init__(self, callback: Callable[[float], Any], seconds_per_token: float):
        self.callback = callback
        self.seconds_per_token = seconds_per_token
        self.num_puts = -1  # the first put is the prompt

    def put(self, value: torch.Tensor) -> None:
        self.num_puts += 1
        if self.num_puts:
            self.callback(self.seconds_per_token)

    def end(self) -> None:
        pass


class AccompGenGenerationMixin(GenerationMixin):
    """`generate` of a stage: from ids, or from conditioning given by name."""

    @torch.no_grad()
    def generate(
        self,
        input_ids: torch.LongTensor | None = None,
        generation_config: GenerationConfig | None = None,
        *,
        segment_ids: torch.LongTensor | None = None,
        segment_positions: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        seed: int | list[int] | None = None,
        uniforms: torch.FloatTensor | None = None,
        window_batch_size: int = DEFAULT_WINDOW_BATCH_SIZE,
        callback: Callable[[float], Any] | None = None,
        **kwargs,
    ) -> Any:
        """Generate a stage's target.

        With the conditioning by name (`vocal_semantic_ids=...`, see `config.conditioning_names`) any length is taken,
        window by window, and codes come back: `(batch_size, num_frames)` for the semantic stage, else
        `(batch_size, num_codebooks, num_frames)`. With `input_ids` it is transformers' `generate`: the sequence
        [conditioning | BOS | target prefix] comes back with the new ids behind it.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, num_positions)`): From `build_stage_inputs`.
            segment_ids, segment_positions (`torch.LongTensor` of shape `(batch_size or 1, num_positions)`): With
                `input_ids`; -1 is (left) padding.
            seed (`int` or `list` of `int`, *optional*): Item i of the batch uses `seed + i`, or its own.
            uniforms (`torch.FloatTensor` of shape `(batch_size, max_new_tokens)`, *optional*): Instead of `seed`.
            window_batch_size (`int`): Windows (times items) that run together where they do not need each other.
            callback (`Callable`, *optional*): Called with the seconds of music just finished, over all items.
            kwargs: Any field of the generation config: `guidance_scale`, `temperature`, `top_k`, `top_p`, ...

        Raises:
            ValueError: If the inputs do not fit, or a mode other than greedy search and sampling is asked for.
        """
        self._refuse_other_modes(generation_config, kwargs)
        named = {name: kwargs.pop(name) for name in self.config.conditioning_names if name in kwargs}
        if named:
            if input_ids is not None:
                raise ValueError(f"Give `input_ids` or the conditioning by name ({list(named)}), not both.")
            settings = {"generation_config": generation_config, **kwargs}
            return self._generate_windows(named, seed, window_batch_size, callback, settings)
        if input_ids is None or segment_ids is None or segment_positions is None:
            raise ValueError(
                f"`generate` needs {list(self.config.conditioning_names)}, or `input_ids` "
                "with `segment_ids` and `segment_positions` (see `build_stage_inputs`)."
            )
        if attention_mask is not None:
            segment_ids = torch.where(attention_mask.bool(), segment_ids, PADDING)
            segment_positions = torch.where(attention_mask.bool(), segment_positions, PADDING)
        if kwargs.get("max_new_tokens") is None and kwargs.get("max_length") is None:
            kwargs["max_new_tokens"] = self._num_missing_tokens(segment_ids, segment_positions)
        if uniforms is None:
            first_slot = int(segment_positions[:, -1].max())
            num_slots = first_slot + (kwargs.get("max_new_tokens") or kwargs.get("max_length"))
            seeds = resolve_seeds(seed, input_ids.shape[0])
            uniforms = draw_uniforms(seeds, self.config.target_name, [0.0] * len(seeds), num_slots, input_ids.device)
            # A row's numbers belong to its own slots, wherever its prefix ends.
            first_slots = segment_positions[:, -1].expand(len(seeds))
            offsets = first_slots[:, None] + torch.arange(num_slots - first_slot, device=input_ids.device)
            uniforms = uniforms.gather(1, offsets)
        return super().generate(
            input_ids,
            generation_config=generation_config,
            segment_ids=segment_ids,
            segment_positions=segment_positions,
            uniforms=uniforms,
            guided_rows=_guided_rows(self._guidance_scale(generation_config, kwargs)),
            **kwargs,
        )

    def _guidance_scale(self, generation_config: GenerationConfig | None, kwargs: dict[str, Any]) -> float:
        given = kwargs.get("guidance_scale")
        if given is None:
            given = (self.generation_config if generation_config is None else generation_config).guidance_scale
        return 1.0 if given is None else given

    def _refuse_other_modes(self, generation_config: GenerationConfig | None, kwargs: dict[str, Any]) -> None:
        generation_config = self.generation_config if generation_config is None else generation_config
        refused = {
            "num_beams": 1,
            "num_return_sequences": 1,
            "prompt_lookup_num_tokens": None,
            "assistant_model": None,
        }
        for name, allowed in refused.items():
            value = kwargs.get(name, getattr(generation_config, name, allowed))
            if value not in (allowed, None):
                raise ValueError(
                    f"`{name}` is not supported by {type(self).__name__}: it decodes greedily or samples one sequence "
                    f"per row; got {value!r}. For variations repeat the rows and give each its own `seed`."
                )

    def _num_missing_tokens(self, segment_ids: torch.LongTensor, segment_positions: torch.LongTensor) -> int:
        """Tokens that the target lacks to last as long as the conditioning."""
        first, target = self.config.segments[0], self.config.target_segment
        num_frames = (int(segment_positions[segment_ids == 0].max()) + 1) // first.num_codebooks
        num_tokens = num_frames * target.frame_rate // first.frame_rate * target.num_codebooks
        return num_tokens - int(segment_positions[:, -1].min())

    # ---- windows -------------------------------------------------------------------------------------------------

    def _generate_windows(
        self,
        conditioning: dict[str, torch.LongTensor],
        seed: int | list[int] | None,
        window_batch_size: int,
        callback: Callable[[float], Any] | None,
        settings: dict[str, Any],
    ) -> torch.LongTensor:
        config, target = self.config, self.config.target_segment
        conditioning = {name: codes.to(self.device) for name, codes in conditioning.items()}
        build_stage_inputs(config, conditioning)  # refuses what does not fit, before any work
        first = conditioning[config.conditioning_names[0]]
        duration_s = first.shape[-1] / config.segments[0].frame_rate
        num_steps = round(duration_s * GRID_RATE)  # of 40 ms
        if abs(duration_s * GRID_RATE - num_steps) > 1e-6:
            raise ValueError(
                f"`{config.conditioning_names[0]}` must last a multiple of 40 ms, got {first.shape[-1]} frames at "
                f"{config.segments[0].frame_rate} Hz."
            )
        seeds = resolve_seeds(seed, first.shape[0])
        overlap_steps = round(config.window_overlap_s * GRID_RATE)
        windows = list_windows(num_steps, round(config.clip_duration_s * GRID_RATE), overlap_steps, overlap_steps > 0)
        # Overlapping windows continue each other; the others need nothing from each other and share batches.
        windows_per_batch = 1 if overlap_steps else max(1, window_batch_size // len(seeds))
        num_frames = num_steps * target.frame_rate // GRID_RATE
        is_semantic = target.name.endswith("semantic_ids")
        shape = (len(seeds), num_frames) if is_semantic else (len(seeds), target.num_codebooks, num_frames)
        codes = torch.zeros(shape, dtype=torch.long, device=self.device)
        num_done = 0
        for index in range(0, len(windows), windows_per_batch):
            batch = windows[index : index + windows_per_batch]
            num_done = self._generate_batch(conditioning, codes, batch, num_done, seeds, callback, settings)
        return codes

    def _generate_batch(
        self,
        conditioning: dict[str, torch.LongTensor],
        codes: torch.LongTensor,
        windows: list[tuple[int, int]],
        num_done: int,
        seeds: list[int],
        callback: Callable[[float], Any] | None,
        settings: dict[str, Any],
    ) -> int:
        """Fill `codes` over `windows` (40-ms steps) in one batch, row = window, then item; returns the steps done."""
        config, target = self.config, self.config.target_segment
        window_steps = round(config.clip_duration_s * GRID_RATE)
        rows = {
            name: torch.cat([self._cut(name, whole, start, window_steps) for start, _ in windows])
            for name, whole in conditioning.items()
        }
        frames_per_step = target.frame_rate // GRID_RATE
        num_kept = max(0, num_done - windows[0][0]) * frames_per_step  # frames that the first window already has
        prefix = torch.cat([codes[..., start * frames_per_step :][..., :num_kept] for start, _ in windows])
        num_new = max(end - start for start, end in windows) * frames_per_step - num_kept
        inputs = build_stage_inputs(config, rows, prefix)
        starts_s = [start / GRID_RATE for start, _ in windows for _ in seeds]
        num_slots = (num_kept + num_new) * target.num_codebooks
        uniforms = draw_uniforms(seeds * len(windows), config.target_name, starts_s, num_slots, codes.device)
        streamer = None
        if callback is not None:
            new_s = sum(end - max(start, num_done) for start, end in windows) / GRID_RATE * len(seeds)
            streamer = _ProgressStreamer(callback, new_s / (num_new * target.num_codebooks))
        sequences = self.generate(
            input_ids=inputs["input_ids"],
            segment_ids=inputs["segment_ids"],
            segment_positions=inputs["segment_positions"],
            uniforms=uniforms[:, num_kept * target.num_codebooks :],
            max_new_tokens=num_new * target.num_codebooks,
            streamer=streamer,
            **settings,
        )
        new_codes = ids_to_codes(target, sequences[:, inputs["input_ids"].shape[1] :])
        for (start, end), window_codes in zip(windows, new_codes.split(len(seeds)), strict=True):
            first_new, last = start * frames_per_step + num_kept, end * frames_per_step
            codes[..., first_new:last] = window_codes[..., : last - first_new]
        return windows[-1][1]

    def _cut(self, name: str, whole: torch.LongTensor, start: int, num_steps: int) -> torch.LongTensor:
        """Cut one window of conditioning; past the song's end stand the codes of silence."""
        config = self.config
        segment = next(segment for segment in config.segments if segment.name == name)
        frames_per_step = segment.frame_rate // GRID_RATE
        cut = whole[..., start * frames_per_step : (start + num_steps) * frames_per_step]
        num_missing = num_steps * frames_per_step - cut.shape[-1]
        if not num_missing:
            return cut
        silence = (config.silence_codes or {}).get(name, [0] * segment.num_codebooks)
        silence = torch.tensor(silence, device=whole.device).view(-1, 1).expand(-1, num_missing)  # (K, frames)
        silence = silence if cut.ndim == 3 else silence[0]
        return torch.cat([cut, silence.expand(*cut.shape[:-1], num_missing)], dim=-1)

    # ---- hooks of GenerationMixin --------------------------------------------------------------------------------

    def prepare_inputs_for_generation(
        self,
        input_ids: torch.LongTensor,
        past_key_values=None,
        segment_ids: torch.LongTensor | None = None,
        segment_positions: torch.LongTensor | None = None,
        uniforms: torch.FloatTensor | None = None,
        guided_rows: str = CONDITIONAL,
        use_cache: bool | None = None,
        logits_to_keep: int | None = None,
        **kwargs,
    ) -> dict[str, Any]:
        num_new = input_ids.shape[1] - segment_ids.shape[1]
        target = len(self.config.segments) - 1
        new_positions = segment_positions[:, -1:] + 1 + torch.arange(num_new, device=segment_ids.device)
        segment_ids = torch.cat([segment_ids, torch.full_like(new_positions, target)], dim=1)
        segment_positions = torch.cat([segment_positions, new_positions], dim=1)
        num_cached = 0 if past_key_values is None else int(past_key_values.get_seq_length())
        if guided_rows != CONDITIONAL:
            is_conditioning = (segment_ids >= 0) & (segment_ids < target)
            deaf_ids = torch.where(is_conditioning, self.config.null_token_id, input_ids)
            input_ids = deaf_ids if guided_rows == UNCONDITIONAL else torch.cat([input_ids, deaf_ids])
            if guided_rows == BOTH and segment_ids.shape[0] > 1:
                segment_ids, segment_positions = segment_ids.repeat(2, 1), segment_positions.repeat(2, 1)
        return {
            "input_ids": input_ids[:, num_cached:],
            "segment_ids": segment_ids,
            "segment_positions": segment_positions,
            "past_key_values": past_key_values,
            "use_cache": use_cache,
            "logits_to_keep": 1 if logits_to_keep is None else logits_to_keep,
        }

    def _get_logits_processor(
        self,
        generation_config: GenerationConfig,
        input_ids_seq_length: int | None = None,
        *args,
        model_kwargs: dict[str, Any] | None = None,
        **kwargs,
    ) -> LogitsProcessorList:
        # transformers would add its own guidance, which runs the model once more per token.
        without_guidance = copy.copy(generation_config)
        without_guidance.guidance_scale = None
        stock = super()._get_logits_processor(
            without_guidance, input_ids_seq_length, *args, model_kwargs=model_kwargs, **kwargs
        )
        processors = LogitsProcessorList()
        if model_kwargs.get("guided_rows") == BOTH:
            processors.append(AccompGenGuidanceLogitsProcessor(generation_config.guidance_scale))
        first_slot = model_kwargs["segment_positions"][:, -1]
        processors.append(
            AccompGenCodebookLogitsProcessor(self.config.target_segment, first_slot, input_ids_seq_length)
        )
        processors.extend(stock)
        if generation_config.do_sample:
            processors.append(AccompGenKeyedChoiceLogitsProcessor(model_kwargs["uniforms"], input_ids_seq_length))
        return processors

    def _sample(
        self,
        input_ids: torch.LongTensor,
        logits_processor: LogitsProcessorList,
        stopping_criteria: StoppingCriteriaList,
        generation_config: GenerationConfig,
        synced_gpus: bool = False,
        streamer: BaseStreamer | None = None,
        **model_kwargs: Any,
    ) -> Any:
        if not synced_gpus and self._fits_fast_path(
            logits_processor, stopping_criteria, generation_config, model_kwargs
        ):
            return self._sample_fast(input_ids, logits_processor, stopping_criteria, streamer, model_kwargs)
        # The last processor has chosen already; taking the maximum leaves global random state alone.
        greedy = copy.copy(generation_config)
        greedy.do_sample = False
        return super()._sample(
            input_ids,
            logits_processor,
            stopping_criteria,
            generation_config=greedy,
            synced_gpus=synced_gpus,
            streamer=streamer,
            **model_kwargs,
        )

    def _fits_fast_path(
        self,
        logits_processor: LogitsProcessorList,
        stopping_criteria: StoppingCriteriaList,
        generation_config: GenerationConfig,
        model_kwargs: dict[str, Any],
    ) -> bool:
        """Whether the lean loop computes all that was asked for; naming a cache implementation asks for the other."""
        asks_for_more = any(
            getattr(generation_config, name)
            for name in (
                "return_dict_in_generate",
                "cache_implementation",
                "output_attentions",
                "output_hidden_states",
            )
        )
        segment_ids, cache = model_kwargs["segment_ids"], model_kwargs.get("past_key_values")
        return (
            not asks_for_more
            and model_kwargs.get("use_cache", True)
            and (cache is None or (isinstance(cache, DynamicCache) and cache.get_seq_length() == 0))
            and all(type(processor) in _FAST_PROCESSORS for processor in logits_processor)
            and all(isinstance(criterion, MaxLengthCriteria) for criterion in stopping_criteria)
            and segment_ids.shape[0] == 1
            and bool((segment_ids != PADDING).all())
        )

    def _sample_fast(
        self,
        input_ids: torch.LongTensor,
        logits_processor: LogitsProcessorList,
        stopping_criteria: StoppingCriteriaList,
        streamer: BaseStreamer | None,
        model_kwargs: dict[str, Any],
    ) -> torch.LongTensor:
        """The same tokens as the stock loop (SPEC 5's equality), by `FastStageDecoder`."""
        prompt_length, num_rows = input_ids.shape[1], input_ids.shape[0]
        max_length = min(criterion.max_length for criterion in stopping_criteria)
        # The codebook mask is void on the slice of scores that belongs to the slot's codebook.
        choosers = [one for one in logits_processor if isinstance(one, AccompGenKeyedChoiceLogitsProcessor)]
        warpers = [one for one in logits_processor if type(one) in _SLICE_PROCESSORS]
        prompt = self.prepare_inputs_for_generation(input_ids, **{**model_kwargs, "past_key_values": None})
        decoder = FastStageDecoder(self, prompt["segment_positions"], max_length)
        scores = decoder.prefill(prompt["input_ids"], prompt["segment_ids"], prompt["segment_positions"])
        sequences = input_ids.new_empty((num_rows, max_length))
        sequences[:, :prompt_length] = input_ids
        for index in range(prompt_length, max_length):
            for warper in warpers:
                scores = warper(input_ids, scores)
            if choosers:
                codes = inverse_cdf_choice(scores, choosers[0].uniforms[:, index - prompt_length])
            else:
                codes = scores.argmax(-1)
            sequences[:, index] = ids = codes + decoder.first_code_id
            if streamer is not None:
                streamer.put(ids)
            if index + 1 < max_length:
                scores = decoder.step(ids.repeat(len(prompt["input_ids"]) // num_rows))
        if streamer is not None:
            streamer.end()
        return sequences


_SLICE_PROCESSORS = (
    AccompGenGuidanceLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
_FAST_PROCESSORS = (*_SLICE_PROCESSORS, AccompGenCodebookLogitsProcessor, AccompGenKeyedChoiceLogitsProcessor)


def _guided_rows(guidance_scale: float) -> str:
    return {1.0: CONDITIONAL, 0.0: UNCONDITIONAL}.get(float(guidance_scale), BOTH)


__all__ = ["AccompGenGenerationMixin"]
