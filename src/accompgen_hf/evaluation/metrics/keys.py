"""Scores of keys that `harmony_accompgen` hears, and the tonic of a known mode."""

import numpy as np

from accompgen_hf.accompgen.harmony_accompgen import PITCH_CLASSES, Key, chroma, key_correlations


def best_tonic(audio: np.ndarray, sampling_rate: int, mode: str) -> int:
    """Tonic (C is 0) of the key of `mode` that the audio's pitch classes fit best."""
    return int(key_correlations(chroma(audio, sampling_rate).mean(axis=1), mode).argmax())


def score_key(heard: Key | None, truth: Key) -> dict[str, float]:
    """How near two keys are.

    Returns:
        `dict`: `exact` (0 or 1), `relative` (1 also for the relative key, which has the same notes) and `mirex` (1;
        0.5 a fifth up or down in the same mode, 0.3 the relative, 0.2 the parallel key; 0 otherwise, and for no key).
    """
    if heard is None:
        return {"exact": 0.0, "relative": 0.0, "mirex": 0.0}
    step = (heard.tonic - truth.tonic) % PITCH_CLASSES
    is_exact = heard == truth
    is_relative = heard.mode != truth.mode and step == (9 if truth.mode == "major" else 3)
    if is_exact:
        mirex = 1.0
    elif heard.mode == truth.mode and step in (5, 7):
        mirex = 0.5
    elif is_relative:
        mirex = 0.3
    else:
        mirex = 0.2 if step == 0 else 0.0
    return {"exact": float(is_exact), "relative": float(is_exact or is_relative), "mirex": mirex}
