"""What visitors may choose, how the fields of the page are read, and the words in which something is refused."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from accompgen_hf.accompgen.options_accompgen import limit_options

MAX_VARIATIONS = 4
MAX_GUIDANCE_SCALE = 10.0
MAX_SEED = 2**31 - 1 - MAX_VARIATIONS
PAGE_OPTIONS = limit_options(
    seed=(0, MAX_SEED), num_variations=(1, MAX_VARIATIONS), guidance_scale=(0, MAX_GUIDANCE_SCALE)
)
_WORDS = {"seed": "The seed", "num_variations": "The number of takes", "guidance_scale": "The guidance"}
# The library's messages are written for people who call functions; visitors of a page have no parameters.
_FOR_VISITORS = (
    (r"`source`( \(bytes\))?", "The recording"),
    (r"`start_s` and `end_s`", "Start and end"),
    (r" \(`max_duration_s`\)", ""),
    (r", or raise the limit", ""),
    (r", or pass `allow_truncated=True` to use what is there", ""),
    (r", which needs PyAV: .*", ", which cannot be read here. Convert it to wav or mp3."),
)


class Refused(ValueError):
    """A recording or setting that cannot be used; the text is meant for the visitor."""


@dataclass(frozen=True)
class Settings:
    """What a visitor may choose; `None` leaves it to the model or to chance."""

    seed: int | None = None
    num_variations: int = 1
    guidance_scale: float | None = None
    preview: bool = False
    style: str | None = None

    def check(self, style_names: Sequence[str] = ()) -> None:
        """Raise `Refused` for values that the page's own controls cannot send, but another client can."""
        for name, option in PAGE_OPTIONS.items():
            value = getattr(self, name)
            if value is not None and not option.accepts(value):
                raise Refused(f"{_WORDS[name]} must be from {option.low} to {option.high}, got {value!r}.")
        if self.style is not None and self.style not in style_names:
            known = f"must be one of {', '.join(style_names)}" if style_names else "cannot be chosen with this model"
            raise Refused(f"The style {known}, got {self.style!r}.")

    def options(self) -> dict[str, Any]:
        """Options of a call of the pipeline, and keys of `settings.json`: what was chosen."""
        chosen = {"guidance_scale": self.guidance_scale, "preview": self.preview or None, "style": self.style}
        return {name: value for name, value in chosen.items() if value is not None}


def read_seed(text: str) -> int | None:
    """Read the seed's field; an empty one means a random seed.

    Raises:
        Refused: If it is not a whole number.
    """
    text = (text or "").strip()
    if text and not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise Refused(f"The seed must be a whole number from 0 to {MAX_SEED}, or nothing, got {text[:20]!r}.")
    return int(text) if text else None


def for_visitors(message: str) -> str:
    """Turn a message of the library into words without parameters."""
    for pattern, words in _FOR_VISITORS:
        message = re.sub(pattern, words, message, flags=re.DOTALL)
    return message
