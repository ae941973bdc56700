"""The beat and the chords that a singer implies, found in the ids of the voice over many seconds.

One id says little: it is sung a bit more often on the beat than off it, over one chord than over another. A tempo that
is the same for half a minute, and chords that change on beats and follow each other as in songs, make much of little.
No network of the stages' size learned to add it up in the training that it got.

Letters: C clusters, T frames of 50 Hz, S steps of two frames, H parts of a beat, G tempos, O offsets, 24 chords
(2 root + is minor) and 24 keys (12 is minor + tonic).
"""

import numpy as np

from .chords_in_keys_accompgen import find_chord_chances
from .told_song_accompgen import NOT_TOLD

PHASES_PER_BEAT = 12
NUM_CHORDS = 24
NO_PITCH = 12  # behind the twelve pitch classes: nobody sings

STEP_RATE = 25.0
_BPM = np.geomspace(50.0, 200.0, 400)
_NEAR_TOLD = np.linspace(0.99, 1.01, 9)
_USUAL_BPM, _BPM_OCTAVES = 110.0, 0.5  # tempos are lognormal around this one
_OFFSETS = 24
# Neighbouring frames say the same: what one step of 40 ms says counts so much. Set on songs for training.
_BEAT_WEIGHT, _CHORD_WEIGHT = 0.2, 0.14
_FLOOR = 1e-3  # what no table has seen stays possible
_SURE = 0.9  # chance of the chord that the band settles on


