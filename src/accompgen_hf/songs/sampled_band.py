"""The band of a procedural song played by sampled instruments: the notes of `band.perform` through a SoundFont.

Every player draws a General MIDI program, a touch and a place in the mix; `soundfont.SoundFontPlayer` turns the notes
into sound, and room and loudness follow as in a studio. Parts are kept apart until the end.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from accompgen_hf.songs.annotation import SongAnnotation
from accompgen_hf.songs.band import DRUMMER, PARTS, BandNote, part_of, perform
from accompgen_hf.songs.general_midi import DRUM_KEYS, DRUM_KITS, PROGRAMS, SOLOISTS, SUSTAINED
from accompgen_hf.songs.mastering import filter_wave, limiter_gain, loudness_lufs, room_impulse
from accompgen_hf.songs.soundfont import KeyStroke, SoundFontPlayer
from accompgen_hf.songs.styles import STYLES
from accompgen_hf.songs.theory import random_stream

_PLAYER, _TOUCH, _STUDIO = 31, 32, 33
_DRUM_LEVEL_LU = 3.0  # drums above a chord player of the same nominal level; all are measured, so banks agree
_BASS_LEVEL_LU = 0.5
_MAX_GAIN_LU = 24.0


class Player(NamedTuple):
    """How one layer of a style is played in one song.

    Attributes:
        program (`int`): General MIDI program, or the drum kit.
        lag_s (`float`): Mean lag of the player behind the beat in seconds; negative values are ahead of it.
        timing_s (`float`): Standard deviation of the other timing errors in seconds.
        accent (`float`): Factor on the differences between strong and weak strokes.
        length (`float`): Share of its length that a damped note sounds.
        level_lu (`float`): Loudness among the players.
        tilt_db (`float`): Treble above 2 kHz against what the samples have.
        room (`float`): Share of the room's sound.
    """

    program: int
    lag_s: float
    timing_s: float
    accent: float
    length: float
    level_lu: float
    tilt_db: float
    room: float


def render_sampled_band(
    annotation: SongAnnotation, sampling_rate: int, soundfont: str | None = None
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The instrumental of the annotation's window by sampled instruments, and its parts, mastered.

    Args:
        annotation (`SongAnnotation`): The song to play.
        sampling_rate (`int`): Rate in Hz.
        soundfont (`str`, *optional*): A `.sf2` file. `None` means FluidR3 GM where Debian installs it.

    Returns:
        The mix, float32 `(num_samples,)`, and a dictionary of `PARTS` of that shape whose sum it is.

    Raises:
        ImportError: If `tinysoundfont` is missing.
        ValueError: If there is no such SoundFont, or it lacks instruments.
    """
    device = SoundFontPlayer.open(soundfont, sampling_rate)
    num_samples = round(annotation.duration_s * sampling_rate)
    layers: dict[int, list[BandNote]] = {}
    for note in perform(annotation):
        layers.setdefault(note.layer, []).append(note)
    studio = random_stream(annotation.seed, _STUDIO)
    style = STYLES[annotation.style]
    room_s = float(studio.uniform(*style.room_rt60_s))
    impulse = room_impulse(studio, room_s, style.room_level * float(studio.uniform(0.5, 1.2)), sampling_rate)
    impulse[0] = 0.0  # the direct sound is added per player
    target_lufs = float(studio.uniform(-18.0, -14.0))
    parts = {name: np.zeros(num_samples, dtype=np.float32) for name in PARTS}
    for layer in sorted(layers):
        player = _draw_player(annotation, layer, layers[layer][0].instrument, device)
        strokes = _strokes(annotation, layer, player, layers[layer])
        is_drums = layer == DRUMMER
        tuning_cents = 0.0 if is_drums else annotation.tuning_cents
        wave = device.play(player.program, strokes, num_samples, is_drums, tuning_cents)
        parts[part_of(layers[layer][0], annotation)] += _place(wave, player, impulse, sampling_rate)
    mix = sum(parts.values())
    gain = limiter_gain(mix, target_lufs, sampling_rate)
    parts = {name: part * gain for name, part in parts.items()}
    return mix * gain, parts


def _draw_player(annotation: SongAnnotation, layer: int, instrument: str, device: SoundFontPlayer) -> Player:
    rng = random_stream(annotation.seed, _PLAYER, layer + 1)
    style = STYLES[annotation.style]
    if layer == DRUMMER:
        program = device.choose(rng, DRUM_KITS[style.kit], is_drums=True)
        level_lu, role, is_sustained = style.drum_level_db + _DRUM_LEVEL_LU, "drums", False
    else:
        role = style.layers[layer].role
        choices = SOLOISTS.get(instrument, PROGRAMS[instrument]) if role == "lead" else PROGRAMS[instrument]
        program = device.choose(rng, choices)
        level_lu = style.layers[layer].level_db + (_BASS_LEVEL_LU if role == "bass" else 0.0)
        is_sustained = program in SUSTAINED
    return Player(
        program=program,
        lag_s=float(rng.normal(0.0, 0.006)),
        timing_s=float(rng.uniform(0.001, 0.008)),
        accent=float(rng.uniform(0.7, 1.3)),
        length=1.0 if is_sustained else float(rng.uniform(0.75, 1.05)),
        level_lu=level_lu + float(rng.normal(0.0, 2.0)),
        tilt_db=float(rng.uniform(-4.0, 3.0)),
        room=float(rng.uniform(0.1, 0.4) if role == "bass" else rng.uniform(0.3, 1.3)),
    )


def _strokes(annotation: SongAnnotation, layer: int, player: Player, notes: Sequence[BandNote]) -> list[KeyStroke]:
    """Notes as keys, seconds from the window's start and MIDI velocities, with the player's own errors.

    Errors are drawn bar by bar, so that another window of the song hears the same playing.
    """
    bar_s = annotation.meter * annotation.beat_s
    strokes, bar, rng = [], None, None
    for note in notes:
        if int(note.start_s // bar_s) != bar:
            bar = int(note.start_s // bar_s)
            rng = random_stream(annotation.seed, _TOUCH, layer + 1, max(bar, 0))
        error_s = float(np.clip(rng.standard_normal(), -2.0, 2.0)) * player.timing_s
        force = 0.8 + player.accent * (note.velocity - 0.8) + 0.05 * float(rng.standard_normal())
        velocity = int(np.clip(np.rint(16.0 + 98.0 * force), 12, 127))
        start_s = note.start_s + player.lag_s + error_s - annotation.start_s
        is_drum = layer == DRUMMER
        key = DRUM_KEYS[note.pitch] if is_drum else int(note.pitch)
        strokes.append(
            KeyStroke(start_s, start_s + (0.1 if is_drum else note.duration_s * player.length), key, velocity)
        )
    return strokes


def _place(wave: np.ndarray, player: Player, impulse: np.ndarray, sampling_rate: int) -> np.ndarray:
    """Bring a player to its loudness, tone and place in the room."""
    level = loudness_lufs(wave, sampling_rate)
    if not np.isfinite(level):
        return wave
    # A player who is heard for a moment alone is not made as loud as one who plays all the time.
    gain_lu = min(player.level_lu - 23.0 - level, _MAX_GAIN_LU)
    frequencies = np.linspace(0.0, sampling_rate / 2, 256)
    tilt = 10.0 ** (player.tilt_db / 20.0 / (1.0 + (2000.0 / np.maximum(frequencies, 1.0)) ** 2))
    room = player.room * impulse
    room[0] = 1.0
    return filter_wave(wave * np.float32(10.0 ** (gain_lu / 20.0)), tilt, room, sampling_rate)
