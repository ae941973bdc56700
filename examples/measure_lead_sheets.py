"""How often lead sheets are right on songs whose truth is known, and what they cost.

    python examples/measure_lead_sheets.py --num_songs 64
    python examples/measure_lead_sheets.py --num_songs 8 --model accompgen_hf

True bands of held-out songs: key, chords, tempo, beats and bars against the song's own, heard in the sum and in the
parts; how far both agree; and the beats of song.mid as mido gives them back. With `--model`, that model's bands too: a
result's sheet against an analysis of the sum of its parts.
"""

import argparse
import io
import time
from pathlib import Path
from typing import Any

import mido
import numpy as np

import accompgen_hf
from accompgen_hf.accompgen.harmony_accompgen import NO_CHORD, PITCH_CLASS_NAMES, ChordSpan, Key
from accompgen_hf.accompgen.lead_sheet_accompgen import make_lead_sheet, spell_root
from accompgen_hf.accompgen.progress_accompgen import ProgressBar
from accompgen_hf.app.lead_sheet_files import format_sheet
from accompgen_hf.app.song_midi import encode_midi
from accompgen_hf.evaluation.metrics.beats import score_beats
from accompgen_hf.evaluation.metrics.chords import score_chords
from accompgen_hf.evaluation.metrics.keys import score_key
from accompgen_hf.files import write_text
from accompgen_hf.scripts import run_script, script_parser
from accompgen_hf.songs.annotation import SongAnnotation
from accompgen_hf.songs.band import render_band_parts
from accompgen_hf.songs.singer import render_vocals
from accompgen_hf.songs.song import HELD_OUT_SEED, compose_song

RATE = 24_000
TEMPO_TOLERANCE = 0.04
SEVENTHS = ("7", "maj7", "min7")
RESAMPLES = 1000


def parse_arguments() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--num_songs", type=int, default=8, help="held-out songs")
    parser.add_argument("--duration_s", type=float, default=10.0, help="length of a song in seconds")
    parser.add_argument(
        "--model", help="a folder or repository whose bands are heard, too; accompgen_hf is the default"
    )
    parser.add_argument("--page", type=Path, help="a Markdown page for the table between its two marks")
    return parser.parse_args()


def spans_of(sheet: dict[str, Any]) -> list[ChordSpan]:
    """The triads of a sheet."""
    return [
        ChordSpan(
            chord["start_s"],
            chord["end_s"],
            NO_CHORD if chord["root"] is None else chord["root"] + 12 * chord["quality"].startswith("min"),
        )
        for chord in sheet["chords"]
    ]


def key_of(sheet: dict[str, Any]) -> Key | None:
    if sheet["key"] is None:
        return None
    name, mode = sheet["key"].split()
    return next(key for key in (Key(tonic, mode) for tonic in range(12)) if spell_root(key.tonic, key) == name)


def score_sheet(sheet: dict[str, Any], song: SongAnnotation) -> dict[str, float | None]:
    """A sheet against the truth."""
    tempo_bpm = sheet["tempo_bpm"] or 0.0
    return {
        "key": score_key(key_of(sheet), Key(song.tonic, song.mode))["exact"],
        "chords": score_chords(spans_of(sheet), song.chords),
        "tempo": float(abs(tempo_bpm / song.tempo_bpm - 1) <= TEMPO_TOLERANCE),
        "beats, F1": score_beats(np.array(sheet["beat_times"]), song.beat_times),
        "meter": float(sheet["meter"] == song.meter),
        "downbeats, F1": score_beats(np.array(sheet["downbeat_times"]), song.downbeat_times),
        **score_sevenths(sheet, song),
    }


def score_sevenths(sheet: dict[str, Any], song: SongAnnotation) -> dict[str, float | None]:
    """Share of the sevenths that are there which the sheet has, and of those in the sheet which are there."""
    seconds = {"hit": 0.0, "true": 0.0, "heard": 0.0}
    for chord in sheet["chords"]:
        for truth in song.chords:
            common_s = min(chord["end_s"], truth.end_s) - max(chord["start_s"], truth.start_s)
            if common_s > 0:
                is_same = (chord["root"], chord["quality"]) == (truth.root, truth.quality)
                seconds["true"] += common_s * (truth.quality in SEVENTHS)
                seconds["heard"] += common_s * (chord["quality"] in SEVENTHS)
                seconds["hit"] += common_s * (truth.quality in SEVENTHS and is_same)
    return {
        "sevenths found": seconds["hit"] / seconds["true"] if seconds["true"] else None,
        "sevenths right": seconds["hit"] / seconds["heard"] if seconds["heard"] else None,
    }


