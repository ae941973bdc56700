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

Where a span was made anew, the sheet from before stays outside of it: the span's beats and chords are heard anew, on a
grid that goes through.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from .frames_accompgen import BLOCK_DURATION_S
from .harmony_accompgen import (
    CHORD_HOP_S,
    MODES,
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
    nearest_onset,
    onset_strength,
    rhythm_curves,
    rhythm_weights,
)

LeadSheet = dict[str, Any]

DRUMS, BASS = "drums", "bass"  # names of parts
_HALVES = (0, 2)  # beats of a bar at which a chord may change
_CHANGE_COST = 4.0  # of a chord, from one half bar to the next; less than between frames, as changes fall on halves
_SHORTEST_STEP = 0.6  # between beats, in periods
_SHORTEST_CHORD_S = 0.15  # at both ends of the recording, and of a span that was made anew
# Intervals of the sevenths, and how far they must stand out of the chroma. On 24 true bands of training songs with the
# right triad, over 0.9 of the time that is then called a seventh is one.
_SEVENTHS = {"7": (10, 0.05), "maj7": (11, 0.11), "min7": (10, 0.075)}
_FIFTHS = ("F", "C", "G", "D", "A", "E", "B")
_SUFFIXES = {"maj": "", "min": "m", "7": "7", "maj7": "maj7", "min7": "m7"}
QUALITIES = tuple(_SUFFIXES)
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

    def finish(self, earlier: LeadSheet | None = None, span_s: tuple[float, float | None] | None = None) -> LeadSheet:
        """What has been heard.

        Args:
            earlier (`dict`, *optional*): The sheet from before a span was made anew, or the recording went on. Outside
                of the span it stays, and so do tempo, meter, key and the number of beats. Without it, or where it has
                nothing to go on with, all is heard anew.
            span_s (pair of `float`, *optional*): Start and end of the span in seconds; `None` is the recording's end.
        """
        harmony, bands = self._harmony.finish(), self._onsets.finish()
        fits = fit_chords(harmony.treble, harmony.bass)
        duration_s = self._num_samples / self._sampling_rate
        if earlier is not None and span_s is not None and goes_on(earlier, span_s, duration_s):
            return _rewrite_span(earlier, span_s, duration_s, harmony, fits, onset_strength(bands))
        path = smooth_chords(fits)
        key = find_key(harmony, path)
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


def make_lead_sheet(
    audio: np.ndarray,
    sampling_rate: int,
    stems: Mapping[str, np.ndarray] | None = None,
    earlier: LeadSheet | None = None,
    span_s: tuple[float, float | None] | None = None,
) -> LeadSheet:
    """The lead sheet of a whole accompaniment; arguments as for [`LeadSheetListener`], its `push` and `finish`."""
    audio, listener = as_mono(audio), LeadSheetListener(sampling_rate)
    size = round(BLOCK_DURATION_S * sampling_rate)
    for block in (slice(start, start + size) for start in range(0, len(audio), size)):
        listener.push(audio[block], None if stems is None else {name: stem[block] for name, stem in stems.items()})
    return listener.finish(earlier, span_s)


def goes_on(earlier: LeadSheet, span_s: tuple[float, float | None], duration_s: float) -> bool:
    """Whether a sheet stays outside of a span that was made anew, in a recording that may be longer now.

    It does not where the span is all of the recording, nor where it has no beats by which a longer one could go on.
    """
    is_all = span_s[0] <= 0 and (span_s[1] is None or span_s[1] >= duration_s)
    return not is_all and (bool(earlier["beat_times"]) or not _is_longer(duration_s, earlier))


def _is_longer(duration_s: float, earlier: LeadSheet) -> bool:
    return round(duration_s, _DIGITS) > earlier["duration_s"]


def _rewrite_span(
    earlier: LeadSheet,
    span_s: tuple[float, float | None],
    duration_s: float,
    harmony: Harmony,
    fits: np.ndarray,
    strength: np.ndarray,
) -> LeadSheet:
    """The earlier sheet, with the span's beats and chords as they are heard now."""
    start_s, end_s = min(span_s[0], earlier["duration_s"]), duration_s
    if span_s[1] is not None:
        end_s = min(span_s[1], duration_s)
    sheet = {**earlier, "duration_s": round(duration_s, _DIGITS)}
    lines = np.zeros(0)
    if earlier["beat_times"]:
        times, meter = _rehear_beats(earlier, start_s, end_s, duration_s, strength), earlier["meter"]
        first = earlier["beat_times"].index(earlier["downbeat_times"][0])
        sheet |= {"beat_times": _rounded(times), "downbeat_times": _rounded(times[first::meter])}
        lines = _halves(times, first, meter, duration_s)
    # A chord that began just outside begins with the span, and so one that ends there.
    bounds = np.array([0.0, *(chord["end_s"] for chord in earlier["chords"]), duration_s])
    start_s, end_s = (_nearest(bounds, edge_s) for edge_s in (start_s, end_s))
    if end_s - start_s < _SHORTEST_CHORD_S:
        *others, last = earlier["chords"]
        return {**sheet, "chords": [*others, {**last, "end_s": sheet["duration_s"]}]}
    inside = lines[(lines > start_s + _SHORTEST_CHORD_S) & (lines < end_s - _SHORTEST_CHORD_S)]
    bounds = np.array([start_s, *inside, end_s])
    spans = _chords_of_halves(fits, bounds) if len(lines) else _chords_between(fits, start_s, end_s)
    chords = _describe_chords(spans, harmony, _find_named_key(earlier["key"]))
    before, after = _cut_chords(earlier, 0.0, start_s), _cut_chords(earlier, end_s, duration_s)
    sheet["chords"] = _join_chords(_join_chords(before, chords, lines), after, lines)
    return sheet


