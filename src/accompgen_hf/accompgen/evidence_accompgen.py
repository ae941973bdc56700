"""What the conditioning alone says about a window's codes: guidance that the band's own past cannot drown.

A band repeats itself. With its past in sight a stage hardly asks its conditioning, and guidance (Eq. 5) has little to
enlarge; once a generated band has left its singer, it stays away. Where the past is hidden, as `history_dropout` hides
it in training, the same stage has nothing but the conditioning. What it says there, beside what it says without
conditioning, is a weight of evidence for every code of every slot.

Letters: B batch, S positions, N new slots, Q codebooks of the target, C codes of a codebook, d hidden width.
"""

import math
from typing import Any

import torch
from transformers import GenerationConfig


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
    any style: what a style says is left to guidance.

    Args:
        model (`AccompGenStageForCausalLM`): The stage.
        input_ids (`torch.LongTensor` of shape `(B, S)`): Prompt, as `generate` takes it.
        segment_ids, segment_positions (`torch.LongTensor` of shape `(B or 1, S)`): Segment and place of each position.
        num_slots (`int`): New slots, N.
        part_ids (`torch.LongTensor` of shape `(B,)`, *optional*): As in `forward`.

    Returns:
        `torch.FloatTensor` of shape `(B, N, C)`, in nats.
    """
    config, target = model.config, len(model.config.segments) - 1
    num_inputs = num_slots - 1  # nothing follows the last slot
    new_positions = segment_positions[:, -1:] + 1 + torch.arange(num_inputs, device=input_ids.device)
    segment_ids = torch.cat([segment_ids, torch.full_like(new_positions, target)], dim=1)
    segment_positions = torch.cat([segment_positions, new_positions], dim=1)
    ids = torch.cat([input_ids, input_ids.new_zeros(len(input_ids), num_inputs)], dim=1)  # (B, S + N - 1)
    is_code = (segment_ids == target) & (segment_positions > 0)  # BOS is at place 0
    told = torch.where(is_code, config.null_token_id, ids)
    untold = torch.where((segment_ids >= 0) & (segment_ids < target), config.null_token_id, told)
    told_logits, untold_logits = (
        _slot_logits(model, row_ids, segment_ids, segment_positions, num_slots, part_ids) for row_ids in (told, untold)
    )
    return told_logits.log_softmax(-1) - untold_logits.log_softmax(-1)


def _slot_logits(
    model: Any,
    ids: torch.LongTensor,
    segment_ids: torch.LongTensor,
    segment_positions: torch.LongTensor,
    num_slots: int,
    part_ids: torch.LongTensor | None,
) -> torch.FloatTensor:
    """Logits of the last slots, each of its own codebook: `(B, N, C)`."""
    hidden_states = model.model(ids, segment_ids, segment_positions, part_ids=part_ids)[0][:, -num_slots:]  # (B, N, d)
    codebooks = segment_positions[:, -num_slots:].expand(len(ids), -1) % len(model.heads)
    logits = hidden_states.new_zeros(*codebooks.shape, model.config.target_segment.codebook_size)
    for index, head in enumerate(model.heads):
        logits[codebooks == index] = head(hidden_states[codebooks == index])
    return logits.float()


def resolve_evidence_scale(model: Any, generation_config: GenerationConfig | None, given: float | None) -> float:
    """The scale that was given, or the generation config's; 0 without either.

    Raises:
        ValueError: If it is no number from 0 on, or the stage has never been trained with a hidden past.
    """
    if given is None:
        given = getattr(generation_config or model.generation_config, "evidence_scale", None) or 0.0
    if not isinstance(given, (int, float)) or not 0 <= given < math.inf:
        raise ValueError(f"`evidence_scale` must be a number from 0 on, got {given!r}.")
    if given and not model.config.history_dropout:
        raise ValueError(
            "`evidence_scale` must be 0 for a stage that was trained without a hidden past (its `history_dropout` is "
            f"0), got {given!r}."
        )
    return float(given)


__all__ = ["find_evidence", "resolve_evidence_scale"]
