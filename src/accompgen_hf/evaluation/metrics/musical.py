"""What an accompaniment plays and how well it fits, in one place: pitch classes, key, chords, beats and all scores."""

from accompgen_hf.evaluation.metrics.beats import Beats, score_beats, track_beats
from accompgen_hf.evaluation.metrics.chords import PITCH_CLASSES, ChordSpan, detect_chords, score_chords
from accompgen_hf.evaluation.metrics.keys import (
    KEY_PROFILES,
    Key,
    best_tonic,
    chroma,
    detect_key,
    key_correlations,
    score_key,
)
from accompgen_hf.evaluation.metrics.musical_scores import score_accompaniment

__all__ = [
    "KEY_PROFILES",
    "PITCH_CLASSES",
    "Beats",
    "ChordSpan",
    "Key",
    "best_tonic",
    "chroma",
    "detect_chords",
    "detect_key",
    "key_correlations",
    "score_accompaniment",
    "score_beats",
    "score_chords",
    "score_key",
    "track_beats",
]
