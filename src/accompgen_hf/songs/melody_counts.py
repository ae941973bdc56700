"""What can be counted in melodies and chords: where phrases begin, chord tones, intervals, lengths, root motion.

`LEAD_SHEETS` holds the counts over 461 lead sheets of popular songs (about 1890 to 1950); `count_scores` counts
procedural songs in the same way.
"""

from collections.abc import Iterable
from itertools import pairwise

from accompgen_hf.songs.composition import Score
from accompgen_hf.songs.lead_sheet_melody import STEPS

LEAD_SHEETS: dict[str, float] = {
    "phrases begin on beat 1": 0.232,
    "phrases begin between beats": 0.396,
    "notes begin on beat 1 (4/4)": 0.244,
    "notes begin on another beat (4/4)": 0.472,
    "notes begin between beats (4/4)": 0.279,
    "chord tones on beat 1": 0.82,
    "chord tones on other beats": 0.724,
    "chord tones between beats": 0.642,
    "intervals: the same note": 0.174,
    "intervals: a step": 0.488,
    "intervals: a third": 0.196,
    "intervals: more than a third": 0.142,
    "notes of a quarter of a beat": 0.069,
    "notes of half a beat": 0.32,
    "notes of one beat": 0.364,
    "notes of two beats and more": 0.163,
    "notes tied over the bar line": 0.072,
    "notes per phrase, median": 8.0,
    "roots up a fourth": 0.475,
    "roots up a fifth": 0.167,
    "chords of two beats and less": 0.526,
    "chords with a seventh": 0.51,
}


def count_scores(scores: Iterable[Score]) -> dict[str, float]:
    """Count what `LEAD_SHEETS` names, over all notes, phrases and chords of the scores.

    A phrase begins with a song and after every rest. A chord that is repeated is one chord.
    """
    hits: dict[str, list[float]] = {name: [] for name in LEAD_SHEETS}
    for score in scores:
        _count_rhythm(hits, score)
        _count_pitches(hits, score)
        _count_chords(hits, score)
    counts = {name: sum(values) / max(len(values), 1) for name, values in hits.items()}
    lengths = sorted(hits["notes per phrase, median"])
    counts["notes per phrase, median"] = lengths[len(lengths) // 2] if lengths else 0.0
    return counts


def _count_rhythm(hits: dict[str, list[float]], score: Score) -> None:
    bar, notes = STEPS * score.meter, score.notes
    starts = [round(STEPS * note.start_s) for note in notes]
    ends = [round(STEPS * note.end_s) for note in notes]
    is_first = [True, *(start > end for start, end in zip(starts[1:], ends, strict=False))]
    firsts = [i for i, first in enumerate(is_first) if first]
    hits["notes per phrase, median"] += [b - a for a, b in pairwise([*firsts, len(notes)])]
    for start, end, first in zip(starts, ends, is_first, strict=True):
        if first:
            hits["phrases begin on beat 1"].append(start % bar == 0)
            hits["phrases begin between beats"].append(start % STEPS != 0)
        if score.meter == 4:
            hits["notes begin on beat 1 (4/4)"].append(start % bar == 0)
            hits["notes begin on another beat (4/4)"].append(start % bar != 0 and start % STEPS == 0)
            hits["notes begin between beats (4/4)"].append(start % STEPS != 0)
        hits["notes of a quarter of a beat"].append(end - start == 1)
        hits["notes of half a beat"].append(end - start == 2)
        hits["notes of one beat"].append(end - start == 4)
        hits["notes of two beats and more"].append(end - start >= 8)
        hits["notes tied over the bar line"].append(start // bar != (end - 1) // bar)


def _count_pitches(hits: dict[str, list[float]], score: Score) -> None:
    chords, place = score.chords, 0
    for note in score.notes:
        while place + 1 < len(chords) and chords[place].end_s <= note.start_s + 1e-6:
            place += 1
        start = round(STEPS * note.start_s)
        on_beat = "on other beats" if start % (STEPS * score.meter) else "on beat 1"
        where = "between beats" if start % STEPS else on_beat
        hits[f"chord tones {where}"].append(note.midi_pitch % 12 in chords[place].pitch_classes)
    for note, following in pairwise(score.notes):
        interval = abs(following.midi_pitch - note.midi_pitch)
        hits["intervals: the same note"].append(interval == 0)
        hits["intervals: a step"].append(interval in (1, 2))
        hits["intervals: a third"].append(interval in (3, 4))
        hits["intervals: more than a third"].append(interval > 4)


def _count_chords(hits: dict[str, list[float]], score: Score) -> None:
    merged = []
    for chord in score.chords:
        if merged and merged[-1][2:] == chord[2:]:
            merged[-1] = merged[-1]._replace(end_s=chord.end_s)
        else:
            merged.append(chord)
    for chord, following in pairwise(merged):
        motion = (following.root - chord.root) % 12
        if motion:
            hits["roots up a fourth"].append(motion == 5)
            hits["roots up a fifth"].append(motion == 7)
    for chord in merged:
        hits["chords of two beats and less"].append(chord.end_s - chord.start_s <= 2)
        hits["chords with a seventh"].append(len(chord.pitch_classes) > 3)
