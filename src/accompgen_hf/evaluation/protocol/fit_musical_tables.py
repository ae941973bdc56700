"""Counts and fits the tables of key and beats: on training songs' scores and accompaniments, and metronomes.

Nothing of a model goes in, and nothing of a held-out song. examples/fit_musical_tables.py writes the result into the
package.
"""

import functools
import json
import re
import textwrap
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize

from accompgen_hf.accompgen.harmony_accompgen import MODES, NUM_DEGREES, PITCH_CLASSES, chord_path
from accompgen_hf.accompgen.rhythm_accompgen import (
    FRAME_RATE,
    METERS,
    list_hypotheses,
    onset_bands,
    rhythm_curves,
    tempo_candidates,
)
from accompgen_hf.songs.song import SongAnnotation

# A hypothesis is right if its tempo is, and its beats lie on the true ones at both ends of the excerpt.
_TEMPO_TOLERANCE, _BEAT_TOLERANCE_S, _DOWNBEAT_TOLERANCE_S = 0.03, 0.05, 0.08
_ONSET_DELAY_S = 0.01  # curves peak so much after a note begins
_PENALTY = 3e-3
_NUM_ROUNDS, _NUM_HARDEST, _NUM_OTHERS = 3, 300, 30
_TEMPO_STRIDE = 2
_LINE_LENGTH = 119
_BEGIN, _END = 'TABLES = """\\\n', '"""\n'


class RhythmExample(NamedTuple):
    """All hypotheses about one excerpt, of every meter one after the other, and which of them are right."""

    features: np.ndarray  # (num_hypotheses, weights of all meters)
    is_right: np.ndarray


def degree_of(root: int, quality: str, tonic: int) -> int:
    """Number of a chord in a key; `quality` as the songs write it."""
    kind = 1 if quality == "7" else 2 if quality.startswith("m") and not quality.startswith("maj") else 0
    return kind * PITCH_CLASSES + (root - tonic) % PITCH_CLASSES


def count_chords(annotations: Iterable[SongAnnotation]) -> dict[str, dict[str, list]]:
    """By mode: `seconds` of every degree, `(36,)`, and `steps`: degree, next degree, how often, and again."""
    counts = {mode: (np.zeros(NUM_DEGREES), np.zeros((NUM_DEGREES, NUM_DEGREES), dtype=int)) for mode in MODES}
    for annotation in annotations:
        seconds, steps = counts[annotation.mode]
        degrees = [degree_of(chord.root, chord.quality, annotation.tonic) for chord in annotation.chords]
        for chord, degree in zip(annotation.chords, degrees, strict=True):
            seconds[degree] += chord.end_s - chord.start_s
        for before, after in pairwise(degrees):
            steps[before, after] += 1
    return {
        mode: {
            "seconds": np.round(seconds, 1).tolist(),
            "steps": np.column_stack([*steps.nonzero(), steps[steps.nonzero()]]).ravel().tolist(),
        }
        for mode, (seconds, steps) in counts.items()
    }


def make_rhythm_example(
    accompaniment: np.ndarray, sampling_rate: int, tempo_bpm: float, meter: int | None, first_s: float
) -> RhythmExample:
    """The hypotheses about an accompaniment whose beats are known.

    Args:
        accompaniment (`np.ndarray` of shape `(num_samples,)`): Mono.
        sampling_rate (`int`): Hz.
        tempo_bpm (`float`): Beats per minute, constant.
        meter (`int`, *optional*): Beats of a bar; `None` for a metronome, where every bar is as good.
        first_s (`float`): A downbeat; negative if it lies before the excerpt.
    """
    curves = rhythm_curves(onset_bands(accompaniment, sampling_rate), chord_path(accompaniment, sampling_rate))
    duration_s = len(accompaniment) / sampling_rate
    features, is_right = [], []
    for tried_meter in METERS:
        for tried_bpm in tempo_candidates()[::_TEMPO_STRIDE]:
            downbeats, seen = list_hypotheses(curves, tried_bpm, tried_meter)
            features.append(_place(seen, tried_meter))
            if meter not in (None, tried_meter) or abs(tried_bpm / tempo_bpm - 1) > _TEMPO_TOLERANCE:
                is_right.append(np.zeros(len(downbeats), dtype=bool))
                continue
            starts_s = downbeats / FRAME_RATE - _ONSET_DELAY_S - first_s
            ends_s = (0.15 * duration_s - first_s, 0.85 * duration_s - first_s)
            errors = [_beat_errors(starts_s, 60.0 / tried_bpm, end_s, 60.0 / tempo_bpm) for end_s in ends_s]
            is_near = np.max(errors, axis=0) < _BEAT_TOLERANCE_S
            if meter is not None:
                bars = _beat_errors(starts_s, meter * 60.0 / tried_bpm, np.mean(ends_s), meter * 60.0 / tempo_bpm)
                is_near &= bars < _DOWNBEAT_TOLERANCE_S
            is_right.append(is_near)
    return RhythmExample(np.concatenate(features).astype(np.float16), np.concatenate(is_right))