def agree(first: dict[str, Any], second: dict[str, Any]) -> dict[str, float | None]:
    """How far two sheets of one song say the same; chords: of the time in which the second one has any."""
    same_s = chords_s = 0.0
    for theirs in spans_of(second):
        if theirs.chord != NO_CHORD:
            chords_s += theirs.end_s - theirs.start_s
            both = (mine for mine in spans_of(first) if mine.chord == theirs.chord)
            same_s += sum(max(0.0, min(mine.end_s, theirs.end_s) - max(mine.start_s, theirs.start_s)) for mine in both)
    return {
        "key": float(first["key"] == second["key"]),
        "chords": same_s / chords_s if chords_s else None,
        "tempo": float(first["tempo_bpm"] == second["tempo_bpm"]),
        "beats, F1": score_beats(np.array(first["beat_times"]), np.array(second["beat_times"])),
    }


def midi_error_s(sheet: dict[str, Any]) -> float:
    """How far the clicks of song.mid lie from the beats, at most."""
    now, clicks = 0.0, []
    for message in mido.MidiFile(file=io.BytesIO(encode_midi(sheet)), charset="utf-8"):
        now += message.time
        if message.type == "note_on" and message.channel == 9:
            clicks.append(now)
    if len(clicks) != len(sheet["beat_times"]):
        return float("inf")
    return max((abs(click - beat) for click, beat in zip(clicks, sheet["beat_times"], strict=True)), default=0.0)


def mean_with_interval(values: list[float | None]) -> str:
    known = np.array([value for value in values if value is not None])
    if len(known) == 0:
        return "n/a"
    picks = np.random.default_rng(0).integers(0, len(known), (RESAMPLES, len(known)))
    low, high = np.quantile(known[picks].mean(axis=1), [0.025, 0.975])
    return f"{known.mean():.2f} [{low:.2f}, {high:.2f}]"


def make_table(rows: dict[str, list[dict[str, float | None]]]) -> str:
    names = list(dict.fromkeys(name for scores in rows.values() for score in scores for name in score))
    lines = ["| heard in | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for title, scores in rows.items():
        cells = [mean_with_interval([score.get(name) for score in scores]) for name in names]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def measure_true_bands(songs: list[SongAnnotation]) -> tuple[dict[str, list], list[str], str]:
    rows: dict[str, list] = {"the sum": [], "the parts": [], "the parts, against the sum": []}
    work_s = error_s = 0.0
    example = ""
    for song in ProgressBar(songs, desc="true bands", unit="song"):
        band, parts = render_band_parts(song, RATE)
        start = time.process_time()
        of_sum = make_lead_sheet(band, RATE)
        work_s += time.process_time() - start
        of_parts = make_lead_sheet(band, RATE, parts)
        rows["the sum"].append(score_sheet(of_sum, song))
        rows["the parts"].append(score_sheet(of_parts, song))
        rows["the parts, against the sum"].append(agree(of_parts, of_sum))
        error_s = max(error_s, midi_error_s(of_sum), midi_error_s(of_parts))
        example = example or format_sheet(of_sum, f"song {song.seed}") + _truth_of(song)
    seconds = sum(song.duration_s for song in songs)
    notes = [
        f"Beats of song.mid, read with mido, lie at most {1000 * error_s:.2f} ms from the sheet's.",
        f"A sheet takes {work_s / seconds:.4f} s of the processor per second of music.",
    ]
    return rows, notes, example


def _truth_of(song: SongAnnotation) -> str:
    chords = ", ".join(f"{chord.start_s:.1f} {chord.name}" for chord in song.chords)
    return f"(true: {PITCH_CLASS_NAMES[song.tonic]} {song.mode}, {song.tempo_bpm:.0f} BPM, {song.meter}/4; {chords})"


def measure_generated_bands(songs: list[SongAnnotation], model: str) -> list[dict[str, float | None]]:
    from accompgen_hf.app.open_pipeline import load_pipeline

    pipe = load_pipeline(None if model == accompgen_hf.__name__ else model, "cpu")
    scores = []
    for song in ProgressBar(songs, desc="generated bands", unit="song"):
        result = pipe({"array": render_vocals(song, RATE), "sampling_rate": RATE}, seed=0, show_progress=False)
        stems = result.get("stems", {"all": result["audio"]})
        total = np.sum(list(stems.values()), axis=0, dtype=np.float32)
        scores.append(agree(result["lead_sheet"], make_lead_sheet(total, result["sampling_rate"])))
    return scores


def main() -> None:
    options = parse_arguments()
    songs = [compose_song(HELD_OUT_SEED + index, duration_s=options.duration_s) for index in range(options.num_songs)]
    rows, notes, example = measure_true_bands(songs)
    if options.model is not None:
        rows["generated bands, against the sum of the parts"] = measure_generated_bands(songs, options.model)
    text = f"{len(songs)} songs of {options.duration_s:g} s.\n\n{make_table(rows)}\n\n" + "\n\n".join(notes)
    text += f"\n\n```\n{example}\n```\n"
    print(text)
    if options.page is not None:
        before, _, rest = options.page.read_text("utf-8").partition("<!-- results -->\n")
        after = rest.partition("<!-- end of results -->")[2]
        write_text(options.page, f"{before}<!-- results -->\n\n{text}\n<!-- end of results -->{after}")


if __name__ == "__main__":
    run_script(main)
