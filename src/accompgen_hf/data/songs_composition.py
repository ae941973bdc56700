"""Composition of procedural songs: form, functional harmony, and melodies that a listener can hear the harmony in.

The melody sings chord tones (root and third above all) where chords change and on strong beats, and scale tones in between;
its onsets lie on the beat grid. So key, chords and beat can be inferred from the voice alone, which is what a model learns.
"""

import numpy as np

from accompgen_hf.data.songs_annotation import (
    CHORD_INTERVALS,
    Chord,
    MelodyNote,
    Section,
    Singer,
    SongAnnotation,
    chord_scale,
    random_stream,
)
from accompgen_hf.data.songs_styles import STYLES

MAX_CLIP_DURATION_S = 120.0
_COMPOSITION, _SINGER, _WINDOW, _HUMAN = 1, 2, 3, 4

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
_BORROWED = {
    "major": ("I III7 IV iv", "I bVII IV I", "I VI7 ii V7", "I I7 IV iv", "I II7 V7 I", "Imaj7 IVmaj7 I bVI,bVII"),
    "minor": ("i7 iv7 bVII bIII", "i IV i V7", "i iv bVII bIII bVI iiø V7 i", "i bVI I7 iv", "i bIII bVII iv"),
}
_CADENCES = {"major": ("V7 I", "IV I", "V I"), "minor": ("V7 i", "iv i", "bVII i")}
_VOICES = {  # lowest and highest comfortable pitch, formant scale
    "bass": (40, 59, 0.95),
    "baritone": (44, 63, 1.0),
    "tenor": (48, 67, 1.04),
    "alto": (53, 72, 1.12),
    "mezzo": (56, 75, 1.16),
    "soprano": (60, 79, 1.2),
}
_VOWELS = ("a", "e", "i", "o", "u", "ae", "uh")
_CONSONANTS = ("", "m", "n", "l", "r", "w", "y", "s", "sh", "f", "h", "t", "k", "p", "d", "g", "b", "v")
# Rhythms of two bars, in beats from the first downbeat; a negative first onset is a pick-up. The last number is the end.
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
_INTRO, _SUNG = ("intro", "break", "outro"), ("verse", "chorus", "bridge")


def compose_song(seed: int, *, whole_song: bool = False, duration_s: float = 10.0) -> SongAnnotation:
    """Compose a song of three to four minutes and choose what is heard of it.

    Args:
        seed (`int`): Non-negative; everything about the song follows from it.
        whole_song (`bool`): Hear all of it; `duration_s` is then not used.
        duration_s (`float`): Length of the excerpt, taken from the middle where the voice sings most of the time.

    Returns:
        `SongAnnotation`.

    Raises:
        ValueError: If `seed` is negative or not a whole number, or `duration_s` is not in (0, 120].
    """
    if int(seed) != seed or seed < 0:
        raise ValueError(f"`seed` must be a whole number of at least 0, got {seed}.")
    if not whole_song and not 0 < duration_s <= MAX_CLIP_DURATION_S:
        raise ValueError(
            f"`duration_s` must be in (0, {MAX_CLIP_DURATION_S:.0f}] seconds, got {duration_s}. "
            "For a whole song pass `whole_song=True`."
        )
    seed = int(seed)
    rng = random_stream(seed, _COMPOSITION)
    style_name = str(rng.choice(list(STYLES)))
    style = STYLES[style_name]
    meter = int(rng.choice(style.meters))
    tempo_bpm = round(float(rng.uniform(*style.tempo_bpm)), 1)
    tonic, mode = int(rng.integers(12)), "major" if rng.random() < 0.6 else "minor"
    swing = style.swing if rng.random() < style.swing_probability else 0.5
    singer = draw_singer(random_stream(seed, _SINGER))

    beat_s = 60.0 / tempo_bpm
    form = _draw_form(rng, meter * beat_s)
    bars, sung = _write_sections(rng, form, tonic, mode, meter, meter * beat_s, singer)
    sections, bar = [], 0
    for name, num_bars in form:
        sections.append(Section(bar * meter * beat_s, (bar + num_bars) * meter * beat_s, name))
        bar += num_bars
    chords = _merge_chords([chord for bar_chords in bars for chord in bar_chords], beat_s)
    melody = _human_melody(random_stream(seed, _HUMAN), sung, beat_s, swing, singer)
    song_duration_s = sections[-1].end_s + 2.5
    annotation = SongAnnotation(
        seed=seed,
        tonic=tonic,
        mode=mode,
        tempo_bpm=tempo_bpm,
        meter=meter,
        swing=swing,
        style=style_name,
        singer=singer,
        song_duration_s=song_duration_s,
        song_chords=chords,
        song_melody=melody,
        song_sections=tuple(sections),
        start_s=0.0,
        duration_s=song_duration_s,
    )
    if whole_song:
        return annotation
    return annotation.window(_choose_start(annotation, float(duration_s)), float(duration_s))


