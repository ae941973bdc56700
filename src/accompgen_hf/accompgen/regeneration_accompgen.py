"""Spans of a recording that are made anew, while every other code of an earlier result stays.

A span is counted in steps of 40 ms, where a frame of each stream begins. Windows stay where they are: the first that
meets the span takes all codes before it as its prefix, and what follows the span is laid down again unheard.

Letters: P parts, K codebooks, T frames.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np
import torch

from .audio_accompgen import soften_peaks
from .codebooks_accompgen import PADDING, codes_to_ids, interleave_codes
from .configuration_accompgen import CODEC_FRAME_RATE, GRID_RATE, SEMANTIC_FRAME_RATE, SEMANTIC_NAMES, Segment
from .lead_sheet_accompgen import make_lead_sheet
from .parts_accompgen import choose_parts

_TARGET_NAMES = ("instrumental_semantic_ids", "coarse_codes", "fine_codes")
_IDS_PER_STEP = SEMANTIC_FRAME_RATE // GRID_RATE
_TOLERANCE_S = 0.5 / GRID_RATE


def frames_per_step(name: str) -> int:
    """Frames in 40 ms of the codes with this name."""
    return (SEMANTIC_FRAME_RATE if name in SEMANTIC_NAMES else CODEC_FRAME_RATE) // GRID_RATE


@dataclass(frozen=True)
class Span:
    """What is made anew of a recording whose codes are known.

    Attributes:
        start (`int`): First step.
        end (`int`, *optional*): Step behind the last; `None` is the recording's end.
        parts (`tuple` of `int`, *optional*): Indices of the parts that are made anew; `None` is all of them.
    """

    start: int
    end: int | None = None
    parts: tuple[int, ...] | None = None

    def within(self, first: int, last: int) -> tuple[int, int]:
        """The steps from `first` to `last` that are made anew; two equal numbers if there are none."""
        start = max(first, self.start)
        end = last if self.end is None else min(last, self.end)
        return (start, end) if start < end else (last, last)

    def of_part(self, index: int) -> "Span":
        """The span of one part, which is empty if the part stays as it is."""
        if self.parts is None or index in self.parts:
            return self
        return Span(0, 0)

    def forced(self, codes: torch.LongTensor) -> torch.LongTensor | None:
        """Codes `(1, P, T)` of the parts that stay, -1 for those that are made anew; `None` if all are."""
        if self.parts is None or codes.ndim != 3:
            return None
        forced = codes.clone()
        forced[:, list(self.parts)] = -1
        return forced


def join_forced(rows: list[torch.LongTensor | None], target: Segment, num_slots: int) -> torch.LongTensor | None:
    """Ids `(batch_size, num_slots)` that are given, -1 for those to choose; `None` if all are chosen.

    Args:
        rows (`list` of `torch.LongTensor`, *optional*): Given codes of each row, `(1, P, T)`; -1 is a choice.
        target (`Segment`): Segment of the codes.
        num_slots (`int`): Slots of the longest row.
    """
    given = [row for row in rows if row is not None]
    if not given:
        return None
    joined = given[0].new_full((len(rows), num_slots), PADDING)
    for place, row in zip(joined, rows, strict=True):
        if row is not None:
            ids = codes_to_ids(target, row.clamp(min=0))[0]
            place[: len(ids)] = torch.where(interleave_codes(row)[0] < 0, PADDING, ids)
    return joined


def find_spans(
    config: Any,
    regenerate: Any,
    parts: Sequence[str] | None,
    known_codes: list[dict[str, torch.LongTensor]],
    num_steps: list[int],
    played: tuple[int, ...],
) -> list[Span | None]:
    """The span of every recording, in steps.

    Args:
        config: Config with `part_names`.
        regenerate (pair of `float`, or a `list` of pairs): Start and end in seconds, for all recordings or for each;
            rounded to 40 ms. An end of `None` is the recording's. `None` in place of a pair regenerates nothing.
        parts (sequence of `str`, *optional*): Names of the parts that are made anew; `None` is all of them.
        known_codes (`list` of `dict`): Codes of every recording.
        num_steps (`list` of `int`): Length of every recording.
        played (`tuple` of `int`): Indices of the parts that are asked for.

    Raises:
        ValueError, TypeError: If a span is no such pair, is empty or lies outside the known codes, known codes are
            missing or differ in length, or a part is unknown or not played.
    """
    if regenerate is None:
        if parts is not None:
            raise ValueError("`regenerate_parts` needs `regenerate`: the start and end, in seconds, to make anew.")
        return [None] * len(num_steps)
    pairs = list_pairs(regenerate, len(num_steps))
    chosen = None if parts is None else choose_parts(config, parts, "`regenerate_parts`")
    if chosen is not None and not set(chosen) <= set(played):
        raise ValueError(f"`regenerate_parts` must be among the parts that are played, got {list(parts)}.")
    spans = []
    for pair, known, num in zip(pairs, known_codes, num_steps, strict=True):
        span = None if pair is None else _to_span(*check_pair_of_seconds(pair), known, num)
        if span is not None and chosen is not None and num_known_steps(known) < num:
            raise ValueError("`regenerate_parts` must be left out where a recording is longer than its known codes.")
        spans.append(span if span is None else replace(span, parts=chosen))
    return spans


def list_pairs(regenerate: Any, num_items: int) -> list[Any]:
    """The pair of every recording.

    Raises:
        ValueError: If a list has another length.
    """
    pairs = regenerate if isinstance(regenerate, list) else [regenerate] * num_items
    if len(pairs) != num_items:
        raise ValueError(f"`regenerate` must be one pair or a list of {num_items}, got {len(pairs)}.")
    return pairs


def plan_span(
    model: Any,
    codes: dict[str, torch.LongTensor],
    regenerate: Any,
    snap: bool,
    num_steps: int,
    beat_times: Sequence[float] | None = None,
) -> tuple[float, float | None] | None:
    """What is made anew of an earlier result, in seconds on the 40 ms grid; `None` for nothing.

    Without `regenerate` a recording that is longer than its known codes is continued.

    Args:
        model (`AccompGenForConditionalGeneration`): The model, which decodes the codes.
        codes (`dict`): Known codes, with a batch axis of one.
        regenerate (pair of `float`, *optional*): As in `find_spans`.
        snap (`bool`): Whether the ends move to the nearest beats of the codes' accompaniment.
        num_steps (`int`): Length of the recording in steps of 40 ms.
        beat_times (sequence of `float`, *optional*): The beats in seconds, from the result's lead sheet. `None` finds
            them in what the codes play.

    Raises:
        ValueError, TypeError: As in `find_spans`.
    """
    is_longer = SEMANTIC_NAMES[0] in codes and codes[SEMANTIC_NAMES[0]].shape[-1] < num_steps * _IDS_PER_STEP
    if regenerate is None:
        return (num_known_steps(codes) / GRID_RATE, None) if is_longer else None
    start_s, end_s = check_pair_of_seconds(regenerate)
    _to_span(start_s, end_s, codes, num_steps)
    if not snap:
        return _on_grid(start_s, end_s)
    if beat_times is None and "coarse_codes" not in codes:
        raise ValueError(
            "`snap` must be False where `known_codes` have no `coarse_codes`: there are no beats to hear."
        )
    beat_times = list_beats(model, codes) if beat_times is None else beat_times
    snapped = snap_to_beats(start_s, end_s, beat_times, num_known_steps(codes) / GRID_RATE)
    return _on_grid(snapped[0], None if is_longer else snapped[1])


def span_seconds(span: tuple[float, float | None] | None, duration_s: float) -> float:
    """How much of a recording is made: a span of it, or all."""
    if span is None:
        return duration_s
    return (duration_s if span[1] is None else span[1]) - span[0]


def _on_grid(start_s: float, end_s: float | None) -> tuple[float, float | None]:
    return round(start_s * GRID_RATE) / GRID_RATE, None if end_s is None else round(end_s * GRID_RATE) / GRID_RATE


@torch.no_grad()
def list_beats(model: Any, codes: dict[str, torch.LongTensor]) -> np.ndarray:
    """Times in seconds of the beats of what known codes play, those of its lead sheet."""
    grid = torch.cat([codes[name] for name in _TARGET_NAMES[1:] if name in codes], dim=-2)
    audio = model.decode(grid.flatten(0, -3)).sum(0)  # (1, K, T) or (1, P, K, T)
    audio = soften_peaks(audio.float().cpu().numpy())
    return np.array(make_lead_sheet(audio, model.config.codec_config.sampling_rate)["beat_times"])


def check_pair_of_seconds(pair: Any) -> tuple[float, float | None]:
    """Return start and end of `regenerate` in seconds.

    Raises:
        TypeError, ValueError: If it is no pair of numbers, or its end does not lie behind its start.
    """
    is_pair = isinstance(pair, (tuple, list)) and len(pair) == 2
    if not is_pair or not all(
        isinstance(value, Real) or (index and value is None) for index, value in enumerate(pair)
    ):
        raise TypeError(f"`regenerate` must be a pair (start_s, end_s) of seconds, got {pair!r}.")
    start_s, end_s = pair
    if not math.isfinite(start_s) or start_s < 0 or (end_s is not None and not start_s < end_s < math.inf):
        raise ValueError(
            f"`regenerate` must begin at 0 s or later and end behind its start, got {start_s} to {end_s}."
        )
    return float(start_s), None if end_s is None else float(end_s)


def num_known_steps(known: dict[str, torch.LongTensor]) -> int:
    """Steps of 40 ms whose target codes are known.

    Raises:
        ValueError: If no stage's codes are known, or the stages' differ in length.
    """
    steps = {name: known[name].shape[-1] // frames_per_step(name) for name in _TARGET_NAMES if name in known}
    if not steps:
        raise ValueError(
            "`regenerate` needs `known_codes`: an earlier result of these vocals with its codes (`return_codes=True`)."
        )
    if len(set(steps.values())) > 1:
        raise ValueError(f"`known_codes` must be equally long for `regenerate`, got steps of 40 ms: {steps}.")
    return next(iter(steps.values()))


def _to_span(start_s: float, end_s: float | None, known: dict[str, torch.LongTensor], num_steps: int) -> Span:
    num_known = num_known_steps(known)
    known_s, duration_s = num_known / GRID_RATE, num_steps / GRID_RATE
    longest_s = max(known_s, duration_s)
    if start_s > known_s or (end_s is not None and end_s > longest_s + _TOLERANCE_S):
        end_words = "the end" if end_s is None else f"{end_s:g} s"
        raise ValueError(
            f"`regenerate` must begin inside the {known_s:g} s whose codes are known and end by {longest_s:g} s, got "
            f"{start_s:g} s to {end_words}."
        )
    start, end = round(start_s * GRID_RATE), num_steps if end_s is None else min(round(end_s * GRID_RATE), num_steps)
    if num_known < num_steps and end < num_steps:
        raise ValueError(
            f"`regenerate` must reach the end of a recording that is longer than its known codes ({duration_s:g} s, "
            f"{known_s:g} s are known), got an end of {end_s:g} s. Leave the end out: ({start_s:g}, None)."
        )
    if start >= end:
        raise ValueError(f"`regenerate` must hold at least one step of 0.04 s, got {start_s:g} to {end_s} s.")
    return Span(start, end)


def snap_to_beats(
    start_s: float, end_s: float | None, beat_times: Sequence[float], duration_s: float
) -> tuple[float, float]:
    """Move a span's ends to the nearest beats; the recording's own ends count as beats.

    Returns:
        Start and end in seconds, at least one beat apart.
    """
    beats = np.unique(np.clip([0.0, *beat_times, duration_s], 0.0, duration_s))
    end_s = duration_s if end_s is None else end_s
    first, last = (int(np.abs(beats - edge_s).argmin()) for edge_s in (start_s, end_s))
    if first >= last:  # both are nearest to one beat: the beat that holds the middle
        middle_s = (start_s + end_s) / 2
        first = int(np.clip(np.searchsorted(beats, middle_s, side="right") - 1, 0, len(beats) - 2))
        last = first + 1
    return float(beats[first]), float(beats[last])


__all__ = [
    "Span",
    "check_pair_of_seconds",
    "find_spans",
    "frames_per_step",
    "join_forced",
    "list_beats",
    "list_pairs",
    "num_known_steps",
    "plan_span",
    "snap_to_beats",
    "span_seconds",
]
