"""What visitors may choose, how the fields of the page are read, and the words in which something is refused."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from accompgen_hf.accompgen.harmony_accompgen import MODES, PITCH_CLASS_NAMES
from accompgen_hf.accompgen.options_accompgen import GENERATION_OPTIONS, limit_options
from accompgen_hf.accompgen.told_song_accompgen import read_told_song
from accompgen_hf.app.chord_files import read_chord_text

MAX_VARIATIONS = 4
MAX_GUIDANCE_SCALE = 10.0
MAX_SEED = 2**31 - 1 - MAX_VARIATIONS
MAX_CHORDS_CHARACTERS = 20_000  # the lead sheet of a minute has about a half
_TEMPO = GENERATION_OPTIONS["tempo_bpm"]
PAGE_OPTIONS = limit_options(
    seed=(0, MAX_SEED),
    num_variations=(1, MAX_VARIATIONS),
    guidance_scale=(0, MAX_GUIDANCE_SCALE),
    tempo_bpm=(_TEMPO.low, _TEMPO.high),
)
KEYS = tuple(f"{tonic} {mode}" for tonic in PITCH_CLASS_NAMES for mode in MODES)
_WORDS = {
    "seed": "The seed",
    "num_variations": "The number of takes",
    "guidance_scale": "The guidance",
    "tempo_bpm": "The tempo",
}
_NOT_LISTENING = "This model does not listen for key, tempo and chords: leave them out."
# The library's messages are written for people who call functions; visitors of a page have no parameters.
_FOR_VISITORS = (
    (r"`source`( \(bytes\))?", "The recording"),
    (r"`start_s` and `end_s`", "Start and end"),
    (r" \(`max_duration_s`\)", ""),
    (r", or raise the limit", ""),
    (r", or pass `allow_truncated=True` to use what is there", ""),
    (r", which needs PyAV: .*", ", which cannot be read here. Convert it to wav or mp3."),
    (r"`key`, `tempo_bpm` and `chords` must be left out.*", _NOT_LISTENING),
    (r"`(key|chords)`", r"The \1"),
    (r"\(start_s, end_s, name\), such as .*, got", "start, end and name, such as 0.0 2.4 Am, got"),
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
    key: str | None = None
    tempo_bpm: float | None = None
    chords: Sequence[Any] | None = None

    def check(self, style_names: Sequence[str] = (), is_listening: bool = False) -> None:
        """Raise `Refused` for values that the page's own controls cannot send, but another client can.

        Args:
            style_names: Styles that the model knows.
            is_listening (`bool`): Whether the model can be told key, tempo and chords.
        """
        for name, option in PAGE_OPTIONS.items():
            value = getattr(self, name)
            if value is not None and not option.accepts(value):
                raise Refused(f"{_WORDS[name]} must be from {option.low} to {option.high}, got {value!r}.")
        if self.style is not None and self.style not in style_names:
            known = f"must be one of {', '.join(style_names)}" if style_names else "cannot be chosen with this model"
            raise Refused(f"The style {known}, got {self.style!r}.")
        told = (self.key, self.tempo_bpm, self.chords)
        if told != (None, None, None) and not is_listening:
            raise Refused(_NOT_LISTENING)
        try:
            read_told_song(*told)
        except ValueError as error:
            raise Refused(for_visitors(str(error))) from error

    def options(self) -> dict[str, Any]:
        """Options of a call of the pipeline, and keys of `settings.json`: what was chosen."""
        chosen = {"guidance_scale": self.guidance_scale, "preview": self.preview or None, "style": self.style}
        chosen |= {"key": self.key, "tempo_bpm": self.tempo_bpm, "chords": self.chords}
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


def read_tempo(text: str | None) -> float | None:
    """Read the tempo's field, in beats per minute; an empty one leaves it to the listener.

    Raises:
        Refused: If it is not a number.
    """
    text = (text or "").strip()
    if text and not re.fullmatch(r"[0-9]{1,3}([.,][0-9]{1,6})?", text):
        raise Refused(
            f"The tempo must be a number of beats a minute from {_TEMPO.low} to {_TEMPO.high}, or nothing, got "
            f"{text[:20]!r}."
        )
    return float(text.replace(",", ".")) if text else None


def read_chords(text: str | None) -> list[list[Any]] | None:
    """Read the chords' field as [`read_chord_text`] does; an empty one leaves them to the listener.

    Raises:
        Refused: If a line of it is no chord, they do not follow each other, or the text is too long.
    """
    text = text or ""
    if len(text) > MAX_CHORDS_CHARACTERS:
        raise Refused(f"The chords must be no more than {MAX_CHORDS_CHARACTERS} characters, got {len(text)}.")
    try:
        return read_chord_text(text) if text.strip() else None
    except ValueError as error:
        raise Refused(for_visitors(str(error))) from error


def for_visitors(message: str) -> str:
    """Turn a message of the library into words without parameters."""
    for pattern, words in _FOR_VISITORS:
        message = re.sub(pattern, words, message, flags=re.DOTALL)
    return message
