"""Composition of procedural songs: draws style, key, tempo and singer, then writes form, harmony and tunes.

There are four ways to compose. `"plain"` songs are easy to follow: phrases begin on the bar, chord tones stand where
chords change, progressions are those of pop songs. `"lead_sheets"` are as loose as real songs: pick-ups, rests on the
downbeat, held notes, appoggiaturas, sevenths, roots that move by fourths, two chords a bar. `"arranged"` songs are
lead sheets with a form that an excerpt can show: short sections and breaks in which the singer rests. `"tunes"` are
known tunes with their chords (`tunes.py`), which no model of ours may learn from.
"""

from typing import NamedTuple

import numpy as np

from accompgen_hf.songs.annotation import Chord, MelodyNote, Section, SongAnnotation
from accompgen_hf.songs.arranged_form import (
    choose_arranged_start,
    draw_arranged_form,
    draw_intensities,
    write_arranged_bars,
)
from accompgen_hf.songs.harmony import draw_form, draw_progressions, parse_bar
from accompgen_hf.songs.lead_sheet_harmony import Progression, place_bar, write_section_bars
from accompgen_hf.songs.lead_sheet_melody import write_lead_sheet_tune
from accompgen_hf.songs.melody import MelodyContext, human_melody, loosen_melody, write_tune
from accompgen_hf.songs.styles import STYLES
from accompgen_hf.songs.theory import HELD_OUT_SEED, random_stream
from accompgen_hf.songs.tune_arrangement import write_arrangement
from accompgen_hf.songs.tunes import TUNES
from accompgen_hf.songs.voices import Singer, draw_singer, give_words, loosen_singer

COMPOSITIONS = ("plain", "lead_sheets", "arranged", "tunes")
SINGERS = ("vowels", "words", "mixed")
MAX_CLIP_DURATION_S = 120.0
_WORDS_SHARE = 1 / 3
_COMPOSITION, _SINGER, _WINDOW, _HUMAN, _LEAD_SHEET, _LOOSE, _WORDS, _TUNE, _ARRANGED = 1, 2, 3, 4, 5, 6, 7, 8, 10
_SUNG = ("verse", "chorus", "bridge")
_RING_S = 2.5  # the last chord rings on behind the last bar
_SLOW_BAR_S = 2.6  # longer bars change chords twice


class Score(NamedTuple):
    """A whole song on paper: chords, sung notes and sections in beats from the first downbeat."""

    style: str
    tonic: int
    mode: str
    tempo_bpm: float
    meter: int
    swing: float
    tuning_cents: float
    singer: Singer
    chords: list[Chord]
    notes: list[MelodyNote]
    sections: list[Section]
    intensities: tuple[float, ...] = ()  # of arranged songs, one per section


def compose_song(
    seed: int,
    *,
    whole_song: bool = False,
    duration_s: float = 10.0,
    composition: str = "plain",
    singers: str = "vowels",
) -> SongAnnotation:
    """Compose a song of three to four minutes and choose what is heard of it.

    Args:
        seed (`int`): Non-negative; everything about the song follows from it.
        whole_song (`bool`): Whether the window is the whole song; `duration_s` is then not used.
        duration_s (`float`): Length of the excerpt, taken from the middle where the voice sings most of the time.
        composition (`str`): `"plain"`, in which the voice tells bar and chord, or `"lead_sheets"`, which is as loose
            as real songs, also in tuning, rubato and dynamics. Style, key, tempo and voice of a seed are the same in
            both. `"arranged"` songs are lead sheets in short sections; in about half of the excerpts of 18 s and more
            the singer rests for 6 to 9 s in the middle while the band plays on. `"tunes"` are known tunes, sung as
            loosely, for evaluation alone.
        singers (`str`): `"vowels"` for a synthetic voice on random vowels and consonants, `"words"` for a speech
            synthesizer that sings English words (flite and pyworld), or `"mixed"` for words in a third of the songs.

    Returns:
        `SongAnnotation`.

    Raises:
        ValueError: If `seed` is negative or not a whole number, or below `HELD_OUT_SEED` with `"tunes"`, `duration_s`
            is not in (0, 120], or `composition` or `singers` is unknown.
    """
    if not whole_song and not 0 < duration_s <= MAX_CLIP_DURATION_S:
        raise ValueError(
            f"`duration_s` must be in (0, {MAX_CLIP_DURATION_S:.0f}] seconds, got {duration_s}. "
            "For a whole song pass `whole_song=True`."
        )
    annotation = _compose_whole_song(seed, composition, singers)
    if whole_song:
        return annotation
    start_s = choose_arranged_start(annotation, float(duration_s)) if composition == "arranged" else None
    if start_s is None:
        start_s = _choose_start(annotation, float(duration_s))
    return annotation.window(start_s, float(duration_s))


