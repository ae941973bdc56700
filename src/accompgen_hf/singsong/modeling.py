"""SingSong's two models: transformers' T5 v1.1 with our losses, windows and keyed choice (paper §2, Table 2).

SingSong (Donahue et al. 2023) is the paper's main baseline. S-SA reads the vocals' semantic tokens with a T5 encoder
and writes the instrumental's semantic tokens, then its coarse codes; a second T5 adds the fine codes. Everything else
is as in our system: tokens, codec, training loop, sampling. Where the paper's own SingSong differs (w2v-BERT and
SoundStream tokens at 16 kHz), the comparison of architectures gets fairer.

Letters: B batch, N decoder positions, K codebooks, T25 steps of 40 ms.
"""

import os
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import T5ForConditionalGeneration
from transformers import initialization as init
from transformers.modeling_outputs import Seq2SeqLMOutput

from accompgen_hf.accompgen.codebooks_accompgen import IGNORED_LABEL
from accompgen_hf.accompgen.configuration_accompgen import GRID_RATE
from accompgen_hf.accompgen.manifest_accompgen import ManifestSavingMixin
from accompgen_hf.accompgen.model_checks_accompgen import check_finite
from accompgen_hf.singsong.configuration import SingSongConfig, SingSongFineConfig, SingSongStageConfig
from accompgen_hf.singsong.generation import SingSongGenerationMixin


class SingSongStageForConditionalGeneration(ManifestSavingMixin, SingSongGenerationMixin, T5ForConditionalGeneration):
    """T5 v1.1 over codes: its own output head, a loss that micro-batches do not move."""

    config_class = SingSongStageConfig
    # T5 v1.1 ties both embeddings, but not the head.
    _tied_weights_keys = {
        "encoder.embed_tokens.weight": "shared.weight",
        "decoder.embed_tokens.weight": "shared.weight",
    }

    def __init__(self, config: SingSongStageConfig):
        super().__init__(config)
        # The settings of our stages but for guidance, which SingSong does not have.
        self.generation_config.update(do_sample=True, guidance_scale=1.0, temperature=0.9, top_k=250)

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self.lm_head:
            # Logits of about one, as T5X starts them; with the width 1 of Transformers they are 28 at base size.
            init.normal_(module.weight, mean=0.0, std=self.config.initializer_factor * self.config.d_model**-0.5)

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        labels: torch.LongTensor | None = None,
        decoder_input_ids: torch.LongTensor | None = None,
        num_items_in_batch: int | torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Seq2SeqLMOutput:
        """T5's forward.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, num_positions)`): Result of `build_singsong_inputs`.
            labels (`torch.LongTensor` of shape `(batch_size, num_decoder_positions)`, *optional*): Position p
                predicts label p; -100 is ignored.
            decoder_input_ids (`torch.LongTensor`, *optional*): If `None`, BOS and the labels before the last.
            num_items_in_batch (`int` or `torch.Tensor`, *optional*): Targets of the whole optimiser step; the loss is
                then a sum divided by it, so that splitting the step into micro-batches changes nothing.
        """
        if decoder_input_ids is None and labels is not None:
            decoder_input_ids = self._shift_right(labels)
        output = super().forward(input_ids=input_ids, decoder_input_ids=decoder_input_ids, **kwargs)
        if labels is not None:
            losses = F.cross_entropy(
                output.logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED_LABEL, reduction="sum"
            )
            num_targets = (labels != IGNORED_LABEL).sum() if num_items_in_batch is None else num_items_in_batch
            output.loss = losses / num_targets
        return output

    def target_losses(
        self,
        input_ids: torch.LongTensor,
        decoder_input_ids: torch.LongTensor,
        labels: torch.LongTensor,
    ) -> tuple[torch.FloatTensor, torch.FloatTensor]:
        """Cross-entropy (nats) and share of hits of the target, for evaluation.

        Streams have different frame rates, so values are means over steps of 40 ms.

        Returns:
            Two tensors of shape `(batch_size, num_codebooks, T25)`; codebooks are the streams' in the decoder's
            order: the semantic one, then the coarse four.
        """
        logits = super().forward(input_ids=input_ids, decoder_input_ids=decoder_input_ids, use_cache=False).logits
        losses = F.cross_entropy(logits.float().transpose(1, 2), labels, reduction="none")  # (B, N)
        hits = (logits.argmax(-1) == labels).float()
        return self._by_codebook(losses), self._by_codebook(hits)

    def _by_codebook(self, values: torch.Tensor) -> torch.Tensor:
        segments = self.config.target_segments
        rates = [segment.frame_rate * segment.num_codebooks for segment in segments]
        num_steps = values.shape[1] * GRID_RATE // sum(rates)
        streams = values.split([num_steps * rate // GRID_RATE for rate in rates], dim=1)
        pieces = [
            stream.view(len(values), num_steps, -1, segment.num_codebooks).mean(2).transpose(1, 2)
            for segment, stream in zip(segments, streams, strict=True)
        ]  # (B, T25 * frames * K) -> (B, K, T25)
        return torch.cat(pieces, dim=1)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, *args: Any, **kwargs: Any) -> Any:
        """Load, and refuse weights that are missing, unknown or not finite."""
        return load_complete(super().from_pretrained, pretrained_model_name_or_path, *args, **kwargs)


class SingSongForConditionalGeneration(SingSongStageForConditionalGeneration):
    """S-SA: instrumental semantic ids and coarse codes from vocal semantic ids."""

    config_class = SingSongConfig


class SingSongFineForConditionalGeneration(SingSongStageForConditionalGeneration):
    """Coarse codes to fine codes."""

    config_class = SingSongFineConfig


def load_complete(from_pretrained: Any, source: str | os.PathLike, *args: Any, **kwargs: Any) -> Any:
    """Load through `from_pretrained`, which alone would fill what is missing with random numbers.

    Raises:
        ValueError: If a weight is missing, unknown, of another shape, NaN or infinite.
    """
    wants_info = kwargs.pop("output_loading_info", False)
    kwargs["use_safetensors"] = True
    model, info = from_pretrained(source, *args, output_loading_info=True, **kwargs)
    for relation in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info[relation]:
            names = ", ".join(sorted(str(name) for name in info[relation])[:3])
            raise ValueError(
                f"{source}: must hold exactly the weights of {type(model).__name__}; {relation.replace('_', ' ')}: "
                f"{names}. Does config.json belong to these weights?"
            )
    check_finite(model, source)
    return (model, info) if wants_info else model


__all__ = [
    "SingSongFineForConditionalGeneration",
    "SingSongForConditionalGeneration",
    "SingSongStageForConditionalGeneration",
    "load_complete",
]
