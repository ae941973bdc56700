"""song.mid read back with mido: the beats in time, the bars, the tempo, the chords, and the audio's length."""

import io

import mido
import numpy as np
import pytest

from accompgen_hf.app.song_midi import encode_midi

CHORDS = [(0.0, 1.3, "N", None, None), (1.3, 2.5, "Am", 9, "min"), (2.5, 3.7, "G7", 7, "7"), (3.7, 6.4, "C", 0, "maj")]


def make_sheet(beat_times, first: int = 0, meter: int = 4, **changes) -> dict:
    names = ("start_s", "end_s", "name", "root", "quality")
    beat_times = [round(float(time), 3) for time in beat_times]
    return {
        "duration_s": 6.4,
        "key": "A minor",
        "tempo_bpm": 100.0,
        "meter": meter,
        "beat_times": beat_times,
        "downbeat_times": beat_times[first::meter],
        "chords": [dict(zip(names, chord, strict=True)) for chord in CHORDS],
        **changes,
    }


def read(sheet: dict, click_times=()) -> mido.MidiFile:
    return mido.MidiFile(file=io.BytesIO(encode_midi(sheet, "Täke", click_times)), charset="utf-8")


def events_of(file: mido.MidiFile, kind: str) -> list:
    """(second, message) of all messages of a kind."""
    now, found = 0.0, []
    for message in file:
        now += message.time
        if message.type == kind:
            found.append((now, message))
    return found


def clicks_of(file: mido.MidiFile) -> list:
    return [(time, message.note) for time, message in events_of(file, "note_on") if message.channel == 9]


@pytest.mark.parametrize("meter", [3, 4])
@pytest.mark.parametrize("start_s", [0.0, 0.003, 0.02, 0.1, 0.59, 1.3, 3.1])
def test_beats_come_back_within_ten_milliseconds_and_bars_begin_on_downbeats(start_s, meter):
    rng = np.random.default_rng(0)
    beats = np.arange(start_s, 6.2, 0.6)
    beats[1:] += rng.uniform(-0.03, 0.03, len(beats) - 1)
    sheet = make_sheet(beats, first=min(2, len(beats) - 1), meter=meter)
    file = read(sheet)
    clicks = clicks_of(file)
    assert np.abs(np.array([time for time, _ in clicks]) - sheet["beat_times"]).max() < 0.01
    assert file.length == pytest.approx(6.4, abs=0.01)
    accents = [time for time, note in clicks if note == 76]
    assert np.abs(np.array(accents)[:, None] - sheet["downbeat_times"]).min(axis=0).max() < 0.01
    time, signature = events_of(file, "time_signature")[-1]
    assert (signature.numerator, signature.denominator) == (meter, 4)
    bar_s = (sheet["downbeat_times"][0] - time) / 0.6 / meter
    assert bar_s == pytest.approx(round(bar_s), abs=0.06)
    tempi = [mido.tempo2bpm(message.tempo) for _, message in events_of(file, "set_tempo")]
    assert 80 < np.median(tempi) < 120


def test_chords_are_markers_and_notes_from_their_beats_on():
    file = read(make_sheet(0.1 + 0.6 * np.arange(11)))
    markers = [(round(time, 2), message.text) for time, message in events_of(file, "marker")]
    assert markers == [(1.3, "Am"), (2.5, "G7"), (3.7, "C")]
    notes = [message.note for message in file.tracks[1] if message.type == "note_on"]
    assert notes == [57, 60, 64, 55, 59, 62, 65, 48, 52, 55]
    assert sum(message.type == "note_off" for message in file.tracks[1]) == len(notes)
    assert [message.key for _, message in events_of(file, "key_signature")] == ["Am"]
    assert file.tracks[0].name == "Täke"


def test_a_count_in_clicks_on_its_own_times():
    sheet = make_sheet([2.43, 3.0, 3.6, 4.2, 4.8, 5.4])  # the first one is a little late
    file = read(sheet, [0.0, 0.6, 1.2, 1.8])
    clicks = clicks_of(file)
    assert [round(time, 3) for time, _ in clicks] == [0.0, 0.6, 1.2, 1.8, 2.43, 3.0, 3.6, 4.2, 4.8, 5.4]
    assert [(time, message.numerator) for time, message in events_of(file, "time_signature")] == [(0.0, 4)]
    assert [note == 76 for _, note in clicks] == [True, False, False, False] * 2 + [True, False]


@pytest.mark.parametrize("duration_s", [0.0, 0.1, 6.4])
def test_without_beats_there_is_a_file_without_clicks(duration_s):
    silence = {"start_s": 0.0, "end_s": duration_s, "name": "N", "root": None, "quality": None}
    nothing = {"key": None, "meter": None, "tempo_bpm": None, "chords": [silence], "duration_s": duration_s}
    file = read(make_sheet([], **nothing))
    assert file.length == pytest.approx(duration_s, abs=0.002)
    assert clicks_of(file) == events_of(file, "marker") == []
