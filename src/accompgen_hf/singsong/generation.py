"""Generation of SingSong's models by transformers' `generate`: windows, one stream after the other, keyed choices.

A window is [BOS | semantic ids | codes] in the decoder. Its streams are generated one by one: what an earlier window
has of a stream stands before the stream's new ids, which continue it. Each stream gets exactly its number of ids, each
slot the codes of its own codebook; there is no end-of-sequence id.

Letters: R rows of a batch, which are windows of any items.
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
from accompgen_hf.accompgen.windows_accompgen import (
    StageWindow,
    WindowedRecording,
    frames_per_step,
    run_all_windows,
)
from accompgen_hf.singsong.batches import encode_conditioning

REFUSED_SETTINGS = ("num_beams", "num_return_sequences", "assistant_model", "prompt_lookup_num_tokens")


class SingSongGenerationMixin(GenerationMixin):
    """Codes from the encoder's streams by name; every window's stream by Transformers' own `generate`."""

    @torch.no_grad()
    def generate_codes(
        self,
        *,
        seed: int | list[int] | None = None,
        window_batch_size: int | None = None,
        callback: Callable[[float], Any] | None = None,
        **kwargs: Any,
    ) -> dict[str, torch.LongTensor]:
        """Generate the target's streams, of any length, window by window.

        Args:
            seed (`int` or `list` of `int`, *optional*): Item i of the batch uses `seed + i`, or its own.
            window_batch_size (`int`, *optional*): Windows, of one item or several, that run together at most; `None`
                is 16, or as many as there are items.
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
            raise ValueError(f"`generate_codes` needs {list(config.conditioning_names)} by name, missing {missing}.")
        conditioning = {name: kwargs.pop(name).to(self.device) for name in config.conditioning_names}
        encode_conditioning(config, conditioning)  # refuses what does not fit, before any work
        name = config.conditioning_names[0]
        batch_size, num_frames = len(conditioning[name]), conditioning[name].shape[-1]
        if num_frames == 0 or num_frames % frames_per_step(name):
            raise ValueError(
                f"`{name}` must last a multiple of 40 ms, got {num_frames} frames at "
                f"{config.segments[0].frame_rate} Hz."
            )
        recordings = [WindowedRecording(config, own_seed) for own_seed in resolve_seeds(seed, batch_size)]
        for index, recording in enumerate(recordings):
            recording.append({name: codes[index : index + 1] for name, codes in conditioning.items()})
        generate_windows = SingSongGenerationMixin._generate_windows
        results = run_all_windows(self, recordings, window_batch_size, callback, kwargs, generate_windows)
        return {name: torch.cat([result[name] for result in results]) for name in config.target_names}

    def _generate_windows(
        self, windows: list[StageWindow], callback: Callable[[float], Any] | None, settings: dict[str, Any]
    ) -> list[dict[str, torch.LongTensor]]:
        """New codes of every window by stream; those of shorter windows run on into silence."""
        config = self.config
        rows = {
            name: torch.cat([window.conditioning[name] for window in windows]) for name in config.conditioning_names
        }
        encoded = self._encode(encode_conditioning(config, rows), settings)
        seeds = [window.recording.seed for window in windows]
        starts_s = [window.start / GRID_RATE for window in windows]
        decoder_ids = torch.full((len(windows), 1), config.decoder_start_token_id, device=self.device)
        new_codes = {}
        for segment in config.target_segments:
            # Training has whole windows of a stream before the next one; only the last may end with the music.
            num_steps = round(config.clip_duration_s * GRID_RATE)
            if segment == config.target_segment:
                num_steps = max(window.end - window.start for window in windows)
            slots_per_step = frames_per_step(segment.name) * segment.num_codebooks
            num_slots, first_slot = num_steps * slots_per_step, windows[0].num_kept * slots_per_step
            prefix = [window.recording.cut(segment.name, window.start, window.num_kept) for window in windows]
            decoder_ids = torch.cat([decoder_ids, codes_to_ids(segment, torch.cat(prefix))], dim=1)
            uniforms = draw_uniforms(seeds, segment.name, starts_s, num_slots, decoder_ids.device)
            decoder_ids = self.generate(
                decoder_input_ids=decoder_ids,
                uniforms=uniforms[:, first_slot:],
                segment=segment,
                first_slot=first_slot,
                max_new_tokens=num_slots - first_slot,
                **encoded,
                **settings,
            )
            new_codes[segment.name] = ids_to_codes(segment, decoder_ids[:, first_slot - num_slots :]).split(1)
        if callback is not None:
            callback(sum(window.end - window.start - window.num_kept for window in windows) / GRID_RATE)
        return [{name: codes[row] for name, codes in new_codes.items()} for row in range(len(windows))]

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
        """Give the decoder both halves of guided rows, and drop the mask: a window has no padding."""
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


__all__ = ["SingSongGenerationMixin"]
