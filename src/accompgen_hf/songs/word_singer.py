"""Singers of words: a spoken line stretched over the notes of a phrase, with the singer's pitch and formants.

A syllable's vowel begins with its note, its consonants come just before, and a vowel lasts as long as its note, or as
the notes that glide on from it.
"""

from typing import NamedTuple

import numpy as np

from accompgen_hf.songs.annotation import MelodyNote
from accompgen_hf.songs.lyrics import write_line
from accompgen_hf.songs.speech import FLITE_VOICES, FRAME_S, VOWELS, Speech, make_voice, speak
from accompgen_hf.songs.voices import Singer

_LONGEST_CONSONANT_S = 0.13
_KEPT_EDGE_S = 0.05  # at both ends of a vowel, where it meets its neighbours, speech keeps its pace
_LEVEL = 0.5  # RMS of a sung vowel of loudness 1
_EVENNESS = 0.7  # how far the loudness of the spoken vowels is levelled


class _Syllable(NamedTuple):
    """Onset consonants, vowel and (at the end of a line) what follows, as spans of the speech in seconds."""

    onset: tuple[tuple[float, float], ...]
    vowel: tuple[float, float]
    coda: tuple[tuple[float, float], ...]


def sing_words(
    notes: list[MelodyNote], pitch: np.ndarray, singer: Singer, rng: np.random.Generator
) -> tuple[np.ndarray, int]:
    """Sing a phrase on words.

    Args:
        notes (list of `MelodyNote`): Notes, in times from the start of the sound. The first one leaves room for
            consonants.
        pitch (`np.ndarray`): MIDI pitch every 5 ms until the phrase has died away.
        singer (`Singer`): Singer with a `words_voice`.
        rng (`np.random.Generator`): Generator that chooses the words.

    Returns:
        float32 samples and their rate.
    """
    groups = _group_notes(notes)
    speech = speak(" ".join(write_line(rng, len(groups))), singer.words_voice)
    syllables = _syllables(speech)
    places, levels = _lay_out(groups, syllables, speech, len(pitch))
    is_sung = places >= 0.0
    rows = np.clip(np.rint(places / FRAME_S).astype(int), 0, len(speech.pitch_hz) - 1)
    is_voiced = is_sung & ((speech.pitch_hz[rows] > 0.0) | (levels > 0.0))
    factor = singer.formant_scale / FLITE_VOICES[singer.words_voice]
    envelope = _shift_formants(speech.envelope, factor)[rows]
    gains = _gains(envelope, levels, is_sung)
    aperiodicity = speech.aperiodicity[rows] ** (1.0 - 0.6 * singer.breathiness / 0.2)
    frequencies = np.linspace(0.0, 8000.0, envelope.shape[1])
    # A bright voice keeps its treble, a dark one loses up to 6 dB at 4 kHz.
    darkness_db = -6.0 * np.clip(np.log2(900.0 / singer.brightness_hz), -0.5, 1.0)
    tilt = 10.0 ** (darkness_db * np.log2(1.0 + frequencies / 1000.0) / np.log2(5.0) / 10.0)
    pitch_hz = np.where(is_voiced, 440.0 * 2.0 ** ((pitch - 69.0) / 12.0), 0.0)
    return make_voice(pitch_hz, envelope * tilt * gains[:, None] ** 2 + 1e-16, aperiodicity), 16000


def _group_notes(notes: list[MelodyNote]) -> list[list[MelodyNote]]:
    """Notes of one syllable: a legato note goes on with the vowel before it."""
    groups: list[list[MelodyNote]] = []
    for note in notes:
        if groups and note.is_legato:
            groups[-1].append(note)
        else:
            groups.append([note])
    return groups


def _syllables(speech: Speech) -> list[_Syllable]:
    spans: list[_Syllable] = []
    waiting: list[tuple[float, float]] = []
    for name, start_s, end_s in speech.phones:
        if name in VOWELS:
            spans.append(_Syllable(tuple(waiting), (start_s, end_s), ()))
            waiting = []
        else:
            waiting.append((start_s, end_s))
    if spans:
        spans[-1] = spans[-1]._replace(coda=tuple(waiting))
    return spans


