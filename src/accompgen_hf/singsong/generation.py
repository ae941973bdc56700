"""Generation of SingSong's models by transformers' `generate`: windows, one stream after the other, keyed choices.

A window is [BOS | semantic ids | codes] in the decoder. Its streams are generated one by one: what an earlier window
has of a stream stands before the stream's new ids, which continue it. Each stream gets exactly its number of ids, each
slot the codes of its own codebook; there is no end-of-sequence id.

Letters: R rows of a batch, which are windows, then items.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from transformers.generation import GenerationMixin
from transformers.generation.configuration_utils import GenerationConfig
from transformers.generation.logits_process import LogitsProcessorList
from transformers.modeling_outputs import BaseModelOutput

from accompgen_hf.accompgen.codebooks_accompgen import codes_to_ids, ids_to_codes
from accompgen_hf.accompgen.configuration_accompgen import GRID_RATE, Segment
from accompgen_hf.accompgen.logits_accompgen import order_processors, without_guidance
from accompgen_hf.accompgen.seeds_accompgen import draw_uniforms, resolve_seeds
from accompgen_hf.accompgen.windows_accompgen import DEFAULT_WINDOW_BATCH_SIZE, WindowPlan
from accompgen_hf.singsong.batches import encode_conditioning

REFUSED_SETTINGS = ("num_beams", "num_return_sequences", "assistant_model", "prompt_lookup_num_tokens")


class SingSongGenerationMixin(GenerationMixin):
    """`generate` from the encoder's streams by name."""

    @torch.no_grad()
    def generate(
        self,
        *,
        seed: int | list[int] | None = None,
        window_batch_size: int = DEFAULT_WINDOW_BATCH_SIZE,
        callback: Callable[[float], Any] | None = None,
        **kwargs: Any,
    ) -> dict[str, torch.LongTensor]:
        """Generate the target's streams, of any length, window by window.

        Args:
            seed (`int` or `list` of `int`, *optional*): Item i of the batch uses `seed + i`, or its own.
            window_batch_size (`int`): Windows (times items) that run together where they do not need each other.
            callback (`Callable`, *optional*): Called with the seconds of music just finished, over all items.
            kwargs: The streams of `config.conditioning_names`, a multiple of 40 ms long, and any field of the
                generation config: `guidance_scale`, `temperature`, `top_k`, `top_p`, ...

        Returns:
            `dict` of `config.target_names` to codes: semantic ids `(batch_size, num_frames)`, others
            `(batch_size, num_codebooks, num_frames)`.

        Raises:
            ValueError: If the streams do not fit, or a mode other than greedy search and sampling is asked for.
        """
        config = self.config
        for name in REFUSED_SETTINGS:
            if kwargs.get(name) not in (None, 1):
                raise ValueError(
                    f"`{name}` must be left out: {type(self).__name__} decodes greedily or samples one sequence per "
                    f"row; got {kwargs[name]!r}. For variations repeat the rows and give each its own `seed`."
                )
        missing = [name for name in config.conditioning_names if name not in kwargs]
        if missing:
            raise ValueError(f"`generate` needs {list(config.conditioning_names)} by name, missing {missing}.")
        conditioning = {name: kwargs.pop(name).to(self.device) for name in config.conditioning_names}
        encode_conditioning(config, conditioning)  # refuses what does not fit, before any work
        first = conditioning[config.conditioning_names[0]]
        num_frames, frames_per_step = first.shape[-1], config.segments[0].frame_rate // GRID_RATE
        if num_frames % frames_per_step:
            raise ValueError(
                f"`{config.segments[0].name}` must last a multiple of 40 ms, got {num_frames} frames at "
                f"{config.segments[0].frame_rate} Hz."
            )
        seeds = resolve_seeds(seed, first.shape[0])
        num_steps = num_frames // frames_per_step
        plan = WindowPlan(config)
        windows = plan.plan_all(num_steps)
        windows_per_batch = 1 if plan.overlap_steps else max(1, window_batch_size // len(seeds))
        codes = {
            segment.name: _empty_codes(segment, len(seeds), num_steps, first.device)
            for segment in config.target_segments
        }
        num_done = 0
        for index in range(0, len(windows), windows_per_batch):
            batch = windows[index : index + windows_per_batch]
            self._generate_batch(conditioning, codes, batch, num_done, seeds, kwargs)
            if callback is not None:
                callback((batch[-1][1] - num_done) / GRID_RATE * len(seeds))
            num_done = batch[-1][1]
        return codes

    def _generate_batch(
        self,
        conditioning: dict[str, torch.LongTensor],
        codes: dict[str, torch.LongTensor],
        windows: list[tuple[int, int]],
        num_done: int,
        seeds: list[int],
        settings: dict[str, Any],
    ) -> None:
        """Fill `codes` over `windows` (40-ms steps, the first `num_done` of the recording are there) in one batch."""
        config = self.config
        window_steps = round(config.clip_duration_s * GRID_RATE)
        num_kept_steps = max(0, num_done - windows[0][0])  # steps that the first window already has
        rows = {
            segment.name: torch.cat(
                [self._cut(segment, conditioning[segment.name], start, window_steps) for start, _ in windows]
            )
            for segment in config.conditioning_segments
        }
        encoded = self._encode(encode_conditioning(config, rows), settings)
        num_rows = len(windows) * len(seeds)
        starts_s = [start / GRID_RATE for start, _ in windows for _ in seeds]
        decoder_ids = torch.full((num_rows, 1), config.decoder_start_token_id, device=self.device)
        for segment in config.target_segments:
            # Training has whole windows of a stream before the next one; only the last may end with the music.
            is_last = segment == config.target_segment
            num_steps = max(end - start for start, end in windows) if is_last else window_steps
            per_step = segment.frame_rate // GRID_RATE
            num_kept, num_frames = num_kept_steps * per_step, num_steps * per_step
            so_far = codes[segment.name]
            prefix = torch.cat([so_far[..., start * per_step :][..., :num_kept] for start, _ in windows])
            decoder_ids = torch.cat([decoder_ids, codes_to_ids(segment, prefix)], dim=1)
            num_slots, first_slot = num_frames * segment.num_codebooks, num_kept * segment.num_codebooks
            uniforms = draw_uniforms(seeds * len(windows), segment.name, starts_s, num_slots, decoder_ids.device)
            decoder_ids = super().generate(
                decoder_input_ids=decoder_ids,
                uniforms=uniforms[:, first_slot:],
                segment=segment,
                first_slot=first_slot,
                max_new_tokens=num_slots - first_slot,
                **encoded,
                **settings,
            )
            new_codes = ids_to_codes(segment, decoder_ids[:, first_slot - num_slots :])
            for (start, end), window_codes in zip(windows, new_codes.split(len(seeds)), strict=True):
                first_new, last = start * per_step + num_kept, end * per_step
                so_far[..., first_new:last] = window_codes[..., : last - first_new]

    def _encode(self, input_ids: torch.LongTensor, settings: dict[str, Any]) -> dict[str, Any]:
        """Run the encoder once per window: on its ids, on null ids, or with guidance on both."""
        generation_config = settings.get("generation_config") or self.generation_config
        scale = settings.get("guidance_scale", generation_config.guidance_scale)
        null_ids = torch.full_like(input_ids, self.config.null_token_id)
        if scale is None or scale == 1:
            return {"encoder_outputs": self.encoder(input_ids)}
        if scale == 0:
            return {"encoder_outputs": self.encoder(null_ids)}
        states = self.encoder(torch.cat([input_ids, null_ids])).last_hidden_state  # (2R, positions, d)
        # `generate` counts its rows in the encoder's output, so it sees half of it.
        return {"encoder_outputs": BaseModelOutput(states[: len(input_ids)]), "guided_states": states}

    def _cut(self, segment: Segment, whole: torch.LongTensor, start: int, num_steps: int) -> torch.LongTensor:
        """One window of an encoder stream; past the recording's end stand the codes of silence."""
        per_step = segment.frame_rate // GRID_RATE
        cut = whole[..., start * per_step : (start + num_steps) * per_step]
        codes = (self.config.silence_codes or {}).get(segment.name, [0] * segment.num_codebooks)
        silence = torch.tensor(codes, device=whole.device)
        silence = silence[:, None] if whole.ndim == 3 else silence
        return torch.cat([cut, silence.expand(*cut.shape[:-1], num_steps * per_step - cut.shape[-1])], dim=-1)

    # ---- hooks of GenerationMixin --------------------------------------------------------------------------------

    def prepare_inputs_for_generation(
        self,
        input_ids: torch.LongTensor,
        encoder_outputs: BaseModelOutput | None = None,
        guided_states: torch.FloatTensor | None = None,
        uniforms: torch.FloatTensor | None = None,
        segment: Segment | None = None,
        first_slot: int = 0,
        **kwargs,
    ) -> dict[str, Any]:
        if guided_states is not None:
            encoder_outputs = BaseModelOutput(guided_states)
        inputs = super().prepare_inputs_for_generation(input_ids, encoder_outputs=encoder_outputs, **kwargs)
        inputs.pop("attention_mask", None)  # a window has no padding
        if guided_states is not None:
            inputs["decoder_input_ids"] = inputs["decoder_input_ids"].repeat(2, 1)
        return inputs

    def _get_logits_processor(
        self,
        generation_config: GenerationConfig,
        input_ids_seq_length: int | None = None,
        *args: Any,
        model_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> LogitsProcessorList:
        stock = super()._get_logits_processor(
            without_guidance(generation_config), input_ids_seq_length, *args, model_kwargs=model_kwargs, **kwargs
        )
        uniforms = model_kwargs["uniforms"]
        return order_processors(
            stock,
            generation_config,
            model_kwargs["segment"],
            torch.tensor([model_kwargs["first_slot"]], device=uniforms.device),
            input_ids_seq_length,
            uniforms,
            is_guided=model_kwargs.get("guided_states") is not None,
        )

    def _sample(self, input_ids: torch.LongTensor, *args: Any, generation_config: GenerationConfig, **kwargs: Any):
        # The last processor has chosen already; taking the maximum leaves global random state alone.
        greedy = copy.copy(generation_config)
        greedy.do_sample = False
        return super()._sample(input_ids, *args, generation_config=greedy, **kwargs)


def _empty_codes(segment: Segment, batch_size: int, num_steps: int, device: torch.device) -> torch.LongTensor:
    num_frames = num_steps * segment.frame_rate // GRID_RATE
    is_semantic = segment.name.endswith("semantic_ids")
    shape = (batch_size, num_frames) if is_semantic else (batch_size, segment.num_codebooks, num_frames)
    return torch.zeros(shape, dtype=torch.long, device=device)


__all__ = ["SingSongGenerationMixin"]
