"""Scores of beats that `rhythm_accompgen` hears."""

import numpy as np

BEAT_TOLERANCE_S = 0.07


def score_beats(heard: np.ndarray, truth: np.ndarray) -> float | None:
    """F measure of beat times in seconds, hits within 70 ms and one to one; `None` if there are no true beats.

    Equals `mir_eval.beat.f_measure`; the first five seconds count too, since clips are short.
    """
    heard, truth = np.sort(np.asarray(heard, dtype=np.float64)), np.sort(np.asarray(truth, dtype=np.float64))
    if len(truth) == 0:
        return None
    hits, place = 0, 0
    for time in truth:  # beats lie further apart than twice the tolerance: the first in reach is the match
        while place < len(heard) and heard[place] < time - BEAT_TOLERANCE_S:
            place += 1
        if place < len(heard) and heard[place] <= time + BEAT_TOLERANCE_S:
            hits, place = hits + 1, place + 1
    return 2.0 * hits / (len(heard) + len(truth))