def draw_singer(rng: np.random.Generator) -> Singer:
    """Draw a voice, its habits, its room and its microphone."""
    voice = str(rng.choice(list(_VOICES)))
    lowest_pitch, highest_pitch, formant_scale = _VOICES[voice]
    shift = int(rng.integers(-2, 3))
    is_dry = rng.random() < 0.3
    return Singer(
        voice=voice,
        lowest_pitch=lowest_pitch + shift,
        highest_pitch=highest_pitch + shift,
        formant_scale=formant_scale * float(rng.uniform(0.93, 1.07)),
        brightness_hz=float(np.exp(rng.uniform(np.log(250.0), np.log(1400.0)))),
        breathiness=float(np.exp(rng.uniform(np.log(0.01), np.log(0.2)))),
        vibrato_rate_hz=float(rng.uniform(4.6, 6.8)),
        vibrato_semitones=float(rng.uniform(0.02, 0.55)),
        vibrato_delay_s=float(rng.uniform(0.12, 0.4)),
        portamento_s=float(rng.uniform(0.03, 0.12)),
        scoop_semitones=float(rng.uniform(0.0, 1.4)),
        intonation_cents=float(rng.uniform(3.0, 22.0)),
        timing_s=float(rng.uniform(0.003, 0.018)),
        articulation=float(rng.uniform(0.84, 1.0)),
        consonant_level=float(rng.uniform(0.5, 1.3)),
        loudness_lufs=float(rng.uniform(-25.0, -16.0)),
        room_rt60_s=0.15 if is_dry else float(rng.uniform(0.2, 1.4)),
        room_level=0.03 if is_dry else float(rng.uniform(0.05, 0.35)),
        microphone_low_hz=float(rng.uniform(50.0, 160.0)),
        microphone_high_hz=float(rng.uniform(7000.0, 16000.0)),
        microphone_presence_db=float(rng.uniform(-2.0, 6.0)),
        noise_dbfs=float(rng.uniform(-82.0, -54.0)),
    )


