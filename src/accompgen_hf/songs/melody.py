"""Melodies of procedural songs, written so that a listener can hear key, chords and beat in them.

Where chords change and on strong beats the voice sings chord tones, root and third above all; scale tones lie in
between. Phrases are two bars long and come back; a section that returns sings the same tune.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from accompgen_hf.songs.annotation import Chord, MelodyNote
from accompgen_hf.songs.theory import chord_scale, swing_beat
from accompgen_hf.songs.voices import Singer

_RUBATO_S = 1.6  # over which a singer's pace stays
_VOWELS = ("a", "e", "i", "o", "u", "ae", "uh")
_CONSONANTS = ("", "m", "n", "l", "r", "w", "y", "s", "sh", "f", "h", "t", "k", "p", "d", "g", "b", "v")
# Rhythms of two bars: onsets in beats from the first downbeat, and the end. A negative first onset is a pick-up.
_RHYTHMS = {
    4: (
        (0, 1, 2, 3, 4, 5, 6, 7.5),
        (0, 0.5, 1, 2, 3, 4, 5, 6, 7),
        (-1, 0, 1, 1.5, 2, 4, 5, 5.5, 6, 6.8),
        (0, 1.5, 2, 3, 4, 5.5, 6, 7.5),
        (-0.5, 0, 1, 2, 2.5, 3, 4, 5, 6, 7),
        (0, 1, 1.5, 2, 3, 3.5, 4, 6, 7.2),
        (0, 2, 3, 4, 6, 7.5),
        (0, 0.5, 1, 1.5, 2, 3, 4, 4.5, 5, 6, 7.2),
        (-1, -0.5, 0, 2, 2.5, 3, 4, 6.8),
        (0, 1, 2, 2.5, 3, 3.5, 4, 5, 7),
        (0.5, 1, 1.5, 2, 3, 4, 4.5, 5, 6, 7.4),
        (0, 0.75, 1, 2, 3, 3.5, 4, 4.75, 5, 6, 7.3),
    ),
    3: (
        (0, 1, 2, 3, 5.5),
        (0, 2, 3, 4, 5, 5.8),
        (-1, 0, 1, 2, 3, 4.8),
        (0, 1, 1.5, 2, 3, 5, 5.8),
        (0, 2, 2.5, 3, 5.6),
        (-0.5, 0, 1, 2, 3, 3.5, 4, 5.2),
        (0, 0.5, 1, 2, 3, 4, 4.5, 5, 5.8),
    ),
}


class MelodyContext(NamedTuple):
    """What a tune is written for: the key, the meter and the singer's range."""

    tonic: int
    mode: str
    meter: int
    singer: Singer


