"""Count what ids have to do with beats and chords in songs whose beats and chords are known.

Letters: C clusters, P parts, H parts of a beat, T frames.
"""

from collections.abc import Iterable

import numpy as np
import torch

from accompgen_hf.accompgen.configuration_accompgen import AccompGenSemanticConfig
from accompgen_hf.accompgen.listener_accompgen import AccompGenListener
from accompgen_hf.accompgen.listening_accompgen import NO_PITCH, NUM_CHORDS, PHASES_PER_BEAT
from accompgen_hf.data.shards import TokenRow
from accompgen_hf.songs.annotation import SongAnnotation
from accompgen_hf.training.semantic_encoder.pool import FRAME_RATE, find_beat_places, label_frames, number_chords

# Counts that every cell starts with: an id that was seen a few times only says little.
_BEAT_PRIOR, _CHORD_PRIOR, _PITCH_PRIOR, _MOVE_PRIOR = 0.5, 0.25, 0.05, 0.05


def fit_listener(
    config: AccompGenSemanticConfig, songs: Iterable[tuple[TokenRow, SongAnnotation]]
) -> AccompGenListener:
    """Make a listener from songs.

    Args:
        config (`AccompGenSemanticConfig`): Config of the stage, for the numbers of clusters and parts.
        songs (iterable of `tuple`): Tokens of each song, and what is sung and played in it.
    """
    num_clusters, num_parts = config.num_clusters, len(config.part_names)
    beat_of_voice = np.full((num_clusters, PHASES_PER_BEAT), _BEAT_PRIOR)
    pitch_of_voice = np.full((num_clusters, NO_PITCH + 1), _PITCH_PRIOR)
    pitch_of_chord = np.ones((2, 12))
    first_chord = np.full((2, NUM_CHORDS), _BEAT_PRIOR)
    next_chord = np.full((2, NUM_CHORDS, NUM_CHORDS), _MOVE_PRIOR)
    beat_of_code = np.full((num_parts, num_clusters, PHASES_PER_BEAT), _BEAT_PRIOR)
    chord_of_code = np.full((num_parts, num_clusters, NUM_CHORDS), _CHORD_PRIOR)
    for row, annotation in songs:
        voice, codes = row.vocal_semantic_ids, row.instrumental_semantic_ids.reshape(num_parts, -1)
        labels = label_frames(annotation, len(voice))
        chords = number_chords(labels, -1)
        places = find_beat_places(annotation, len(voice), PHASES_PER_BEAT)
        pitches = np.where(labels["midi_pitch"] >= 0, labels["midi_pitch"] % 12, NO_PITCH).astype(int)
        has_chord = chords >= 0
        is_sung = has_chord & (pitches < NO_PITCH)
        np.add.at(beat_of_voice, (voice, places), 1)
        np.add.at(pitch_of_voice, (voice, pitches), 1)
        above = (pitches - chords // 2) % 12
        np.add.at(pitch_of_chord, (chords[is_sung] % 2, above[is_sung]), 1)
        for part in range(num_parts):
            np.add.at(beat_of_code[part], (codes[part], places), 1)
            np.add.at(chord_of_code[part], (codes[part][has_chord], chords[has_chord]), 1)
        _count_moves(annotation, chords, first_chord, next_chord)
    beat_shares = _shares(beat_of_voice.sum(0))
    tables = {
        "beat_of_voice": np.log(_shares(beat_of_voice) / beat_shares),
        "pitch_of_voice": _shares(pitch_of_voice),
        "pitch_of_chord": _shares(pitch_of_chord),
        "first_chord": _shares(first_chord),
        "next_chord": _shares(next_chord),
        "beat_of_code": _shares(beat_of_code) / _shares(beat_of_code.sum(1, keepdims=True)),
        "chord_of_code": _shares(chord_of_code) / _shares(chord_of_code.sum(1, keepdims=True)),
    }
    listener = AccompGenListener(num_clusters, num_parts)
    listener.load_state_dict({name: torch.from_numpy(table).float() for name, table in tables.items()})
    return listener


def _count_moves(
    annotation: SongAnnotation, chords: np.ndarray, first_chord: np.ndarray, next_chord: np.ndarray
) -> None:
    """Count chords in the middle of beats, seen from the tonic, and which follow which."""
    is_minor, last = int(annotation.mode == "minor"), None
    for beat in range(int(len(chords) / FRAME_RATE / annotation.beat_s)):
        chord = chords[int((beat + 0.5) * annotation.beat_s * FRAME_RATE)]
        if chord < 0:
            last = None
            continue
        above = 2 * ((chord // 2 - annotation.tonic) % 12) + chord % 2
        first_chord[is_minor, above] += 1
        if last is not None:
            next_chord[is_minor, last, above] += 1
        last = above


def _shares(counts: np.ndarray) -> np.ndarray:
    return counts / counts.sum(-1, keepdims=True)
