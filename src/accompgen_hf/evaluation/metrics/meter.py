"""Tempo, meter and place of the beats, by how onsets and chord changes fall on the sixteenths of bars.

A hypothesis lays bars of three or four beats over four curves: onsets of three bands, and changes of chord. Its score
is the curves' means on the sixteenths of the bar times weights, plus a prior of tempo and meter: a linear form of the
rhythm patterns of Krebs, Böck & Widmer (2013). The weights are fitted on training songs (`musical_tables.json`).

Letters: F frames, C curves, P phases, K sixteenths.
"""

from typing import NamedTuple

import numpy as np

from accompgen_hf.evaluation.metrics.musical_tables import load_tables

FRAME_RATE = 100  # frames of the curves per second
MIN_BPM, MAX_BPM = 58.0, 172.0
METERS = (3, 4)
CURVES = ("low", "mid", "high", "chords")
SEGMENT_S = 10.0  # tempo and meter belong to the recording, phases to stretches of this length
_NUM_TEMPI = 110
_PHASE_STEP = 3.0  # frames
_PRIOR_BPM = 105.0


class Grid(NamedTuple):
    """Beats of one segment: frames between them, frame of one of them, and the segment's first and last frame."""

    period: float
    phase: float
    first: int
    end: int


class Hypotheses(NamedTuple):
    """Hypotheses of one tempo and meter: frame of a first downbeat `(P,)` and what the weights see `(P, features)`."""

    downbeats: np.ndarray
    features: np.ndarray


def tempo_candidates() -> np.ndarray:
    """Beats per minute that are tried, evenly spaced in ratio."""
    return np.exp(np.linspace(np.log(MIN_BPM), np.log(MAX_BPM), _NUM_TEMPI))


def list_hypotheses(curves: np.ndarray, tempo_bpm: float, meter: int) -> Hypotheses:
    """All places of the bar at one tempo and meter.

    Args:
        curves (`np.ndarray` of shape `(F, C)`): Curves, each with a standard deviation of one.
        tempo_bpm (`float`): Beats per minute.
        meter (`int`): Number of beats in a bar.
    """
    period, bar = 60.0 * FRAME_RATE / tempo_bpm, 4 * meter
    phases = np.arange(0.0, period, _PHASE_STEP)
    num_steps = -(-(int(len(curves) / (period / 4)) + 1) // bar) * bar  # whole bars
    frames = np.rint(phases[:, None] + period / 4 * np.arange(num_steps)).astype(int)  # (P, K)
    is_inside = frames < len(curves)
    values = np.where(is_inside[..., None], curves[np.minimum(frames, len(curves) - 1)], 0.0)
    sums = values.reshape(len(phases), -1, bar, curves.shape[1]).sum(axis=1)
    counts = is_inside.reshape(len(phases), -1, bar).sum(axis=1)
    means = sums / np.maximum(counts, 1)[..., None]  # (P, 4 * meter, C)
    rotated = [np.roll(means, -4 * beat, axis=1).reshape(len(phases), -1) for beat in range(meter)]
    octaves = np.log2(tempo_bpm / _PRIOR_BPM)
    prior = np.tile([octaves, octaves**2, 1.0], (meter * len(phases), 1))
    downbeats = np.concatenate([phases + beat * period for beat in range(meter)])
    return Hypotheses(downbeats, np.concatenate([np.concatenate(rotated), prior], axis=1))


def find_grids(curves: np.ndarray) -> list[Grid]:
    """The tempo and meter on which all segments agree best, with every segment's own phase.

    Args:
        curves (`np.ndarray` of shape `(F, C)`): Curves in the order of `CURVES`.
    """
    segments = np.array_split(curves, max(1, round(len(curves) / FRAME_RATE / SEGMENT_S)))
    weights = {meter: np.asarray(load_tables()["rhythm"][str(meter)]) for meter in METERS}
    best_score, best_tempo, best_phases = -np.inf, MIN_BPM, []
    for tempo_bpm in tempo_candidates():
        for meter in METERS:
            scores, phases = [], []
            for segment in segments:
                downbeats, features = list_hypotheses(segment, tempo_bpm, meter)
                score = features @ weights[meter]
                scores.append(score.max())
                phases.append(downbeats[score.argmax()])
            if np.mean(scores) > best_score:
                best_score, best_tempo, best_phases = np.mean(scores), tempo_bpm, phases
    period = 60.0 * FRAME_RATE / best_tempo
    ends = np.cumsum([len(segment) for segment in segments])
    return [
        Grid(period, float(start + phase % period), int(start), int(end))
        for start, end, phase in zip([0, *ends[:-1]], ends, best_phases, strict=True)
    ]
