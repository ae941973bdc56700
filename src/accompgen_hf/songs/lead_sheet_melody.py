"""Melodies as lead sheets have them: pick-ups, rests on the downbeat, held and tied notes, syncopation, appoggiaturas.

A tune is a row of two-bar slots. Each has a rhythm that starts before, on or after its bar line; a phrase goes on
through several slots or ends in a rest. Pitches are drawn one after the other: an interval, a tone that fits the chord
as often as at this place of the bar in real songs, near a contour; what does not fit the chord resolves by step.
The tables were set so that what `melody_counts` counts comes near to 461 lead sheets of popular songs.
"""

from typing import NamedTuple

import numpy as np

from accompgen_hf.songs.annotation import Chord, MelodyNote
from accompgen_hf.songs.melody import MelodyContext, chord_at, draw_syllables
from accompgen_hf.songs.theory import chord_scale

STEPS = 4  # of a beat
_SLOT_BARS = 2
# Where a slot's first note lies, in sixteenths from its bar line, and how often.
_STARTS = {
    4: (
        (0, 0.25),
        (1, 0.02),
        (2, 0.17),
        (3, 0.02),
        (4, 0.16),
        (6, 0.06),
        (-8, 0.1),
        (-6, 0.05),
        (-4, 0.11),
        (-2, 0.06),
    ),
    3: ((0, 0.22), (2, 0.16), (4, 0.2), (6, 0.08), (-6, 0.08), (-4, 0.2), (-2, 0.08)),
}
# Lengths in sixteenths, and how welcome each is.
_LENGTHS = ((1, 0.15), (2, 0.39), (3, 0.06), (4, 0.36), (6, 0.06), (8, 0.105), (12, 0.042), (16, 0.028))
# How welcome it is that the next note begins at a sixteenth of the bar.
_LANDINGS = {
    4: (3.4, 0.15, 0.5, 0.3, 1.5, 0.15, 0.7, 0.3, 1.6, 0.12, 0.5, 0.3, 1.7, 0.15, 0.65, 0.3),
    3: (2.6, 0.15, 0.4, 0.25, 1.3, 0.2, 0.5, 0.25, 2.0, 0.25, 0.9, 0.4),
}
_RESTS = ((1, 0.25), (2, 0.5), (4, 0.25))  # between phrases, in sixteenths
_JOINED = 0.35  # slots that begin without a rest before them
_HELD = 0.4  # phrases whose end is held from two beats before it
# How welcome an interval of so many semitones is, where scale and chord allow it.
_INTERVALS = (0.135, 0.25, 0.19, 0.11, 0.075, 0.06, 0.01, 0.028, 0.012, 0.014, 0.008, 0.002, 0.01)
# How welcome a scale tone outside the chord is against a chord tone: on beat 1, on other beats, between beats.
_OUTSIDE = (0.145, 0.33, 0.54)
_CHROMATIC = 0.02
_PLANS = ((0, 1, 0, 2), (0, 1, 0, 1), (0, 0, 1, 2), (0, 1, 2, 1), (0, 1, 2, 3))


class _Slot(NamedTuple):
    """One rhythm of two bars and the line it follows."""

    start: int
    cells: np.ndarray  # random numbers that decide about lengths
    contour: np.ndarray
    is_joined: bool
    rest: int
    is_held: bool


def write_lead_sheet_tune(
    rng: np.random.Generator, context: MelodyContext, chords: list[Chord], num_bars: int, section: str
) -> list[MelodyNote]:
    """Write the tune of one section over its chords; all times, in and out, are beats from the section's start.

    A first pick-up has negative times: it sounds in the bar before the section.
    """
    num_slots = num_bars // _SLOT_BARS
    slots = [_draw_slot(rng, context.meter) for _ in range(4)]
    plan = _PLANS[int(rng.integers(len(_PLANS)))]
    order = [slots[plan[i % 4]] for i in range(num_slots)]
    rhythm = _write_rhythm(order, context.meter)
    syllables = draw_syllables(rng)
    singer = context.singer
    span = singer.highest_pitch - singer.lowest_pitch
    centre = singer.lowest_pitch + span * (0.6 if section == "chorus" else 0.46)
    # The bar before the section is heard as the section's end: that is what a pick-up is sung over.
    turned = [
        chord._replace(start_s=chord.start_s - chords[-1].end_s, end_s=chord.end_s - chords[-1].end_s)
        for chord in chords
    ]
    harmony = [*turned, *chords]
    pitches = _Pitches(context, centre)
    notes: list[MelodyNote] = []
    for i, (start, length, slot_index, place, is_phrase_end) in enumerate(rhythm):
        beat = start / STEPS
        chord = chord_at(harmony, beat)
        target = centre + order[slot_index].contour[place % len(order[slot_index].contour)]
        is_final = i == len(rhythm) - 1
        pitch = pitches.draw(rng, chord, _place_in_bar(start, context.meter), target, is_phrase_end, is_final)
        is_first = i == 0 or rhythm[i - 1][4]
        is_legato = not is_first and start % STEPS != 0 and rng.random() < 0.2
        consonant, vowel = (
            ("", notes[-1].vowel) if is_legato else syllables[(slot_index % 2 * 12 + place) % len(syllables)]
        )
        loudness = 0.72 + 0.16 * (start % (STEPS * context.meter) == 0) + 0.06 * (start % STEPS == 0)
        loudness += 0.06 * rng.random() - 0.1 * (section == "verse")
        notes.append(MelodyNote(beat, beat + length / STEPS, pitch, consonant, vowel, float(loudness), is_legato))
    return notes