def write_tune(
    rng: np.random.Generator, context: MelodyContext, chords: list[Chord], num_bars: int, section: str
) -> list[MelodyNote]:
    """Write the tune of one section over its chords; all times, in and out, are beats from the section's start."""
    meter, singer = context.meter, context.singer
    rhythms = [_RHYTHMS[meter][i] for i in rng.permutation(len(_RHYTHMS[meter]))[:3]]
    # Which rhythm and which contour each of four phrases takes: A A' A B, or A B A C.
    plan = [(0, 0), (0, 1), (0, 0), (1, 2)] if rng.random() < 0.6 else [(0, 0), (1, 1), (0, 0), (2, 2)]
    contours = [np.cumsum(rng.choice([-1, -1, 0, 1, 1, 2, -2], size=12)) for _ in range(3)]
    span = singer.highest_pitch - singer.lowest_pitch
    centre = singer.lowest_pitch + span * (0.62 if section == "chorus" else 0.45)
    syllables = draw_syllables(rng)
    changes = {chord.start_s for chord in chords}
    notes: list[MelodyNote] = []
    previous = round(centre)
    for phrase in range(num_bars // 2):
        rhythm_index, contour_index = plan[phrase % 4]
        rhythm, contour = rhythms[rhythm_index], contours[contour_index]
        first_beat = phrase * 2 * meter
        for i, (onset, until) in enumerate(pairwise(rhythm)):
            start, end = first_beat + onset, first_beat + until
            if start < 0:
                continue  # the first pick-up of a section would sound in the section before
            if onset < 0 and notes[-1].start_s >= start:
                notes.pop()  # a pick-up takes the place of the last phrase's end
            is_strong = (onset >= 0 and (onset % meter in (0, 2) or start in changes)) or end - start >= 2
            is_final = phrase == num_bars // 2 - 1 and i == len(rhythm) - 2
            chord = chord_at(chords, max(start, first_beat))  # a pick-up belongs to the bar that it leads to
            target = centre + 1.7 * contour[i % 12]
            previous = _choose_pitch(rng, context, chord, previous, target, is_strong, is_final)
            is_legato = i > 0 and not is_strong and rng.random() < 0.3
            consonant, vowel = ("", notes[-1].vowel) if is_legato else syllables[(phrase % 2 * 12 + i) % 24]
            loudness = 0.75 + 0.2 * (onset % meter == 0) - 0.1 * (section == "verse") + 0.05 * rng.random()
            notes.append(MelodyNote(start, end, previous, consonant, vowel, float(loudness), is_legato))
    return notes


def draw_syllables(rng: np.random.Generator) -> list[tuple[str, str]]:
    """Consonant and vowel of 24 syllables, which the tunes of a section are sung on."""
    return [(str(rng.choice(_CONSONANTS)), str(rng.choice(_VOWELS))) for _ in range(24)]


def chord_at(chords: list[Chord], beat: float) -> Chord:
    """The chord that sounds at a beat; the last one behind the end."""
    return next((chord for chord in chords if chord.start_s <= beat < chord.end_s), chords[-1])


def _choose_pitch(
    rng: np.random.Generator,
    context: MelodyContext,
    chord: Chord,
    previous: int,
    target: float,
    is_strong: bool,
    is_final: bool,
) -> int:
    """A pitch near the contour and the pitch before: chord tones where it matters, scale tones elsewhere."""
    triad = chord.pitch_classes[:3]
    pitches = np.arange(context.singer.lowest_pitch, context.singer.highest_pitch + 1)
    classes = pitches % 12
    weights = np.zeros(len(pitches))
    if is_final:
        weights[classes == (context.tonic if context.tonic in triad else chord.root)] = 1.0
    elif is_strong:
        for pitch_class, weight in zip(triad, (1.0, 0.8, 0.3), strict=True):
            weights[classes == pitch_class] = weight
    else:
        for pitch_class in chord_scale(context.tonic, context.mode, chord.pitch_classes):
            weights[classes == pitch_class] = 1.0 if pitch_class in triad else 0.5
    weights[classes == context.tonic] *= 1.8  # the ear finds the key by the note that is sung most
    step, reach = np.abs(pitches - previous), 4.5 if is_strong else 3.0
    nearness = np.exp(-0.5 * ((pitches - target) / 4.5) ** 2 - 0.5 * (step / reach) ** 2)
    weights *= nearness * np.where(step == 0, 0.4, 1.0)
    return int(pitches[np.searchsorted(np.cumsum(weights), rng.random() * weights.sum())])


def human_melody(
    rng: np.random.Generator, notes: list[MelodyNote], beat_s: float, swing: float, singer: Singer
) -> tuple[MelodyNote, ...]:
    """Beats to seconds, swung, with the singer's timing error; legato notes touch, others leave a gap."""
    errors = np.clip(rng.standard_normal(len(notes)), -2.0, 2.0) * singer.timing_s
    starts = [swing_beat(note.start_s, swing) * beat_s + float(e) for note, e in zip(notes, errors, strict=True)]
    melody = []
    for i, note in enumerate(notes):
        end_s = swing_beat(note.end_s, swing) * beat_s
        if i + 1 < len(notes) and notes[i + 1].start_s <= note.end_s + 1e-6:
            gap = 0.0 if notes[i + 1].is_legato else 1.0 - singer.articulation
            end_s = starts[i + 1] - gap * (starts[i + 1] - starts[i])
        melody.append(note._replace(start_s=starts[i], end_s=max(end_s, starts[i] + 0.08)))
    return tuple(melody)


def loosen_melody(rng: np.random.Generator, melody: tuple[MelodyNote, ...], singer: Singer) -> tuple[MelodyNote, ...]:
    """Let the singer run ahead of the band and stay behind it, and sing one phrase louder than another."""
    knots = np.arange(0.0, melody[-1].end_s + 2 * _RUBATO_S, _RUBATO_S)
    # The pace between two knots differs from the band's by the difference of their offsets over their distance.
    offsets = np.clip(rng.standard_normal(len(knots)), -2.0, 2.0) * singer.rubato * _RUBATO_S / np.sqrt(2.0)
    loosened, gain = [], 1.0
    for i, note in enumerate(melody):
        if i == 0 or note.start_s - melody[i - 1].end_s > 0.1:
            gain = 10.0 ** (float(np.clip(rng.standard_normal(), -2.0, 2.0)) * singer.dynamics_db / 20.0)
        start_s, end_s = (time_s + float(np.interp(time_s, knots, offsets)) for time_s in (note.start_s, note.end_s))
        loudness = float(np.clip(note.loudness * gain, 0.2, 1.0))
        loosened.append(note._replace(start_s=max(start_s, 0.0), end_s=end_s, loudness=loudness))
    return tuple(loosened)
