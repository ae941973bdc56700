"""Scales, chords and swung beats of procedural songs, and the random streams that everything in them is drawn from."""

import numpy as np

SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
HELD_OUT_SEED = 800_000  # songs from this seed on are for evaluation alone
CHORD_INTERVALS = {
    "maj": (0, 4, 7),
    "min": (0, 3, 7),
    "dim": (0, 3, 6),
    "sus4": (0, 5, 7),
    "7": (0, 4, 7, 10),
    "maj7": (0, 4, 7, 11),
    "min7": (0, 3, 7, 10),
    "m7b5": (0, 3, 6, 10),
}


def random_stream(seed: int, *keys: int) -> np.random.Generator:
    """A generator that depends on nothing but its arguments, so that any bar or phrase can be drawn alone."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *keys])))


def chord_scale(tonic: int, mode: str, pitch_classes: tuple[int, ...]) -> tuple[int, ...]:
    """Pitch classes that fit over a chord: the key's scale, bent to the chord's tones where it borrows."""
    scale = {(tonic + interval) % 12 for interval in SCALES[mode]}
    for pitch_class in pitch_classes:
        if pitch_class not in scale:
            for neighbour in ((pitch_class - 1) % 12, (pitch_class + 1) % 12):
                if neighbour in scale and neighbour not in pitch_classes:
                    scale.discard(neighbour)
                    break
            scale.add(pitch_class)
    return tuple(sorted(scale))


def swing_beat(beat: float, swing: float) -> float:
    """Move the off-beat of a beat position from 0.5 to `swing`, linearly on both sides of it."""
    whole = np.floor(beat)
    part = beat - whole
    return float(whole + (part * swing / 0.5 if part < 0.5 else swing + (part - 0.5) * (1 - swing) / 0.5))