def _draw_form(rng: np.random.Generator, bar_s: float) -> list[tuple[str, int]]:
    """Sections and their bars: at least 180 s, with an intro, a break without voice and an outro."""
    unit = 8 if 8 * bar_s > 17.0 else 16
    sung = ["verse", "chorus", "verse", "chorus"]
    after = ["chorus"]
    extras = ["bridge", "verse", "chorus", "verse", "chorus"]
    while (len(sung) + len(after) + 2) * unit * bar_s < 180.0 + rng.uniform(0.0, 20.0) and extras:
        (after.insert(0, extras.pop(0)) if extras[0] == "bridge" else sung.append(extras.pop(0)))
    names = ["intro", *sung, "break", *after, "outro"]
    return [(name, unit // 2 if name in ("intro", "outro") else unit) for name in names]


def _halved(text: str) -> str:
    """Two bars of a progression in one; bars that already share keep the chord they begin with."""
    numerals = [bar.split(",")[0] for bar in text.split()]
    return " ".join(f"{first},{second}" for first, second in zip(numerals[::2], numerals[1::2], strict=True))


def _parse_bar(text: str, bar: int, tonic: int, meter: int) -> list[Chord]:
    """One bar of a progression as chords in beats."""
    numerals = text.split(",")
    cuts = [0, meter] if len(numerals) == 1 else [0, 2, meter]
    chords = []
    for numeral, start, end in zip(numerals, cuts[:-1], cuts[1:], strict=True):
        interval, quality = _NUMERALS[numeral]
        chords.append(Chord(bar * meter + start, bar * meter + end, (tonic + interval) % 12, quality))
    return chords


def _write_sections(
    rng: np.random.Generator,
    form: list[tuple[str, int]],
    tonic: int,
    mode: str,
    meter: int,
    bar_s: float,
    singer: Singer,
) -> tuple[list[list[Chord]], list[tuple]]:
    """Chords of every bar and sung notes, in beats. A section that returns sings the same tune."""
    pool = [str(text) for text in rng.permutation(_PLAIN[mode])]
    for place in range(3):
        if rng.random() < 0.2:
            pool[place] = str(rng.choice(_BORROWED[mode]))
    if meter == 4 and bar_s > 2.6:  # slow songs change chords twice a bar
        pool = [_halved(text) for text in pool]
    progressions = {"verse": pool[0], "chorus": pool[1], "bridge": pool[2]}
    progressions["intro"] = progressions["break"] = progressions["outro"] = pool[0]
    cadence = str(rng.choice(_CADENCES[mode]))
    bars, sung, tunes = [], [], {}
    for name, num_bars in form:
        texts = (progressions[name].split() * num_bars)[:num_bars]
        if name in ("chorus", "outro", "bridge"):
            texts[-2:] = cadence.split() if name != "bridge" else texts[-2:-1] + ["V7"]
        first_bar = len(bars)
        section_bars = [_parse_bar(text, first_bar + i, tonic, meter) for i, text in enumerate(texts)]
        bars.extend(section_bars)
        if name in _SUNG:
            if name not in tunes:
                local = [chord for i, text in enumerate(texts) for chord in _parse_bar(text, i, tonic, meter)]
                tunes[name] = _write_tune(rng, local, num_bars, tonic, mode, meter, singer, name)
            sung.extend((start + first_bar * meter, end + first_bar * meter, *rest) for start, end, *rest in tunes[name])
    return bars, sung


def _write_tune(
    rng: np.random.Generator,
    chords: list[Chord],
    num_bars: int,
    tonic: int,
    mode: str,
    meter: int,
    singer: Singer,
    section: str,
) -> list[tuple]:
    """Notes `(start, end, pitch, consonant, vowel, loudness, is_legato, is_phrase_start)` in beats, phrases of two bars."""
    rhythms = [_RHYTHMS[meter][i] for i in rng.permutation(len(_RHYTHMS[meter]))[:3]]
    plan = [(0, 0), (0, 1), (0, 0), (1, 2)] if rng.random() < 0.6 else [(0, 0), (1, 1), (0, 0), (2, 2)]
    contours = [np.cumsum(rng.choice([-1, -1, 0, 1, 1, 2, -2], size=12)) for _ in range(3)]
    span = singer.highest_pitch - singer.lowest_pitch
    centre = singer.lowest_pitch + span * (0.62 if section == "chorus" else 0.45)
    syllables = [(str(rng.choice(_CONSONANTS)), str(rng.choice(_VOWELS))) for _ in range(24)]
    notes, previous = [], round(centre)
    for phrase in range(num_bars // 2):
        rhythm_index, contour_index = plan[phrase % 4]
        rhythm, contour = rhythms[rhythm_index], contours[contour_index]
        is_last = phrase == num_bars // 2 - 1
        for i, (onset, until) in enumerate(zip(rhythm[:-1], rhythm[1:], strict=True)):
            start, end = phrase * 2 * meter + onset, phrase * 2 * meter + until
            if start < 0 and not notes:
                continue  # the first pick-up of a section would sound in the section before
            chord = _chord_at(chords, max(start, 0.0) if onset >= 0 else phrase * 2 * meter)
            is_strong = onset >= 0 and (onset % meter in (0, 2) or start in {c.start_s for c in chords}) or end - start >= 2
            is_final = is_last and i == len(rhythm) - 2
            target = centre + 1.7 * contour[i % 12]
            pitch = _choose_pitch(rng, chord, tonic, mode, singer, previous, target, is_strong, is_final)
            is_legato = i > 0 and not is_strong and rng.random() < 0.3
            consonant, vowel = syllables[(phrase % 2 * 12 + i) % 24]
            if is_legato:
                consonant, vowel = "", notes[-1][4]
            loudness = 0.75 + 0.2 * (onset % meter == 0) - 0.1 * (section == "verse") + 0.05 * rng.random()
            notes.append((start, end, pitch, consonant, vowel, float(loudness), is_legato, i == 0))
            previous = pitch
    return notes


def _chord_at(chords: list[Chord], beat: float) -> Chord:
    return next((chord for chord in chords if chord.start_s <= beat < chord.end_s), chords[-1])


def _choose_pitch(
    rng: np.random.Generator,
    chord: Chord,
    tonic: int,
    mode: str,
    singer: Singer,
    previous: int,
    target: float,
    is_strong: bool,
    is_final: bool,
) -> int:
    """A pitch near the contour and the pitch before: chord tones where it matters, scale tones elsewhere."""
    triad = [(chord.root + interval) % 12 for interval in CHORD_INTERVALS[chord.quality][:3]]
    pitches = np.arange(singer.lowest_pitch, singer.highest_pitch + 1)
    classes = pitches % 12
    weights = np.zeros(len(pitches))
    if is_final:
        weights[classes == (tonic if tonic in triad else chord.root)] = 1.0
    elif is_strong:
        for pitch_class, weight in zip(triad, (1.0, 0.8, 0.3), strict=True):
            weights[classes == pitch_class] = weight
    else:
        for pitch_class in chord_scale(tonic, mode, tuple((chord.root + i) % 12 for i in CHORD_INTERVALS[chord.quality])):
            weights[classes == pitch_class] = 1.0 if pitch_class in triad else 0.5
    weights[classes == tonic] *= 1.8  # the ear finds the key by the note that is sung most
    step, reach = np.abs(pitches - previous), 4.5 if is_strong else 3.0
    weights *= np.exp(-0.5 * ((pitches - target) / 4.5) ** 2 - 0.5 * (step / reach) ** 2) * np.where(step == 0, 0.4, 1.0)
    weights = weights + 1e-12 * (weights.sum() <= 0)
    return int(pitches[np.searchsorted(np.cumsum(weights), rng.random() * weights.sum())])


def swing_beat(beat: float, swing: float) -> float:
    """Move the off-beat of a beat position from 0.5 to `swing`, linearly on both sides of it."""
    whole = np.floor(beat)
    part = beat - whole
    return float(whole + (part * swing / 0.5 if part < 0.5 else swing + (part - 0.5) * (1 - swing) / 0.5))


def _human_melody(
    rng: np.random.Generator, sung: list[tuple], beat_s: float, swing: float, singer: Singer
) -> tuple[MelodyNote, ...]:
    """Beats to seconds, with the singer's timing error; legato notes touch, others leave a gap."""
    errors = np.clip(rng.standard_normal(len(sung)), -2.0, 2.0) * singer.timing_s
    starts = [swing_beat(note[0], swing) * beat_s + error for note, error in zip(sung, errors, strict=True)]
    melody = []
    for i, (start, end, pitch, consonant, vowel, loudness, is_legato, _) in enumerate(sung):
        end_s = swing_beat(end, swing) * beat_s
        if i + 1 < len(sung) and sung[i + 1][0] <= end + 1e-6:
            next_is_legato = sung[i + 1][6]
            end_s = starts[i + 1] if next_is_legato else starts[i] + (starts[i + 1] - starts[i]) * singer.articulation
        melody.append(MelodyNote(starts[i], max(end_s, starts[i] + 0.08), pitch, consonant, vowel, loudness, is_legato))
    return tuple(melody)


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
