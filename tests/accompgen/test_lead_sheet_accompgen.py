"""Lead sheets of bands whose notes are written by hand, and of what nobody can hear."""

import json

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
    assert listener.finish() == make_lead_sheet(audio, RATE, stems)


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
