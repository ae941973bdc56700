"""Tempo of a voice alone, for retrieval: the even grid that its onsets and changes of harmony fit best.

The grid of `rhythm_accompgen` is made for bands with drums and bass, and finds a voice's tempo less often.
"""

import numpy as np

from accompgen_hf.accompgen.harmony_accompgen import chord_path
from accompgen_hf.accompgen.rhythm_accompgen import FRAME_RATE, chord_changes, has_onsets, onset_bands, onset_strength

MIN_BPM, MAX_BPM = 60.0, 170.0
_NUM_TEMPI = 140
_USUAL_BPM = 110.0


def estimate_voice_tempo(vocals: np.ndarray, sampling_rate: int) -> float:
    """Beats per minute of mono vocals `(num_samples,)`; 0 where nothing repeats."""
    bands = onset_bands(vocals, sampling_rate)
    if not has_onsets(bands):
        return 0.0
    strength = onset_strength(bands)
    changes = chord_changes(chord_path(vocals, sampling_rate), strength)
    best_score, best_bpm = -np.inf, 0.0
    for tempo_bpm in np.exp(np.linspace(np.log(MIN_BPM), np.log(MAX_BPM), _NUM_TEMPI)):
        period = 60.0 * FRAME_RATE / tempo_bpm
        phases = np.arange(0, period, 2.0)
        quarters = 0.5 * (
            _mean_on_grid(strength, (phases + period / 4) % period, period)
            + _mean_on_grid(strength, (phases + 3 * period / 4) % period, period)
        )
        scores = _mean_on_grid(strength, phases, period) - 0.3 * quarters
        if len(changes):
            distances = (changes - phases[:, None] + period / 2) % period - period / 2
            scores += 2.0 * (np.exp(-0.5 * (distances / 4) ** 2).mean(axis=1) - 10 / period)  # 10 / period is chance
        score = ((scores + 3.0) * np.exp(-0.5 * np.log2(tempo_bpm / _USUAL_BPM) ** 2)).max()
        if score > best_score:
            best_score, best_bpm = score, float(tempo_bpm)
    return best_bpm


def _mean_on_grid(strength: np.ndarray, phases: np.ndarray, period: float) -> np.ndarray:
    """Mean of the curve on the grid of every phase: (num_phases,)"""
    frames = np.rint(phases[:, None] + period * np.arange(int(len(strength) / period) + 1)).astype(int)
    is_inside = frames < len(strength)
    values = np.where(is_inside, strength[np.minimum(frames, len(strength) - 1)], 0.0)
    return values.sum(axis=1) / np.maximum(is_inside.sum(axis=1), 1)
