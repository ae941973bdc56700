"""A lead sheet as a MIDI file: tempo map, meter, key, a marker and notes for every chord, and a click on every beat.

Tick 0 is the first sample of the audio, and every beat lies on a quarter note, so that a DAW shows the bars of the
song. What comes before the first bar line is a bar of its own, as long in sixteenths as it is in time.
"""

import io
from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Any, NamedTuple

import numpy as np

from accompgen_hf.accompgen.optional_accompgen import import_optional

TICKS_PER_BEAT = 480
_SIXTEENTH = TICKS_PER_BEAT // 4
_NEAR_S = 0.005  # a beat that is so near to the start is the start
_CLICK_CHANNEL, _BAR_CLICK, _BEAT_CLICK = 9, 76, 77  # General MIDI's percussion, high and low wood block
_LOWEST_ROOT = 48
_INTERVALS = {"maj": (0, 4, 7), "min": (0, 3, 7), "7": (0, 4, 7, 10), "maj7": (0, 4, 7, 11), "min7": (0, 3, 7, 10)}


def _mido() -> Any:
    return import_optional("mido", "Writing song.mid")


class _Timeline(NamedTuple):
    """Which tick is which second, at both ends and at every beat, and the length of what precedes the first bar."""

    ticks: np.ndarray
    seconds: np.ndarray
    pickup_ticks: int

    def tick(self, second: float) -> int:
        return int(np.rint(np.interp(second, self.seconds, self.ticks)))


def encode_midi(sheet: dict[str, Any], title: str = "", click_times: Sequence[float] = ()) -> bytes:
    """The bytes of a MIDI file with the tracks "tempo", "chords" and "click".

    Args:
        sheet (`dict`): A `result["lead_sheet"]`. Without beats the tempo is 120 and nothing clicks.
        title (`str`): Title of the song.
        click_times: Seconds of further clicks, such as those of a count-in.

    Raises:
        ImportError: If mido is missing.
    """
    timeline = _lay_ticks(sheet, click_times)
    file = _mido().MidiFile(type=1, ticks_per_beat=TICKS_PER_BEAT, charset="utf-8")
    tracks = _tempo_track(sheet, timeline, title), _chord_track(sheet, timeline), _clicks(sheet, timeline, click_times)
    for events in tracks:
        track = _mido().MidiTrack()
        now = 0
        for tick, message in sorted(events, key=lambda event: event[0]):
            track.append(message.copy(time=tick - now))
            now = tick
        track.append(_mido().MetaMessage("end_of_track", time=max(0, timeline.tick(sheet["duration_s"]) - now)))
        file.tracks.append(track)
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def _lay_ticks(sheet: dict[str, Any], click_times: Sequence[float]) -> _Timeline:
    beats, end_s = np.array(sheet["beat_times"]), sheet["duration_s"]
    if len(beats) == 0:
        return _Timeline(np.array([0, 2 * TICKS_PER_BEAT * end_s]), np.array([0.0, max(end_s, 1e-6)]), 0)
    step_s = float(np.median(np.diff(beats))) if len(beats) > 1 else 60.0 / sheet["tempo_bpm"]
    num_sixteenths = 0
    if len(click_times):  # the count-in begins at 0, with a bar
        num_before = max(len(click_times), round(beats[0] / step_s))
        places = np.concatenate([np.arange(len(click_times)), num_before + np.arange(len(beats))])
        times = np.concatenate([click_times, beats])
    else:  # beats go on evenly to the start
        num_before = int((beats[0] + _NEAR_S) / step_s)
        places = np.arange(num_before + len(beats))
        times = np.concatenate([beats[0] - step_s * np.arange(num_before, 0, -1), beats])
        if times[0] >= _NEAR_S:
            num_sixteenths = max(1, round(4 * times[0] / step_s))
    ticks = num_sixteenths * _SIXTEENTH + TICKS_PER_BEAT * places
    if num_sixteenths:
        ticks, times = np.append(0, ticks), np.append(0.0, times)
    times[0] = 0.0
    rest_s = max(step_s, end_s - times[-1])
    ticks = np.append(ticks, ticks[-1] + round(TICKS_PER_BEAT * rest_s / step_s))
    first_bar = (num_before + sheet["beat_times"].index(sheet["downbeat_times"][0])) % sheet["meter"]
    pickup_ticks = num_sixteenths * _SIXTEENTH + first_bar * TICKS_PER_BEAT
    return _Timeline(ticks, np.append(times, times[-1] + rest_s), pickup_ticks)


