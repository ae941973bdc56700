"""What happens to logits before a code is chosen: guidance (Eq. 5), evidence, codebook mask, and the keyed choice.

Order: guidance on finite logits, codebook mask, evidence, temperature, top-k, top-p, choice, forced ids.

Letters: B batch, V vocabulary, N new slots, C codes of a codebook.
"""

import copy

import torch
from transformers import GenerationConfig
from transformers.generation.logits_process import LogitsProcessor, LogitsProcessorList

CONDITIONAL, UNCONDITIONAL, BOTH = "conditional", "unconditional", "both"  # which rows of guidance a stage runs
_LARGEST_UNIFORM = 1 - 2**-23


class AccompGenGuidanceLogitsProcessor(LogitsProcessor):
    """logits = unconditional + w · (conditional - unconditional), for every w (Eq. 5).

    The stage runs the conditional rows first and the same rows without conditioning after them.
    """

    def __init__(self, guidance_scale: float):
        self.guidance_scale = guidance_scale

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        conditional, unconditional = scores.chunk(2)  # (2B, V) -> (B, V) twice
        return unconditional + self.guidance_scale * (conditional - unconditional)


class AccompGenCodebookLogitsProcessor(LogitsProcessor):
    """Allow a slot only the codes of its own codebook.

    Args:
        segment (`Segment`): Segment of the target.
        first_slot (`torch.LongTensor` of shape `(batch_size or 1,)`): Slot that the first new token fills.
        prompt_length (`int`): Positions before the first new token.
    """

    def __init__(self, segment, first_slot: torch.LongTensor, prompt_length: int):
        self.segment = segment
        self.first_slot = first_slot
        self.prompt_length = prompt_length

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        slot = self.first_slot + input_ids.shape[1] - self.prompt_length
        start = first_ids_of(self.segment, slot)
        ids = torch.arange(scores.shape[1], device=scores.device)
        is_mine = (ids >= start[:, None]) & (ids < start[:, None] + self.segment.codebook_size)
        return scores.masked_fill(~is_mine, -torch.inf)


class AccompGenEvidenceLogitsProcessor(LogitsProcessor):
    """Add what the conditioning says for and against each code of a slot.

    Args:
        evidence (`torch.FloatTensor` of shape `(B, N, C)`): Numbers to add to the logits of each slot's codebook.
        segment, first_slot, prompt_length: See [`AccompGenCodebookLogitsProcessor`].
    """

    def __init__(self, evidence: torch.FloatTensor, segment, first_slot: torch.LongTensor, prompt_length: int):
        self.evidence = evidence
        self.segment = segment
        self.first_slot = first_slot
        self.prompt_length = prompt_length

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        new_slot = input_ids.shape[1] - self.prompt_length
        start = first_ids_of(self.segment, self.first_slot + new_slot)[:, None]  # (B or 1, 1)
        added = self.evidence[:, new_slot]
        ids = (start + torch.arange(added.shape[1], device=scores.device)).expand_as(added)
        return scores.scatter_add(1, ids, added.to(scores.dtype))


class AccompGenKeyedChoiceLogitsProcessor(LogitsProcessor):
    """Choose by inverse CDF with a given uniform number per slot, and leave only the chosen id finite.

    Args:
        uniforms (`torch.FloatTensor` of shape `(batch_size, num_new_tokens)`): Numbers in [0, 1), one per slot.
        prompt_length (`int`): Positions before the first new token.
    """

    def __init__(self, uniforms: torch.FloatTensor, prompt_length: int):
        self.uniforms = uniforms
        self.prompt_length = prompt_length

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        chosen = inverse_cdf_choice(scores, self.uniforms[:, input_ids.shape[1] - self.prompt_length])
        return torch.full_like(scores, -torch.inf).scatter(1, chosen[:, None], 0.0)


