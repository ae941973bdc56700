"""Harmony as lead sheets have it: roots that fall by fifths, sevenths, secondary dominants, two chords a bar.

The probabilities were set so that root motions, degrees, qualities and lengths come near to those counted over 461
lead sheets of popular songs (see `melody_counts`).
"""

import numpy as np

from accompgen_hf.songs.annotation import Chord

# How often a root moves up by so many semitones: fourths above all. Counted, but for the fourths: a progression that
# returns to its beginning and ends in cadences has other moves forced upon it.
_MOTION = (0.0, 0.03, 0.079, 0.029, 0.031, 0.43, 0.019, 0.15, 0.022, 0.065, 0.042, 0.03)
_DEGREES = {  # how welcome a root is, in semitones above the tonic
    "major": (0.278, 0.010, 0.145, 0.014, 0.049, 0.118, 0.011, 0.235, 0.010, 0.091, 0.021, 0.016),
    "minor": (0.300, 0.006, 0.060, 0.110, 0.0, 0.178, 0.0, 0.170, 0.090, 0.004, 0.100, 0.010),
}
# Qualities of a root that stays in the key, and their shares; a dominant seventh is drawn apart.
_QUALITIES = {
    "major": {
        0: (("maj", 0.84), ("maj7", 0.16)),
        1: (("dim", 1.0),),
        2: (("min7", 0.7), ("min", 0.3)),
        3: (("dim", 1.0),),
        4: (("min7", 0.6), ("min", 0.4)),
        5: (("maj", 0.7), ("maj7", 0.15), ("min", 0.15)),
        6: (("m7b5", 1.0),),
        7: (("7", 0.75), ("maj", 0.2), ("sus4", 0.05)),
        8: (("maj", 1.0),),
        9: (("min7", 0.5), ("min", 0.5)),
        10: (("maj", 0.5), ("7", 0.5)),
        11: (("dim", 0.5), ("m7b5", 0.5)),
    },
    "minor": {
        0: (("min", 0.75), ("min7", 0.25)),
        1: (("maj", 1.0),),
        2: (("m7b5", 0.8), ("min7", 0.2)),
        3: (("maj", 0.8), ("maj7", 0.2)),
        4: (("dim", 1.0),),
        5: (("min", 0.5), ("min7", 0.5)),
        6: (("dim", 1.0),),
        7: (("7", 0.8), ("min", 0.2)),
        8: (("maj", 0.8), ("maj7", 0.2)),
        9: (("m7b5", 1.0),),
        10: (("7", 0.6), ("maj", 0.4)),
        11: (("dim", 1.0),),
    },
}
# Roots that may become secondary dominants when the next root lies a fourth above them.
_DOMINANTS = {"major": (0, 2, 4, 9, 11), "minor": (0, 2, 10)}
_DOMINANT_SHARE = 0.5
_OPENINGS = {
    "major": ((0, 0.62), (9, 0.1), (5, 0.1), (2, 0.1), (7, 0.08)),
    "minor": ((0, 0.7), (5, 0.1), (8, 0.1), (3, 0.1)),
}
_PHRASE_BARS = 8

Progression = list[list[tuple[int, str]]]  # of every bar its one or two chords: semitones above the tonic, quality


def write_progression(rng: np.random.Generator, mode: str, divided: float, ends_open: bool) -> Progression:
    """Write eight bars.

    Args:
        mode (`str`): "major" or "minor".
        divided (`float`): Share of bars with two chords.
        ends_open (`bool`): End on the dominant; else on the tonic, after its dominant.
    """
    counts = [2 if rng.random() < divided else 1 for _ in range(_PHRASE_BARS)]
    counts[-1] = 1
    motion, degrees = np.array(_MOTION), np.array(_DEGREES[mode])
    roots = [_draw(rng, _OPENINGS[mode])]
    for place in range(1, sum(counts)):
        if rng.random() < 0.12 and place % 2:  # a chord that stays
            roots.append(roots[-1])
            continue
        weights = np.roll(motion, roots[-1]) * degrees**0.6
        roots.append(int(rng.choice(12, p=weights / weights.sum())))
    roots[-2:] = [_before_dominant(rng, mode), 7] if ends_open else [7, 0]
    chords = [_qualify(rng, mode, root, following) for root, following in zip(roots, [*roots[1:], None], strict=True)]
    bars: Progression = []
    for count in counts:
        bars.append(chords[:count])
        chords = chords[count:]
    return bars


def _draw(rng: np.random.Generator, choices: tuple[tuple, ...]):
    """One of `(value, share)` pairs."""
    shares = np.cumsum([share for _, share in choices])
    return choices[int(np.searchsorted(shares, rng.random() * shares[-1]))][0]


def _before_dominant(rng: np.random.Generator, mode: str) -> int:
    return _draw(rng, ((2, 0.6), (5, 0.4)) if mode == "major" else ((2, 0.4), (5, 0.4), (8, 0.2)))


def _qualify(rng: np.random.Generator, mode: str, root: int, following: int | None) -> tuple[int, str]:
    leads_on = following is not None and (following - root) % 12 == 5
    if leads_on and root in _DOMINANTS[mode] and following != root and rng.random() < _DOMINANT_SHARE:
        return root, "7"
    if root == 7 and leads_on:
        return root, "7" if rng.random() < 0.9 else "maj"
    return root, _draw(rng, _QUALITIES[mode][root])


def place_bar(bar: list[tuple[int, str]], index: int, tonic: int, meter: int) -> list[Chord]:
    """One bar of a progression as chords, in beats; in 3/4 the second of two takes the last beat."""
    cuts = [0, meter] if len(bar) == 1 else [0, 2, meter]
    first = index * meter
    return [
        Chord(first + start, first + end, (tonic + root) % 12, quality)
        for (root, quality), start, end in zip(bar, cuts[:-1], cuts[1:], strict=True)
    ]


def write_phrases(rng: np.random.Generator, mode: str, divided: float) -> dict[str, Progression]:
    """Verse, chorus and bridge have their own eight bars, ending open or closed."""
    return {
        "verse": write_progression(rng, mode, divided, ends_open=rng.random() < 0.4),
        "chorus": write_progression(rng, mode, divided, ends_open=False),
        "bridge": write_progression(rng, mode, divided, ends_open=True),
    }


def write_section_bars(
    rng: np.random.Generator, form: list[tuple[str, int]], mode: str, divided: float
) -> list[Progression]:
    """The bars of every section."""
    phrases = write_phrases(rng, mode, divided)
    closing = [[(7, "7")], [(0, "maj" if mode == "major" else "min")]]
    sections = []
    for name, num_bars in form:
        bars = phrases.get(name, phrases["verse"])
        bars = (bars * num_bars)[:num_bars]
        if name == "outro":
            bars[-2:] = closing
        sections.append(bars)
    return sections