def _lay_out(
    groups: list[list[MelodyNote]], syllables: list[_Syllable], speech: Speech, num_frames: int
) -> tuple[np.ndarray, np.ndarray]:
    """Per frame the place in the speech that sounds (-1 for none), and the vowel's loudness (0 outside vowels)."""
    places, levels = np.full(num_frames, -1.0), np.zeros(num_frames)
    ready = 0.0  # where the last vowel may not be cut any more
    vowel_ends = []
    for index, group in enumerate(groups):
        syllable = syllables[min(index, len(syllables) - 1)]
        start_s = group[0].start_s
        room_s = max(start_s - ready, 0.02)
        lengths = [min(end - start, _LONGEST_CONSONANT_S) for start, end in syllable.onset]
        pace = min(1.0, room_s / sum(lengths)) if lengths else 1.0
        onset_s = start_s - pace * sum(lengths)
        if vowel_ends:  # the vowel before ends where these consonants begin, or with its own note
            _fill_vowel(places, levels, *vowel_ends.pop(), onset_s)
        position = onset_s
        for (source_s, _), length_s in zip(syllable.onset, lengths, strict=True):
            _fill(places, position, position + pace * length_s, source_s, source_s + length_s)
            position += pace * length_s
        vowel_ends.append((group, syllable.vowel))
        ready = start_s + 0.55 * (group[-1].end_s - start_s)
    group, vowel = vowel_ends.pop()
    coda_s = sum(min(end - start, _LONGEST_CONSONANT_S) for start, end in syllables[-1].coda)
    end_s = group[-1].end_s - min(coda_s, 0.3 * (group[-1].end_s - group[0].start_s))
    _fill_vowel(places, levels, group, vowel, end_s)
    if len(groups) >= len(syllables):
        for source_s, source_end_s in syllables[-1].coda:
            length_s = min(source_end_s - source_s, _LONGEST_CONSONANT_S)
            _fill(places, end_s, end_s + length_s, source_s, source_s + length_s)
            end_s += length_s
    return places, levels


def _fill(places: np.ndarray, start_s: float, end_s: float, source_s: float, source_end_s: float) -> np.ndarray:
    """Let a span of the speech sound from `start_s` to `end_s`; returns the frames."""
    frames = np.arange(max(0, round(start_s / FRAME_S)), min(len(places), round(end_s / FRAME_S)))
    share = (frames * FRAME_S - start_s) / max(end_s - start_s, 1e-6)
    places[frames] = source_s + np.clip(share, 0.0, 1.0) * (source_end_s - source_s)
    return frames


def _fill_vowel(
    places: np.ndarray,
    levels: np.ndarray,
    group: list[MelodyNote],
    vowel: tuple[float, float],
    latest_s: float,
) -> None:
    """Stretch a vowel over its notes; its ends keep the pace of speech."""
    start_s, end_s = group[0].start_s, min(group[-1].end_s, latest_s)
    end_s = max(end_s, start_s + 0.05)
    source_s, source_end_s = vowel
    frames = _fill(places, start_s, end_s, source_s, source_end_s)
    edge_s = min(_KEPT_EDGE_S, 0.35 * (source_end_s - source_s), 0.3 * (end_s - start_s))
    times = frames * FRAME_S
    knots = [start_s, start_s + edge_s, end_s - edge_s, end_s]
    places[frames] = np.interp(times, knots, [source_s, source_s + edge_s, source_end_s - edge_s, source_end_s])
    starts = np.array([note.start_s for note in group])
    loudness = np.array([note.loudness for note in group])[
        np.clip(np.searchsorted(starts, times, side="right") - 1, 0, len(group) - 1)
    ]
    arc = 0.85 + 0.15 * np.sin(np.pi * np.clip((times - start_s) / (end_s - start_s), 0.0, 1.0))
    levels[frames] = np.maximum(loudness * arc, 0.05)


def _shift_formants(envelope: np.ndarray, factor: float) -> np.ndarray:
    """Move the formants of every frame up by `factor`: the voice of a shorter throat."""
    num_bins = envelope.shape[1]
    source = np.clip(np.arange(num_bins) / factor, 0.0, num_bins - 1.0)
    low = np.minimum(source.astype(int), num_bins - 2)
    share = source - low
    logs = np.log(envelope + 1e-16)
    return np.exp((1.0 - share) * logs[:, low] + share * logs[:, low + 1])


def _gains(envelope: np.ndarray, levels: np.ndarray, is_sung: np.ndarray) -> np.ndarray:
    """Amplitude per frame: vowels as loud as their notes, consonants as in speech beside them, nothing in rests."""
    rms = np.sqrt(envelope.mean(axis=1) / envelope.shape[1] * 2.0) + 1e-9
    is_vowel = levels > 0.0
    gains = np.zeros(len(levels))
    typical = np.median(rms[is_vowel])
    gains[is_vowel] = _LEVEL * levels[is_vowel] / (typical ** (1.0 - _EVENNESS) * rms[is_vowel] ** _EVENNESS)
    frames = np.arange(len(levels))
    is_consonant = is_sung & ~is_vowel
    gains[is_consonant] = np.interp(frames[is_consonant], frames[is_vowel], gains[is_vowel])
    # 20 ms in and out: the voice opens and closes.
    padded = np.pad(gains, 3, mode="constant")
    return np.convolve(padded, np.hanning(9)[1:-1] / np.hanning(9).sum(), mode="valid")