def make_metronome(tempo_bpm: float, duration_s: float, sampling_rate: int, first_s: float) -> np.ndarray:
    """Clicks on beats, `(num_samples,)`: what is so plain that no weights may miss it."""
    audio = np.zeros(round(duration_s * sampling_rate), dtype=np.float32)
    times_s = np.arange(first_s, duration_s, 60.0 / tempo_bpm)
    audio[np.minimum(np.rint(times_s * sampling_rate).astype(int), len(audio) - 1)] = 0.9
    return audio


def _place(features: np.ndarray, meter: int) -> np.ndarray:
    """Features of one meter at their place among those of all."""
    widths = [4 * 4 * other + 3 for other in METERS]
    first = sum(widths[: METERS.index(meter)])
    return np.pad(features, ((0, 0), (first, sum(widths) - first - widths[METERS.index(meter)])))


def _beat_errors(starts_s: np.ndarray, step_s: float, time_s: float, true_step_s: float) -> np.ndarray:
    """How far the step of every grid that is nearest to a time lies from a step of the true one, which begins at 0."""
    nearest_s = starts_s + np.round((time_s - starts_s) / step_s) * step_s
    return np.abs((nearest_s + true_step_s / 2) % true_step_s - true_step_s / 2)


def fit_rhythm(examples: Sequence[RhythmExample], seed: int = 0) -> dict[str, list[float]]:
    """Weights under which right hypotheses win: multinomial logistic regression, with the hardest wrong ones.

    Raises:
        ValueError: If no example has a right hypothesis.
    """
    examples = [example for example in examples if example.is_right.any()]
    if not examples:
        raise ValueError("`examples` must hold a right hypothesis, got none. Are annotation and audio of one song?")
    rng = np.random.default_rng(seed)
    weights = np.concatenate([_first_weights(meter) for meter in METERS])
    chosen = [np.flatnonzero(example.is_right) for example in examples]
    for _ in range(_NUM_ROUNDS):
        for index, (features, is_right) in enumerate(examples):
            wrong = np.flatnonzero(~is_right)
            hardest = wrong[np.argsort(-(features[wrong] @ weights.astype(np.float32)))[:_NUM_HARDEST]]
            chosen[index] = np.unique(np.concatenate([chosen[index], hardest, rng.choice(wrong, _NUM_OTHERS)]))
        weights = _fit(examples, chosen, weights)
    widths = np.cumsum([16 * meter + 3 for meter in METERS])[:-1]
    return {
        str(meter): np.round(part, 3).tolist() for meter, part in zip(METERS, np.split(weights, widths), strict=True)
    }


def _first_weights(meter: int) -> np.ndarray:
    """Onsets on beats, whatever the rest."""
    weights = np.zeros((4 * meter, 4))
    weights[::4, :3] = 1.0
    return np.append(weights.ravel(), np.zeros(3))


def _fit(examples: Sequence[RhythmExample], chosen: Sequence[np.ndarray], start: np.ndarray) -> np.ndarray:
    features = np.concatenate([example.features[rows] for example, rows in zip(examples, chosen, strict=True)]).astype(
        np.float32
    )
    is_right = np.concatenate([example.is_right[rows] for example, rows in zip(examples, chosen, strict=True)])
    firsts = np.cumsum([0, *(len(rows) for rows in chosen[:-1])])
    sizes = [len(rows) for rows in chosen]

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        scores = (features @ weights.astype(np.float32)).astype(np.float64)
        exponentials = np.exp(scores - np.repeat(np.maximum.reduceat(scores, firsts), sizes))
        all_sums = np.add.reduceat(exponentials, firsts)
        right_sums = np.add.reduceat(exponentials * is_right, firsts) + 1e-300
        slopes = exponentials / np.repeat(all_sums, sizes) - exponentials * is_right / np.repeat(right_sums, sizes)
        gradient = features.T @ slopes.astype(np.float32) / len(sizes)
        value = np.mean(np.log(all_sums) - np.log(right_sums)) + _PENALTY * weights @ weights
        return float(value), gradient.astype(np.float64) + 2 * _PENALTY * weights

    return minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 60}).x


def make_tables(
    annotations: Iterable[SongAnnotation], examples: Sequence[RhythmExample], made_with: dict[str, Any]
) -> dict[str, Any]:
    """What `load_tables` gives."""
    return {"made_with": made_with, "chords": count_chords(annotations), "rhythm": fit_rhythm(examples)}


def format_tables(tables: dict[str, Any]) -> str:
    """JSON with one list of numbers after the other, in lines that a Python file may have."""
    text = re.sub(r"\[[^][]*\]", lambda found: " ".join(found[0].split()), json.dumps(tables, indent=1))
    wrap = functools.partial(textwrap.fill, width=_LINE_LENGTH, subsequent_indent="    ", break_on_hyphens=False)
    return "\n".join(line if len(line) <= _LINE_LENGTH else wrap(line) for line in text.split("\n")) + "\n"


def replace_tables(module: str, tables: dict[str, Any]) -> str:
    """The text of `musical_tables_accompgen.py` with other tables.

    Raises:
        ValueError: If the text does not hold the tables between triple quotes.
    """
    before, begin, rest = module.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise ValueError(f"`module` must hold its tables between {_BEGIN!r} and {_END!r}, got {module[:60]!r}.")
    return before + begin + format_tables(tables) + end + after
