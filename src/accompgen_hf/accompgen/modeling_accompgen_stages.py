"""The three stages: one causal Transformer over [conditioning | BOS | target], a head per quantizer (paper §3.3-3.5).

Letters: B batch, R rows of metadata (B, or 1 when all samples share a layout), S positions, Q codebooks of the target,
d hidden width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import initialization as init
from transformers.cache_utils import Cache, DynamicCache
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import ModelOutput

from .codebooks_accompgen import IGNORED_LABEL, PADDING, build_stage_inputs
from .configuration_accompgen import (
    AccompGenCoarseConfig,
    AccompGenFineConfig,
    AccompGenSemanticConfig,
    AccompGenStageConfig,
)
from .generation_accompgen import AccompGenGenerationMixin
from .listener_accompgen import AccompGenListener
from .manifest_accompgen import ManifestSavingMixin
from .model_checks_accompgen import CheckedLoadingMixin
from .modeling_accompgen_layers import (
    AccompGenDecoderLayer,
    AccompGenRelativeBias,
    AccompGenRMSNorm,
    AccompGenRowEmbedding,
)
from .options_accompgen import check_settings
from .parts_accompgen import style_ids
from .seeds_accompgen import resolve_seeds
from .told_song_accompgen import read_told_songs
from .window_listening_accompgen import listening_context_s
from .windows_accompgen import (
    WindowedRecording,
    frames_per_step,
    played_parts,
    run_all_windows,
)


@dataclass
class AccompGenStageOutput(ModelOutput):
    """Output of a stage.

    Attributes:
        loss (`torch.FloatTensor` of shape `(1,)`, *optional*): Eq. 6, in nats.
        logits (`torch.FloatTensor` of shape `(batch_size, num_kept_positions, vocab_size)`, *optional*): Finite lowest
            value outside the codebook that a position predicts.
        codebook_losses (`torch.FloatTensor` of shape `(num_codebooks,)`, *optional*): Cross-entropy per quantizer.
        past_key_values (`Cache`, *optional*): Keys (after QK-norm) and values.
        hidden_states (`tuple` of `torch.FloatTensor`, *optional*): Input of the first layer, then each layer's output.
        attentions (`tuple` of `torch.FloatTensor`, *optional*): Softmax weights; `attn_implementation="eager"` only.
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    codebook_losses: torch.FloatTensor | None = None
    past_key_values: Cache | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


class AccompGenDecoder(nn.Module):
    """Token, segment and row embeddings, the layers, and the final norm; shared by the three stages (paper §3.4)."""

    def __init__(self, config: AccompGenStageConfig):
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.embed_segments = nn.Embedding(len(config.segments), config.hidden_size)
        self.embed_rows = AccompGenRowEmbedding(config)
        self.relative_bias = AccompGenRelativeBias(config)
        self.layers = nn.ModuleList(AccompGenDecoderLayer(config, index) for index in range(config.num_hidden_layers))
        self.norm = AccompGenRMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(
        self,
        input_ids: torch.LongTensor,
        segment_ids: torch.LongTensor,
        segment_positions: torch.LongTensor,
        past_key_values: Cache | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
        part_ids: torch.LongTensor | None = None,
        style_ids: torch.LongTensor | None = None,
    ) -> tuple[torch.Tensor, tuple | None, tuple | None]:
        """Run all layers over embedded ids, and the last norm."""
        num_queries = input_ids.shape[1]
        num_keys = segment_ids.shape[1]
        if past_key_values is not None:
            num_keys = past_key_values.get_mask_sizes(num_queries, 0)[0]
        segments = self.embed_segments(segment_ids[:, -num_queries:].clamp(min=0))  # (R, S, d)
        rows = self.embed_rows(len(input_ids), part_ids, style_ids)  # (B, 1, d)
        hidden_states = self.embed_tokens(input_ids) + (segments if rows is None else segments + rows)  # (B, S, d)
        attention_bias = self.relative_bias(segment_ids, segment_positions, num_queries, num_keys).to(
            hidden_states.dtype
        )
        all_hidden_states, all_attentions = [hidden_states], []
        for layer in self.layers:
            hidden_states, weights = layer(hidden_states, attention_bias, past_key_values)
            all_hidden_states.append(hidden_states)
            all_attentions.append(weights)
        return (
            self.norm(hidden_states),
            tuple(all_hidden_states) if output_hidden_states else None,
            tuple(all_attentions) if output_attentions else None,
        )


