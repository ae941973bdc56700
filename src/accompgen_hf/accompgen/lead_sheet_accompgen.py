"""The lead sheet of an accompaniment: key, tempo, meter, beats, bars, and a chord per half bar.

A sheet is a `dict` of numbers, strings and lists, so that JSON holds it:

- `duration_s` (`float`): Length of the accompaniment.
- `key` (`str` or `None`): For example "Eb minor"; `None` where hardly a chord was heard.
- `tempo_bpm` (`float`), `meter` (`int`, 3 or 4): Beats per minute and beats of a bar; `None` where no beat was heard.
- `beat_times`, `downbeat_times` (`list` of `float`): Seconds; empty where no beat was heard.
- `chords` (`list` of `dict`): From 0 to the end without gaps, each with `start_s`, `end_s`, `name` as people write it,
  `root` (C is 0) and `quality` ("maj", "min", "7", "maj7" or "min7"). Where no chord was heard, `name` is "N" and the
  other two are `None`. With beats there is one chord for each half of a bar: in bars of four beats from the first and
  the third beat on, in bars of three, too. Without beats there is one for each stretch of the same chord.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from .harmony_accompgen import (
    CHORD_HOP_S,
    NO_CHORD,
    PITCH_CLASSES,
    ChordSpan,
    Harmony,
    HarmonyListener,
    Key,
    as_mono,
    chord_spans,
    find_key,
    fit_chords,
    smooth_chords,
)
from .rhythm_accompgen import (
    FRAME_RATE,
    OnsetBands,
    bar_means,
    curves_at,
    find_grids,
    follow_beats,
    has_beats,
    onset_strength,
    rhythm_curves,
    rhythm_weights,
)

LeadSheet = dict[str, Any]

DRUMS, BASS = "drums", "bass"  # names of parts
_HALVES = (0, 2)  # beats of a bar at which a chord may change
_CHANGE_COST = 4.0  # of a chord, from one half bar to the next; less than between frames, as changes fall on halves
_SHORTEST_STEP = 0.6  # between beats, in periods
_SHORTEST_CHORD_S = 0.15  # at both ends of the recording
# Intervals of the sevenths, and how far they must stand out of the chroma. On 24 true bands of training songs with the
# right triad, over 0.9 of the time that is then called a seventh is one.
_SEVENTHS = {"7": (10, 0.05), "maj7": (11, 0.11), "min7": (10, 0.075)}
_FIFTHS = ("F", "C", "G", "D", "A", "E", "B")
_SUFFIXES = {"maj": "", "min": "m", "7": "7", "maj7": "maj7", "min7": "m7"}
_DIGITS = 3  # of a second


class LeadSheetListener:
    """Hears an accompaniment that arrives in chunks; `finish` gives its sheet. Chunks give the bits of the whole.

    Args:
        sampling_rate (`int`): Rate of the chunks in Hz.
    """

    def __init__(self, sampling_rate: int):
        self._sampling_rate, self._num_samples = sampling_rate, 0
        self._harmony, self._onsets = HarmonyListener(sampling_rate), OnsetBands(sampling_rate)

    def push(self, audio: np.ndarray, stems: Mapping[str, np.ndarray] | None = None) -> None:
        """Take the next samples.

        Args:
            audio (`np.ndarray` of shape `(num_samples,)`): Mono, full scale at 1.0.
            stems (`dict`, *optional*): Its parts by name, each of this shape. Then roots come from `bass`, and drums
                are no part of the harmony.

        Raises:
            ValueError: If `audio` is not mono.
        """
        audio = as_mono(audio).astype(np.float32)
        self._num_samples += len(audio)
        self._onsets.push(audio)
        if stems is None:
            self._harmony.push(audio)
            return
        silence = np.zeros_like(audio)
        bass = stems.get(BASS, silence)
        treble = sum((stem for name, stem in stems.items() if name not in (DRUMS, BASS)), silence)
        self._harmony.push(treble + bass, treble, bass)

    def finish(self) -> LeadSheet:
        """What has been heard."""
        harmony, bands = self._harmony.finish(), self._onsets.finish()
        fits = fit_chords(harmony.treble, harmony.bass)
        path = smooth_chords(fits)
        key = find_key(harmony, path)
        duration_s = self._num_samples / self._sampling_rate
        sheet: LeadSheet = {"duration_s": round(duration_s, _DIGITS), "key": None if key is None else key_name(key)}
        sheet |= {"tempo_bpm": None, "meter": None, "beat_times": [], "downbeat_times": []}
        spans = chord_spans(path, duration_s)
        if has_beats(bands):
            curves = rhythm_curves(bands, path)
            grids = find_grids(curves)
            beats = follow_beats(onset_strength(bands), grids)
            times, meter = _even_out(beats.times, 60.0 / beats.tempo_bpm), grids[0].meter
            first = _find_downbeat(curves, times, meter)
            sheet |= {"tempo_bpm": round(float(beats.tempo_bpm), 2), "meter": meter}
            sheet |= {"beat_times": _rounded(times), "downbeat_times": _rounded(times[first::meter])}
            spans = _chords_of_halves(fits, _halves(times, first, meter, duration_s))
        sheet["chords"] = _describe_chords(spans, harmony, key)
        return sheet


def make_lead_sheet(audio: np.ndarray, sampling_rate: int, stems: Mapping[str, np.ndarray] | None = None) -> LeadSheet:
    """The lead sheet of a whole accompaniment; arguments as for [`LeadSheetListener`] and its `push`."""
    listener = LeadSheetListener(sampling_rate)
    listener.push(audio, stems)
    return listener.finish()


def _even_out(times: np.ndarray, period_s: float) -> np.ndarray:
    """Beats in even steps, without half beats, and with those that a long step skips: (num_heard,) -> (num_beats,)"""
    kept = [times[0]]
    for time in times[1:]:
        if time - kept[-1] > _SHORTEST_STEP * period_s:
            kept.append(time)
    times = np.array(kept)
    counts = np.maximum(1, np.rint(np.diff(times) / period_s)).astype(int)
    places = np.concatenate([[0], np.cumsum(counts)])
    return np.interp(np.arange(places[-1] + 1), places, times)


def _find_downbeat(curves: np.ndarray, times: np.ndarray, meter: int) -> int:
    """Index of the first downbeat among the beats: where onsets and chord changes fit the sixteenths of bars best."""
    ends = np.append(times, 2 * times[-1] - times[-2] if len(times) > 1 else times[-1])
    steps = np.interp(np.arange(4 * len(times)) / 4, np.arange(len(ends)), ends)
    frames = np.rint(FRAME_RATE * steps).astype(int)
    frames = np.pad(frames, (0, -len(frames) % (4 * meter)), constant_values=len(curves))  # whole bars
    values, is_inside = curves_at(curves, frames[None])
    scores = bar_means(values, is_inside, meter).reshape(-1) @ rhythm_weights(meter)[0]
    return int(scores.argmax()) if len(times) >= meter else 0


def _halves(times: np.ndarray, first: int, meter: int, duration_s: float) -> np.ndarray:
    """Where halves of bars begin, from 0 on, and the end of the recording: (num_halves + 1,)

    Before the first and after the last beat the bars go on evenly.
    """
    step_s = float(np.median(np.diff(times))) if len(times) > 1 else duration_s
    num_before, num_after = int(times[0] / step_s) + 1, int((duration_s - times[-1]) / step_s) + 1
    before = times[0] - step_s * np.arange(num_before, 0, -1)
    times = np.concatenate([before, times, times[-1] + step_s * np.arange(1, num_after + 1)])
    places = (np.arange(len(times)) - num_before - first) % meter
    cuts = times[np.isin(places, _HALVES)]
    cuts = cuts[(cuts > _SHORTEST_CHORD_S) & (cuts < duration_s - _SHORTEST_CHORD_S)]
    return np.concatenate([[0.0], cuts, [duration_s]])


def _chords_of_halves(fits: np.ndarray, bounds: np.ndarray) -> list[ChordSpan]:
    """The chords that fit best if they change at these bounds alone."""
    firsts = np.minimum(np.rint(bounds[:-1] / CHORD_HOP_S).astype(int), len(fits) - 1)
    path = smooth_chords(np.add.reduceat(fits, firsts), _CHANGE_COST)
    return [
        ChordSpan(float(start_s), float(end_s), int(chord))
        for start_s, end_s, chord in zip(bounds[:-1], bounds[1:], path, strict=True)
    ]


def _describe_chords(spans: list[ChordSpan], harmony: Harmony, key: Key | None) -> list[dict[str, Any]]:
    chords = []
    first = 0
    while first < len(spans):  # a seventh is looked for as long as a chord stays
        end = next((end for end in range(first, len(spans)) if spans[end].chord != spans[first].chord), len(spans))
        frames = slice(int(spans[first].start_s / CHORD_HOP_S) + 1, int(spans[end - 1].end_s / CHORD_HOP_S))
        root, quality = _name_quality(spans[first].chord, harmony.treble[frames])
        name = "N" if root is None else f"{spell_root(root, key)}{_SUFFIXES[quality]}"
        chords += [
            {
                "start_s": round(span.start_s, _DIGITS),
                "end_s": round(span.end_s, _DIGITS),
                "name": name,
                "root": root,
                "quality": quality,
            }
            for span in spans[first:end]
        ]
        first = end
    return chords


def _name_quality(chord: int, treble: np.ndarray) -> tuple[int | None, str | None]:
    """Root and quality of a chord number, with the seventh that stands out of the chroma `(num_frames, 12)`."""
    if chord == NO_CHORD:
        return None, None
    root, is_minor = chord % PITCH_CLASSES, chord >= PITCH_CLASSES
    for quality in ("min7",) if is_minor else ("7", "maj7"):
        interval, threshold = _SEVENTHS[quality]
        if len(treble) and treble[:, (root + interval) % PITCH_CLASSES].mean() > threshold:
            return root, quality
    return root, "min" if is_minor else "maj"


def _fifths_of(key: Key) -> int:
    """Sharps of a key's signature, flats below zero: in [-6, 6]."""
    major_tonic = (key.tonic + (3 if key.mode == "minor" else 0)) % PITCH_CLASSES
    sharps = 7 * major_tonic % PITCH_CLASSES  # fifths above C
    return sharps - PITCH_CLASSES if sharps > (5 if key.mode == "minor" else 6) else sharps


def spell_root(root: int, key: Key | None) -> str:
    """Name of a pitch class among the chords of a key: flats or sharps, as musicians write them; `None` is like C."""
    lowest = min(max((0 if key is None else _fifths_of(key)) - 5, -6), -1)  # no E sharp, and no C flat
    fifths = lowest + (7 * root - lowest) % PITCH_CLASSES
    octaves, place = divmod(fifths + 1, 7)
    return _FIFTHS[place] + ("b" * -octaves if octaves < 0 else "#" * octaves)


def key_name(key: Key) -> str:
    """For example "Eb minor"."""
    return f"{spell_root(key.tonic, key)} {key.mode}"


def _rounded(times: np.ndarray) -> list[float]:
    return [round(float(time), _DIGITS) for time in times]


__all__ = ["BASS", "DRUMS", "LeadSheet", "LeadSheetListener", "key_name", "make_lead_sheet", "spell_root"]