def compose_score(seed: int, composition: str = "plain", singers: str = "vowels") -> Score:
    """Write a song; arguments and errors as in [`compose_song`]."""
    if int(seed) != seed or seed < 0:
        raise ValueError(f"`seed` must be a whole number of at least 0, got {seed}.")
    if composition not in COMPOSITIONS:
        raise ValueError(f"`composition` must be one of {', '.join(COMPOSITIONS)}, got {composition!r}.")
    if singers not in SINGERS:
        raise ValueError(f"`singers` must be one of {', '.join(SINGERS)}, got {singers!r}.")
    if composition == "tunes" and seed < HELD_OUT_SEED:
        raise ValueError(
            f'`composition` "tunes" must have seeds from {HELD_OUT_SEED} on, got {seed}: tunes are to measure on, and '
            "a model that has learned them cannot be measured. Train on another composition."
        )
    rng = random_stream(int(seed), _COMPOSITION)
    style_name = str(rng.choice(list(STYLES)))
    style = STYLES[style_name]
    meter = int(rng.choice(style.meters))
    tempo_bpm = round(float(rng.uniform(*style.tempo_bpm)), 1)
    tonic, mode = int(rng.integers(12)), "major" if rng.random() < 0.6 else "minor"
    swing = style.swing if rng.random() < style.swing_probability else 0.5
    singer, tuning_cents = draw_singer(random_stream(int(seed), _SINGER)), 0.0
    if composition != "plain":
        loose = random_stream(int(seed), _LOOSE)
        singer = loosen_singer(loose, singer)
        tuning_cents = round(12.0 * float(np.clip(loose.standard_normal(), -3.0, 3.0)), 1)
    words = random_stream(int(seed), _WORDS)
    if singers == "words" or (words.random() < _WORDS_SHARE and singers == "mixed"):
        singer = give_words(words, singer)
    if composition == "tunes":
        return _arrange_tune(int(seed), tonic, singer, tuning_cents)
    context = MelodyContext(tonic, mode, meter, singer)

    bar_s = meter * 60.0 / tempo_bpm
    form = draw_form(rng, bar_s)
    is_slow = meter == 4 and bar_s > _SLOW_BAR_S
    if composition == "plain":
        progressions = draw_progressions(rng, form, mode, is_slow=is_slow)
        written = _write_sections(rng, form, progressions, context)
    else:
        divided = 0.6 if is_slow else 0.32 if bar_s < 1.5 else 0.46
        if composition == "arranged":
            rng = random_stream(int(seed), _ARRANGED)
            form = draw_arranged_form(rng, bar_s)
            written = _write_lead_sheet(rng, form, context, write_arranged_bars(rng, form, mode, divided))
            written = (*written, draw_intensities(rng, form))
        else:
            rng = random_stream(int(seed), _LEAD_SHEET)
            written = _write_lead_sheet(rng, form, context, write_section_bars(rng, form, mode, divided))
    return Score(style_name, tonic, mode, tempo_bpm, meter, swing, tuning_cents, singer, *written)


def _arrange_tune(seed: int, tonic: int, singer: Singer, tuning_cents: float) -> Score:
    """Let a singer sing a tune twice, in a style and key of the seed; consecutive seeds have different tunes."""
    rng, tune = random_stream(seed, _TUNE), TUNES[seed % len(TUNES)]
    style_name = str(rng.choice([name for name, style in STYLES.items() if tune.meter in style.meters]))
    style = STYLES[style_name]
    swing = style.swing if rng.random() < style.swing_probability else 0.5
    tempo_bpm = round(tune.tempo_bpm * float(rng.uniform(0.9, 1.1)), 1)
    written = write_arrangement(rng, tune, tonic, singer)
    return Score(style_name, tonic, tune.mode, tempo_bpm, tune.meter, swing, tuning_cents, singer, *written)