class AccompGenStagePreTrainedModel(CheckedLoadingMixin, ManifestSavingMixin, PreTrainedModel):
    """Weight initialisation and what the stages support."""

    config_class = AccompGenStageConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _no_split_modules = ["AccompGenDecoderLayer"]
    _supports_sdpa = True
    # The learned bias is an additive float mask, which flash attention cannot take.
    _supports_flash_attn = False
    _supports_flex_attn = False

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, AccompGenRelativeBias):
            init.normal_(module.weight, mean=0.0, std=self.config.initializer_range)
            init.copy_(module.weight, module.weight - module.initial_fall().to(module.weight))


class AccompGenStageForCausalLM(AccompGenStagePreTrainedModel, AccompGenGenerationMixin):
    """A decoder with one linear head per quantizer of its target."""

    def __init__(self, config: AccompGenStageConfig):
        super().__init__(config)
        self.model = AccompGenDecoder(config)
        target = config.target_segment
        self.heads = nn.ModuleList(
            nn.Linear(config.hidden_size, target.codebook_size, bias=False) for _ in range(target.num_codebooks)
        )
        self.post_init()
        # The settings of the authors' release; a saved generation config replaces them.
        self.generation_config.update(do_sample=True, guidance_scale=3.0, temperature=0.9, top_k=250)
        self.generation_config._from_model_config = False  # else loading drops what Transformers does not know

    def get_input_embeddings(self) -> nn.Embedding:
        """The table of all ids."""
        return self.model.embed_tokens

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Replace the table of all ids."""
        self.model.embed_tokens = value

    def forward(
        self,
        input_ids: torch.LongTensor,
        segment_ids: torch.LongTensor | None = None,
        segment_positions: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        labels: torch.LongTensor | None = None,
        logits_to_keep: int | torch.Tensor | None = None,
        num_items_in_batch: int | torch.Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
        part_ids: torch.LongTensor | None = None,
        style_ids: torch.LongTensor | None = None,
        **kwargs: Any,
    ) -> AccompGenStageOutput | tuple:
        """Run the stage.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, num_queries)`): Ids of the positions not yet cached.
            segment_ids, segment_positions (`torch.LongTensor` of shape `(batch_size or 1, num_positions)`): Segment
                and place of every position, cached ones included; -1 is padding.
            attention_mask (`torch.Tensor` of shape `(batch_size, num_positions)`, *optional*): 0 marks padding.
            labels (`torch.LongTensor` of shape `(batch_size, num_queries)`, *optional*): `input_ids` with -100 on
                conditioning, BOS and padding; the loss shifts. Without `logits_to_keep` no logits are returned then.
            logits_to_keep (`int` or `torch.Tensor`, *optional*): Last positions (0 is all), or their indices.
            num_items_in_batch (`int` or `torch.Tensor`, *optional*): Targets of the whole optimiser step; the loss is
                then a sum divided by it, so that splitting the step into micro-batches changes nothing.
            part_ids (`torch.LongTensor` of shape `(batch_size,)`, *optional*): Index of each row's part in
                `config.part_names`, where a row is one part.
            style_ids (`torch.LongTensor` of shape `(batch_size,)`, *optional*): Row of each row's style in the table
                of styles; 0, and so `None`, is any style.

        Raises:
            ValueError: If the segment tensors are missing or shorter than `input_ids`, or `part_ids` or `style_ids` do
                not fit.
        """
        segment_ids, segment_positions = _check_layout(input_ids, segment_ids, segment_positions)
        if attention_mask is not None:
            segment_ids = torch.where(attention_mask.bool(), segment_ids, PADDING)
            segment_positions = torch.where(attention_mask.bool(), segment_positions, PADDING)
        use_cache = self.config.use_cache if use_cache is None else use_cache
        if use_cache and past_key_values is None and labels is None and not self.training:
            past_key_values = DynamicCache(config=self.config)
        return_dict = self.config.return_dict if return_dict is None else return_dict
        hidden_states, all_hidden_states, attentions = self.model(
            input_ids,
            segment_ids,
            segment_positions,
            past_key_values,
            output_hidden_states=bool(
                self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
            ),
            output_attentions=bool(self.config.output_attentions if output_attentions is None else output_attentions),
            part_ids=part_ids,
            style_ids=style_ids,
        )
        output = AccompGenStageOutput(
            past_key_values=past_key_values, hidden_states=all_hidden_states, attentions=attentions
        )
        positions = segment_positions[:, -input_ids.shape[1] :]
        is_target = segment_ids[:, -input_ids.shape[1] :] == len(self.config.segments) - 1
        if labels is not None:
            output.loss, output.codebook_losses = self._loss(hidden_states, positions, labels, num_items_in_batch)
        if labels is None or logits_to_keep is not None:
            if logits_to_keep is None or isinstance(logits_to_keep, int):
                kept = slice(-logits_to_keep, None) if logits_to_keep else slice(None)
            else:
                kept = logits_to_keep
            output.logits = self._logits(hidden_states[:, kept], positions[:, kept], is_target[:, kept])
        return output if return_dict else output.to_tuple()

    @torch.no_grad()
    def generate_codes(
        self,
        *,
        seed: int | list[int] | None = None,
        window_batch_size: int | None = None,
        callback: Callable[[float], Any] | None = None,
        part: str | list[str] | None = None,
        style: str | list[str | None] | None = None,
        key: str | list[str | None] | None = None,
        tempo_bpm: float | list[float | None] | None = None,
        chords: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> torch.LongTensor:
        """Generate the target of conditioning of any length, window by window, each by `generate`.

        Args:
            seed (`int` or `list` of `int`, *optional*): Item i of the batch uses `seed + i`, or its own.
            window_batch_size (`int`, *optional*): Largest number of windows, of one item or several, that run
                together. `None` means 16, or as many as there are items.
            callback (`Callable`, *optional*): Called with the seconds of music just finished, over all items.
            part (`str` or `list` of `str`, *optional*): Part that all items play, or each of them, where a row is one
                part; its `instrumental_semantic_ids` are the part's own.
            style (`str` or `list` of `str`, *optional*): Style of all items, or of each; `None` is any style.
            key, tempo_bpm, chords (*optional*): What is known of the song, as the composite's `generate` takes it; for
                a stage with a listener.
            kwargs: The conditioning by name (`vocal_semantic_ids=...`, see `config.conditioning_names`), and settings
                for `generate`: `guidance_scale`, `temperature`, `top_k`, `top_p`, ...; of a stage with a listener also
                `listening_scale`, the weight of what it hears of beat and chords in 12 s around each window.

        Returns:
            `torch.LongTensor` of shape `(batch_size, num_frames)` for the semantic stage of one part, of several
            `(batch_size, num_parts, num_frames)`, else `(batch_size, num_codebooks, num_frames)`.

        Raises:
            ValueError: If the conditioning does not fit, or a setting is refused by `generate`.
        """
        config = self.config
        check_settings(kwargs)
        names = [name for name in config.conditioning_names if name in kwargs]
        conditioning = {name: kwargs.pop(name).to(self.device) for name in names}
        build_stage_inputs(config, conditioning)  # refuses what does not fit, before any work
        first = conditioning[config.conditioning_names[0]]
        if first.shape[-1] == 0 or first.shape[-1] % frames_per_step(config.conditioning_names[0]):
            raise ValueError(
                f"`{config.conditioning_names[0]}` must last one or more steps of 40 ms, got {first.shape[-1]} frames "
                f"at {config.segments[0].frame_rate} Hz."
            )
        parts, styles = played_parts(config, part, len(first)), style_ids(config, style, len(first))
        told = read_told_songs(len(first), key, tempo_bpm, chords)
        heard_s = listening_context_s(self, kwargs, told)
        of_items = zip(resolve_seeds(seed, len(first)), parts, styles, told, strict=True)
        recordings = [
            WindowedRecording(config, own_seed, None, own_part, own_style, heard_s=heard_s, told=song)
            for own_seed, own_part, own_style, song in of_items
        ]
        for index, recording in enumerate(recordings):
            recording.append({name: codes[index : index + 1] for name, codes in conditioning.items()})
        results = run_all_windows(self, recordings, window_batch_size, callback, kwargs)
        return torch.cat([result[config.target_name] for result in results])

    def _logits(
        self, hidden_states: torch.Tensor, positions: torch.LongTensor, is_target: torch.BoolTensor
    ) -> torch.FloatTensor:
        target = self.config.target_segment
        lowest = torch.finfo(hidden_states.dtype).min
        logits = hidden_states.new_full((*hidden_states.shape[:2], self.config.vocab_size), lowest)
        codebooks = torch.where(is_target, positions % target.num_codebooks, PADDING)[..., None]  # (R, S, 1)
        for index, head in enumerate(self.heads):
            start = target.offset + index * target.codebook_size
            logits[..., start : start + target.codebook_size] = torch.where(
                codebooks == index, head(hidden_states), lowest
            )
        return logits

    def _loss(
        self,
        hidden_states: torch.Tensor,
        positions: torch.LongTensor,
        labels: torch.LongTensor,
        num_items_in_batch: int | torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Eq. 6: (1/Q) Σ_q CE_q over target positions, each head on its own positions only."""
        target = self.config.target_segment
        shifted_labels = labels[:, 1:]
        codebooks = (positions[:, :-1] % target.num_codebooks).expand_as(shifted_labels)
        hidden_states = hidden_states[:, :-1]
        sums, counts = [], []
        for index, head in enumerate(self.heads):
            is_mine = (shifted_labels != IGNORED_LABEL) & (codebooks == index)
            codes = shifted_labels[is_mine] - target.offset - index * target.codebook_size
            sums.append(F.cross_entropy(head(hidden_states[is_mine]).float(), codes, reduction="sum"))
            counts.append(is_mine.sum().clamp(min=1))
        codebook_losses = torch.stack(sums) / torch.stack(counts)
        loss = codebook_losses.mean() if num_items_in_batch is None else torch.stack(sums).sum() / num_items_in_batch
        return loss, codebook_losses.detach()

    def target_losses(
        self,
        input_ids: torch.LongTensor,
        segment_ids: torch.LongTensor,
        segment_positions: torch.LongTensor,
        labels: torch.LongTensor,
        part_ids: torch.LongTensor | None = None,
        style_ids: torch.LongTensor | None = None,
    ) -> tuple[torch.FloatTensor, torch.BoolTensor]:
        """Cross-entropy (nats) and hit or miss of every target code, for evaluation.

        Args:
            segment_ids, segment_positions (`torch.LongTensor` of shape `(1, num_positions)`): Whole frames only.
            part_ids, style_ids: As in `forward`.

        Returns:
            Two tensors of shape `(batch_size, num_codebooks, num_frames)`.
        """
        target = self.config.target_segment
        rows = {"part_ids": part_ids, "style_ids": style_ids}
        hidden_states = self.model(input_ids, segment_ids, segment_positions, **rows)[0]
        columns = (segment_ids[0] == len(self.config.segments) - 1).nonzero()[:, 0]  # BOS, code 0, ..., code N - 1
        by_codebook = hidden_states[:, columns[:-1]].unflatten(1, (-1, target.num_codebooks))  # (B, T, Q, d)
        codes = labels[:, columns[1:]].unflatten(1, (-1, target.num_codebooks)) - target.offset
        losses, hits = [], []
        for index, head in enumerate(self.heads):
            logits = head(by_codebook[:, :, index]).float().transpose(1, 2)  # (B, codebook_size, T)
            of_codebook = codes[:, :, index] - index * target.codebook_size
            losses.append(F.cross_entropy(logits, of_codebook, reduction="none"))
            hits.append(logits.argmax(1) == of_codebook)
        return torch.stack(losses, dim=1), torch.stack(hits, dim=1)


class AccompGenSemanticForCausalLM(AccompGenStageForCausalLM):
    """Stage 1: instrumental semantic ids from vocal semantic ids."""

    config_class = AccompGenSemanticConfig

    def __init__(self, config: AccompGenSemanticConfig):
        super().__init__(config)
        if config.has_listener:
            self.listener = AccompGenListener(config.num_clusters, len(config.part_names))

    def set_listener(self, listener: AccompGenListener) -> None:
        """Take a listener that was fitted for this stage, in the place of its own if it has one."""
        self.listener, self.config.has_listener = listener, True


class AccompGenCoarseForCausalLM(AccompGenStageForCausalLM):
    """Stage 2: EnCodec codebooks 1-4 from both semantic streams."""

    config_class = AccompGenCoarseConfig


class AccompGenFineForCausalLM(AccompGenStageForCausalLM):
    """Stage 3: EnCodec codebooks 5-8 from codebooks 1-4."""

    config_class = AccompGenFineConfig


def _check_layout(
    input_ids: torch.LongTensor, segment_ids: torch.LongTensor | None, segment_positions: torch.LongTensor | None
) -> tuple[torch.LongTensor, torch.LongTensor]:
    """Both segment tensors, which must be there and fit the ids."""
    if segment_ids is None or segment_positions is None:
        raise ValueError(
            "`segment_ids` and `segment_positions` are required: they are never inferred from ids. "
            "Use `build_stage_inputs`, or pass the conditioning by name to `generate_codes`."
        )
    if segment_ids.shape != segment_positions.shape or segment_ids.shape[1] < input_ids.shape[1]:
        raise ValueError(
            "`segment_ids` and `segment_positions` must cover `input_ids` and have one shape, got "
            f"{tuple(segment_ids.shape)}, {tuple(segment_positions.shape)} and {tuple(input_ids.shape)}."
        )
    return segment_ids, segment_positions


__all__ = [
    "AccompGenCoarseForCausalLM",
    "AccompGenFineForCausalLM",
    "AccompGenSemanticForCausalLM",
    "AccompGenStageForCausalLM",
    "AccompGenStageOutput",
]
