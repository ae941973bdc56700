"""SingSong as one model, with the interface of ours: vocals in, accompaniment out, one folder on disk.

Letters: B batch, T50 and T75 frames at 50 and 75 Hz.
"""

import os
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from transformers.modeling_utils import PreTrainedModel

from accompgen_hf.accompgen.fingerprint_accompgen import check_token_fingerprints
from accompgen_hf.accompgen.modeling_accompgen import (
    AccompGenOutput,
    CompositeModel,
    equivalent_fingerprints,
    load_part,
)
from accompgen_hf.accompgen.modeling_accompgen_codec import AccompGenCodec
from accompgen_hf.accompgen.modeling_accompgen_semantic_encoder import AccompGenSemanticEncoder
from accompgen_hf.accompgen.seeds_accompgen import draw_seed
from accompgen_hf.singsong.configuration import SingSongAccompanimentConfig
from accompgen_hf.singsong.modeling import (
    SingSongFineForConditionalGeneration,
    SingSongForConditionalGeneration,
    load_complete,
)


class SingSongForAccompaniment(CompositeModel):
    """Semantic encoder, S-SA, coarse to fine, and EnCodec."""

    config_class = SingSongAccompanimentConfig
    stage_configs: ClassVar[dict[str, str]] = {"singsong": "coarse_config", "singsong_fine": "fine_config"}

    def __init__(self, config: SingSongAccompanimentConfig):
        super().__init__(config)
        self.semantic_encoder = AccompGenSemanticEncoder(config.semantic_encoder_config)
        self.singsong = SingSongForConditionalGeneration(config.coarse_config)
        self.singsong_fine = SingSongFineForConditionalGeneration(config.fine_config)
        self.codec = AccompGenCodec(config.codec_config)
        self.post_init()

    @torch.no_grad()
    def generate(
        self,
        input_values: torch.FloatTensor | None = None,
        vocal_semantic_ids: torch.LongTensor | None = None,
        seed: int | list[int] | None = None,
        preview: bool = False,
        callback: Callable[[str, float], Any] | None = None,
        **kwargs: Any,
    ) -> AccompGenOutput:
        """Accompany vocals.

        Args:
            input_values (`torch.FloatTensor` of shape `(batch_size, num_samples)`): 16 kHz mono vocals with level and
                noise, a multiple of 640 samples, as `AccompGenProcessor` makes them.
            vocal_semantic_ids (`torch.LongTensor` of shape `(batch_size, T50)`): Ids to use instead of `input_values`.
            seed (`int` or `list` of `int`, *optional*): Item i uses `seed + i`, or its own; `None` draws one.
            preview (`bool`): Decode the coarse codes alone and leave out the fine model.
            callback (`Callable`, *optional*): Called as `callback(stage, seconds_just_finished)`, with the names of
                our stages.
            kwargs: Generation settings of both models: `guidance_scale`, `temperature`, `top_k`, `top_p`, ...

        Raises:
            ValueError: If not exactly one of `input_values` and `vocal_semantic_ids` is given, or something does not
                fit.
        """
        if (input_values is None) == (vocal_semantic_ids is None):
            raise ValueError("`generate` needs `input_values` or `vocal_semantic_ids`, and not both.")
        if vocal_semantic_ids is None:
            vocal_semantic_ids = self.semantic_encoder(input_values).semantic_ids
        if seed is None:
            seed = draw_seed()

        def report(*stages: str) -> Callable[[float], None] | None:
            return None if callback is None else lambda seconds: [callback(stage, seconds) for stage in stages]

        known = {"vocal_semantic_ids": vocal_semantic_ids.to(self.device)}
        known.update(self.singsong.generate_codes(**known, seed=seed, callback=report("semantic", "coarse"), **kwargs))
        codes = known["coarse_codes"]
        if not preview:
            known.update(
                self.singsong_fine.generate_codes(coarse_codes=codes, seed=seed, callback=report("fine"), **kwargs)
            )
            codes = torch.cat([codes, known["fine_codes"]], dim=1)  # (B, 8, T75)
        return AccompGenOutput(audio=self.decode(codes), **known)

    @classmethod
    def from_sub_models(
        cls,
        singsong: PreTrainedModel | str | os.PathLike,
        singsong_fine: PreTrainedModel | str | os.PathLike,
        semantic_encoder: PreTrainedModel | str | os.PathLike,
        codec: PreTrainedModel | str | os.PathLike,
        **config_kwargs: Any,
    ) -> "SingSongForAccompaniment":
        """Assemble the system from its trained parts: models or their folders.

        Args:
            config_kwargs: Fields of `SingSongAccompanimentConfig`, such as `noise_std`.

        Raises:
            ValueError: If the models were trained on tokens of other parts or settings; both sides are named.
        """
        stages = {
            "singsong": load_part(singsong, SingSongForConditionalGeneration),
            "singsong_fine": load_part(singsong_fine, SingSongFineForConditionalGeneration),
        }
        return cls.assemble(stages, semantic_encoder, codec, **config_kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, *args: Any, **kwargs: Any) -> Any:
        """Load, and refuse weights that are missing, not finite, or made for other tokens."""
        loaded = load_complete(super().from_pretrained, pretrained_model_name_or_path, *args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        fingerprints = equivalent_fingerprints(model.config, model.semantic_encoder, model.codec)
        for part in (model.config, model.config.coarse_config, model.config.fine_config):
            check_token_fingerprints(
                part.token_fingerprint,
                fingerprints[0],
                f"the {part.model_type} config",
                "the weights beside it",
                fingerprints,
            )
        model.load_generation_configs(pretrained_model_name_or_path)
        return loaded


__all__ = ["SingSongForAccompaniment"]
