"""Procedural songs: seeded, annotated pairs of vocals and instrumental, for training and tests without any recording.

`compose_song` writes the score (key, beats, chords, melody, sections, singer), `synthesize_song` plays it,
`generate_song` does both. The same seed gives the same song; seeds from `HELD_OUT_SEED` on are never trained on.
"""

import os
from dataclasses import dataclass

import numpy as np

from accompgen_hf.songs.annotation import Chord, MelodyNote, Section, SongAnnotation
from accompgen_hf.songs.band import PARTS, render_band, render_band_parts
from accompgen_hf.songs.composition import COMPOSITIONS, SINGERS, compose_song
from accompgen_hf.songs.sampled_band import render_sampled_band
from accompgen_hf.songs.singer import render_vocals
from accompgen_hf.songs.styles import STYLES
from accompgen_hf.songs.theory import HELD_OUT_SEED, random_stream
from accompgen_hf.songs.voices import Singer

__all__ = [
    "COMPOSITIONS",
    "HELD_OUT_SEED",
    "PARTS",
    "RENDERERS",
    "SINGERS",
    "STYLES",
    "Chord",
    "MelodyNote",
    "Section",
    "Singer",
    "Song",
    "SongAnnotation",
    "compose_song",
    "generate_song",
    "require_training_seed",
    "synthesize_song",
]

RENDERERS = ("numpy", "soundfont", "mixed")
_RENDERER = 41


@dataclass(frozen=True)
class Song:
    """A song as audio: two mono tracks that start at the same instant.

    Attributes:
        annotation (`SongAnnotation`): The annotation of what is played and sung.
        vocals (`np.ndarray`), instrumental (`np.ndarray`): float32 of shape `(num_samples,)`, peaks at most 1.
        sampling_rate (`int`): Rate in Hz.
        parts (`dict`, *optional*): `"drums"`, `"bass"` and `"other"`, arrays like `instrumental`, which is their sum
            within rounding. `None` if they were not asked for.
    """

    annotation: SongAnnotation
    vocals: np.ndarray
    instrumental: np.ndarray
    sampling_rate: int
    parts: dict[str, np.ndarray] | None = None


def require_training_seed(seed: int) -> int:
    """Return `seed` if it may be trained on.

    Raises:
        ValueError: If `seed` is negative or held out for evaluation.
    """
    if not 0 <= seed < HELD_OUT_SEED:
        raise ValueError(
            f"`seed` must be in [0, {HELD_OUT_SEED}) for training, got {seed}. "
            "Higher seeds are held out: a model that has seen them cannot be measured."
        )
    return int(seed)


def synthesize_song(
    annotation: SongAnnotation,
    sampling_rate: int = 24000,
    *,
    renderer: str = "numpy",
    soundfont: str | os.PathLike | None = None,
    with_parts: bool = False,
) -> Song:
    """Play an annotation's window.

    Args:
        annotation (`SongAnnotation`): Result of `compose_song`, possibly transposed or at another tempo.
        sampling_rate (`int`): Rate in Hz.
        renderer (`str`): Instruments of the band: `"numpy"` for tones as sums of partials, which need nothing
            installed; `"soundfont"` for sampled instruments, which need `tinysoundfont` and a SoundFont; `"mixed"` for
            `numpy` in half of the songs and `soundfont` in the rest.
        soundfont (`str`, *optional*): General MIDI bank (`.sf2`) of the sampled instruments. `None` means FluidR3 GM
            where Debian's package `fluid-soundfont-gm` puts it.
        with_parts (`bool`): Whether to give the band's parts, too.

    Returns:
        `Song` of exactly `round(annotation.duration_s * sampling_rate)` samples.

    Raises:
        ValueError: If `sampling_rate` is not in [16000, 48000], `renderer` is unknown, or `soundfont` is missing or
            lacks instruments.
        ImportError: If `renderer="soundfont"` and tinysoundfont is missing.
    """
    if not 16000 <= sampling_rate <= 48000:
        raise ValueError(
            f"`sampling_rate` must be between 16000 and 48000 Hz, got {sampling_rate}. Resample the song afterwards."
        )
    if renderer not in RENDERERS:
        raise ValueError(f"`renderer` must be one of {', '.join(RENDERERS)}, got {renderer!r}.")
    if renderer == "numpy" and soundfont is not None:
        raise ValueError(f'`soundfont` {soundfont} is not used by `renderer="numpy"`: choose `renderer="soundfont"`.')
    if renderer == "mixed":
        renderer = "soundfont" if random_stream(annotation.seed, _RENDERER).random() < 0.5 else "numpy"
    parts = None
    if renderer == "soundfont":
        instrumental, parts = render_sampled_band(annotation, sampling_rate, soundfont)
    elif with_parts:
        instrumental, parts = render_band_parts(annotation, sampling_rate)
    else:
        instrumental = render_band(annotation, sampling_rate)
    vocals = render_vocals(annotation, sampling_rate)
    return Song(annotation, vocals, instrumental, sampling_rate, parts if with_parts else None)


def generate_song(
    seed: int,
    *,
    whole_song: bool = False,
    duration_s: float = 10.0,
    sampling_rate: int = 24000,
    composition: str = "plain",
    singers: str = "vowels",
    renderer: str = "numpy",
    soundfont: str | os.PathLike | None = None,
    with_parts: bool = False,
) -> Song:
    """Compose and play one song.

    Args:
        seed (`int`): Non-negative; training takes seeds below `HELD_OUT_SEED`.
        whole_song (`bool`): Three to four minutes with intro, a break without voice and outro, whatever `duration_s`.
        duration_s (`float`): Length of an excerpt in which the voice sings most of the time.
        composition (`str`): `"plain"`, `"lead_sheets"`, `"arranged"` or `"tunes"`, as in `compose_song`.
        singers (`str`): `"vowels"`, `"words"` or `"mixed"`, as in `compose_song`.
        sampling_rate, renderer, soundfont, with_parts: The same as in [`synthesize_song`].

    Returns:
        `Song`; an excerpt has exactly `round(duration_s * sampling_rate)` samples.

    Raises:
        ValueError, ImportError: As `compose_song` and `synthesize_song` do.
    """
    annotation = compose_song(
        seed, whole_song=whole_song, duration_s=duration_s, composition=composition, singers=singers
    )
    return synthesize_song(annotation, sampling_rate, renderer=renderer, soundfont=soundfont, with_parts=with_parts)