def _compose_whole_song(seed: int, composition: str, singers: str) -> SongAnnotation:
    score = compose_score(seed, composition, singers)
    seed, beat_s = int(seed), 60.0 / score.tempo_bpm
    sections = tuple(Section(start * beat_s, end * beat_s, name) for start, end, name in score.sections)
    song_duration_s = sections[-1].end_s + _RING_S
    melody = human_melody(random_stream(seed, _HUMAN), score.notes, beat_s, score.swing, score.singer)
    if composition != "plain":
        melody = loosen_melody(random_stream(seed, _LOOSE, 1), melody, score.singer)
    return SongAnnotation(
        seed=seed,
        tonic=score.tonic,
        mode=score.mode,
        tempo_bpm=score.tempo_bpm,
        meter=score.meter,
        swing=score.swing,
        style=score.style,
        singer=score.singer,
        song_duration_s=song_duration_s,
        song_chords=_merge_chords(score.chords, beat_s),
        song_melody=melody,
        song_sections=sections,
        start_s=0.0,
        duration_s=song_duration_s,
        tuning_cents=score.tuning_cents,
        song_intensities=score.intensities,
    )


def _write_sections(
    rng: np.random.Generator, form: list[tuple[str, int]], progressions: list[list[str]], context: MelodyContext
) -> tuple[list[Chord], list[MelodyNote], list[Section]]:
    """Chords, sung notes and sections, all in beats. A section that returns sings the same tune."""
    chords, notes, sections = [], [], []
    tunes: dict[str, list[MelodyNote]] = {}
    bar = 0
    for (name, num_bars), texts in zip(form, progressions, strict=True):
        first_beat = bar * context.meter
        for i, text in enumerate(texts):
            chords.extend(parse_bar(text, bar + i, context.tonic, context.meter))
        if name in _SUNG:
            if name not in tunes:
                local = [c for i, text in enumerate(texts) for c in parse_bar(text, i, context.tonic, context.meter)]
                tunes[name] = write_tune(rng, context, local, num_bars, name)
            notes.extend(
                note._replace(start_s=note.start_s + first_beat, end_s=note.end_s + first_beat) for note in tunes[name]
            )
        bar += num_bars
        sections.append(Section(first_beat, bar * context.meter, name))
    return chords, notes, sections


def _write_lead_sheet(
    rng: np.random.Generator, form: list[tuple[str, int]], context: MelodyContext, section_bars: list[Progression]
) -> tuple[list[Chord], list[MelodyNote], list[Section]]:
    """As `_write_sections`; a section's pick-up sounds before it and cuts off what is still sung there."""
    chords, notes, sections = [], [], []
    tunes: dict[str, list[MelodyNote]] = {}
    bar = 0
    for (name, num_bars), bars in zip(form, section_bars, strict=True):
        first_beat = bar * context.meter
        local = [chord for i, place in enumerate(bars) for chord in place_bar(place, i, context.tonic, context.meter)]
        chords.extend(
            chord._replace(start_s=chord.start_s + first_beat, end_s=chord.end_s + first_beat) for chord in local
        )
        if name in _SUNG:
            if name not in tunes:
                tunes[name] = write_lead_sheet_tune(rng, context, local, num_bars, name)
            tune = [n._replace(start_s=n.start_s + first_beat, end_s=n.end_s + first_beat) for n in tunes[name]]
            while notes and notes[-1].start_s > tune[0].start_s - 0.25:
                notes.pop()
            if notes:
                notes[-1] = notes[-1]._replace(end_s=min(notes[-1].end_s, tune[0].start_s))
            notes.extend(tune)
        bar += num_bars
        sections.append(Section(first_beat, bar * context.meter, name))
    return chords, notes, sections


def _merge_chords(chords: list[Chord], beat_s: float) -> tuple[Chord, ...]:
    """Chords in seconds; a chord that goes on over the bar line is one chord."""
    merged: list[Chord] = []
    for chord in chords:
        if merged and merged[-1][2:] == chord[2:]:
            merged[-1] = merged[-1]._replace(end_s=chord.end_s * beat_s)
        else:
            merged.append(chord._replace(start_s=chord.start_s * beat_s, end_s=chord.end_s * beat_s))
    return tuple(merged)


def _choose_start(annotation: SongAnnotation, duration_s: float) -> float:
    """A start after the intro where the voice sings for most of the window."""
    rng = random_stream(annotation.seed, _WINDOW)
    starts = np.array([note.start_s for note in annotation.song_melody])
    ends = np.array([note.end_s for note in annotation.song_melody])
    first_s = annotation.song_sections[0].end_s
    last_s = annotation.song_sections[-1].start_s - duration_s
    candidates = rng.uniform(first_s, max(last_s, first_s + 1e-3), size=12)
    sung_s = [np.clip(np.minimum(ends, c + duration_s) - np.maximum(starts, c), 0.0, None).sum() for c in candidates]
    enough = [c for c, s in zip(candidates, sung_s, strict=True) if s >= 0.7 * duration_s]
    return float(enough[0] if enough else candidates[int(np.argmax(sung_s))])
