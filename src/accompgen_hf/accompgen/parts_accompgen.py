"""Names of the parts that a model plays and of the styles that it knows, and what a caller may ask for.

A model of one part has no part embedding, and a model without styles has no style embedding: both are the paper. In a
table of styles row 0 stands for any style, and style i of `style_names` has row i + 1.
"""

import re
from collections.abc import Sequence
from typing import Any

WHOLE_BAND = ("instrumental",)
_OTHER_SOUNDS = ("vocals", "accompaniment", "mix")  # what the files beside those of the parts are called
ANY_STYLE = "any"


def check_names(field: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return part or style names as a tuple.

    Raises:
        ValueError: If a name repeats or is not made of small letters, digits and underscores, which file names need.
    """
    wrong = [name for name in names if not re.fullmatch("[a-z0-9_]+", name)]
    if wrong or len(set(names)) != len(names):
        raise ValueError(
            f"`{field}` must be different names of small letters, digits and underscores, got {list(names)}."
        )
    return tuple(names)


def check_part_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return part names as a tuple.

    Raises:
        ValueError: If there is none, one means another sound, or a name is refused by [`check_names`].
    """
    if set(names) & set(_OTHER_SOUNDS):
        raise ValueError(f"`part_names` must not hold {', '.join(_OTHER_SOUNDS)}, got {list(names)}.")
    if not names:
        raise ValueError(f"`part_names` must name at least one part, got {list(names)}. The default is {WHOLE_BAND}.")
    return check_names("part_names", names)


def check_style_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return style names as a tuple.

    Raises:
        ValueError: If one is `"any"`, or refused by [`check_names`].
    """
    if ANY_STYLE in names:
        raise ValueError(f"`style_names` must not hold {ANY_STYLE!r}, which stands for no style, got {list(names)}.")
    return check_names("style_names", names)


def to_name(text: str) -> str:
    """Make a name of a free text, for example `"hip_hop"` of `"Hip-Hop"`; empty if it has no letter or digit."""
    return re.sub("[^a-z0-9]+", "_", text.lower()).strip("_")


def choose_parts(config: Any, parts: Sequence[str] | None, name: str = "`parts`") -> tuple[int, ...]:
    """Indices of the parts that are asked for, in the model's order.

    Args:
        config: Config with `part_names`.
        parts (sequence of `str`, *optional*): Names; `None` asks for all.
        name (`str`): What messages call it.

    Raises:
        ValueError: If the model has one part alone, or not these; its own are named.
    """
    known = config.part_names
    if parts is None:
        return tuple(range(len(known)))
    if len(known) == 1:
        raise ValueError(f"{name} must be left out: this model plays one part, {known[0]!r}; got {parts!r}.")
    if isinstance(parts, str) or not parts or not all(part in known for part in parts):
        raise ValueError(f"{name} must be a list of names out of {', '.join(known)}, got {parts!r}.")
    return tuple(index for index, name in enumerate(known) if name in parts)


def style_id(config: Any, style: str | None) -> int:
    """Row of a style in the model's table; 0 for `None` and `"any"`.

    Args:
        config: Config with `style_names`.

    Raises:
        ValueError: If the model knows no styles, or not this one; its own are named.
    """
    if style is None:
        return 0
    if not config.style_names:
        raise ValueError(f"`style` must be left out: this model knows no styles; got {style!r}.")
    if style != ANY_STYLE and style not in config.style_names:
        raise ValueError(f"`style` must be one of {', '.join((ANY_STYLE, *config.style_names))}, got {style!r}.")
    return 0 if style == ANY_STYLE else config.style_names.index(style) + 1


def check_styles(config: Any, styles: str | Sequence[str | None] | None, num_items: int) -> list[str | None]:
    """Return every item's style.

    Args:
        config: Config with `style_names`.
        styles (`str` or sequence, *optional*): One style for all items, or one for each.

    Raises:
        ValueError: If the list has another length, or a style is refused by [`style_id`].
    """
    if styles is None or isinstance(styles, str):
        styles = [styles] * num_items
    if len(styles) != num_items:
        raise ValueError(f"`style` must be one name or a list of {num_items}, got {len(styles)}.")
    for style in styles:
        style_id(config, style)
    return list(styles)


def style_ids(config: Any, styles: str | Sequence[str | None] | None, num_items: int) -> list[int]:
    """Row of every item's style, as [`check_styles`] reads them."""
    return [style_id(config, style) for style in check_styles(config, styles, num_items)]


__all__ = [
    "ANY_STYLE",
    "WHOLE_BAND",
    "check_names",
    "check_part_names",
    "check_style_names",
    "check_styles",
    "choose_parts",
    "style_id",
    "style_ids",
    "to_name",
]