def find_beat_phases(
    beat_of_voice: np.ndarray, ids: np.ndarray, tempo_bpm: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Lay one tempo over all of a voice, and say where in the beat every step is.

    A tempo and an offset are as likely as the places in the beat that they give to the ids, over all steps; a tempo's
    prior is lognormal. As a tempogram does, it asks for what repeats; slow changes of tempo need shorter stretches.

    Args:
        beat_of_voice (`np.ndarray` of shape `(C, H)`): log p(part of the beat | id) - log p(part of the beat).
        ids (`np.ndarray` of shape `(T,)`): Ids of the voice.
        tempo_bpm (`float`, *optional*): The tempo, where it is told: singers keep it within 1 %.

    Returns:
        `np.ndarray` of shape `(S, H)`: probability of each part of the beat; and `(S,)`: that a beat begins there.
    """
    says = _BEAT_WEIGHT * _join_frames(beat_of_voice[ids])  # (S, H)
    num_steps = len(says)
    tempos = _BPM if tempo_bpm is None else tempo_bpm * _NEAR_TOLD
    usual = 0.0 if tempo_bpm is not None else -0.5 * (np.log2(tempos / _USUAL_BPM) / _BPM_OCTAVES)[:, None] ** 2
    beats = (np.arange(num_steps) + 0.5) / STEP_RATE * tempos[:, None] / 60.0  # (G, S)
    places = np.minimum((beats % 1.0 * _OFFSETS).astype(np.intp), _OFFSETS - 1)
    # What is said of part h of the beat at place o is summed once, and read for every offset.
    rows = (np.arange(len(tempos))[:, None] * _OFFSETS + places).ravel()
    num_rows = len(tempos) * _OFFSETS
    sums = np.stack(
        [np.bincount(rows, np.tile(of_part, len(tempos)), num_rows).reshape(-1, _OFFSETS) for of_part in says.T],
        axis=-1,
    )  # (G, O, H)
    place = np.arange(_OFFSETS)
    scores = np.stack(
        [
            sums[:, place, (place + offset) % _OFFSETS * PHASES_PER_BEAT // _OFFSETS].sum(1)
            for offset in range(_OFFSETS)
        ],
        axis=1,
    )  # (G, O)
    scores += usual
    chances = np.exp(scores - scores.max())
    chances /= chances.sum()
    phases, begins = np.zeros((num_steps, PHASES_PER_BEAT)), np.zeros(num_steps)
    for tempo, offset in np.argwhere(chances > 1e-4):
        of_beat = (beats[tempo] + offset / _OFFSETS) % 1.0
        phases[np.arange(num_steps), (of_beat * PHASES_PER_BEAT).astype(np.intp)] += chances[tempo, offset]
        begins += chances[tempo, offset] * (of_beat < tempos[tempo] / 60.0 / STEP_RATE)
    return phases / phases.sum(1, keepdims=True), np.minimum(begins, 1.0)


def find_chords(
    pitch_of_voice: np.ndarray,
    pitch_of_chord: np.ndarray,
    first_chord: np.ndarray,
    next_chord: np.ndarray,
    ids: np.ndarray,
    begins: np.ndarray,
    key: int | None = None,
    told: np.ndarray | None = None,
) -> np.ndarray:
    """The chords under a voice: hidden states that stay between beats, in a key that stays throughout.

    Args:
        pitch_of_voice (`np.ndarray` of shape `(C, 13)`): p(pitch class | id); the last is `NO_PITCH`.
        pitch_of_chord (`np.ndarray` of shape `(2, 12)`): p(pitch class above the root | chord is minor).
        first_chord (`np.ndarray` of shape `(2, 24)`): p(chord above the tonic | key is minor).
        next_chord (`np.ndarray` of shape `(2, 24, 24)`): The same after another chord, a beat later.
        ids (`np.ndarray` of shape `(T,)`): Ids of the voice.
        begins (`np.ndarray` of shape `(S,)`): Probability that a beat begins at a step.
        key (`int`, *optional*): The key, where it is told.
        told (`np.ndarray` of shape `(S,)`, *optional*): The chord of every step, `NOT_TOLD` where it has to be found.

    Returns:
        `np.ndarray` of shape `(S, 24)`: probability of each chord, with all that is sung before and after. Of a chord
        that is told it is one.
    """
    chords, tonics = np.arange(NUM_CHORDS), np.arange(12)
    pitches = (np.arange(12) - chords[:, None] // 2) % 12
    is_sung = pitch_of_voice[:, :NO_PITCH] @ pitch_of_chord[chords[:, None] % 2, pitches].T * 12  # (C, 24)
    says = np.log(np.maximum(is_sung + pitch_of_voice[:, NO_PITCH:], _FLOOR))
    likely = np.exp(_CHORD_WEIGHT * _join_frames(says[ids]))  # (S, 24)
    above = 2 * ((chords // 2 - tonics[:, None]) % 12) + chords % 2  # (12, 24)
    start = np.concatenate([mode[above] for mode in first_chord]) / 24  # (24 keys, 24)
    moves = np.concatenate([mode[above[:, :, None], above[:, None, :]] for mode in next_chord])  # (24 keys, 24, 24)
    if key is not None:
        start, moves = start[key : key + 1], moves[key : key + 1]
    if told is None:
        return find_chord_chances(likely, start, moves, begins)
    is_told = told != NOT_TOLD
    sure = np.eye(NUM_CHORDS)[told]  # of steps where nothing is told the last chord, which is not read
    likely = np.where(is_told[:, None], np.maximum(sure, _FLOOR), likely)  # chords around them fit them
    return np.where(is_told[:, None], sure, find_chord_chances(likely, start, moves, begins))


def settle_chords(chances: np.ndarray) -> np.ndarray:
    """Take the likeliest chord of every step nearly for certain: of two likely ones, each part may play another.

    Args:
        chances (`np.ndarray` of shape `(S, 24)`): Probability of each chord.

    Returns:
        `np.ndarray` of shape `(S, 24)`: the same, of a band that has agreed.
    """
    settled = np.full_like(chances, (1 - _SURE) / (NUM_CHORDS - 1))
    settled[np.arange(len(chances)), chances.argmax(1)] = _SURE
    return settled


def weigh_codes(chances: np.ndarray, ratios: np.ndarray) -> np.ndarray:
    """log p(code | what is heard) - log p(code), for what is heard not with certainty.

    Args:
        chances (`np.ndarray` of shape `(S, X)`): Probability of each of X things, such as chords.
        ratios (`np.ndarray` of shape `(..., C, X)`): p(thing | code) / p(thing).

    Returns:
        `np.ndarray` of shape `(S, ..., C)`, in nats.
    """
    return np.log(np.maximum(np.moveaxis(ratios @ chances.T, -1, 0), _FLOOR))


def _join_frames(said: np.ndarray) -> np.ndarray:
    """Means over the two frames of each step, `(T, X)` to `(S, X)`."""
    return said.reshape(len(said) // 2, 2, -1).mean(1)


__all__ = [
    "NO_PITCH",
    "NUM_CHORDS",
    "PHASES_PER_BEAT",
    "STEP_RATE",
    "find_beat_phases",
    "find_chords",
    "settle_chords",
    "weigh_codes",
]
