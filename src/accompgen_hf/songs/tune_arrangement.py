"""A known tune as a song: in another key, after two bars of the band alone, twice, with a last chord."""

import numpy as np

from accompgen_hf.songs.annotation import Chord, MelodyNote, Section
from accompgen_hf.songs.melody import draw_syllables
from accompgen_hf.songs.tunes import Tune
from accompgen_hf.songs.voices import Singer

_INTRO_BARS = 2


def write_arrangement(
    rng: np.random.Generator, tune: Tune, tonic: int, singer: Singer
) -> tuple[list[Chord], list[MelodyNote], list[Section]]:
    """Chords, sung notes and sections, all in beats.

    Args:
        rng (`np.random.Generator`): Generator that draws syllables and loudness.
        tune (`Tune`): The tune.
        tonic (`int`): Pitch class of the key to sing it in.
        singer (`Singer`): Whose range it is moved to.
    """
    lowest, highest = (choose(pitch for *_, pitch in tune.notes) for choose in (min, max))
    middle = (singer.lowest_pitch + singer.highest_pitch - lowest - highest) / 2
    turn = tonic - tune.tonic
    shift = turn + 12 * round((middle - turn) / 12)
    syllables = draw_syllables(rng)
    intro = _INTRO_BARS * tune.meter
    chords, notes = [Chord(0, intro, tonic, tune.chords[0][3])], []
    sections = [Section(0, intro, "intro")]
    for name in ("verse", "chorus"):
        first = sections[-1].end_s
        chords += [
            Chord(first + start, first + end, (root + turn) % 12, quality) for start, end, root, quality in tune.chords
        ]
        for index, (start, end, pitch) in enumerate(tune.notes):
            if notes and first + start < notes[-1].end_s:  # a pick-up cuts off what is still sung
                notes[-1] = notes[-1]._replace(end_s=first + start)
            loudness = 0.72 + 0.16 * (start % tune.meter == 0) + 0.06 * rng.random()
            syllable = syllables[index % len(syllables)]
            notes.append(MelodyNote(first + start, first + end, pitch + shift, *syllable, float(loudness), False))
        sections.append(Section(first, first + tune.num_bars * tune.meter, name))
    end = sections[-1].end_s
    chords.append(Chord(end, end + tune.meter, tonic, "min" if tune.mode == "minor" else "maj"))
    sections.append(Section(end, end + tune.meter, "outro"))
    return chords, notes, sections