def _tempo_track(sheet: dict[str, Any], timeline: _Timeline, title: str) -> list[tuple[int, Any]]:
    events: list[tuple[int, Any]] = [(0, _mido().MetaMessage("track_name", name=title or "tempo"))]
    if sheet["key"] is not None:
        tonic, mode = sheet["key"].split()
        events.append((0, _mido().MetaMessage("key_signature", key=tonic + ("m" if mode == "minor" else ""))))
    if timeline.pickup_ticks:
        quarters, rest = divmod(timeline.pickup_ticks, TICKS_PER_BEAT)
        numerator, denominator = (timeline.pickup_ticks // _SIXTEENTH, 16) if rest else (quarters, 4)
        events.append((0, _mido().MetaMessage("time_signature", numerator=numerator, denominator=denominator)))
    meter = sheet["meter"] or 4
    events.append((timeline.pickup_ticks, _mido().MetaMessage("time_signature", numerator=meter, denominator=4)))
    newest = None
    for (first, start_s), (end, end_s) in pairwise(zip(timeline.ticks, timeline.seconds, strict=True)):
        if end > first:
            tempo = round(1e6 * (end_s - start_s) * TICKS_PER_BEAT / (end - first))
            if tempo != newest:
                events.append((int(first), _mido().MetaMessage("set_tempo", tempo=tempo)))
            newest = tempo
    for chord, start_s, _ in _list_chords(sheet):
        events.append((timeline.tick(start_s), _mido().MetaMessage("marker", text=chord["name"])))
    return events


def _list_chords(sheet: dict[str, Any]) -> list[tuple[dict[str, Any], float, float]]:
    """Chords that sound, each once as long as it stays: chord, start and end in seconds."""
    groups = [list(group) for _, group in groupby(sheet["chords"], key=lambda chord: chord["name"])]
    return [(group[0], group[0]["start_s"], group[-1]["end_s"]) for group in groups if group[0]["root"] is not None]


def _chord_track(sheet: dict[str, Any], timeline: _Timeline) -> list[tuple[int, Any]]:
    events: list[tuple[int, Any]] = [(0, _mido().MetaMessage("track_name", name="chords"))]
    offs, ons = [], []
    for chord, start_s, end_s in _list_chords(sheet):
        start, end = timeline.tick(start_s), timeline.tick(end_s)
        for interval in _INTERVALS[chord["quality"]]:
            note = _LOWEST_ROOT + chord["root"] + interval
            ons.append((start, _mido().Message("note_on", note=note, velocity=64)))
            offs.append((end, _mido().Message("note_off", note=note)))
    return events + offs + ons  # at one tick the old notes end before the new ones begin


def _clicks(sheet: dict[str, Any], timeline: _Timeline, click_times: Sequence[float]) -> list[tuple[int, Any]]:
    events: list[tuple[int, Any]] = [(0, _mido().MetaMessage("track_name", name="click"))]
    end = timeline.tick(sheet["duration_s"])
    for time in [*click_times, *sheet["beat_times"]]:
        tick = timeline.tick(time)
        is_first = (tick - timeline.pickup_ticks) % (TICKS_PER_BEAT * sheet["meter"]) == 0
        note = _BAR_CLICK if is_first else _BEAT_CLICK
        events.append((tick, _mido().Message("note_on", channel=_CLICK_CHANNEL, note=note, velocity=100)))
        events.append((min(tick + _SIXTEENTH, end), _mido().Message("note_off", channel=_CLICK_CHANNEL, note=note)))
    return events
