"""What the conditioning alone says about a window's codes: guidance that the band's own past cannot drown.

A band repeats itself. With its past in sight a stage hardly asks its conditioning, and guidance (Eq. 5) has little to
enlarge; once a generated band has left its singer, it stays away. Where the past is hidden, as `history_dropout` hides
it in training, the same stage has nothing but the conditioning. What it says there, beside what it says without
conditioning, is a weight of evidence for every code of every slot.

Letters: B batch, S positions, N new slots, V vocabulary, C codes of a codebook.
"""

from typing import Any
from weakref import WeakKeyDictionary

import torch
from transformers import GenerationConfig

from .fast_decoding_accompgen import weights_version
from .logits_accompgen import CONDITIONAL, UNCONDITIONAL
from .options_accompgen import resolve_scale
from .prefill_accompgen import prefill_of


@torch.no_grad()
def find_evidence(
    model: Any,
    input_ids: torch.LongTensor,
    segment_ids: torch.LongTensor,
    segment_positions: torch.LongTensor,
    num_slots: int,
    part_ids: torch.LongTensor | None = None,
) -> torch.FloatTensor:
    """log p(code | conditioning) - log p(code) of the slots behind a prompt, all codes before them hidden.

    No slot depends on what is chosen before it, so the whole window runs at once, before the first choice. Rows have
    any style: with the style in one term alone, codes that few songs but those of this style have weigh too much, and
    bands lose the beat (docs/measured/default.md).

    Args:
        model (`AccompGenStageForCausalLM`): The stage.
        input_ids (`torch.LongTensor` of shape `(B, S)`): Prompt, as `generate` takes it.
        segment_ids, segment_positions (`torch.LongTensor` of shape `(B or 1, S)`): Segment and place of each position.
        num_slots (`int`): New slots, N.
        part_ids (`torch.LongTensor` of shape `(B,)`, *optional*): As in `forward`.

    Returns:
        `torch.FloatTensor` of shape `(B, N, C)`, in nats.
    """
    is_code = (segment_ids == len(model.config.segments) - 1) & (segment_positions > 0)  # BOS is at place 0
    hidden_ids = input_ids.masked_fill(is_code, model.config.null_token_id)
    new_ids = input_ids.new_full((len(input_ids), num_slots - 1), model.config.null_token_id)  # none follows the last
    prompt = {"segment_ids": segment_ids, "segment_positions": segment_positions, "part_ids": part_ids}
    prompt |= {"input_ids": torch.cat([hidden_ids, new_ids], dim=1), "logits_to_keep": num_slots}
    return _log_probabilities(model, CONDITIONAL, prompt) - _find_untold(model, prompt)


def _log_probabilities(model: Any, guided_rows: str, prompt: dict[str, Any]) -> torch.FloatTensor:
    """log p of the codes of the last slots, with or without conditioning: `(B, N, C)`."""
    inputs = model.prepare_inputs_for_generation(**prompt, guided_rows=guided_rows, use_cache=False)
    num_slots, layout = inputs["logits_to_keep"], (inputs["segment_ids"], inputs["segment_positions"])
    asked, row_ids = (inputs["input_ids"], *layout), (inputs.get("part_ids"), inputs.get("style_ids"))
    if len(layout[0]) == 1 and model.device.type == "cpu":
        prefill, rows = prefill_of(model), model.model.embed_rows(len(asked[0]), *row_ids)
        num_alike = prefill.count_alike(*asked[:2]) if guided_rows == UNCONDITIONAL else 0
        hidden_states, _ = prefill.run(*asked, rows, num_alike, num_slots)
    else:
        part_ids, style_ids = row_ids
        hidden_states = model.model(*asked, part_ids=part_ids, style_ids=style_ids)[0][:, -num_slots:]
    of_codebooks = torch.stack([head(hidden_states) for head in model.heads], dim=2).float()  # (B, N, K, C)
    codebooks = layout[1][:, -num_slots:, None, None] % len(model.heads)  # of every slot, (1 or B, N, 1, 1)
    return of_codebooks.take_along_dim(codebooks, 2).squeeze(2).log_softmax(-1)


def _find_untold(model: Any, prompt: dict[str, Any]) -> torch.FloatTensor:
    """log p of the codes without conditioning, which rows of one layout and one part share: kept for other windows."""
    input_ids, part_ids, num_slots = prompt["input_ids"], prompt["part_ids"], prompt["logits_to_keep"]
    segment_ids, segment_positions = prompt["segment_ids"], prompt["segment_positions"]
    if len(segment_ids) > 1:  # padded
        return _log_probabilities(model, UNCONDITIONAL, prompt)
    parts = input_ids.new_zeros(len(input_ids)) if part_ids is None else part_ids
    parts, part_of_row = parts.unique(return_inverse=True)
    num_known = segment_ids.shape[1] - int(segment_positions[0, -1])  # conditioning and BOS; the rest is hidden
    places = torch.cat([segment_ids, segment_positions])[:, :num_known].tolist()
    layout, version = (places, input_ids.shape[1], parts.tolist(), input_ids.device), weights_version(model)
    kept = _UNTOLD.get(model)
    if kept is None or kept[:2] != (version, layout) or kept[2].shape[1] < num_slots:
        own = {"input_ids": input_ids[: len(parts)], "part_ids": None if part_ids is None else parts}
        kept = _UNTOLD[model] = (version, layout, _log_probabilities(model, UNCONDITIONAL, {**prompt, **own}))
    return kept[2][part_of_row, -num_slots:]


_UNTOLD: "WeakKeyDictionary[Any, tuple[list, tuple, torch.FloatTensor]]" = WeakKeyDictionary()


def resolve_evidence_scale(model: Any, generation_config: GenerationConfig | None, given: float | None) -> float:
    """The scale that was given, or the generation config's; 0 without either.

    Raises:
        ValueError: If it is no number from 0 on, or the stage has never been trained with a hidden past.
    """
    given = resolve_scale("evidence_scale", generation_config or model.generation_config, given)
    if given and not model.config.history_dropout:
        raise ValueError(
            "`evidence_scale` must be 0 for a stage that was trained without a hidden past (its `history_dropout` is "
            f"0), got {given!r}."
        )
    return given


__all__ = ["find_evidence", "resolve_evidence_scale"]
