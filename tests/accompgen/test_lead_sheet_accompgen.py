"""Lead sheets of bands whose notes are written by hand, and of what nobody can hear."""

import json
import tracemalloc

import numpy as np
import pytest

from accompgen_hf.accompgen.audio_accompgen import resample
from accompgen_hf.accompgen.harmony_accompgen import Key
from accompgen_hf.accompgen.lead_sheet_accompgen import LeadSheetListener, key_name, make_lead_sheet, spell_root

RATE = 24_000
LEAD_IN_S = 0.3
TRIADS = {"C": (48, 64, 67), "Am": (45, 60, 64), "F": (53, 60, 69), "G7": (43, 62, 65, 71), "Dm7": (50, 60, 65, 69)}


def tone(pitch: float, duration_s: float) -> np.ndarray:
    time = np.arange(round(duration_s * RATE)) / RATE
    partials = sum(np.sin(2 * np.pi * k * 440 * 2 ** ((pitch - 69) / 12) * time) / k**2 for k in (1, 2, 3))
    return (0.08 * partials * np.exp(-1.5 * time)).astype(np.float32)


def play(bars: list[str], tempo_bpm: float, meter: int) -> dict[str, np.ndarray]:
    """Kick on the first beat of a bar, ticks on the others, and chords: "Am" for a bar, "Am F" from beats 1 and 3."""
    beat_s = 60 / tempo_bpm
    num_samples = round((LEAD_IN_S + len(bars) * meter * beat_s) * RATE)
    parts = {name: np.zeros(num_samples + RATE, np.float32) for name in ("drums", "bass", "other")}

    def add(name: str, beat: float, wave: np.ndarray) -> None:
        first = round((LEAD_IN_S + beat * beat_s) * RATE)
        parts[name][first : first + len(wave)] += wave[: num_samples + RATE - first]

    noise = np.random.default_rng(0).normal(size=RATE // 20).astype(np.float32)
    for index, bar in enumerate(bars):
        chords = bar.split()
        for beat in range(meter):
            place = index * meter + beat
            is_strong = beat == 0 or (beat == 2 and meter == 4)
            kick = 4 * tone(33, 0.2) * np.exp(-np.arange(RATE // 5) / 1500)
            add("drums", place, kick if is_strong else 0.2 * noise * np.exp(-np.arange(RATE // 20) / 300))
            pitches = TRIADS[chords[min(beat // 2, len(chords) - 1)]]
            add("bass", place, 2 * tone(pitches[0] - 12, beat_s))
            for pitch in pitches[1:]:
                add("other", place, tone(pitch, beat_s))
    return {name: wave[:num_samples] for name, wave in parts.items()}


def names_of(sheet: dict) -> list[str]:
    return [chord["name"] for chord in sheet["chords"]]


@pytest.mark.parametrize("has_stems", [False, True])
def test_a_band_in_four_is_written_down_with_a_chord_per_half_bar(has_stems):
    stems = play(["C", "Am F", "Dm7", "G7", "C", "F G7", "Am", "C"], 100.0, 4)
    sheet = make_lead_sheet(sum(stems.values()), RATE, stems if has_stems else None)
    assert json.loads(json.dumps(sheet)) == sheet
    assert (sheet["key"], sheet["meter"]) == ("C major", 4)
    assert sheet["tempo_bpm"] == pytest.approx(100.0, rel=0.01)
    expected = LEAD_IN_S + 0.6 * np.arange(33)  # the last one is the end
    beats = np.array(sheet["beat_times"])
    assert np.abs(beats[:, None] - expected).min(axis=0).max() < 0.04
    assert np.abs(np.array(sheet["downbeat_times"])[:, None] - expected[::4]).min(axis=1).max() < 0.04
    halves = ["C", "C", "Am", "F", "Dm7", "Dm7", "G7", "G7", "C", "C", "F", "G7", "Am", "Am", "C", "C"]
    named = {round((chord["start_s"] - LEAD_IN_S) / 1.2): chord["name"] for chord in sheet["chords"]}
    assert [named[half] for half in range(16)] == halves
    starts = [chord["start_s"] for chord in sheet["chords"]]
    assert starts[0] == 0
    assert starts[1:] == [chord["end_s"] for chord in sheet["chords"]][:-1]
    assert sheet["chords"][-1]["end_s"] == sheet["duration_s"] == pytest.approx(LEAD_IN_S + 19.2)
    assert sheet["chords"][-1]["root"] == 0


def test_bars_of_three_have_chords_of_two_beats_and_of_one():
    sheet = make_lead_sheet(sum(play(["C", "Am", "F G7", "C", "F", "G7", "Am G7", "C"], 120.0, 3).values()), RATE)
    assert sheet["meter"] == 3
    lengths = np.diff([chord["start_s"] for chord in sheet["chords"]])[2:-1]
    assert set(np.rint(lengths / 0.5).astype(int)) == {1, 2}
    assert "F" in names_of(sheet)


def test_roots_come_from_the_bass_and_drums_are_no_harmony():
    stems = play(["C", "C", "C", "C"], 100.0, 4)
    silence = np.zeros_like(stems["bass"])
    only_drums = {"drums": stems["drums"], "bass": silence, "other": silence}
    sheet = make_lead_sheet(stems["drums"], RATE, only_drums)
    assert sheet["key"] is None
    assert set(names_of(sheet)) == {"N"}
    assert sheet["meter"] is not None
    # C, E and G over A are Am7, whose bass the sum would not need to tell.
    over_a = {**stems, "bass": play(["Am", "Am", "Am", "Am"], 100.0, 4)["bass"]}
    assert {chord["root"] for chord in make_lead_sheet(sum(over_a.values()), RATE, over_a)["chords"][1:-1]} == {9}


BARS = ["C", "Am F", "Dm7", "G7", "C", "F G7", "Am", "C"]
BAR_S = 2.4  # at 100 beats per minute


def with_span(audio: np.ndarray, other: np.ndarray, start_s: float, end_s: float | None) -> np.ndarray:
    """The recording with what another one plays in a span."""
    changed = audio.copy()
    span = slice(round(start_s * RATE), None if end_s is None else round(end_s * RATE))
    changed[span] = np.resize(other, len(audio))[span]
    return changed


def outside(sheet: dict, start_s: float, end_s: float) -> tuple:
    """What a sheet says before and behind a span."""
    times = [[time for time in sheet[name] if not start_s < time < end_s] for name in ("beat_times", "downbeat_times")]
    chords = [chord for chord in sheet["chords"] if chord["end_s"] <= start_s or chord["start_s"] >= end_s]
    return times, chords, sheet["key"], sheet["tempo_bpm"], sheet["meter"], sheet["duration_s"]


@pytest.mark.parametrize("has_stems", [False, True])
def test_a_span_made_anew_leaves_the_sheet_as_it_was_elsewhere(has_stems):
    start_s, end_s = LEAD_IN_S + 2 * BAR_S, LEAD_IN_S + 5 * BAR_S
    stems, others = play(BARS, 100.0, 4), play(["G7", "C", "C", "Am F", "Am", "C", "G7", "G7"], 100.0, 4)
    stems_now = {name: with_span(stem, others[name], start_s, end_s) for name, stem in stems.items()}
    before = make_lead_sheet(sum(stems.values()), RATE, stems if has_stems else None)
    heard = sum(stems_now.values()), RATE, stems_now if has_stems else None
    now = make_lead_sheet(*heard, before, (start_s, end_s))
    assert json.loads(json.dumps(now)) == now
    assert outside(now, start_s - 0.05, end_s + 0.05) == outside(before, start_s - 0.05, end_s + 0.05)
    inside = [chord["name"] for chord in now["chords"] if start_s - 0.05 < chord["start_s"] < end_s - 0.05]
    assert inside == ["C", "C", "Am", "F", "Am", "Am"]
    assert [chord["start_s"] for chord in now["chords"]][1:] == [chord["end_s"] for chord in now["chords"]][:-1]
    assert len(now["beat_times"]) == len(before["beat_times"])


def test_another_meter_and_tempo_inside_a_span_move_its_beats_alone():
    start_s, end_s = 6.0, 11.0
    audio = sum(play(BARS, 100.0, 4).values())
    other = sum(play(["G7", "Am", "F", "C", "Dm7", "G7", "Am", "F", "C", "G7"], 127.0, 3).values())
    before = make_lead_sheet(audio, RATE)
    now = make_lead_sheet(with_span(audio, other, start_s, end_s), RATE, None, before, (start_s, end_s))
    assert outside(now, start_s, end_s)[0] == outside(before, start_s, end_s)[0]
    assert outside(now, start_s, end_s)[2:] == outside(before, start_s, end_s)[2:]
    assert now["beat_times"] != before["beat_times"]
    assert len(now["beat_times"]) == len(before["beat_times"])
    assert np.diff(now["beat_times"]).min() > 0.3
    assert now["downbeat_times"] == now["beat_times"][before["beat_times"].index(before["downbeat_times"][0]) :: 4]
    for chord in before["chords"]:
        if chord["end_s"] <= start_s or chord["start_s"] >= end_s:
            assert chord in now["chords"]


def test_the_same_audio_gives_the_same_chords_back():
    audio = sum(play(BARS, 100.0, 4).values())
    before = make_lead_sheet(audio, RATE)
    for span_s in ((6.0, 11.0), (0.0, 4.0), (14.2, None), (6.3, 6.34)):  # some of them divide half bars
        now = make_lead_sheet(audio, RATE, None, before, span_s)
        assert names_of(now) == names_of(before)
        ends = [[chord["end_s"] for chord in sheet["chords"]] for sheet in (now, before)]
        np.testing.assert_allclose(*ends, atol=0.03)
        np.testing.assert_allclose(now["beat_times"], before["beat_times"], atol=0.03)


def test_a_half_bar_that_a_span_divides_has_both_of_its_chords():
    audio, other = (sum(play([name] * 4, 100.0, 4).values()) for name in ("C", "F"))
    before = make_lead_sheet(audio, RATE)
    start_s = LEAD_IN_S + BAR_S + 0.6  # the second beat
    now = make_lead_sheet(with_span(audio, other, start_s, None), RATE, None, before, (start_s, None))
    [divided] = [chord for chord in now["chords"] if chord["end_s"] == pytest.approx(start_s)]
    assert (divided["name"], divided["end_s"] - divided["start_s"]) == ("C", pytest.approx(0.6, abs=0.05))
    assert {chord["name"] for chord in now["chords"] if chord["start_s"] >= start_s} == {"F"}


def test_a_longer_recording_goes_on_in_the_same_beat():
    whole = sum(play(BARS * 3, 100.0, 4).values())
    before = make_lead_sheet(whole[: 10 * RATE], RATE)
    now = make_lead_sheet(whole, RATE, None, before, (10.0, None))
    assert now["duration_s"] == pytest.approx(len(whole) / RATE, abs=0.001)
    assert now["beat_times"][: len(before["beat_times"])] == before["beat_times"]
    expected = LEAD_IN_S + 0.6 * np.arange(4 * 24)
    assert np.abs(np.array(now["beat_times"])[:, None] - expected).min(axis=0).max() < 0.04
    assert now["downbeat_times"][: len(before["downbeat_times"])] == before["downbeat_times"]
    assert np.abs(np.array(now["downbeat_times"])[:, None] - expected[::4]).min(axis=1).max() < 0.04
    assert [chord["name"] for chord in now["chords"]][-4:-2] == ["Am", "Am"]
    a_little = make_lead_sheet(whole[: round(10.04 * RATE)], RATE, None, before, (10.0, None))
    assert a_little["chords"] == [*before["chords"][:-1], {**before["chords"][-1], "end_s": 10.04}]
    # There is nothing to go on with.
    second = make_lead_sheet(whole[:RATE], RATE)
    assert make_lead_sheet(whole, RATE, None, second, (1.0, None)) == make_lead_sheet(whole, RATE)


def test_a_span_without_a_beat_around_it_gets_none():
    steady = np.tile(sum(tone(pitch, 1.0) for pitch in TRIADS["C"]), 12)
    chord = {"start_s": 0.0, "end_s": 12.0, "name": "C", "root": 0, "quality": "maj"}
    before = {"duration_s": 12.0, "key": "C major", "tempo_bpm": None, "meter": None}
    before |= {"beat_times": [], "downbeat_times": [], "chords": [chord]}
    other = np.resize(sum(play(["F"] * 6, 100.0, 4).values()), len(steady))
    now = make_lead_sheet(with_span(steady, other, 4.0, 8.0), RATE, None, before, (4.0, 8.0))
    assert now["beat_times"] == []
    assert [(chord["name"], chord["start_s"], chord["end_s"]) for chord in now["chords"]] == [
        ("C", 0.0, 4.0),
        ("F", 4.0, 8.0),
        ("C", 8.0, 12.0),
    ]


def test_a_span_that_is_all_of_the_recording_is_heard_anew():
    audio, other = sum(play(BARS, 100.0, 4).values()), sum(play(["F", "G7", "C", "Am"] * 3, 127.0, 3).values())
    other = np.resize(other, len(audio))
    before, expected = make_lead_sheet(audio, RATE), make_lead_sheet(other, RATE)
    for span_s in ((0.0, None), (0.0, len(audio) / RATE)):
        assert make_lead_sheet(other, RATE, None, before, span_s) == expected


@pytest.mark.parametrize("num_samples", [0, 1, 100, RATE, 5 * RATE])
def test_silence_says_nothing(num_samples):
    sheet = make_lead_sheet(np.zeros(num_samples, np.float32), RATE)
    assert sheet["key"] is sheet["tempo_bpm"] is sheet["meter"] is None
    assert sheet["beat_times"] == sheet["downbeat_times"] == []
    assert names_of(sheet) == (["N"] if num_samples else [])


def test_a_second_has_a_chord_and_no_beat():
    sheet = make_lead_sheet(sum(play(["Am"], 240.0, 4).values())[:RATE], RATE)
    assert names_of(sheet) == ["Am"]
    assert sheet["tempo_bpm"] is None
    assert sheet["chords"][0]["quality"] == "min"


def test_chunks_give_the_sheet_of_the_whole_beyond_a_block():
    stems = play(["C", "Am F", "Dm7", "G7"] * 5, 110.0, 4)
    audio = sum(stems.values())
    assert len(audio) > 40 * RATE
    listener = LeadSheetListener(RATE)
    for start in range(0, len(audio), 50_001):
        end = start + 50_001
        listener.push(audio[start:end], {name: stem[start:end] for name, stem in stems.items()})
    whole = LeadSheetListener(RATE)
    whole.push(audio, stems)
    assert listener.finish() == whole.finish() == make_lead_sheet(audio, RATE, stems)


def test_a_longer_recording_needs_hardly_more_memory():
    noise = np.random.default_rng(0).uniform(-1, 1, (3, 8000 * 200)).astype(np.float32)
    peaks = []
    for num_samples in (noise.shape[1] // 4, noise.shape[1]):
        stems = dict(zip(("drums", "bass", "other"), noise[:, :num_samples], strict=True))
        tracemalloc.start()
        make_lead_sheet(stems["other"], 8000, stems)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < noise[0].nbytes


def test_other_rates_hear_the_same():
    audio = sum(play(["C", "Am F", "Dm7", "G7"], 100.0, 4).values())
    sheets = [make_lead_sheet(resample(audio, RATE, rate), rate) for rate in (16_000, 44_100)]
    assert names_of(sheets[0]) == names_of(sheets[1])


def test_names_are_spelled_in_the_key():
    assert [key_name(Key(tonic, "major")) for tonic in (1, 6, 10)] == ["Db major", "F# major", "Bb major"]
    assert [key_name(Key(tonic, "minor")) for tonic in (1, 3, 8)] == ["C# minor", "Eb minor", "G# minor"]
    assert [spell_root(root, Key(7, "major")) for root in (3, 6, 10)] == ["Eb", "F#", "Bb"]
    assert [spell_root(root, Key(4, "major")) for root in (1, 3, 8)] == ["C#", "D#", "G#"]
    assert [spell_root(root, Key(8, "major")) for root in (1, 3, 6)] == ["Db", "Eb", "Gb"]
    assert spell_root(10, None) == "Bb"


def test_stereo_is_refused():
    with pytest.raises(ValueError, match="`audio` must be mono"):
        make_lead_sheet(np.zeros((2, RATE)), RATE)
