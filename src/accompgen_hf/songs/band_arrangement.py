"""What an arranged band does with a style's patterns: as dense as the section is intense, with fills and walks.

Everything here turns patterns (strings of sixteenths, see `styles`) into patterns; `band` plays them. The intensity of
a section lies between 0.45 (a quiet verse) and 1.1 (the last chorus).
"""

import numpy as np

from accompgen_hf.songs.styles import Layer
from accompgen_hf.songs.theory import random_stream

_QUIET, _LOUD, _FULL = 0.62, 0.8, 1.05
_TIMEKEEPERS = ("hat", "open_hat", "ride", "shaker", "tambourine")
_CYMBAL = 51
_LARGE_FILLS = ("........s.s.h.m.", "........ssssmmll", "........h.hm.ml.", "....s..s..h.m.l.", "........s.ssh.ml")
_SMALL_FILLS = ("............s.ss", "............ssss", "............h.ml", "..............ss", "............s.ml")
_ROLLS = ("........ssssssss", "............ssss")  # an orchestra's toms are timpani, which have pitches
_HALFWAY_FILL_SHARE = 0.35


def is_playing(layer: Layer, index: int, intensity: float) -> bool:
    """Whether a layer plays at an intensity: quiet sections have the bass and one other player."""
    return intensity >= layer.least_intensity and (intensity >= _QUIET or index < 2 or layer.role == "lead")


def arrange_bass(pattern: str, intensity: float, chord_changes: list[int], is_last_bar: bool) -> str:
    """A bass line: long notes where it is quiet, octaves where it is loudest, a walk up to the next section.

    Args:
        pattern (`str`): The style's line.
        intensity (`float`): Intensity of the section.
        chord_changes (list of `int`): Steps at which another chord begins.
        is_last_bar (`bool`): Whether the next bar begins a section.
    """
    line = list(pattern)
    for step, symbol in enumerate(pattern):
        if intensity < _QUIET and step % 8 and symbol not in "-.":
            line[step] = "-"
        elif intensity >= _FULL and step % 4 == 2 and symbol == "r":
            line[step] = "o"
    if is_last_bar:
        # `w` and `v` are two steps and one step below the next root. A chord that begins late keeps its root.
        if any(step >= len(line) - 8 for step in chord_changes):
            line[-4:] = "w-v-"
        else:
            line[-8:] = "w---v---"
    return "".join(line)


def arrange_drums(grids: tuple[dict[str, str], ...], intensity: float, seed: int) -> dict[str, str]:
    """The grid of a bar: beats alone where it is quiet, open hi-hat or ride where it is loud, a tambourine on top."""
    if intensity < _LOUD:
        if intensity >= _QUIET:
            return grids[0]
        return {
            drum: "".join("." if drum in _TIMEKEEPERS and step % 4 else symbol for step, symbol in enumerate(pattern))
            for drum, pattern in grids[0].items()
        }
    grid = dict(grids[1 + seed % max(1, len(grids) - 1)])
    cymbal = ("hat", "open_hat", "ride")[int(random_stream(seed, _CYMBAL).integers(3))]
    if "hat" in grid and cymbal not in grid:
        hat = grid.pop("hat")
        if cymbal == "open_hat":  # it opens between the beats
            grid["hat"] = "".join("." if step % 4 == 2 else symbol for step, symbol in enumerate(hat))
            grid["open_hat"] = "..x." * (len(hat) // 4)
        else:
            grid["ride"] = hat
    if intensity >= _FULL and "tambourine" not in grid:
        grid["tambourine"] = "o.x." * (len(grid["kick"]) // 4)
    return grid


def draw_fill(rng: np.random.Generator, intensity: float, num_steps: int, kit: str, is_section_end: bool) -> str:
    """The fill of a bar, or nothing: large before a new section, small where it is quiet and halfway through one."""
    if not is_section_end and (rng.random() >= _HALFWAY_FILL_SHARE or kit == "orchestra"):
        return ""
    fills = _ROLLS if kit == "orchestra" else _LARGE_FILLS if is_section_end and intensity >= _LOUD else _SMALL_FILLS
    return fills[int(rng.integers(len(fills)))][-num_steps:]
