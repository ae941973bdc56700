"""One clip out of a row of tokens (paper §4.1): the same instants of both frame rates, and what is hidden of them."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from accompgen_hf.accompgen.configuration_accompgen import GRID_RATE, AccompGenStageConfig
from accompgen_hf.accompgen.parts_accompgen import style_id
from accompgen_hf.data.shards import TokenRow

HIDDEN_BLOCK_STEPS = 10  # of 40 ms


class ClipCutter:
    """Cuts clips of `config.clip_duration_s` seconds with the streams that one stage reads.

    Args:
        config (`AccompGenStageConfig`): The stage's config, which names the streams.
        condition_dropout (`float`): Probability that a clip hides its conditioning.
        history_dropout (`float`): Largest share of a clip's target that is hidden from its later codes; above 1, 1 -
            1 / `history_dropout` of the clips hide all of it.
        style_dropout (`float`): Probability that a clip hides its style.

    Raises:
        ValueError: If a probability is not in [0, 1], or `history_dropout` is below 0.
    """

    def __init__(
        self,
        config: AccompGenStageConfig,
        condition_dropout: float = 0.0,
        history_dropout: float = 0.0,
        style_dropout: float = 0.0,
    ):
        for name, share in (("condition_dropout", condition_dropout), ("style_dropout", style_dropout)):
            if not 0 <= share <= 1:
                raise ValueError(f"`{name}` must be in [0, 1], got {share}.")
        if not 0 <= history_dropout < math.inf:
            raise ValueError(f"`history_dropout` must be a number from 0 on, got {history_dropout}.")
        self.config = config
        self.condition_dropout = condition_dropout
        self.history_dropout = history_dropout
        self.style_dropout = style_dropout
        self.clip_grid_frames = round(config.clip_duration_s * GRID_RATE)

    def cut(
        self,
        row: TokenRow,
        generator: np.random.Generator,
        draw_other: Callable[[np.random.Generator], TokenRow] | None = None,
    ) -> dict[str, Any]:
        """Cut a clip at a drawn place.

        Args:
            row (`TokenRow`): A row that is long enough.
            generator (`np.random.Generator`): Draws everything about the clip.
            draw_other (`Callable`, *optional*): Draws the row that the conditioning comes from instead.

        Returns:
            `dict` with `conditioning` (name to `torch.LongTensor`, frames last), `target`, `is_dropped` (whether the
            conditioning is to be hidden), `history_dropped`, `track_id` and `start_s`; of a stage whose rows are one
            part also `part_id`, which is drawn, and of a stage with styles `style_id`, 0 where the style is unknown or
            hidden.
        """
        target_row = row
        target_start = start = self._draw_start(row, generator)
        is_dropped = bool(generator.random() < self.condition_dropout)
        if draw_other is not None:
            row = draw_other(generator)
            start = self._draw_start(row, generator)
        history_dropped = self._draw_hidden_frames(generator)
        row_ids = self._draw_row_ids(generator, target_row)  # last: without parts and styles nothing more is drawn
        row, part_row = (_of_part(each, row_ids.get("part_id")) for each in (row, target_row))
        return {
            "conditioning": {name: self._crop(row, name, start) for name in self.config.conditioning_names},
            "target": self._crop_target(part_row, target_start),
            "is_dropped": is_dropped,
            "history_dropped": history_dropped,
            **row_ids,
            "track_id": target_row.track_id,
            "start_s": target_row.start_s + target_start / GRID_RATE,
        }

    def _draw_start(self, row: TokenRow, generator: np.random.Generator) -> int:
        return int(generator.integers(count_grid_frames(row) - self.clip_grid_frames + 1))

    def _draw_row_ids(self, generator: np.random.Generator, row: TokenRow) -> dict[str, int]:
        """Part and style of a clip, where the stage has embeddings of them."""
        row_ids = {}
        if self.config.num_part_rows:
            row_ids["part_id"] = int(generator.integers(self.config.num_part_rows))
        if self.config.num_style_rows:
            is_hidden = bool(generator.random() < self.style_dropout)
            row_ids["style_id"] = 0 if is_hidden else style_id(self.config, row.style)
        return row_ids

    def _draw_hidden_frames(self, generator: np.random.Generator) -> torch.BoolTensor:
        """Frames of the target that later codes do not see, in blocks of 0.4 s."""
        share = self.history_dropout * generator.random()
        num_blocks = -(-self.clip_grid_frames // HIDDEN_BLOCK_STEPS)
        is_hidden = np.repeat(generator.random(num_blocks) < share, HIDDEN_BLOCK_STEPS)[: self.clip_grid_frames]
        return torch.from_numpy(is_hidden).repeat_interleave(self.config.target_segment.frame_rate // GRID_RATE)

    def _crop_target(self, row: TokenRow, start: int) -> Any:
        return self._crop(row, self.config.target_name, start)

    def _crop(self, row: TokenRow, name: str, start: int) -> torch.LongTensor:
        """Cut `clip_grid_frames` frames of 40 ms out of one stream."""
        num_codebooks = self.config.num_codebooks
        if name == "coarse_codes":
            stream, rate = row.codes[:num_codebooks], 3
        elif name == "fine_codes":
            stream, rate = row.codes[num_codebooks : 2 * num_codebooks], 3
        else:
            stream, rate = getattr(row, name), 2
        crop = stream[..., rate * start : rate * (start + self.clip_grid_frames)]
        return torch.from_numpy(crop.astype(np.int64))


def count_grid_frames(row: TokenRow) -> int:
    """Whole 40-ms frames of a row."""
    return len(row.vocal_semantic_ids) // 2


def _of_part(row: TokenRow, part_id: int | None) -> TokenRow:
    """A row of all parts as a row of one of them."""
    if part_id is None:
        return row
    return replace(row, instrumental_semantic_ids=row.instrumental_semantic_ids[part_id], codes=row.codes[part_id])