def _draw_slot(rng: np.random.Generator, meter: int) -> _Slot:
    starts, shares = zip(*_STARTS[meter], strict=True)
    rests, rest_shares = zip(*_RESTS, strict=True)
    steps = np.cumsum(rng.normal(0.0, 1.3, 24))
    return _Slot(
        start=int(rng.choice(starts, p=np.array(shares) / sum(shares))),
        cells=rng.random(64),
        contour=steps - steps.mean() + rng.normal(0.0, 1.0),
        is_joined=bool(rng.random() < _JOINED),
        rest=int(rng.choice(rests, p=np.array(rest_shares) / sum(rest_shares))),
        is_held=bool(rng.random() < _HELD),
    )


def _write_rhythm(order: list[_Slot], meter: int) -> list[tuple[int, int, int, int, bool]]:
    """Start and length in sixteenths, slot, place in the slot, and whether a rest follows, of every note."""
    bar = STEPS * meter
    rhythm = []
    for index, slot in enumerate(order):
        origin = index * _SLOT_BARS * bar
        following = order[index + 1] if index + 1 < len(order) else None
        limit, rests = origin + _SLOT_BARS * bar, True
        if following is None:
            limit -= slot.rest
        else:
            limit += following.start
            rests = not following.is_joined
            limit -= following.rest if rests else 0
        position, place = origin + slot.start, 0
        while position < limit:
            length = _draw_length(slot.cells[place % len(slot.cells)], position, limit, bar, meter)
            if slot.is_held and rests and limit - position <= 2 * STEPS:
                length = limit - position
            is_last = position + length >= limit
            rhythm.append((position, min(length, limit - position), index, place, is_last and rests))
            position, place = position + length, place + 1
    return rhythm


def _draw_length(chance: float, position: int, limit: int, bar: int, meter: int) -> int:
    landings, weights = _LANDINGS[meter], []
    for length, share in _LENGTHS:
        end = position + length
        weight = share * landings[end % bar]
        if position % 2 and length % 2 == 0:
            weight *= 0.1  # an odd sixteenth is completed first
        if position % STEPS == 2 and length == 4:
            weight *= 0.6
        if end > limit:
            weight *= 0.05
        weights.append(weight)
    sums = np.cumsum(weights)
    return _LENGTHS[int(np.searchsorted(sums, chance * sums[-1]))][0]


def _place_in_bar(start: int, meter: int) -> int:
    """0 on beat 1, 1 on another beat, 2 between beats."""
    if start % STEPS:
        return 2
    return 0 if start % (STEPS * meter) == 0 else 1


class _Pitches:
    """Draws one pitch after the other."""

    def __init__(self, context: MelodyContext, centre: float):
        self.context = context
        self.pitches = np.arange(context.singer.lowest_pitch, context.singer.highest_pitch + 1)
        self.classes = self.pitches % 12
        self.previous = round(centre)
        self.is_outside = False
        self.intervals = np.array([*_INTERVALS, *([0.0002] * 12)])

    def draw(
        self, rng: np.random.Generator, chord: Chord, place: int, target: float, is_phrase_end: bool, is_final: bool
    ) -> int:
        """A pitch for a note at a place in the bar; `is_final` is the section's last."""
        context, tones = self.context, chord.pitch_classes
        scale = chord_scale(context.tonic, context.mode, tones)
        is_tone, is_scale = np.isin(self.classes, tones), np.isin(self.classes, scale)
        outside = 0.1 if is_phrase_end else _OUTSIDE[place]
        weights = np.where(is_tone, 1.0, np.where(is_scale, outside, _CHROMATIC * outside))
        steps = np.abs(self.pitches - self.previous)
        weights = weights * self.intervals[np.minimum(steps, len(self.intervals) - 1)]
        if self.is_outside:  # an appoggiatura or a passing note goes on by step
            weights = weights * np.where((steps == 1) | (steps == 2), 3.0, 0.35)
        weights = weights * np.exp(-0.5 * ((self.pitches - target) / 5.0) ** 2)
        weights = weights * np.where(self.classes == context.tonic, 1.25, 1.0)
        if is_final:
            goal = context.tonic if context.tonic in tones else chord.root
            weights = np.where(self.classes == goal, weights + 1e-6, 0.0)
        pitch = int(self.pitches[np.searchsorted(np.cumsum(weights), rng.random() * weights.sum())])
        self.previous, self.is_outside = pitch, pitch % 12 not in tones
        return pitch
