"""Decoding of one stage on the CPU by compiled steps: weights and caches in panels, the threads, and what it covers.

`AccompGenGenerationMixin._sample` takes it where numba is installed and it computes what was asked for. Its sums run
in another order than those of the loop in `fast_decoding_accompgen.py`, so a near tie may fall to another code.

Letters: R rows (with guidance twice the batch), B batch, L layers, H heads, D head width, d hidden width,
I inner width, S positions, N new slots, T threads.
"""

import functools
import importlib.util
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers.generation.logits_process import (
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from .fast_decoding_accompgen import BiasRow, weights_version
from .logits_accompgen import (
    AccompGenCodebookLogitsProcessor,
    AccompGenEvidenceLogitsProcessor,
    AccompGenForcedIdsLogitsProcessor,
    AccompGenGuidanceLogitsProcessor,
    AccompGenKeyedChoiceLogitsProcessor,
)
from .optional_accompgen import import_optional
from .prefill_accompgen import prefill_of
from .working_time_accompgen import not_counted

logger = logging.getLogger(__name__)
ENGINES = ("numba", "torch")
PANEL, INNER_BLOCK = 32, 16  # as in `numba_kernels_accompgen.py`, which may not be imported yet


class Choice(NamedTuple):
    """How codes are chosen from logits.

    Attributes:
        guidance_scale (`float`): Scale of guidance between the two halves of the rows; ignored if there is only one.
        temperature (`float`): Divides the logits.
        top_k (`int`): 0 keeps all.
        top_p (`float`): 1 keeps all.
        min_kept (`int`): Codes that top-p keeps at least.
        uniforms (`torch.FloatTensor` of shape `(B, N)`, *optional*): One number in [0, 1) per new slot. Without them
            the likeliest code is taken.
        evidence (`torch.FloatTensor` of shape `(B, N, codebook_size)`, *optional*): Added to the guided logits.
    """

    guidance_scale: float = 1.0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_kept: int = 1
    uniforms: torch.FloatTensor | None = None
    evidence: torch.FloatTensor | None = None


_ORDER = (  # in which compiled steps do what these do
    AccompGenGuidanceLogitsProcessor,
    AccompGenCodebookLogitsProcessor,
    AccompGenEvidenceLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    AccompGenKeyedChoiceLogitsProcessor,
    AccompGenForcedIdsLogitsProcessor,
)


def read_choice(processors: LogitsProcessorList) -> Choice | None:
    """What logits processors do, in the words of compiled steps; `None` if these cannot do it.

    Forced ids are no choice: `CompiledStageDecoder` takes them by themselves.
    """
    ranks = [_ORDER.index(type(one)) if type(one) in _ORDER else -1 for one in processors]
    if -1 in ranks or ranks != sorted(set(ranks)):
        return None
    if any(getattr(one, "filter_value", -torch.inf) != -torch.inf for one in processors):
        return None
    given = {type(one): one for one in processors}
    values: dict[str, Any] = {}
    if AccompGenGuidanceLogitsProcessor in given:
        values["guidance_scale"] = float(given[AccompGenGuidanceLogitsProcessor].guidance_scale)
    if AccompGenEvidenceLogitsProcessor in given:
        values["evidence"] = given[AccompGenEvidenceLogitsProcessor].evidence
    if TemperatureLogitsWarper in given:
        values["temperature"] = float(given[TemperatureLogitsWarper].temperature)
    if TopKLogitsWarper in given:
        values["top_k"] = int(given[TopKLogitsWarper].top_k)
    if TopPLogitsWarper in given:
        warper = given[TopPLogitsWarper]
        values.update(top_p=float(warper.top_p), min_kept=int(warper.min_tokens_to_keep))
    if AccompGenKeyedChoiceLogitsProcessor in given:
        values["uniforms"] = given[AccompGenKeyedChoiceLogitsProcessor].uniforms
    return Choice(**values)


# ---- when it is taken ---------------------------------------------------------------------------------------------


def check_engine(engine: str | None) -> None:
    """Refuse an engine that does not exist.

    Raises:
        ValueError: If it is neither `None` nor in `ENGINES`.
    """
    if engine is not None and engine not in ENGINES:
        raise ValueError(f"`engine` must be one of {ENGINES}, or None for the fastest that is here; got {engine!r}.")


def takes_compiled_steps(model: nn.Module, engine: str | None, processors: LogitsProcessorList) -> bool:
    """Whether compiled steps are asked for, or nothing is and numba is here, and they compute what is asked for.

    Raises:
        ImportError: If numba is asked for and is not here.
    """
    if engine == "torch" or not covers(model) or read_choice(processors) is None:
        return False
    if engine == "numba":
        load_kernels()
    return has_numba()


def covers(model: nn.Module) -> bool:
    """Whether compiled steps compute what this stage computes: in float32 on the CPU, with heads of whole vectors."""
    weight = model.get_input_embeddings().weight
    return weight.device.type == "cpu" and weight.dtype == torch.float32 and model.config.head_dim % 16 == 0


@functools.cache
def has_numba() -> bool:
    """Whether numba is installed and can be imported; the first call imports it."""
    if importlib.util.find_spec("numba") is None:
        return False
    try:
        load_kernels()
    except ImportError as error:
        logger.warning("Decoding goes without compiled steps: %s", error)
        return False
    return True


def load_kernels() -> Any:
    """The function of compiled steps.

    Raises:
        ImportError: If numba is missing or broken.
    """
    import_optional("numba", "Decoding by compiled steps", ".[fast]")
    from .numba_kernels_accompgen import decode_slots

    return decode_slots


# ---- weights ------------------------------------------------------------------------------------------------------


class CompiledWeights:
    """A stage's weights as compiled steps read them, in the format that `model.weight_format` asks for.

    Without one, a stage that came from a checkpoint in float16 is read in float16, which rounds nothing, and any other
    as it is. int8 rounds the weights, with a scale per output, and leaves activations alone.
    """

    def __init__(self, model: nn.Module, version: list):
        config, layers = model.config, model.model.layers
        self.version, self.prefill = version, prefill_of(model)
        self.format = model.weight_format or self._format_without_rounding(model)
        self.embedding = model.model.embed_tokens.weight.detach().contiguous()
        self.target_embedding = model.model.embed_segments.weight[-1].detach()
        gains = [gain for layer in layers for gain in (layer.input_layernorm, layer.post_attention_layernorm)]
        self.gains = torch.stack([gain.weight.detach() for gain in (*gains, model.model.norm)])  # (2 L + 1, d)
        scale = config.head_dim**-0.5  # of scores, moved to the queries' gain
        qk_gains = [[scale * layer.self_attn.q_norm.weight, layer.self_attn.k_norm.weight] for layer in layers]
        self.qk_gains = torch.stack([torch.stack(pair) for pair in qk_gains]).detach()  # (L, 2, D)
        self.qkv = self._pack([self._split_heads(layer.self_attn, config) for layer in layers])
        self.output = self._pack([layer.self_attn.o_proj.weight for layer in layers])
        gate_up = self._pack([self._pair_inputs(layer.mlp) for layer in layers])
        self.gate_up = tuple(array.squeeze(2) for array in gate_up)  # a pair fills one panel
        self.down = self._pack([self._fill_inputs(layer.mlp.down_proj.weight) for layer in layers])
        self.heads = self._pack([head.weight for head in model.heads])
        target = config.target_segment
        self.first_ids = np.array([target.offset + k * target.codebook_size for k in range(target.num_codebooks)])

    @property
    def num_bytes(self) -> int:
        """Of everything that a step reads but the embedding, of which it takes a row."""
        packed = (*self.qkv, *self.output, *self.gate_up, *self.down, *self.heads)
        return sum(array.nbytes for array in packed)

    @staticmethod
    def _format_without_rounding(model: nn.Module) -> str | None:
        from .numba_products_accompgen import WIDENS_HALF  # needs numba, as the kernels do

        matrices = (weight for weight in model.parameters() if weight.ndim == 2)
        is_exact = WIDENS_HALF and all(torch.equal(weight, weight.half().float()) for weight in matrices)
        return "float16" if is_exact else None

    @staticmethod
    def _split_heads(attention: nn.Module, config: Any) -> torch.Tensor:
        """Q, K and V of a head side by side, filled up to whole panels: `(H, outputs, d)`."""
        parts = [attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight]
        return torch.cat([part.unflatten(0, (config.num_attention_heads, -1)) for part in parts], dim=1)

    @staticmethod
    def _pair_inputs(mlp: nn.Module) -> torch.Tensor:
        """Sixteen gates and the sixteen inputs they let through side by side: `(I / 16, 32, d)`."""
        padding = (0, 0, 0, -mlp.gate_proj.weight.shape[0] % INNER_BLOCK)
        pair = [F.pad(part.weight, padding).unflatten(0, (-1, INNER_BLOCK)) for part in (mlp.gate_proj, mlp.up_proj)]
        return torch.cat(pair, dim=1)

    @staticmethod
    def _fill_inputs(weight: torch.Tensor) -> torch.Tensor:
        return F.pad(weight, (0, -weight.shape[1] % INNER_BLOCK))

    def _pack(self, weights: list[torch.Tensor]) -> tuple[np.ndarray, np.ndarray]:
        """Panels `(L, ..., inputs, 32)` of weights `(..., outputs, inputs)`, and a scale for every output."""
        weight = torch.stack(list(weights)).detach()
        weight = F.pad(weight, (0, 0, 0, -weight.shape[-2] % PANEL))
        weight = weight.unflatten(-2, (-1, PANEL)).transpose(-1, -2)  # (L, ..., P, inputs, 32)
        scale = weight.new_ones((*weight.shape[:-2], PANEL))
        if self.format == "int8":
            scale = weight.abs().amax(-2).clamp(min=torch.finfo(torch.float32).tiny) / 127
            weight = (weight / scale.unsqueeze(-2)).round().to(torch.int8)
        elif self.format == "float16":
            weight = weight.half()
        array = weight.contiguous()
        array = array.view(torch.int16).numpy().view(np.uint16) if self.format == "float16" else array.numpy()
        return array, scale.contiguous().numpy()


def pack_weights(model: nn.Module) -> CompiledWeights:
    """The stage's weights in panels, made anew whenever a parameter or their format has changed."""
    version = weights_version(model)
    weights = _PACKED_WEIGHTS.get(model)
    if weights is None or weights.version != version:
        weights = _PACKED_WEIGHTS[model] = CompiledWeights(model, version)
    return weights


_PACKED_WEIGHTS: "WeakKeyDictionary[nn.Module, CompiledWeights]" = WeakKeyDictionary()


# ---- decoding -----------------------------------------------------------------------------------------------------


class CompiledStageDecoder:
    """Decodes rows that share one layout without padding.

    Args:
        model (`AccompGenStageForCausalLM`): Its weights are copied into panels; nothing of it is changed.
        segment_positions (`torch.LongTensor` of shape `(1, num_prompt_positions)`): Positions of the prompt.
        num_positions (`int`): Prompt and new positions together.
        processors (`LogitsProcessorList`): Processors of the logits that `read_choice` understands.
        input_ids (`torch.LongTensor` of shape `(B, num_prompt_positions)`): Prompt of the rows that get codes.
        forced_ids (`torch.LongTensor` of shape `(B, N)`, *optional*): Ids that are given instead of chosen; -1 leaves
            the choice.
        rows (`slice`): Rows of the batch that this decoder takes; `processors`, `input_ids` and `forced_ids` are of
            all rows.
    """

    def __init__(
        self,
        model: nn.Module,
        segment_positions: torch.LongTensor,
        num_positions: int,
        processors: LogitsProcessorList,
        input_ids: torch.LongTensor,
        forced_ids: torch.LongTensor | None = None,
        rows: slice = slice(None),
    ):
        self.model, self.choice = model, read_choice(processors)
        self.weights = pack_weights(model)
        self.first_slot = int(segment_positions[0, -1])
        self.first_target = segment_positions.shape[1] - 1 - self.first_slot
        self.num_positions, self.num_new = num_positions, num_positions - segment_positions.shape[1]
        self.num_threads = max(1, min(torch.get_num_threads(), model.config.num_attention_heads))
        shape = (len(input_ids[rows]), self.num_new)
        self.uniforms = np.full(shape, -1, np.float32)
        if self.choice.uniforms is not None:
            self.uniforms[:] = self.choice.uniforms[rows, : self.num_new].numpy()
        evidence = self.choice.evidence
        self.evidence = (
            np.zeros((0, 0, 0), np.float32) if evidence is None else evidence[rows].float().contiguous().numpy()
        )
        self.chosen, self.forced = np.zeros(shape, np.int64), np.full(shape, -1, np.int64)
        slots = self.first_slot + np.arange(self.num_new)
        self._first_ids = self.weights.first_ids[slots % len(self.weights.first_ids)]  # of every new slot's codebook
        if forced_ids is not None:
            forced = forced_ids[rows].numpy()
            self.forced[:] = np.where(forced < 0, -1, forced - self._first_ids)
        self._arguments, self._counters = None, np.zeros(2, np.int64)

    def prefill(
        self,
        input_ids: torch.LongTensor,
        segment_ids: torch.LongTensor,
        segment_positions: torch.LongTensor,
        part_ids: torch.LongTensor | None = None,
        style_ids: torch.LongTensor | None = None,
    ) -> None:
        """Run the prompt through the stage by products of matrices, and take over its keys and values."""
        self.rows = self.model.model.embed_rows(len(input_ids), part_ids, style_ids)
        num_rows, num_told, prefill = len(input_ids), len(self.chosen), self.weights.prefill
        # Of the half without conditioning, whose ids are all null there.
        self.num_alike = prefill.count_alike(input_ids[num_told:], segment_ids) if num_rows > num_told else 0
        halves = [(slice(None), 0)]
        if self.num_alike:
            halves = [(slice(num_told), 0), (slice(num_told, None), self.num_alike)]
        newest, caches = [], []
        for own, num_alike in halves:
            rows = None if self.rows is None else self.rows[own]
            found, cache = prefill.run(input_ids[own], segment_ids, segment_positions, rows, num_alike)
            newest.append(found)
            caches.append((own, max(0, num_alike - 1), cache))
        codebook_size = self.model.config.target_segment.codebook_size
        self.logits = torch.zeros(num_rows, codebook_size + -codebook_size % PANEL)
        head = self.model.heads[self.first_slot % len(self.model.heads)]
        self.logits[:, :codebook_size] = head(torch.cat(newest)[:, -1])
        self._lay_out(caches, num_rows)

    def _lay_out(self, caches: list[tuple[slice, int, list]], num_rows: int) -> None:
        """Lay the prompt's keys and values out in panels.

        Args:
            caches: For some rows each: which, their first position, and every layer's keys and values `(R, H, S, D)`.
        """
        config = self.model.config
        num_panels, width = -(-self.num_positions // PANEL), config.head_dim
        channels = PANEL if width % PANEL == 0 else PANEL // 2
        shape = (config.num_hidden_layers, num_rows, config.num_attention_heads)
        # numpy asks the system for large pages, as torch does not: a step reads all of these arrays.
        keys = np.zeros((*shape, num_panels, width, PANEL), np.float32)
        values = np.zeros((*shape, width // channels, self.num_positions, channels), np.float32)
        for rows, first, layers in caches:
            for layer, (own_keys, own_values) in enumerate(layers):
                end = first + own_keys.shape[2]
                own_keys = F.pad(own_keys, (0, 0, first, -end % PANEL)).unflatten(2, (-1, PANEL)).transpose(3, 4)
                keys[layer, rows, :, : own_keys.shape[2]] = own_keys
                values[layer, rows, :, :, first:end] = own_values.unflatten(3, (-1, channels)).transpose(2, 3)
        self.cache = (keys, values)

    def decode(self, first: int, last: int) -> torch.LongTensor:
        """Choose the new slots from `first` to `last`, in order; returns their ids `(B, last - first)`."""
        slots = (first, last, self.num_new, self.first_slot)
        if self._arguments is None:
            self._arguments = self._make_arguments()
            _compile_once((0, 1, slots, *self._arguments))
        self._counters[:] = 0
        _run_on_threads(self.num_threads, self._counters, (slots, *self._arguments))
        return torch.from_numpy(self.chosen[:, first:last] + self._first_ids[first:last])

    def _make_arguments(self) -> tuple:
        """What `decode_slots` takes behind threads and slots."""
        config, weights = self.model.config, self.weights
        num_rows, hidden_size = len(self.logits), config.hidden_size
        tables, pieces, target, num_distances = self._bias_tables()
        is_time = config.relative_position_axis == "time"
        codebook_size = config.target_segment.codebook_size
        layout = (self.first_target, codebook_size, is_time, num_distances, self.num_alike)
        attention = (*weights.qkv, *weights.output, weights.qk_gains.numpy())
        mlp = (*weights.gate_up, *weights.down)
        added = weights.target_embedding.expand(num_rows, -1).contiguous()
        if self.rows is not None:
            added = added + self.rows[:, 0]
        packed = (weights.embedding.numpy(), added.numpy(), weights.gains.numpy(), attention, mlp, *weights.heads)
        found = torch.zeros(2, self.num_threads, num_rows, hidden_size + -hidden_size % PANEL).numpy()
        return (
            layout,
            (*packed, weights.first_ids),
            self.cache,
            (tables, pieces, target),
            (self._counters, self.logits.numpy(), *found),
            (*self.choice[:5], self.uniforms, self.forced, self.evidence, self.chosen),
            np.float32(config.rms_norm_eps),
        )

    def _bias_tables(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """Tables `(H, columns)`, and how `_place_bias` finds a slot's stretches in them."""
        relative_bias, target_segment = self.model.model.relative_bias, self.model.config.target_segment
        like = relative_bias.weight.detach()
        row = like.new_zeros(1, self.model.config.num_attention_heads, 1, self.num_positions)
        bias = BiasRow(relative_bias, row, self.first_target)
        pieces, target, tables, column = [], [], [], 0
        for segment, columns, last_frame, values in bias.cross:
            pieces.append((columns.start, columns.stop - columns.start, 0))
            target.append((column, last_frame, segment.num_codebooks, segment.time_units_per_frame))
            tables.append(values)
            column += values.shape[-1]
        pieces.append((0, 0, 0))
        target.append((column, 0, target_segment.num_codebooks, target_segment.time_units_per_frame))
        tables = torch.cat([*tables, bias.same], dim=-1)[0, :, 0].detach().contiguous()
        return tables.numpy(), np.array(pieces), np.array(target), bias.same.shape[-1]


def _run_on_threads(num_threads: int, counters: np.ndarray, arguments: tuple) -> None:
    """Let every thread run `decode_slots` for its share; they meet inside it."""
    decode_slots = load_kernels()
    if num_threads == 1:
        decode_slots(0, 1, *arguments)
        return
    with ThreadPoolExecutor(num_threads - 1) as helpers:
        try:
            jobs = [helpers.submit(decode_slots, thread, num_threads, *arguments) for thread in range(1, num_threads)]
            decode_slots(0, num_threads, *arguments)
        except BaseException:
            counters[1] = 1  # helpers that wait for this thread give up
            raise
    for job in jobs:
        job.result()


def _compile_once(arguments: tuple) -> None:
    """Compile for arguments of these types, or load what was compiled on this machine before."""
    from .numba_products_accompgen import compile_for  # needs numba, as the kernels do

    try:
        with not_counted():  # a minute at the first use on a machine
            compile_for(load_kernels(), arguments)
    except OSError as error:  # compiled, but no room to keep it
        logger.info("The compiled decoding step could not be kept for the next start: %s", error)


__all__ = [
    "ENGINES",
    "Choice",
    "CompiledStageDecoder",
    "CompiledWeights",
    "check_engine",
    "covers",
    "has_numba",
    "load_kernels",
    "pack_weights",
    "read_choice",
    "takes_compiled_steps",
]