def _rehear_beats(
    earlier: LeadSheet, start_s: float, end_s: float, duration_s: float, strength: np.ndarray
) -> np.ndarray:
    """The beats of the earlier sheet; those inside the span move to the onsets, and new ones follow behind the end."""
    times = [-np.inf, *earlier["beat_times"], np.inf]
    for place, time in enumerate(times):
        if start_s < time < end_s:
            low = max(start_s, (times[place - 1] + time) / 2)
            times[place] = min(max(nearest_onset(strength, time), low), end_s, (time + times[place + 1]) / 2)
    times = times[1:-1]
    step_s = float(np.median(np.diff(times))) if len(times) > 1 else 60.0 / earlier["tempo_bpm"]
    while _is_longer(duration_s, earlier) and times[-1] + step_s < duration_s:
        times.append(max(nearest_onset(strength, times[-1] + step_s), times[-1] + _SHORTEST_STEP * step_s))
    return np.array(times)


def _nearest(bounds: np.ndarray, edge_s: float) -> float:
    """The bound next to an edge, or the edge if none is near."""
    nearest = float(bounds[np.abs(bounds - edge_s).argmin()])
    return nearest if abs(nearest - edge_s) < _SHORTEST_CHORD_S else edge_s


def _cut_chords(sheet: LeadSheet, start_s: float, end_s: float) -> list[dict[str, Any]]:
    """The chords of a sheet between two instants."""
    start_s, end_s = round(start_s, _DIGITS), round(end_s, _DIGITS)
    return [
        {**chord, "start_s": max(chord["start_s"], start_s), "end_s": min(chord["end_s"], end_s)}
        for chord in sheet["chords"]
        if chord["start_s"] < end_s and chord["end_s"] > start_s
    ]


def _join_chords(before: list[dict[str, Any]], after: list[dict[str, Any]], lines: np.ndarray) -> list[dict[str, Any]]:
    """Chords in a row; a half bar that the edge between them divides is one again if its chords are the same."""
    if before and after and before[-1]["name"] == after[0]["name"]:
        edge_s = after[0]["start_s"]
        if not len(lines) or np.abs(lines - edge_s).min() > _SHORTEST_CHORD_S:
            return [*before[:-1], {**before[-1], "end_s": after[0]["end_s"]}, *after[1:]]
    return before + after


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
    end = int(np.rint(bounds[-1] / CHORD_HOP_S)) + 1
    path = smooth_chords(np.add.reduceat(fits[:end], firsts), _CHANGE_COST)
    return [
        ChordSpan(float(start_s), float(end_s), int(chord))
        for start_s, end_s, chord in zip(bounds[:-1], bounds[1:], path, strict=True)
    ]


def _chords_between(fits: np.ndarray, start_s: float, end_s: float) -> list[ChordSpan]:
    """The chords between two instants, heard without what is near them."""
    first = min(round((start_s + _SHORTEST_CHORD_S) / CHORD_HOP_S), len(fits) - 1)
    end = max(round((end_s - _SHORTEST_CHORD_S) / CHORD_HOP_S), first) + 1
    path, first_s = smooth_chords(fits[first:end]), first * CHORD_HOP_S
    spans = [
        ChordSpan(first_s + span.start_s, first_s + span.end_s, span.chord)
        for span in chord_spans(path, len(path) * CHORD_HOP_S)
    ]
    spans[0] = spans[0]._replace(start_s=start_s)
    spans[-1] = spans[-1]._replace(end_s=end_s)
    return spans


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
        interval, least_chroma = _SEVENTHS[quality]
        if len(treble) and treble[:, (root + interval) % PITCH_CLASSES].mean() > least_chroma:
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


def _find_named_key(name: str | None) -> Key | None:
    """The key that [`key_name`] calls so."""
    keys = (Key(tonic, mode) for mode in MODES for tonic in range(PITCH_CLASSES))
    return next((key for key in keys if key_name(key) == name), None)


def _rounded(times: np.ndarray) -> list[float]:
    return [round(float(time), _DIGITS) for time in times]


__all__ = [
    "BASS",
    "DRUMS",
    "QUALITIES",
    "LeadSheet",
    "LeadSheetListener",
    "goes_on",
    "key_name",
    "make_lead_sheet",
    "spell_root",
]
