"""What a singer says of a song beforehand: key, tempo and chords, read from the words that musicians write.

Chords and keys have the numbers of the listener: a chord is 2 root + (its third is minor), a key 12 (it is minor) +
tonic; C is 0.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .harmony_accompgen import PITCH_CLASS_NAMES, PITCH_CLASSES
from .options_accompgen import GENERATION_OPTIONS, is_of_kind

NOT_TOLD = -1
TOLD_NAMES = ("key", "tempo_bpm", "chords")
_ACCIDENTALS = {"": 0, "#": 1, "♯": 1, "b": -1, "♭": -1}
_KEY = re.compile(r"([A-G])([#b♯♭]?)\s*(m|min|minor|maj|major|)", re.IGNORECASE)
# The third decides; what stands above it, behind a slash or in brackets is for players who hear it.
_CHORD = re.compile(
    r"([A-G])([#b♯♭]?):?(maj|M|min|m|-|dim|o|°|hdim|ø|)"
    r"(?:maj|M|sus|add|dim|aug|no|omit|alt|[0-9#b♯♭+°ø()/, -]|[A-G])*"
)
_MINOR_KINDS = ("min", "m", "-", "dim", "o", "°", "hdim", "ø")
_NO_CHORDS = ("N", "N.C.", "NC", "X")

ToldChord = tuple[float, float, int]


@dataclass(frozen=True)
class ToldSong:
    """What is known of one song; `None` and no chords leave it to the listener.

    Attributes:
        key (`int`, *optional*): Number of the key.
        tempo_bpm (`float`, *optional*): Beats per minute.
        chords (`tuple` of `(start_s, end_s, chord)`): Chords by their numbers, of any part of the song.
    """

    key: int | None = None
    tempo_bpm: float | None = None
    chords: tuple[ToldChord, ...] = ()

    def chords_at(self, times_s: np.ndarray) -> np.ndarray:
        """Number of the chord at every time, `NOT_TOLD` where none is told; int64 like `times_s`."""
        told = np.full(len(times_s), NOT_TOLD)
        for start_s, end_s, chord in self.chords:
            told[(times_s >= start_s) & (times_s < end_s)] = chord
        return told


NOTHING_TOLD = ToldSong()


def read_key(text: str) -> int:
    """Number of a key such as "A minor", "Am", "Bb major" or "F#".

    Raises:
        ValueError: If it is none.
    """
    found = _KEY.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f'`key` must be a tonic with "major" or "minor", such as "A minor" or "Bb", got {text!r}.')
    letter, accidental, mode = found.groups()
    is_minor = mode == "m" or mode.lower().startswith("min")
    return PITCH_CLASSES * is_minor + _pitch_class(letter.upper(), accidental)


def read_chord(name: str) -> int:
    """Number of a chord such as "Am7", "F", "Bb/D", "G7sus4" or "C:min"; `NOT_TOLD` of "N" and "N.C.".

    Raises:
        ValueError: If it is none.
    """
    if isinstance(name, str) and name.strip() in _NO_CHORDS:
        return NOT_TOLD
    found = _CHORD.fullmatch(name.strip()) if isinstance(name, str) else None
    if found is None:
        raise ValueError(f'`chords` must have names such as "Am", "F" or "G7", or "N" for none, got {name!r}.')
    letter, accidental, kind = found.groups()
    return 2 * _pitch_class(letter, accidental) + (kind in _MINOR_KINDS)


def _pitch_class(letter: str, accidental: str) -> int:
    return (PITCH_CLASS_NAMES.index(letter) + _ACCIDENTALS[accidental]) % PITCH_CLASSES


def read_chords(chords: Sequence[Any]) -> tuple[ToldChord, ...]:
    """Chords in order, without those of no name.

    Args:
        chords (sequence): Each `(start_s, end_s, name)`, or a `dict` of these such as `result["lead_sheet"]` has.

    Raises:
        ValueError: If one is no such thing, ends before it begins, or begins before the one before it has ended.
    """
    if isinstance(chords, str) or not isinstance(chords, Sequence):
        raise ValueError(f"`chords` must be a list of (start_s, end_s, name), got {chords!r}.")
    read, last_s = [], 0.0
    for chord in chords:
        if isinstance(chord, Mapping):
            chord = tuple(chord.get(name) for name in ("start_s", "end_s", "name"))
        if not (isinstance(chord, (list, tuple)) and len(chord) == 3 and all(is_of_kind(t, float) for t in chord[:2])):
            raise ValueError(f"`chords` must be (start_s, end_s, name), such as (0.0, 2.5, 'Am'), got {chord!r}.")
        start_s, end_s, name = chord
        if not last_s - 1e-6 <= start_s < end_s:
            raise ValueError(
                f"`chords` must follow each other, each with an end behind its start, got {start_s} to {end_s} behind "
                f"{last_s} (seconds)."
            )
        last_s, number = end_s, read_chord(name)
        if number != NOT_TOLD:
            read.append((float(start_s), float(end_s), number))
    return tuple(read)


def check_tempo(tempo_bpm: float) -> float:
    """The tempo.

    Raises:
        ValueError: If it is no number of beats per minute that songs have.
    """
    option = GENERATION_OPTIONS["tempo_bpm"]
    if not option.accepts(tempo_bpm):
        raise ValueError(
            f"`tempo_bpm` must be a number from {option.low} to {option.high} beats per minute, got {tempo_bpm!r}."
        )
    return float(tempo_bpm)


def read_told_song(
    key: str | None = None, tempo_bpm: float | None = None, chords: Sequence[Any] | None = None
) -> ToldSong:
    """What is said of one song.

    Raises:
        ValueError: If a word of it is not understood.
    """
    return ToldSong(
        None if key is None else read_key(key),
        None if tempo_bpm is None else check_tempo(tempo_bpm),
        () if chords is None else read_chords(chords),
    )


def read_told_songs(
    num_items: int,
    key: str | Sequence[str | None] | None = None,
    tempo_bpm: float | Sequence[float | None] | None = None,
    chords: Sequence[Any] | None = None,
) -> list[ToldSong]:
    """What is said of every item of a batch, as [`list_told`] reads it.

    Raises:
        ValueError: If a list has another length, or a word is not understood.
    """
    return [read_told_song(*own) for own in list_told(num_items, key, tempo_bpm, chords)]


def list_told(
    num_items: int,
    key: str | Sequence[str | None] | None = None,
    tempo_bpm: float | Sequence[float | None] | None = None,
    chords: Sequence[Any] | None = None,
) -> list[tuple[Any, Any, Any]]:
    """Key, tempo and chords of every item, each given for all of them or in a list of one for each.

    Raises:
        ValueError: If a list has another length.
    """
    keys = _of_items("key", num_items, key, isinstance(key, (list, tuple)))
    tempos = _of_items("tempo_bpm", num_items, tempo_bpm, isinstance(tempo_bpm, (list, tuple)))
    # A chord is no list of chords: its first entry is a number.
    are_lists = isinstance(chords, (list, tuple)) and all(
        own is None or (isinstance(own, (list, tuple)) and not (own and isinstance(own[0], (int, float))))
        for own in chords
    )
    of_items = _of_items("chords", num_items, chords, bool(chords) and are_lists)
    return list(zip(keys, tempos, of_items, strict=True))


def _of_items(name: str, num_items: int, given: Any, is_list: bool) -> list:
    given = list(given) if is_list else [given] * num_items
    if len(given) != num_items:
        raise ValueError(f"`{name}` must be one for all or a list of {num_items}, got {len(given)}.")
    return given


__all__ = [
    "NOTHING_TOLD",
    "NOT_TOLD",
    "TOLD_NAMES",
    "ToldSong",
    "list_told",
    "read_chord",
    "read_chords",
    "read_key",
    "read_told_song",
    "read_told_songs",
]
