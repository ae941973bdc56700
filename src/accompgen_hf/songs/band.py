"""The band of a procedural song: chords and a style's patterns become notes, and notes become sound."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from accompgen_hf.songs.annotation import Chord, SongAnnotation
from accompgen_hf.songs.band_arrangement import arrange_bass, arrange_drums, draw_fill, is_playing
from accompgen_hf.songs.instruments import TONES, render_drum, render_tone
from accompgen_hf.songs.mastering import filter_wave, gain_of_parts, room_impulse, to_loudness
from accompgen_hf.songs.styles import STYLES, Layer
from accompgen_hf.songs.theory import CHORD_INTERVALS, chord_scale, random_stream, swing_beat

_BAND, _BAR, _KIT, _PATTERN, _ROOM, _SOLO = 11, 12, 13, 14, 15, 16
_INTENSITY = {"intro": 0.6, "verse": 0.7, "chorus": 1.0, "bridge": 0.85, "break": 0.9, "outro": 0.6}
_FILLS = ("........s.s.h.m.l", "............ssss", "........h.h.m.l.", "..........s.smll", "............s.ss")
_FILL_DRUMS = {"s": "snare", "h": "tom_high", "m": "tom_mid", "l": "tom_low"}
DRUMMER = -1
PARTS = ("drums", "bass", "other")  # the words of MUSDB18 and demucs
_DRIVEN = ("drive_guitar", "lead_guitar")
_STROKES = {"X": 1.0, "x": 0.78, "o": 0.42}


class BandNote(NamedTuple):
    """One note or stroke of a player.

    `pitch` is a MIDI pitch, or a drum's name; times are in song seconds. `level` is the amplitude before mastering,
    `velocity` (about 0.3 to 1.05) how hard the player strikes. `layer` is the player's place in the style's layers,
    and `DRUMMER` the drums'.
    """

    instrument: str
    pitch: int | str
    start_s: float
    duration_s: float
    level: float
    velocity: float
    layer: int


def perform(annotation: SongAnnotation) -> list[BandNote]:
    """All notes of the band that can be heard in the annotation's window, in song time."""
    style = STYLES[annotation.style]
    rng = random_stream(annotation.seed, _BAND)
    instruments = [str(rng.choice(layer.instruments)) for layer in style.layers]
    # Most songs leave a player or two at home; bass and the first two others always come.
    plays = [i < 3 or layer.role == "lead" or rng.random() < 0.7 for i, layer in enumerate(style.layers)]
    bar_s = annotation.meter * annotation.beat_s
    first_bar = max(0, int((annotation.start_s - 4.0) // bar_s))
    last_bar = int(np.ceil((annotation.start_s + annotation.duration_s) / bar_s))
    num_bars = round(annotation.song_sections[-1].end_s / bar_s)
    notes: list[BandNote] = []
    for bar in range(first_bar, min(last_bar, num_bars)):
        context = _BarContext(annotation, bar)
        for i, layer in enumerate(style.layers):
            if plays[i] and context.is_due(layer, i):
                _play_bar(notes, context, layer, i, instruments[i])
        _drum_bar(notes, context)
    if last_bar >= num_bars:
        _final_chord(notes, annotation, instruments, plays, num_bars * bar_s)
    return notes


class _BarContext:
    """The state of a player at the start of a bar."""

    def __init__(self, annotation: SongAnnotation, bar: int):
        self.annotation, self.bar, self.meter = annotation, bar, annotation.meter
        self.beat_s, self.steps = annotation.beat_s, 4 * annotation.meter
        self.start_s = bar * annotation.meter * annotation.beat_s
        middle_s = self.start_s + 0.5 * self.beat_s
        place, section = next(
            (i, s) for i, s in enumerate(annotation.song_sections) if s.start_s <= middle_s < s.end_s
        )
        self.section, self.section_index = section.name, place
        self.is_arranged = bool(annotation.song_intensities)
        self.intensity = annotation.song_intensities[place] if self.is_arranged else _INTENSITY[section.name]
        self.bar_in_section = round((self.start_s - section.start_s) / (self.meter * self.beat_s))
        self.is_last_bar = section.end_s - self.start_s < 1.5 * self.meter * self.beat_s
        self.rng = random_stream(annotation.seed, _BAR, bar)
        # One look-up per step: the chord that sounds there, with the next bar's first one behind.
        self.chords = [self._chord_at(self.start_s + step * self.beat_s / 4) for step in range(self.steps + 1)]

    def _chord_at(self, time_s: float) -> Chord:
        time_s += 1e-6 + 0.02 * self.beat_s
        chords = self.annotation.song_chords
        return next((c for c in chords if c.start_s <= time_s < c.end_s), chords[-1])

    def is_due(self, layer: Layer, index: int) -> bool:
        """Whether a layer plays in this section, if its player is there at all."""
        if layer.role == "lead":
            if self.section not in ("break", "intro"):
                return False
            if self.is_arranged and random_stream(self.annotation.seed, _SOLO, self.section_index).random() < 0.5:
                return False  # many bands just play on
        if self.is_arranged:
            return is_playing(layer, index, self.intensity)
        return self.intensity >= layer.least_intensity

    def chord_changes(self) -> list[int]:
        """Steps after the first at which another chord begins."""
        return [step for step in range(1, self.steps) if self.chords[step - 1][2:] != self.chords[step][2:]]

    def pattern(self, choices: tuple[str, ...], layer: int) -> str:
        """The choice of this song for this kind of section, whatever the bar."""
        kind = {"chorus": 1, "bridge": 2, "break": 3}.get(self.section, 0)
        return choices[int(random_stream(self.annotation.seed, _PATTERN, kind, layer).integers(len(choices)))]

    def time(self, step: float) -> float:
        """Song time of a step, swung, with a small human error."""
        error = float(np.clip(self.rng.standard_normal(), -2.0, 2.0)) * 0.005
        return self.start_s + swing_beat(step / 4, self.annotation.swing) * self.beat_s + error

    def velocity(self) -> float:
        softest, rest = (0.3, 0.7) if self.is_arranged else (0.55, 0.45)
        return (softest + rest * self.intensity) * float(self.rng.uniform(0.85, 1.05))


def voice_chord(chord: Chord, centre_pitch: int) -> list[int]:
    """The chord's tones in the octave around `centre_pitch`, lowest first: voices move little between chords."""
    lowest = centre_pitch - 6
    return sorted(lowest + (chord.root + interval - lowest) % 12 for interval in CHORD_INTERVALS[chord.quality])


def _step_length(pattern: str, step: int, chords: list[Chord]) -> int:
    """Steps that a note holds: while the pattern shows `-` and the chord stays."""
    length = 1
    while (
        step + length < len(pattern)
        and pattern[step + length] == "-"
        and chords[step + length][2:] == chords[step][2:]
    ):
        length += 1
    return length


def _play_bar(notes: list[BandNote], context: _BarContext, layer: Layer, index: int, instrument: str) -> None:
    pattern = context.pattern(layer.patterns[context.meter], index)
    level = 10.0 ** (layer.level_db / 20.0)
    if context.is_arranged and layer.role == "bass":
        pattern = arrange_bass(pattern, context.intensity, context.chord_changes(), context.is_last_bar)
    for step in range(context.steps):
        chord, symbol = context.chords[step], pattern[step]
        changed = step > 0 and context.chords[step - 1][2:] != chord[2:]
        if symbol == "-" and changed:  # a player who holds a note plays it again when the chord changes
            symbol = {"bass": "r", "arpeggio": "0", "lead": "0"}.get(layer.role, "x")
        if symbol in "-.":
            continue
        length = _step_length(pattern, step, context.chords)
        start_s, velocity = context.time(step), context.velocity() * (1.0 if step % 4 == 0 else 0.88)
        duration_s = length * context.beat_s / 4 * 0.95
        if layer.role == "bass":
            if symbol in "wv":
                pitch = _walk_pitch(symbol, context, layer.centre_pitch)
            else:
                pitch = _bass_pitch(symbol, chord, context.chords[-1], layer.centre_pitch)
            notes.append(BandNote(instrument, pitch, start_s, duration_s, 0.8 * level * velocity, velocity, index))
            continue
        voicing = voice_chord(chord, layer.centre_pitch)
        if layer.role in ("arpeggio", "lead"):
            pitch = [*voicing, voicing[0] + 12, voicing[1] + 12][int(symbol)]
            ring_s = duration_s if layer.role == "lead" else max(duration_s, context.beat_s)
            notes.append(BandNote(instrument, pitch, start_s, ring_s, 0.9 * level * velocity, velocity, index))
            continue
        if instrument == "drive_guitar":
            voicing = _power_chord(chord, layer.centre_pitch)
        elif layer.role == "strum":
            voicing = [*voicing, voicing[0] + 12, voicing[1] + 12]
        spread_s = 0.012 if layer.role == "strum" else 0.002
        if layer.role == "strum" and step % 4 == 2:
            voicing = voicing[::-1][:4]
        for i, pitch in enumerate(voicing):
            share = 0.55 * level * velocity
            notes.append(BandNote(instrument, pitch, start_s + i * spread_s, duration_s, share, velocity, index))


def _power_chord(chord: Chord, centre_pitch: int) -> list[int]:
    root = centre_pitch - 6 + (chord.root - centre_pitch + 6) % 12
    return [root, root + (6 if 6 in CHORD_INTERVALS[chord.quality] else 7), root + 12]


def _bass_pitch(symbol: str, chord: Chord, next_chord: Chord, centre_pitch: int) -> int:
    lowest = centre_pitch - 7
    root = lowest + (chord.root - lowest) % 12
    third, fifth = CHORD_INTERVALS[chord.quality][1:3]
    if symbol == "a":
        target = lowest + (next_chord.root - lowest) % 12
        return root + fifth - 12 if target == root else target + (-1 if target > root else 1)
    return root + {"r": 0, "f": fifth if root + fifth <= lowest + 14 else fifth - 12, "t": third, "o": 12}[symbol]


def _walk_pitch(symbol: str, context: _BarContext, centre_pitch: int) -> int:
    """Two steps of the scale (`w`) or one (`v`) below the root of the next bar."""
    annotation, following = context.annotation, context.chords[-1]
    scale = chord_scale(annotation.tonic, annotation.mode, following.pitch_classes)
    target = _bass_pitch("r", following, following, centre_pitch)
    below = [pitch for pitch in range(target - 1, target - 6, -1) if pitch % 12 in scale]
    return below[1 if symbol == "w" else 0]


def _drum_bar(notes: list[BandNote], context: _BarContext) -> None:
    style = STYLES[context.annotation.style]
    if context.section == "intro" and context.bar_in_section < 2:
        return
    grids = style.drums[context.meter]
    grid = grids[0] if context.intensity < 0.8 else grids[1 + context.annotation.seed % max(1, len(grids) - 1)]
    level = 10.0 ** (style.drum_level_db / 20.0)
    fill, begins = "", context.section in ("chorus", "break", "bridge")
    if context.is_arranged:
        grid, begins = arrange_drums(grids, context.intensity, context.annotation.seed), context.section != "intro"
        if context.is_last_bar or context.bar_in_section == 3:
            fill = draw_fill(context.rng, context.intensity, context.steps, style.kit, context.is_last_bar)
    elif context.is_last_bar and style.kit != "orchestra":
        fill = _FILLS[int(context.rng.integers(len(_FILLS)))][16 - context.steps : 16]
    filled = [step for step, symbol in enumerate(fill) if symbol != "."]
    for drum, pattern in grid.items():
        for step, symbol in enumerate(pattern):
            if symbol != "." and not (filled and step >= filled[0] and drum != "kick"):
                stroke = _STROKES[symbol] * context.velocity()
                notes.append(BandNote("drum", drum, context.time(step), 0.0, level * stroke, stroke, DRUMMER))
    for step in filled:
        stroke = (0.6 + 0.4 * step / context.steps) * context.velocity()
        notes.append(
            BandNote("drum", _FILL_DRUMS[fill[step]], context.time(step), 0.0, level * stroke, stroke, DRUMMER)
        )
    if context.bar_in_section == 0 and begins and style.kit != "orchestra":
        time_s, stroke = context.time(0), context.velocity()
        notes.append(BandNote("drum", "crash", time_s, 0.0, level * stroke, stroke, DRUMMER))


def _final_chord(
    notes: list[BandNote], annotation: SongAnnotation, instruments: list[str], plays: list[bool], start_s: float
) -> None:
    """Let all players strike the tonic after the last bar, and let it ring; an arranged song's drummer marks it."""
    ring_s, velocity = (2.4, 1.0) if annotation.song_intensities else (1.8, 0.8)
    chord = Chord(start_s, start_s + ring_s, annotation.tonic, "maj" if annotation.mode == "major" else "min")
    for index, layer in enumerate(STYLES[annotation.style].layers):
        if plays[index] and layer.role != "lead":
            level = 10.0 ** (layer.level_db / 20.0)
            pitches = voice_chord(chord, layer.centre_pitch)
            if layer.role == "bass":
                pitches = [_bass_pitch("r", chord, chord, layer.centre_pitch)]
            share = 0.8 if layer.role == "bass" else 0.55
            notes.extend(
                BandNote(instruments[index], pitch, start_s, ring_s, share * level, velocity, index)
                for pitch in pitches
            )
    style = STYLES[annotation.style]
    if annotation.song_intensities:
        level = 10.0 ** (style.drum_level_db / 20.0)
        drums = ("kick",) if style.kit == "orchestra" else ("kick", "crash")
        notes.extend(BandNote("drum", drum, start_s, 0.0, level, velocity, DRUMMER) for drum in drums)


def part_of(note: BandNote, annotation: SongAnnotation) -> str:
    """Which of `PARTS` a note belongs to: the drums, the bass, or everything else."""
    if note.layer == DRUMMER:
        return "drums"
    return "bass" if STYLES[annotation.style].layers[note.layer].role == "bass" else "other"


def render_band(annotation: SongAnnotation, sampling_rate: int) -> np.ndarray:
    """The instrumental of the annotation's window, mastered: float32, one value per sample."""
    num_samples = round(annotation.duration_s * sampling_rate)
    clean, drums, driven = (np.zeros(num_samples, dtype=np.float32) for _ in range(3))
    for note, wave, gain in _sounding_notes(annotation, sampling_rate):
        target = drums if note.layer == DRUMMER else driven if note.instrument in _DRIVEN else clean
        _add(target, wave, round((note.start_s - annotation.start_s) * sampling_rate), gain)
    return _Mastering(annotation, sampling_rate).finish(clean, drums, driven)


def render_band_parts(annotation: SongAnnotation, sampling_rate: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The instrumental as `render_band` gives it, and its parts: they add up to it within rounding."""
    num_samples = round(annotation.duration_s * sampling_rate)
    clean, bass, other, drums, driven = (np.zeros(num_samples, dtype=np.float32) for _ in range(5))
    for note, wave, gain in _sounding_notes(annotation, sampling_rate):
        first = round((note.start_s - annotation.start_s) * sampling_rate)
        if note.layer == DRUMMER:
            _add(drums, wave, first, gain)
        elif note.instrument in _DRIVEN:
            _add(driven, wave, first, gain)
        else:
            _add(clean, wave, first, gain)
            _add(bass if part_of(note, annotation) == "bass" else other, wave, first, gain)
    mastering, silence = _Mastering(annotation, sampling_rate), np.zeros(num_samples, dtype=np.float32)
    parts = {
        "drums": mastering.place(silence, drums, silence),
        "bass": mastering.place(bass, silence, silence),
        "other": mastering.place(other, silence, driven),
    }
    mix = mastering.place(clean, drums, driven)
    mastered = to_loudness(mix, mastering.target_lufs, sampling_rate)
    return mastered, gain_of_parts(mix, mastered, parts)


def _sounding_notes(annotation: SongAnnotation, sampling_rate: int) -> Iterator[tuple[BandNote, np.ndarray, float]]:
    """Every note with its sound and its gain in the mix."""
    tone_of = _tone_cache(annotation, sampling_rate)
    drum_of = _drum_cache(annotation, sampling_rate)
    for note in perform(annotation):
        if note.layer == DRUMMER:
            yield note, drum_of(note.pitch), note.level
        else:
            pitch = note.pitch + annotation.tuning_cents / 100.0
            yield note, tone_of(note.instrument, pitch, note.duration_s), 0.3 * note.level


class _Mastering:
    """The song's room, drive and loudness. All but the drive and the loudness is linear, so parts stay parts."""

    def __init__(self, annotation: SongAnnotation, sampling_rate: int):
        rng, style = random_stream(annotation.seed, _ROOM), STYLES[annotation.style]
        self.impulse = room_impulse(rng, float(rng.uniform(*style.room_rt60_s)), style.room_level, sampling_rate)
        self.target_lufs, self.drum_gain = float(rng.uniform(-18.0, -14.0)), float(rng.uniform(0.45, 0.75))
        self.sampling_rate = sampling_rate

    def place(self, clean: np.ndarray, drums: np.ndarray, driven: np.ndarray) -> np.ndarray:
        """Distort what is driven, and let everything sound in the room."""
        if driven.any():
            cabinet = 1.0 / (1.0 + (np.linspace(0.0, self.sampling_rate / 2, 512) / 3800.0) ** 6)
            clean = clean + 0.45 * filter_wave(
                np.tanh(2.2 * driven), cabinet.astype(np.float32), None, self.sampling_rate
            )
        wet = filter_wave(clean + 0.5 * self.drum_gain * drums, None, self.impulse, self.sampling_rate)
        return wet + 0.5 * self.drum_gain * drums

    def finish(self, clean: np.ndarray, drums: np.ndarray, driven: np.ndarray) -> np.ndarray:
        """The mastered mix."""
        return to_loudness(self.place(clean, drums, driven), self.target_lufs, self.sampling_rate)


def _tone_cache(annotation: SongAnnotation, sampling_rate: int) -> Callable[[str, float, float], np.ndarray]:
    """Notes rendered once per song and pitch at the longest duration asked for so far, cut and released per note."""
    brightness = float(random_stream(annotation.seed, _KIT).uniform(0.75, 1.5))
    cache: dict[tuple[str, float], np.ndarray] = {}
    fades: dict[str, np.ndarray] = {}

    def tone_of(instrument: str, pitch: float, duration_s: float) -> np.ndarray:
        tone = TONES[instrument]
        if instrument not in fades:
            num_release = max(2, int(tone.release_s * sampling_rate))
            fades[instrument] = (0.5 + 0.5 * np.cos(np.pi * np.arange(num_release) / num_release)).astype(np.float32)
        fade = fades[instrument]
        held = int(duration_s * sampling_rate)
        wave = cache.get((instrument, pitch))
        if wave is None or len(wave) < held + len(fade):
            wave = render_tone(tone, pitch, 1.3 * duration_s + 0.01, brightness, sampling_rate)
            cache[instrument, pitch] = wave
        note = wave[: held + len(fade)].copy()
        note[held:] *= fade[: len(note) - held]
        return note

    return tone_of


def _drum_cache(annotation: SongAnnotation, sampling_rate: int) -> Callable[[str], np.ndarray]:
    kit = STYLES[annotation.style].kit
    cache: dict[str, np.ndarray] = {}

    def drum_of(name: str) -> np.ndarray:
        if name not in cache:
            key = sum(ord(letter) * (i + 1) for i, letter in enumerate(name))
            cache[name] = render_drum(name, kit, random_stream(annotation.seed, _KIT, key), sampling_rate)
        return cache[name]

    return drum_of


def _add(target: np.ndarray, wave: np.ndarray, first: int, gain: float) -> None:
    """Mix `wave` into `target` from sample `first`, which may lie outside."""
    skip = max(0, -first)
    count = min(len(wave), len(target) - first) - skip
    if count > 0:
        target[first + skip : first + skip + count] += np.float32(gain) * wave[skip : skip + count]
