"""Seeds: how one is drawn, which one an item of a batch gets, and the uniform numbers that choose a stage's codes.

Global random state is left alone where a seed is given. Without one, a seed is drawn from Python's `random`, which
every process starts differently and `transformers.set_seed` fixes.
"""

import hashlib
import random
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import torch

from .configuration_accompgen import GRID_RATE

NUM_DRAWN_SEEDS = 1_000_000  # short enough for the name of a folder


def draw_seed() -> int:
    """Draw a seed for somebody who has not given one; `transformers.set_seed` decides which."""
    return random.randrange(NUM_DRAWN_SEEDS)


def item_seed(seed: int, index: int, num_variations: int = 1) -> int:
    """The seed of item `index` of a batch; its variations count on from there."""
    return seed + index * num_variations


def resolve_seeds(seed: int | Sequence[int] | None, num_items: int, num_variations: int = 1) -> list[int]:
    """Give every item of a batch its seed.

    Args:
        seed (`int` or sequence of `int`, *optional*): The first item's seed, or one for each item. If `None`, a new
            one is drawn.
        num_items (`int`): Number of items.
        num_variations (`int`): Seeds that each item needs in a row, so that no two items share one.

    Returns:
        The first seed of each item.

    Raises:
        ValueError: If a seed is no integer or negative, or a list has another length.
    """
    seeds: Any = draw_seed() if seed is None else seed
    if isinstance(seeds, Integral):
        seeds = [item_seed(seeds, index, num_variations) for index in range(num_items)]
    is_one_each = isinstance(seeds, Sequence) and len(seeds) == num_items
    if not is_one_each or not all(isinstance(value, Integral) and value >= 0 for value in seeds):
        raise ValueError(f"`seed` must be an integer of at least 0, or a list of {num_items} of them, got {seed!r}.")
    return [int(value) for value in seeds]


def draw_uniforms(
    seeds: list[int],
    stage: str,
    window_starts: list[float],
    num_slots: int,
    device: str | torch.device = "cpu",
    parts: list[str | None] | None = None,
) -> torch.FloatTensor:
    """Uniform numbers of every slot of a window, keyed by (seed, stage, part, window start) and by slot.

    Args:
        seeds (`list` of `int`): One per row.
        stage (`str`): Name of the stage's target.
        window_starts (`list` of `float`): Seconds, one per row.
        num_slots (`int`): Slots from the window's first on; a longer table begins with the shorter one.
        parts (`list` of `str`, *optional*): Name of each row's part; `None` where a row is the whole band.

    Returns:
        `torch.FloatTensor` of shape `(batch_size, num_slots)` in [0, 1), drawn on the CPU whatever the device.
    """
    rows = []
    for seed, start, part in zip(seeds, window_starts, parts or [None] * len(seeds), strict=True):
        name = stage if part is None else f"{stage}/{part}"
        key = hashlib.sha256(f"{seed}/{name}/{round(start * GRID_RATE)}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(key[:8], "little"))
        # One call per 64 slots: torch draws small and large tensors in different orders.
        blocks = [torch.rand(64, generator=generator) for _ in range(-(-num_slots // 64))]
        rows.append(torch.cat(blocks)[:num_slots])
    return torch.stack(rows).to(device)


__all__ = ["NUM_DRAWN_SEEDS", "draw_seed", "draw_uniforms", "item_seed", "resolve_seeds"]
