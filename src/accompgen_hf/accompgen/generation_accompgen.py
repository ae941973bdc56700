"""Generation of one window of a stage: transformers' `generate`, and the choice of the decoding loop.

Every stage produces exactly its number of tokens; there is no end-of-sequence token.
"""

import copy
from collections.abc import Sequence
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

from .codebooks_accompgen import PADDING
from .evidence_accompgen import find_evidence, resolve_evidence_scale
from .fast_decoding_accompgen import FastStageDecoder
from .logits_accompgen import (
    BOTH,
    CONDITIONAL,
    UNCONDITIONAL,
    AccompGenCodebookLogitsProcessor,
    AccompGenEvidenceLogitsProcessor,
    AccompGenForcedIdsLogitsProcessor,
    AccompGenGuidanceLogitsProcessor,
    AccompGenKeyedChoiceLogitsProcessor,
    first_ids_of,
    inverse_cdf_choice,
    order_processors,
    without_guidance,
)
from .numba_batches_accompgen import CompiledBatch
from .numba_engine_accompgen import check_engine, takes_compiled_steps
from .seeds_accompgen import draw_uniforms, resolve_seeds
from .weight_formats_accompgen import check_weight_format


class AccompGenGenerationMixin(GenerationMixin):
    """`generate` of a stage: from the ids of one window to the ids that continue it."""

    weight_format: str | None = None

    def set_weight_format(self, weight_format: str | None) -> Any:
        """Let decoding on the CPU read the weights in fewer bits.

        The parameters stay as they are: `forward`, the prompt of a window, the stock loop and `save_pretrained` use
        them, and another call with `None` undoes this one.

        Args:
            weight_format (`str`, *optional*): `"int8"` rounds weights and, without numba, the activations they meet;
                `"float16"` rounds weights alone, and changes nothing in a checkpoint saved in float16; `None` rounds
                nothing.

        Returns:
            The model itself.

        Raises:
            ValueError: If the format is unknown, or the model is not in float32 on a CPU with FBGEMM.
        """
        check_weight_format(weight_format, self.get_input_embeddings().weight)
        self.weight_format = weight_format
        return self

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
        engine: str | None = None,
        forced_ids: torch.LongTensor | None = None,
        evidence_scale: float | None = None,
        evidence: torch.FloatTensor | None = None,
        style_guided_parts: Sequence[str] | None = None,
        **kwargs,
    ) -> Any:
        """Generate the target of one window, as transformers' `generate` does.

        `generate_codes` takes conditioning of any length instead, window by window.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, num_positions)`): Result of `build_stage_inputs`.
            segment_ids, segment_positions (`torch.LongTensor` of shape `(batch_size or 1, num_positions)`): Segment
                and place of each position; -1 is (left) padding.
            seed (`int` or `list` of `int`, *optional*): Item i of the batch uses `seed + i`, or its own.
            uniforms (`torch.FloatTensor` of shape `(batch_size, max_new_tokens)`, *optional*): Numbers in [0, 1) that
                decide instead of `seed`.
            engine (`str`, *optional*): What computes the steps where it can: `"numba"`, compiled steps on the CPU, or
                `"torch"`, which gives the same bits with and without numba. `None` takes numba if it is installed.
                Sums run in another order, so a near tie may fall to another code.
            forced_ids (`torch.LongTensor` of shape `(batch_size, max_new_tokens)`, *optional*): Ids that slots must
                have, each of its slot's codebook; -1 leaves the choice.
            evidence_scale (`float`, *optional*): Weight of [`find_evidence`], which is added to the guided
                logits: it holds a band to its singer where the band's own past would lead it on. `None` takes that of
                the generation config; 0 adds nothing, and costs nothing.
            evidence (`torch.FloatTensor` of shape `(batch_size, max_new_tokens, codebook_size)`, *optional*): Numbers
                that are added as well, such as those of a listener ([`AccompGenListener.hear`]).
            style_guided_parts (sequence of `str`, *optional*): Parts whose guidance enlarges the style that is asked
                for, and not the conditioning: what they are compared with hears that, too, and has any style. `None`
                takes those of the generation config, or none. Rows without a style are guided as usual.
            part_ids, style_ids (`torch.LongTensor` of shape `(batch_size,)`, *optional*): As in `forward`.
            kwargs: Any field of the generation config: `guidance_scale`, `temperature`, `top_k`, `top_p`, ...

        Returns:
            The sequence [conditioning | BOS | target prefix] with the new ids behind it.

        Raises:
            ValueError: If the inputs do not fit, or an unknown engine or a mode other than greedy search and sampling
                is asked for.
            ImportError: If `engine` is `"numba"` and it is not installed.
        """
        check_engine(engine)
        self._refuse_other_modes(generation_config, kwargs)
        named = [name for name in self.config.conditioning_names if name in kwargs]
        if named or input_ids is None or segment_ids is None or segment_positions is None:
            raise ValueError(
                "`generate` needs `input_ids` with `segment_ids` and `segment_positions` (see `build_stage_inputs`). "
                f"To give {list(self.config.conditioning_names)} by name, call `generate_codes`."
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
            part_ids = kwargs.get("part_ids")
            parts = None if part_ids is None else [self.config.part_names[index] for index in part_ids.tolist()]
            starts = [0.0] * len(seeds)
            uniforms = draw_uniforms(seeds, self.config.target_name, starts, num_slots, input_ids.device, parts)
            # Each of a row's numbers belongs to one slot, wherever the row's prefix ends.
            first_slots = segment_positions[:, -1].expand(len(seeds))
            offsets = first_slots[:, None] + torch.arange(num_slots - first_slot, device=input_ids.device)
            uniforms = uniforms.gather(1, offsets)
        if forced_ids is not None:
            self._check_forced_ids(forced_ids, len(input_ids), segment_positions)
        num_slots = kwargs.get("max_new_tokens") or kwargs["max_length"] - input_ids.shape[1]
        if evidence is not None:
            shape = (len(input_ids), num_slots, self.config.target_segment.codebook_size)
            if evidence.shape != shape:
                raise ValueError(f"`evidence` must have shape {shape}, got {tuple(evidence.shape)}.")
        if scale := resolve_evidence_scale(self, generation_config, evidence_scale):
            layout = (input_ids, segment_ids, segment_positions, num_slots, kwargs.get("part_ids"))
            found = scale * find_evidence(self, *layout)
            evidence = found if evidence is None else evidence + found
        parts = self._find_style_guided_parts(generation_config, style_guided_parts)
        if parts and kwargs.get("style_ids") is not None:
            is_part = torch.isin(kwargs["part_ids"], kwargs["part_ids"].new_tensor(parts))
            kwargs["is_style_guided"] = is_part & (kwargs["style_ids"] != 0)
        return super().generate(
            input_ids,
            generation_config=generation_config,
            segment_ids=segment_ids,
            segment_positions=segment_positions,
            uniforms=uniforms,
            engine=engine,
            forced_ids=forced_ids,
            evidence=evidence,
            guided_rows=_guided_rows(self._guidance_scale(generation_config, kwargs)),
            **kwargs,
        )

    def _guidance_scale(self, generation_config: GenerationConfig | None, kwargs: dict[str, Any]) -> float:
        given = kwargs.get("guidance_scale")
        if given is None:
            given = (self.generation_config if generation_config is None else generation_config).guidance_scale
        return 1.0 if given is None else given

    def _find_style_guided_parts(
        self, generation_config: GenerationConfig | None, given: Sequence[str] | None
    ) -> list[int]:
        """Indices of the parts whose guidance enlarges the style.

        Raises:
            ValueError: If a row of the stage is no single part, or there is no such part.
        """
        if given is None:
            own = self.generation_config if generation_config is None else generation_config
            given = getattr(own, "style_guided_parts", None) or ()
        known = self.config.part_names if self.config.num_part_rows else ()
        if isinstance(given, str) or not set(given) <= set(known):
            allowed = f"a list of names out of {', '.join(known)}" if known else "left out: no row is a single part"
            raise ValueError(f"`style_guided_parts` must be {allowed}, got {given!r}.")
        return [known.index(name) for name in given]

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

    def _check_forced_ids(
        self, forced_ids: torch.LongTensor, num_rows: int, segment_positions: torch.LongTensor
    ) -> None:
        target = self.config.target_segment
        if forced_ids.ndim != 2 or len(forced_ids) != num_rows:
            raise ValueError(f"`forced_ids` must be ({num_rows}, max_new_tokens), got {tuple(forced_ids.shape)}.")
        slots = segment_positions[:, -1:] + torch.arange(forced_ids.shape[1], device=segment_positions.device)
        codes = forced_ids - first_ids_of(target, slots)
        is_wrong = (forced_ids != PADDING) & ((codes < 0) | (codes >= target.codebook_size))
        if is_wrong.any():
            raise ValueError(
                "`forced_ids` must be -1 or ids of the slot's own codebook, got "
                f"{int(forced_ids[is_wrong][0])} (see `codes_to_ids`)."
            )

    # ---- hooks of GenerationMixin --------------------------------------------------------------------------------

    def prepare_inputs_for_generation(
        self,
        input_ids: torch.LongTensor,
        past_key_values=None,
        segment_ids: torch.LongTensor | None = None,
        segment_positions: torch.LongTensor | None = None,
        uniforms: torch.FloatTensor | None = None,
        guided_rows: str = CONDITIONAL,
        engine: str | None = None,
        forced_ids: torch.LongTensor | None = None,
        evidence: torch.FloatTensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | None = None,
        part_ids: torch.LongTensor | None = None,
        style_ids: torch.LongTensor | None = None,
        is_style_guided: torch.BoolTensor | None = None,
        **kwargs,
    ) -> dict[str, Any]:
        """Give the forward of one step its inputs, as the loop of Transformers asks for them."""
        num_new = input_ids.shape[1] - segment_ids.shape[1]
        target = len(self.config.segments) - 1
        new_positions = segment_positions[:, -1:] + 1 + torch.arange(num_new, device=segment_ids.device)
        segment_ids = torch.cat([segment_ids, torch.full_like(new_positions, target)], dim=1)
        segment_positions = torch.cat([segment_positions, new_positions], dim=1)
        num_cached = 0 if past_key_values is None else int(past_key_values.get_seq_length())
        if guided_rows != CONDITIONAL:
            is_conditioning = (segment_ids >= 0) & (segment_ids < target)
            if is_style_guided is not None:
                is_conditioning = is_conditioning & ~is_style_guided[:, None]
            deaf_ids = torch.where(is_conditioning, self.config.null_token_id, input_ids)
            input_ids = deaf_ids if guided_rows == UNCONDITIONAL else torch.cat([input_ids, deaf_ids])
            if guided_rows == BOTH and segment_ids.shape[0] > 1:
                segment_ids, segment_positions = segment_ids.repeat(2, 1), segment_positions.repeat(2, 1)
            part_ids, style_ids = _without_style(part_ids, style_ids, guided_rows)
        rows = {"part_ids": part_ids, "style_ids": style_ids}
        return {
            **{name: ids for name, ids in rows.items() if ids is not None},
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
        stock = super()._get_logits_processor(
            without_guidance(generation_config), input_ids_seq_length, *args, model_kwargs=model_kwargs, **kwargs
        )
        return order_processors(
            stock,
            generation_config,
            self.config.target_segment,
            model_kwargs["segment_positions"][:, -1],
            input_ids_seq_length,
            model_kwargs.get("uniforms"),
            is_guided=model_kwargs.get("guided_rows") == BOTH,
            forced_ids=model_kwargs.get("forced_ids"),
            evidence=model_kwargs.get("evidence"),
        )

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
            is_compiled = takes_compiled_steps(self, model_kwargs.get("engine"), logits_processor)
            sample = self._sample_compiled if is_compiled else self._sample_fast
            return sample(input_ids, logits_processor, stopping_criteria, streamer, model_kwargs)
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
            and not getattr(self, "_hf_peft_config_loaded", False)  # the lean loops read the plain matrices
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
        """The same tokens as the stock loop, by `FastStageDecoder`."""
        prompt_length, num_rows = input_ids.shape[1], input_ids.shape[0]
        max_length = min(criterion.max_length for criterion in stopping_criteria)
        # The codebook mask is void on the slice of scores that belongs to the slot's codebook.
        choosers = [one for one in logits_processor if isinstance(one, AccompGenKeyedChoiceLogitsProcessor)]
        warpers = [one for one in logits_processor if type(one) in _SLICE_PROCESSORS]
        forced_ids, evidence = model_kwargs.get("forced_ids"), model_kwargs.get("evidence")
        if evidence is not None:  # behind guidance, before temperature
            place = sum(isinstance(one, AccompGenGuidanceLogitsProcessor) for one in warpers)
            warpers.insert(place, _EvidenceOfSlice(evidence))
        prompt = self.prepare_inputs_for_generation(input_ids, **{**model_kwargs, "past_key_values": None})
        decoder = FastStageDecoder(self, prompt["segment_positions"], max_length)
        sequences = input_ids.new_empty((num_rows, max_length))
        sequences[:, :prompt_length] = input_ids
        # An operation costs a fifth less where nothing is recorded about it. Autocast would mix the buffers' dtypes.
        with torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
            scores = decoder.prefill(**{name: prompt[name] for name in _PROMPT_NAMES if name in prompt})
            for index in range(prompt_length, max_length):
                for warper in warpers:
                    scores = warper(input_ids, scores)
                if choosers:
                    codes = inverse_cdf_choice(scores, choosers[0].uniforms[:, index - prompt_length])
                else:
                    codes = scores.argmax(-1)
                ids = codes + decoder.first_code_id
                if forced_ids is not None:
                    forced = forced_ids[:, index - prompt_length]
                    ids = torch.where(forced >= 0, forced, ids)
                sequences[:, index] = ids
                if streamer is not None:
                    streamer.put(ids)
                if index + 1 < max_length:
                    scores = decoder.step(ids)
            decoder.release()
        if streamer is not None:
            streamer.end()
        return sequences

    def _sample_compiled(
        self,
        input_ids: torch.LongTensor,
        logits_processor: LogitsProcessorList,
        stopping_criteria: StoppingCriteriaList,
        streamer: BaseStreamer | None,
        model_kwargs: dict[str, Any],
    ) -> torch.LongTensor:
        """The same by `CompiledBatch`, some slots at a time."""
        prompt_length = input_ids.shape[1]
        max_length = min(criterion.max_length for criterion in stopping_criteria)
        prompt = self.prepare_inputs_for_generation(input_ids, **{**model_kwargs, "past_key_values": None})
        sequences = input_ids.new_empty((len(input_ids), max_length))
        sequences[:, :prompt_length] = input_ids
        with torch.inference_mode(), torch.autocast("cpu", enabled=False):
            asked = (max_length, logits_processor, input_ids, model_kwargs.get("forced_ids"))
            decoder = CompiledBatch(self, prompt["segment_positions"], *asked)
            decoder.prefill(**{name: prompt[name] for name in _PROMPT_NAMES if name in prompt})
            for first in range(prompt_length, max_length, _SLOTS_PER_CALL):
                last = min(first + _SLOTS_PER_CALL, max_length)
                sequences[:, first:last] = ids = decoder.decode(first - prompt_length, last - prompt_length)
                if streamer is not None:
                    for of_slot in ids.T:
                        streamer.put(of_slot)
        if streamer is not None:
            streamer.end()
        return sequences


_PROMPT_NAMES = ("input_ids", "segment_ids", "segment_positions", "part_ids", "style_ids")
_SLOTS_PER_CALL = 64  # a call has a price, and between calls the streamer learns what is done
_SLICE_PROCESSORS = (
    AccompGenGuidanceLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
_FAST_PROCESSORS = (
    *_SLICE_PROCESSORS,
    AccompGenCodebookLogitsProcessor,
    AccompGenEvidenceLogitsProcessor,
    AccompGenKeyedChoiceLogitsProcessor,
    AccompGenForcedIdsLogitsProcessor,
)


class _EvidenceOfSlice:
    """Adds the evidence of one slot after the other to the scores of its codebook."""

    def __init__(self, evidence: torch.FloatTensor):
        self.of_slots = iter(evidence.unbind(1))

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        return scores + next(self.of_slots)


def _without_style(
    part_ids: torch.LongTensor | None, style_ids: torch.LongTensor | None, guided_rows: str
) -> tuple[torch.LongTensor | None, torch.LongTensor | None]:
    """Parts and styles with unconditional rows, which keep the part and have any style."""
    if style_ids is not None:
        any_style = torch.zeros_like(style_ids)
        style_ids = any_style if guided_rows == UNCONDITIONAL else torch.cat([style_ids, any_style])
    if part_ids is not None and guided_rows == BOTH:
        part_ids = part_ids.repeat(2)
    return part_ids, style_ids


def _guided_rows(guidance_scale: float) -> str:
    return {1.0: CONDITIONAL, 0.0: UNCONDITIONAL}.get(float(guidance_scale), BOTH)


__all__ = ["AccompGenGenerationMixin"]