class AccompGenForcedIdsLogitsProcessor(LogitsProcessor):
    """Give a slot the id that it must have, whatever was chosen.

    Args:
        forced_ids (`torch.LongTensor` of shape `(batch_size, num_new_tokens)`): Ids of slots; -1 leaves the choice.
        prompt_length (`int`): Positions before the first new token.
    """

    def __init__(self, forced_ids: torch.LongTensor, prompt_length: int):
        self.forced_ids = forced_ids
        self.prompt_length = prompt_length

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        forced = self.forced_ids[:, input_ids.shape[1] - self.prompt_length, None]  # (B, 1)
        alone = torch.full_like(scores, -torch.inf).scatter(1, forced.clamp(min=0), 0.0)
        return torch.where(forced >= 0, alone, scores)


def first_ids_of(segment, slots: torch.LongTensor) -> torch.LongTensor:
    """The first id of every slot's codebook."""
    return segment.offset + slots % segment.num_codebooks * segment.codebook_size


def without_guidance(generation_config: GenerationConfig) -> GenerationConfig:
    """The settings from which transformers makes its processors: its own guidance would run the model once more."""
    generation_config = copy.copy(generation_config)
    generation_config.guidance_scale = None
    return generation_config


def order_processors(
    stock: LogitsProcessorList,
    generation_config: GenerationConfig,
    segment,
    first_slot: torch.LongTensor,
    prompt_length: int,
    uniforms: torch.FloatTensor | None,
    is_guided: bool,
    forced_ids: torch.LongTensor | None = None,
    evidence: torch.FloatTensor | None = None,
) -> LogitsProcessorList:
    """Put guidance, codebook mask and evidence before transformers' own processors; the choice and forced ids behind.

    Args:
        stock (`LogitsProcessorList`): Made from [`without_guidance`]'s settings.
        generation_config (`GenerationConfig`): Settings of the call.
        segment, first_slot, prompt_length: See [`AccompGenCodebookLogitsProcessor`].
        uniforms (`torch.FloatTensor` of shape `(batch_size, num_new_tokens)`, *optional*): For the choice.
        is_guided (`bool`): Whether the rows hold both branches.
        forced_ids (`torch.LongTensor` of shape `(batch_size, num_new_tokens)`, *optional*): Ids that are given.
        evidence (`torch.FloatTensor` of shape `(B, N, C)`, *optional*): Numbers to add to the logits of each slot.
    """
    processors = LogitsProcessorList()
    if is_guided:
        processors.append(AccompGenGuidanceLogitsProcessor(generation_config.guidance_scale))
    processors.append(AccompGenCodebookLogitsProcessor(segment, first_slot, prompt_length))
    if evidence is not None:
        processors.append(AccompGenEvidenceLogitsProcessor(evidence, segment, first_slot, prompt_length))
    processors.extend(stock)
    if generation_config.do_sample:
        processors.append(AccompGenKeyedChoiceLogitsProcessor(uniforms, prompt_length))
    if forced_ids is not None:
        processors.append(AccompGenForcedIdsLogitsProcessor(forced_ids, prompt_length))
    return processors


def inverse_cdf_choice(scores: torch.FloatTensor, uniforms: torch.FloatTensor) -> torch.LongTensor:
    """First id whose cumulative probability exceeds its row's uniform number; `(B, V)` and `(B,)` to `(B,)`."""
    cumulative = scores.float().softmax(-1).cumsum(-1)  # (B, V)
    # A uniform number nearer to 1 might round up to the total, which no entry exceeds.
    threshold = uniforms.clamp(max=_LARGEST_UNIFORM)[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, threshold, right=True)[:, 0]


__all__ = [
    "BOTH",
    "CONDITIONAL",
    "UNCONDITIONAL",
    "AccompGenCodebookLogitsProcessor",
    "AccompGenEvidenceLogitsProcessor",
    "AccompGenForcedIdsLogitsProcessor",
    "AccompGenGuidanceLogitsProcessor",
    "AccompGenKeyedChoiceLogitsProcessor",
    "first_ids_of",
    "inverse_cdf_choice",
    "order_processors",
    "without_guidance",
]
