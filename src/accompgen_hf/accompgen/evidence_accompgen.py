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
from .logits_accompgen import CONDITIONAL, UNCONDITIONAL, first_ids_of
from .options_accompgen import resolve_scale


@torch.no_grad()
def find_evidence(
    model: Any,
    input_ids: torch.LongTensor,
    segment_ids: torch.LongTensor,
    segment_positions: torch.LongTensor,
    num_slots: int,
    part_ids: torch.LongTensor | None = None,
    style_ids: torch.LongTensor | None = None,
) -> torch.FloatTensor:
    """log p(code | conditioning, style) - log p(code) of the slots behind a prompt, all codes before them hidden.

    No slot depends on what is chosen before it, so the whole window runs at once, before the first choice.

    Args:
        model (`AccompGenStageForCausalLM`): The stage.
        input_ids (`torch.LongTensor` of shape `(B, S)`): Prompt, as `generate` takes it.
        segment_ids, segment_positions (`torch.LongTensor` of shape `(B or 1, S)`): Segment and place of each position.
        num_slots (`int`): New slots, N.
        part_ids, style_ids (`torch.LongTensor` of shape `(B,)`, *optional*): As in `forward`.

    Returns:
        `torch.FloatTensor` of shape `(B, N, C)`, in nats.
    """
    is_code = (segment_ids == len(model.config.segments) - 1) & (segment_positions > 0)  # BOS is at place 0
    hidden_ids = input_ids.masked_fill(is_code, model.config.null_token_id)
    new_ids = input_ids.new_full((len(input_ids), num_slots - 1), model.config.null_token_id)  # none follows the last
    prompt = {"segment_ids": segment_ids, "segment_positions": segment_positions, "part_ids": part_ids}
    prompt |= {"input_ids": torch.cat([hidden_ids, new_ids], dim=1), "logits_to_keep": num_slots}
    told = _log_probabilities(model, CONDITIONAL, prompt | {"style_ids": style_ids})
    return told - _find_untold(model, prompt)


def _log_probabilities(model: Any, guided_rows: str, prompt: dict[str, Any]) -> torch.FloatTensor:
    """log p of the codes of the last slots, with or without conditioning: `(B, N, C)`."""
    inputs = model.prepare_inputs_for_generation(**prompt, guided_rows=guided_rows, use_cache=False)
    logits = model(**inputs).logits.float()  # (B, N, V), finite lowest outside a slot's codebook
    target = model.config.target_segment
    first_ids = first_ids_of(target, inputs["segment_positions"][:, -logits.shape[1] :, None])  # (1 or B, N, 1)
    ids = first_ids + torch.arange(target.codebook_size, device=logits.device)
    return logits.gather(2, ids.expand(len(logits), -1, -1)).log_softmax(-1)


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
