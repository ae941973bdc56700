"""Form and functional harmony of procedural songs."""

from itertools import pairwise

import numpy as np

from accompgen_hf.songs.annotation import Chord

# Semitones above the tonic and quality. A major numeral in minor is the borrowed or raised form that its name says.
_NUMERALS = {
    "I": (0, "maj"),
    "Imaj7": (0, "maj7"),
    "I7": (0, "7"),
    "ii": (2, "min"),
    "ii7": (2, "min7"),
    "II7": (2, "7"),
    "iii": (4, "min"),
    "III7": (4, "7"),
    "IV": (5, "maj"),
    "IVmaj7": (5, "maj7"),
    "iv": (5, "min"),
    "V": (7, "maj"),
    "V7": (7, "7"),
    "Vsus": (7, "sus4"),
    "vi": (9, "min"),
    "vi7": (9, "min7"),
    "VI7": (9, "7"),
    "bVII": (10, "maj"),
    "bVI": (8, "maj"),
    "bIII": (3, "maj"),
    "i": (0, "min"),
    "i7": (0, "min7"),
    "iiø": (2, "m7b5"),
    "iv7": (5, "min7"),
    "v": (7, "min"),
}
# One entry per bar; two numerals joined by "," share a bar (in 3/4 the second takes the last beat).
# Progressions that stay in the key (in minor with its raised or lowered seventh) ...
_PLAIN = {
    "major": (
        "I V vi IV",
        "I vi IV V",
        "I IV I V7",
        "I iii IV V",
        "I ii7 V7 I",
        "I I IV V,V7",
        "I V IV I,V",
        "I vi ii7 V7",
        "vi IV I V",
        "IV I V I",
        "I IV V I",
        "I vi7 ii7 V7",
        "I V vi iii IV I IV V",
        "I I IV IV I I V7 I",
        "I V7 V7 I IV I V7 I",
    ),
    "minor": (
        "i bVI bIII bVII",
        "i bVII bVI V",
        "i iv V7 i",
        "i iv i V7",
        "i bVI iv V7",
        "i v bVI i",
        "bVI bVII i i",
        "i iiø V7 i",
        "i i iv V,V7",
        "i bVII i V",
        "i iv i V7 i bVI V7 i",
        "i V7 i bVII bIII bVII i,V7 i",
    ),
}
# ... and those with borrowed chords and secondary dominants.
_BORROWED = {
    "major": ("I III7 IV iv", "I bVII IV I", "I VI7 ii V7", "I I7 IV iv", "I II7 V7 I", "Imaj7 IVmaj7 I bVI,bVII"),
    "minor": ("i7 iv7 bVII bIII", "i IV i V7", "i iv bVII bIII bVI iiø V7 i", "i bVI I7 iv", "i bIII bVII iv"),
}
_CADENCES = {"major": ("V7 I", "IV I", "V I"), "minor": ("V7 i", "iv i", "bVII i")}


def draw_form(rng: np.random.Generator, bar_s: float) -> list[tuple[str, int]]:
    """Sections and their bars: at least 180 s, with an intro, a break without voice and an outro."""
    unit = 8 if 8 * bar_s > 17.0 else 16
    sung = ["verse", "chorus", "verse", "chorus"]
    after = ["chorus"]
    extras = ["bridge", "verse", "chorus", "verse", "chorus"]
    while (len(sung) + len(after) + 2) * unit * bar_s < 180.0 + rng.uniform(0.0, 20.0) and extras:
        name = extras.pop(0)
        if name == "bridge":
            after.insert(0, name)
        else:
            sung.append(name)
    names = ["intro", *sung, "break", *after, "outro"]
    return [(name, unit // 2 if name in ("intro", "outro") else unit) for name in names]


def _halved(text: str) -> str:
    """Two bars of a progression in one; bars that already share keep the chord they begin with."""
    numerals = [bar.split(",")[0] for bar in text.split()]
    return " ".join(f"{first},{second}" for first, second in zip(numerals[::2], numerals[1::2], strict=True))


def parse_bar(text: str, bar: int, tonic: int, meter: int) -> list[Chord]:
    """One bar of a progression as chords, in beats."""
    numerals = text.split(",")
    cuts = [0, meter] if len(numerals) == 1 else [0, 2, meter]
    chords = []
    for numeral, (start, end) in zip(numerals, pairwise(cuts), strict=True):
        interval, quality = _NUMERALS[numeral]
        chords.append(Chord(bar * meter + start, bar * meter + end, (tonic + interval) % 12, quality))
    return chords


def draw_progressions(
    rng: np.random.Generator, form: list[tuple[str, int]], mode: str, is_slow: bool
) -> list[list[str]]:
    """The text of every bar of every section: each kind of section has its progression, some end in a cadence."""
    pool = [str(text) for text in rng.permutation(_PLAIN[mode])]
    for place in range(3):
        if rng.random() < 0.2:
            pool[place] = str(rng.choice(_BORROWED[mode]))
    if is_slow:
        pool = [_halved(text) for text in pool]
    progressions = {"chorus": pool[1], "bridge": pool[2]}
    cadence = str(rng.choice(_CADENCES[mode]))
    sections = []
    for name, num_bars in form:
        bars = (progressions.get(name, pool[0]).split() * num_bars)[:num_bars]
        if name in ("chorus", "outro"):
            bars[-2:] = cadence.split()
        elif name == "bridge":
            bars[-1] = "V7"
        sections.append(bars)
    return sections
