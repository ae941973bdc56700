"""Form of arranged songs: short sections, breaks in which the singer rests while the band plays on, and what is heard.

Sections take 8.5 to 17 seconds, so that an excerpt holds more than one. A break repeats the last bars of the section
before it: harmony and beat go on as they were.
"""

import numpy as np

from accompgen_hf.songs.annotation import SongAnnotation
from accompgen_hf.songs.lead_sheet_harmony import Progression, write_phrases
from accompgen_hf.songs.theory import random_stream

_ARRANGED_WINDOW = 9
_CYCLE = ("verse", "chorus", "verse", "chorus", "bridge", "chorus")
_LONG_SECTION_S = 17.0
_SONG_S = 180.0
_LONG_BREAK_S = (6.0, 9.0)
_SHORT_BREAK_BARS = 2
_LONG_EXCERPT_S = 18.0  # from here on a long break has room with singing on both sides
_BREAK_SHARE = 0.55
_ENDING_SHARE = 0.12
_SUNG_AROUND = 0.15  # least share of an excerpt that lies before a break, and behind it
_LONGEST_SHORT_BREAK = 0.5  # of an excerpt


def draw_arranged_form(rng: np.random.Generator, bar_s: float) -> list[tuple[str, int]]:
    """Sections and their bars: at least 180 s; a long break, a short one and none take turns between sung sections."""
    unit = 8 if 8 * bar_s <= _LONG_SECTION_S else 4
    counts = [count for count in range(2, 10) if _LONG_BREAK_S[0] <= count * bar_s <= _LONG_BREAK_S[1]]
    counts = [count for count in counts if count % 2 == 0] or counts
    gaps = [str(gap) for gap in rng.permutation(["long", "short", "none"])]
    sung: list[tuple[str, int]] = []
    place = 0
    while sum(bars for _, bars in sung) * bar_s < _SONG_S - 2 * unit * bar_s or place % 2:
        sung.append((_CYCLE[place % len(_CYCLE)], unit))
        gap = gaps[place % len(gaps)]
        if gap != "none":
            sung.append(("break", int(rng.choice(counts)) if gap == "long" else _SHORT_BREAK_BARS))
        place += 1
    sung += [("verse", unit), ("chorus", unit)]
    return [("intro", unit // 2), *sung, ("outro", 2 if 2 * bar_s < 4.5 else 1)]


def write_arranged_bars(
    rng: np.random.Generator, form: list[tuple[str, int]], mode: str, divided: float
) -> list[Progression]:
    """The bars of every section: short sections take the end of a phrase, which has its cadence."""
    phrases = write_phrases(rng, mode, divided)
    closing = [[(7, "7")], [(0, "maj" if mode == "major" else "min")]]
    sections: list[Progression] = []
    for name, num_bars in form:
        if name == "outro":
            bars = closing[-num_bars:]
        elif name == "break":
            bars = (sections[-1] * num_bars)[-num_bars:]
        else:
            bars = phrases.get(name, phrases["verse"])[-num_bars:]
        sections.append(bars)
    return sections


def draw_intensities(rng: np.random.Generator, form: list[tuple[str, int]]) -> tuple[float, ...]:
    """How intensely the band plays each section: verses below choruses, each round a bit more, the last one most."""
    verse, chorus, bridge = rng.uniform(0.45, 0.68), rng.uniform(0.88, 1.0), rng.choice([0.55, 0.88])
    levels = {"intro": verse, "verse": verse, "chorus": chorus, "bridge": bridge, "outro": chorus}
    last = max(place for place, (name, _) in enumerate(form) if name == "chorus")
    intensities = []
    for place, (name, _) in enumerate(form):
        level = rng.uniform(0.6, 1.0) if name == "break" else levels[name] + rng.uniform(0.0, 0.1) * place / len(form)
        intensities.append(1.1 if place == last else float(level))
    return tuple(intensities)


def choose_arranged_start(annotation: SongAnnotation, duration_s: float) -> float | None:
    """A start that puts a break into the middle of the excerpt, or the song's end into it, or `None` for neither.

    From 18 s on, about half of the seeds get a break of 6 to 9 s. Shorter excerpts get one of two bars where it fits.
    """
    rng = random_stream(annotation.seed, _ARRANGED_WINDOW)
    chance = float(rng.random())
    bar_s = annotation.meter * annotation.beat_s
    if chance < _BREAK_SHARE:
        breaks = [section for section in annotation.song_sections if section.name == "break"]
        if duration_s >= _LONG_EXCERPT_S:
            fitting = [b for b in breaks if b.end_s - b.start_s >= _LONG_BREAK_S[0] - 1e-6]
        else:
            longest_s = min(_LONGEST_SHORT_BREAK * duration_s, _SHORT_BREAK_BARS * bar_s + 1e-6)
            fitting = [b for b in breaks if b.end_s - b.start_s <= longest_s]
        if fitting:
            chosen = fitting[int(rng.integers(len(fitting)))]
            around_s = _SUNG_AROUND * duration_s
            start_s = float(rng.uniform(chosen.end_s + around_s - duration_s, chosen.start_s - around_s))
            return float(np.clip(start_s, 0.0, annotation.song_duration_s - duration_s))
    elif chance < _BREAK_SHARE + _ENDING_SHARE and duration_s >= 2.0 * (
        annotation.song_duration_s - annotation.song_sections[-1].start_s
    ):
        return annotation.song_duration_s - duration_s
    return None
