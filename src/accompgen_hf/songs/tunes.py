"""Thirty tunes that everybody knows, typed in by hand: songs that no composer of ours wrote, to measure on.

All are in the public domain (printed before 1915, or of the people). A tune is written in a part of ABC notation: a
letter is a pitch (`C` to `B` from middle C, `c` to `b` above; `,` and `'` move it by an octave, `^` and `_` by a
semitone), the number behind it its length in eighths, `z` a rest, `-` ties it to the next note. Chords stand one a
bar, or two with `/` between them. A first bar that is short is a pick-up, and has no chord.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

from accompgen_hf.accompgen.harmony_accompgen import PITCH_CLASS_NAMES

QUALITIES = {"": "maj", "m": "min", "7": "7", "m7": "min7", "maj7": "maj7"}
_NOTE = re.compile(r"([\^_]?)([A-Ga-gz])([,']*)(\d+(?:/2)?|/2)?(-?)")
_CHORD = re.compile(r"([A-G][b#]?)(.*)")


@dataclass(frozen=True)
class Tune:
    """A tune on paper.

    Attributes:
        name (`str`): Its name.
        meter (`int`): Beats per bar, 3 or 4.
        tempo_bpm (`float`): A usual tempo.
        tonic (`int`), mode (`str`): The key that it is written in.
        notes (`tuple`): (start, end, MIDI pitch), in beats from the first full bar.
        chords (`tuple`): (start, end, root, quality), in the same beats.
        num_bars (`int`): Full bars.
    """

    name: str
    meter: int
    tempo_bpm: float
    tonic: int
    mode: str
    notes: tuple[tuple[float, float, int], ...]
    chords: tuple[tuple[float, float, int, str], ...]
    num_bars: int


def read_tune(name: str, meter: int, tempo_bpm: float, key: str, melody: str, chords: str) -> Tune:
    """Read a tune.

    Args:
        name (`str`), meter (`int`), tempo_bpm (`float`): As in [`Tune`].
        key (`str`): `"C"` for C major, `"Am"` for A minor.
        melody (`str`): Bars of notes, divided by `|`.
        chords (`str`): Chords of the full bars, divided by spaces.

    Raises:
        ValueError: If a bar has another length than the meter, a chord or note cannot be read, or a chord is missing.
    """
    bars = [bar.strip() for bar in melody.split("|")]
    notes: list[tuple[float, float, int]] = []
    lengths = [sum(length for _, length, _ in _read_bar(name, bar)) for bar in bars]
    pickup = lengths[0] if lengths[0] < meter else Fraction(0)
    beat, tied = -pickup, False
    for index, bar in enumerate(bars):
        if lengths[index] != meter and not (index == 0 and pickup):
            raise ValueError(f"`melody` of {name}: bar {index} ({bar}) must have {meter} beats, got {lengths[index]}.")
        for pitch, length, is_tied in _read_bar(name, bar):
            if tied:
                notes[-1] = (notes[-1][0], float(beat + length), notes[-1][2])
            elif pitch is not None:
                notes.append((float(beat), float(beat + length), pitch))
            beat, tied = beat + length, is_tied
    num_bars = len(bars) - bool(pickup)
    texts = chords.split()
    if len(texts) != num_bars:
        raise ValueError(f"`chords` of {name} must be {num_bars}, one a bar, got {len(texts)}.")
    spans = []
    for bar_index, text in enumerate(texts):
        halves = text.split("/")
        # A bar of three is divided after its second beat.
        edges = [0, meter] if len(halves) == 1 else [0, 2, meter]
        for half, start, end in zip(halves, edges[:-1], edges[1:], strict=True):
            first = bar_index * meter
            spans.append((float(first + start), float(first + end), *read_chord(half)))
    tonic, quality = read_chord(key)
    mode = "minor" if quality == "min" else "major"
    return Tune(name, meter, tempo_bpm, tonic, mode, tuple(notes), tuple(spans), num_bars)


def read_chord(text: str) -> tuple[int, str]:
    """Root pitch class and quality (a key of `CHORD_INTERVALS`) of a chord's name.

    Raises:
        ValueError: If it cannot be read.
    """
    match = _CHORD.fullmatch(text)
    if match is None or match[1] not in PITCH_CLASS_NAMES or match[2] not in QUALITIES:
        raise ValueError(f"`chords` must be names such as C, Am, Bb, G7, Dm7 or Fmaj7, got {text!r}.")
    return PITCH_CLASS_NAMES.index(match[1]), QUALITIES[match[2]]


def _read_bar(name: str, bar: str) -> list[tuple[int | None, Fraction, bool]]:
    """(MIDI pitch or None for a rest, beats, whether it is tied to the next) of every note."""
    found = []
    text = bar.replace(" ", "")
    position = 0
    while position < len(text):
        match = _NOTE.match(text, position)
        if match is None:
            raise ValueError(f"`melody` of {name}: cannot read {text[position:]!r} in the bar {bar}.")
        sign, letter, octaves, length, tie = match.groups()
        pitch = None
        if letter != "z":
            pitch = 60 + PITCH_CLASS_NAMES.index(letter.upper()) + {"^": 1, "_": -1, "": 0}[sign]
            pitch += 12 * (letter.islower() + octaves.count("'") - octaves.count(","))
        eighths = Fraction("1" + length if length == "/2" else length or "1")
        found.append((pitch, eighths / 2, bool(tie)))
        position = match.end()
    return found


_TEXTS: tuple[tuple[str, int, float, str, str, str], ...] = (
    (
        "Amazing Grace", 3, 84, "C",
        "G2 | c4 ec | e4 d2 | c4 A2 | G4 G2 | c4 ec | e4 d2 | g6- | g4 e2 | g4 ec | e4 d2 | c4 A2 | G4 G2 | "
        "c4 ec | e4 d2 | c6- | c4 z2",
        "C C7 F C C Am G7 G7 C C7 F C C G7 C C",
    ),
    (
        "When the Saints Go Marching In", 4, 150, "C",
        "z2 C2 E2 F2 | G8- | G2 C2 E2 F2 | G8- | G2 C2 E2 F2 | G4 E4 | C4 E4 | D8- | D2 E2 E2 D2 | C6 C2 | "
        "E4 G2 G2 | F8- | F2 z2 E2 F2 | G4 E4 | C4 D4 | C8- | C4 z4",
        "C C C C C C C G7 G7 C C7 F F C G7 C C",
    ),
    (
        "Auld Lang Syne", 4, 96, "C",
        "G2 | c3 c c2 e2 | d3 c d2 e2 | c3 c e2 g2 | a6 a2 | g3 e e2 c2 | d3 c d2 e2 | c3 A A2 G2 | c6 a2 | "
        "g3 e e2 c2 | d3 c d2 a2 | g3 e e2 g2 | a6 a2 | g3 e e2 c2 | d3 c d2 e2 | c3 A A2 G2 | c6 z2",
        "C G7 C F C G7 F/G7 C C G7 C F C G7 F/G7 C",
    ),
    (
        "Oh! Susanna", 4, 112, "C",
        "CD | E2 G2 G3 A | G2 E2 C3 D | E2 E2 D2 C2 | D6 CD | E2 G2 G3 A | G2 E2 C3 D | E2 E2 D2 D2 | C8 | "
        "F4 F4 | A2 A4 A2 | G2 G2 E2 C2 | D6 CD | E2 G2 G3 A | G2 E2 C3 D | E2 E2 D2 D2 | C6 z2",
        "C C C G7 C C C/G7 C F F C G7 C C C/G7 C",
    ),
    (
        "Silent Night", 3, 92, "C",
        "G3 A G2 | E6 | G3 A G2 | E6 | d4 d2 | B6 | c4 c2 | G6 | A4 A2 | c3 B A2 | G3 A G2 | E6 | A4 A2 | "
        "c3 B A2 | G3 A G2 | E6 | d4 d2 | f3 d B2 | c6 | e6 | c3 G E2 | G3 F D2 | C6- | C6",
        "C C C C G7 G7 C C F F C C F F C C G7 G7 C C C G7 C C",
    ),
    (
        "Greensleeves", 3, 100, "Am",
        "A2 | c4 d2 | e3 f e2 | d4 B2 | G3 A B2 | c4 A2 | A3 ^G A2 | B4 ^G2 | E4 A2 | c4 d2 | e3 f e2 | "
        "d4 B2 | G3 A B2 | c3 B A2 | ^G3 ^F ^G2 | A6- | A6 | g6 | g3 ^f e2 | d4 B2 | G3 A B2 | c4 A2 | "
        "A3 ^G A2 | B4 ^G2 | E6 | g6 | g3 ^f e2 | d4 B2 | G3 A B2 | c3 B A2 | ^G3 ^F ^G2 | A6- | A4 z2",
        "Am Am G G Am Am E7 E7 Am Am G G Am E7 Am Am C C G G Am Am E7 E7 C C G G Am E7 Am Am",
    ),
    (
        "Scarborough Fair", 3, 108, "Am",
        "A4 A2 | e4 e2 | B3 c B2 | A6 | z2 e2 g2 | a4 g2 | e2 ^f2 d2 | e6- | e4 z2 | z4 a2 | a4 a2 | g4 e2 | "
        "e2 d2 c2 | B2 G4 | A4 e2 | d4 c2 | B2 A2 G2 | A6",
        "Am Am G Am Am C D Am Am Am Am C Am G Am G G Am",
    ),
    (
        "Home on the Range", 3, 112, "C",
        "G2 | G2 c2 d2 | e4 cB | A2 f2 f2 | f4 ff | e3 c c2 | c2 B2 c2 | d6- | d4 G2 | G2 c2 d2 | e4 cB | "
        "A2 f2 f2 | f4 ff | e3 d c2 | B3 c d2 | c6- | c4 z2",
        "C C7 F F C G7 G7 G7 C C7 F F C G7 C C",
    ),
    (
        "My Bonnie Lies over the Ocean", 3, 120, "C",
        "G2 | e2 d2 c2 | d2 c2 A2 | G2 E4- | E4 G2 | e2 d2 c2 | c2 B2 c2 | d6- | d4 G2 | e2 d2 c2 | "
        "d2 c2 A2 | G2 E4- | E4 G2 | A2 d2 c2 | B2 A2 B2 | c6- | c4 z2",
        "C F C C C C G7 G7 C F C C Dm G7 C C",
    ),
    (
        "Oh My Darling, Clementine", 3, 116, "C",
        "cc | c2 G2 ee | e2 c2 ce | g2 g2 fe | d4 de | f2 f2 ed | e2 c2 ce | d2 G2 Bd | c4 cc | c2 G2 ee | "
        "e2 c2 ce | g2 g2 fe | d4 de | f2 f2 ed | e2 c2 ce | d2 G2 Bd | c4 z2",
        "C C C G7 G7 C G7 C C C C G7 G7 C G7 C",
    ),
    (
        "Jingle Bells", 4, 160, "C",
        "E2 E2 E4 | E2 E2 E4 | E2 G2 C3 D | E8 | F2 F2 F3 F | F2 E2 E2 EE | E2 D2 D2 E2 | D4 G4 | E2 E2 E4 | "
        "E2 E2 E4 | E2 G2 C3 D | E8 | F2 F2 F3 F | F2 E2 E2 EE | G2 G2 F2 D2 | C6 z2",
        "C C C C7 F C D7 G7 C C C C7 F C G7 C",
    ),
    (
        "Aura Lee", 4, 84, "C",
        "G2 c2 B2 c2 | d2 A2 d4 | c2 B2 A2 B2 | c8 | G2 c2 B2 c2 | d2 A2 d4 | c2 B2 A2 B2 | c8 | e2 e2 e4 | "
        "e2 e2 e4 | e2 d2 c2 d2 | e8 | e2 e2 f2 e2 | d2 A2 d4 | c2 B2 A2 B2 | c6 z2",
        "C D7 G7 C C D7 G7 C C E7 Am C7 A7 D7 G7 C",
    ),
    (
        "Camptown Races", 4, 120, "C",
        "G2 G2 E2 G2 | A2 G2 E4 | E2 D6 | E2 D6 | G2 G2 E2 G2 | A2 G2 E4 | D4 E2 D2 | C8 | C3 C E2 G2 | c8 | "
        "A3 A c2 A2 | G8 | G2 G2 EE G2 | A2 G2 E4 | D2 EF E2 D2 | C6 z2",
        "C C G7 G7 C C G7 C C C F C C C G7 C",
    ),
    (
        "Battle Hymn of the Republic", 4, 108, "C",
        "G | G3/2G/2 G3/2F/2 E3/2G/2 c3/2d/2 | e2 e2 ed cB | A3/2A/2 A3/2B/2 c3/2B/2 c3/2A/2 | "
        "G3/2A/2 G3/2E/2 G3 G | G3/2G/2 G3/2F/2 E3/2G/2 c3/2d/2 | e2 e2 ed c2 | d2 d2 c2 B2 | c8 | "
        "G3 F E3 G | c3 d e2 c2 | A3 B c2 A2 | G4 E4 | G3 F E3 G | c3 d e2 c2 | d2 d2 c2 B2 | c6 z2",
        "C C F C C Am Dm/G7 C C C F C C Am Dm/G7 C",
    ),
    (
        "Swing Low, Sweet Chariot", 4, 84, "C",
        "e2 c6 | c2 cA G4 | c c c c e2 g2 | g8 | g2 e6 | c2 cA G4 | c c c c e2 d2 | c6 z2",
        "C F/C C G7 C F/C C/G7 C",
    ),
    (
        "The House of the Rising Sun", 3, 112, "Am",
        "A2 | A4 B2 | c4 e2 | d2 A4- | A4 a2 | a4 a2 | g2 e4 | e6- | e4 a2 | a4 a2 | e4 g2 | d2 A4- | "
        "A4 A2 | c4 B2 | A4 ^G2 | A6- | A4 z2",
        "Am C D F Am C E E7 Am C D F Am E7 Am Am",
    ),
    (
        "Ah! vous dirai-je, maman", 4, 104, "C",
        "C2 C2 G2 G2 | A2 A2 G4 | F2 F2 E2 E2 | D2 D2 C4 | G2 G2 F2 F2 | E2 E2 D4 | G2 G2 F2 F2 | E2 E2 D4 | "
        "C2 C2 G2 G2 | A2 A2 G4 | F2 F2 E2 E2 | D2 D2 C4",
        "C F/C F/C G7/C C/F C/G7 C/F C/G7 C F/C F/C G7/C",
    ),
    (
        "Frère Jacques", 4, 112, "C",
        "C2 D2 E2 C2 | C2 D2 E2 C2 | E2 F2 G4 | E2 F2 G4 | GAGF E2 C2 | GAGF E2 C2 | C2 G,2 C4 | C2 G,2 C4",
        "C C C/G C/G C C G7/C G7/C",
    ),
    (
        "Yankee Doodle", 4, 126, "C",
        "c2 c2 d2 e2 | c2 e2 d2 G2 | c2 c2 d2 e2 | c4 B4 | c2 c2 d2 e2 | f2 e2 d2 c2 | B2 G2 A2 B2 | c4 c4 | "
        "A3 B A2 G2 | A2 B2 c4 | G3 A G2 F2 | E4 G4 | A3 B A2 G2 | A2 B2 c2 A2 | G2 c2 B2 d2 | c4 c4",
        "C C/G C C/G C F G7 C F F C C F F C/G7 C",
    ),
    (
        "Londonderry Air", 4, 72, "C",
        "z Bcd | e3 d eage | dcA2 zcef | g3 a gece | d4 zBcd | e3 d eage | dcA2 zBcd | e3 f edcd | c4 zgab | "
        "c'3 b bagf | gec2 zgab | c'3 b bage | d4 zggg | e'3 d' d'c'ac' | gec2 zBcd | eage dcAB | c6 z2",
        "C F C G7 C F C/G7 C F C Am G7 C/F C F/G7 C",
    ),
    (
        "Drunken Sailor", 4, 132, "Dm",
        "A2 AA A2 AA | A2 D2 F2 A2 | G2 GG G2 GG | G2 C2 E2 G2 | A2 AA A2 AA | A2 B2 c2 d2 | c2 A2 G2 E2 | "
        "D4 D4 | A4 A4 | AA D2 F2 A2 | G4 G4 | GG C2 E2 G2 | A4 A4 | AA B2 c2 d2 | c2 A2 G2 E2 | D4 D4",
        "Dm Dm C C Dm Dm C Dm Dm Dm C C Dm Dm C Dm",
    ),
    (
        "Take Me Out to the Ball Game", 3, 144, "C",
        "c4 c'2 | a2 g2 e2 | g6 | d6 | c4 c'2 | a2 g2 e2 | g6- | g4 z2 | a2 ^g2 a2 | e2 f2 g2 | a4 f2 | d6 | "
        "a4 a2 | a2 b2 c'2 | d'2 b2 a2 | g2 e2 d2",
        "C C G7 G7 C C G7 G7 A7 A7 Dm Dm D7 D7 G7 G7",
    ),
    (
        "Daisy Bell", 3, 150, "C",
        "g6 | e6 | c6 | G6 | A2 B2 c2 | A4 c2 | G6- | G6 | d6 | g6 | e6 | c6 | A2 B2 c2 | d4 e2 | d6- | "
        "d4 e2 | f2 e2 d2 | g4 e2 | d2 c4- | c4 d2 | e4 c2 | A4 c2 | A2 G4- | G4 G2 | c4 e2 | d4 G2 | "
        "c4 e2 | d2 e2 f2 | g2 e2 c2 | d4 G2 | c6- | c4 z2",
        "C C C C F F C C G7 G7 C C D7 D7 G G7 G7 C C C Am F C C C G7 C G7 C G7 C C",
    ),
    (
        "Ode to Joy", 4, 116, "C",
        "E2 E2 F2 G2 | G2 F2 E2 D2 | C2 C2 D2 E2 | E3 D D4 | E2 E2 F2 G2 | G2 F2 E2 D2 | C2 C2 D2 E2 | "
        "D3 C C4 | D2 D2 E2 C2 | D2 EF E2 C2 | D2 EF E2 D2 | C2 D2 G,4 | E2 E2 F2 G2 | G2 F2 E2 D2 | "
        "C2 C2 D2 E2 | D3 C C4",
        "C G7 C C/G7 C G7 C G7/C G7/C G7/C G7/E7 Am/G C G7 C G7/C",
    ),
    (
        "Good King Wenceslas", 4, 126, "C",
        "c2 c2 c2 d2 | c2 c2 G4 | A2 G2 A2 B2 | c4 c4 | c2 c2 c2 d2 | c2 c2 G4 | A2 G2 A2 B2 | c4 c4 | "
        "g2 f2 e2 d2 | e2 d2 c4 | A2 G2 A2 B2 | c4 c4 | G2 G2 A2 B2 | c2 c2 d4 | g2 f2 e2 d2 | c4 f4 | c8",
        "C C F/G7 C C C F/G7 C C C F/G7 C G7 C/G C C/F C",
    ),
    (
        "Joy to the World", 4, 112, "C",
        "c'4 b3 a | g6 f2 | e4 d4 | c6 g2 | a6 a2 | b6 b2 | c'6 c'2 | c'2 b2 a2 g2 | g3 f e2 c'2 | "
        "c'2 b2 a2 g2 | g3 f e2 ee | e2 e2 e2 ef | g6 fe | d2 d2 d2 de | f6 ed | c2 c'4 a2 | g3 f e2 f2 | "
        "e4 d4 | c8",
        "C C C/G7 C F G7 C C C C C C C G7 G7 C/F C C/G7 C",
    ),
    (
        "Skip to My Lou", 4, 132, "C",
        "E2 E2 C2 C2 | E2 EE G4 | D2 D2 B,2 B,2 | D2 DD F4 | E2 E2 C2 C2 | E2 EE G4 | D2 EF E2 D2 | C4 C4",
        "C C G7 G7 C C G7 C",
    ),
    (
        "Michael, Row the Boat Ashore", 4, 104, "C",
        "c2 e2 | g3 e g2 a2 | g4 e2 g2 | a8 | g4 e2 g2 | g3 e f2 e2 | d4 c2 d2 | e4 d4 | c6 z2",
        "C C F C Em Dm C/G7 C",
    ),
    (
        "Ach du lieber Augustin", 3, 138, "C",
        "g3 a gf | e2 c2 c2 | d2 G2 G2 | e2 c2 c2 | g3 a gf | e2 c2 c2 | d2 G2 G2 | c6 | d2 G2 G2 | "
        "e2 c2 c2 | d2 G2 G2 | e2 c2 c2 | g3 a gf | e2 c2 c2 | d2 G2 G2 | c6",
        "C C G7 C C C G7 C G7 C G7 C C C G7 C",
    ),
    (
        "Au clair de la lune", 4, 108, "C",
        "C2 C2 C2 D2 | E4 D4 | C2 E2 D2 D2 | C8 | C2 C2 C2 D2 | E4 D4 | C2 E2 D2 D2 | C8 | D2 D2 D2 D2 | "
        "A,4 A,4 | D2 C2 B,2 A,2 | G,8 | C2 C2 C2 D2 | E4 D4 | C2 E2 D2 D2 | C8",
        "C C/G7 C/G7 C C C/G7 C/G7 C G7 Dm G/D7 G C C/G7 C/G7 C",
    ),
)  # fmt: skip

TUNES: tuple[Tune, ...] = tuple(read_tune(*text) for text in _TEXTS)
