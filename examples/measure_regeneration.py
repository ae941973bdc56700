"""Measure spans that are made anew: what stays, what the seams sound like, and whether the band still fits.

    OMP_NUM_THREADS=1 python examples/measure_regeneration.py --output_dir runs/regeneration [--num_songs 32]

Of every song the middle 3 s, snapped to beats, are made anew with another seed. `regeneration.json` holds every
number; an interrupted run goes on.
"""

import argparse
import hashlib
from typing import Any

import numpy as np

from accompgen_hf.accompgen.configuration_accompgen import GRID_RATE
from accompgen_hf.accompgen.harmony_accompgen import chord_path
from accompgen_hf.accompgen.ranking_accompgen import PITCH_HOP_S, sung_pitches
from accompgen_hf.accompgen.regeneration_accompgen import frames_per_step
from accompgen_hf.accompgen.stage_chain_accompgen import CODE_NAMES
from accompgen_hf.app.open_pipeline import load_pipeline
from accompgen_hf.data.source_options import add_held_out_song_options
from accompgen_hf.evaluation.metrics.chords import share_of_chord_tones
from accompgen_hf.evaluation.metrics.continuity import FLUX_HOP_S, compare_seams
from accompgen_hf.evaluation.protocol.bootstrap import draw_songs, estimate_mean
from accompgen_hf.files import read_json, write_json
from accompgen_hf.scripts import run_script, script_parser
from accompgen_hf.songs.song import HELD_OUT_SEED, generate_song

FIRST_SEED = HELD_OUT_SEED + 210_000
SPAN_S = 3.0
NEAR_S = 0.1  # beats that are so near to the span are its own
NUM_RESAMPLES = 2000


def parse_arguments() -> argparse.Namespace:
    parser = script_parser(__doc__)
    add_held_out_song_options(parser, num_songs=32, duration_s=10.0)
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    options.output_dir.mkdir(parents=True, exist_ok=True)
    path = options.output_dir / "regeneration.json"
    songs = read_json(path) if path.exists() else {}
    pipe = None
    for seed in map(str, range(FIRST_SEED, FIRST_SEED + options.num_songs)):
        if seed not in songs:
            pipe = pipe or load_pipeline(options.model, options.device)
            songs[seed] = measure_song(pipe, int(seed), options.duration_s)
            write_json(path, songs)
            print(f"{len(songs)} of {options.num_songs} songs", flush=True)
    print(describe(list(songs.values())[: options.num_songs]))


def measure_song(pipe: Any, seed: int, duration_s: float) -> dict[str, Any]:
    """One song, before and after its middle was made anew."""
    song = generate_song(seed, duration_s=duration_s)
    rate = pipe.processor.output_sampling_rate
    vocals = {"array": song.vocals, "sampling_rate": song.sampling_rate}
    asked = {"return_codes": True, "show_progress": False}
    old = pipe(vocals, seed=0, **asked)
    middle_s = duration_s / 2
    pair = (middle_s - SPAN_S / 2, middle_s + SPAN_S / 2)
    new = pipe(vocals, seed=1, known_codes=old, regenerate=pair, **asked)
    again = pipe(vocals, seed=0, known_codes=old, regenerate=pair, **asked)
    start_s, end_s = new["regenerated"]
    last_s = last_changed_second(pipe.model, end_s, duration_s)
    first_s = start_s - pipe.model.config.codec_config.decoder_context_frames[1] / 75
    pitches = sung_pitches(song.vocals, song.sampling_rate)
    return {
        "span_s": [start_s, end_s],
        "codes_outside_equal": all(
            hash_outside(name, old[name], start_s, end_s) == hash_outside(name, new[name], start_s, end_s)
            for name in CODE_NAMES
        ),
        "codes_inside_differ": bool((old["coarse_codes"] != new["coarse_codes"]).any()),
        "old_seed_returns": {name: bool((old[name] == again[name]).all()) for name in CODE_NAMES[1:]},
        "audio_outside_equal": hash_audio(old["audio"], rate, first_s, last_s)
        == hash_audio(new["audio"], rate, first_s, last_s),
        "left_seam": compare_seams(new["audio"], rate, [start_s]),
        "right_seam": compare_seams(new["audio"], rate, [end_s]),
        "old_left": compare_seams(old["audio"], rate, [start_s]),
        "old_right": compare_seams(old["audio"], rate, [end_s]),
        "other_beats": [
            compare_seams(new["audio"], rate, [beat_s])
            for beat_s in new["lead_sheet"]["beat_times"]
            if beat_s > FLUX_HOP_S / 2 and not start_s - NEAR_S < beat_s < end_s + NEAR_S
        ],
        "chord_tones": chord_tones(new["audio"], rate, pitches, start_s, end_s),
        "old_chord_tones": chord_tones(old["audio"], rate, pitches, start_s, end_s),
    }


def last_changed_second(model: Any, end_s: float, duration_s: float) -> float:
    """Where audio behind a span is the old one again: behind what the decoder remembers."""
    num_before = model.config.codec_config.decoder_context_frames[0]
    if num_before is not None:
        return min(duration_s, end_s + num_before / 75)
    block_s, context_s = model.config.codec_block_duration_s, model.config.codec_context_duration_s
    later = np.ceil(max(0.0, end_s - block_s) / (block_s - context_s))
    return float(min(duration_s, block_s + later * (block_s - context_s)))


def hash_outside(name: str, codes: Any, start_s: float, end_s: float) -> str:
    """Hash of the codes before and after a span; the last axis is time."""
    rate = GRID_RATE * frames_per_step(name)
    kept = np.delete(codes.numpy(), np.s_[round(start_s * rate) : round(end_s * rate)], axis=-1)
    return hashlib.sha256(np.ascontiguousarray(kept).tobytes()).hexdigest()


def hash_audio(audio: np.ndarray, rate: int, first_s: float, last_s: float) -> str:
    """Hash of the samples that must be equal."""
    kept = np.delete(audio, np.s_[round(first_s * rate) : round(last_s * rate)])
    return hashlib.sha256(kept.tobytes()).hexdigest()


def chord_tones(audio: np.ndarray, rate: int, pitches: np.ndarray, start_s: float, end_s: float) -> dict[str, float]:
    """Share of sung time that is in the band's chord, inside and outside of a span."""
    path = chord_path(audio, rate)
    is_inside = np.zeros(len(pitches), bool)
    is_inside[round(start_s / PITCH_HOP_S) : round(end_s / PITCH_HOP_S)] = True
    return {
        name: share_of_chord_tones(np.where(place, pitches, np.nan), PITCH_HOP_S, path)
        for name, place in (("inside", is_inside), ("elsewhere", ~is_inside))
    }


def describe(songs: list[dict[str, Any]]) -> str:
    """A table as Markdown."""
    draws = draw_songs(len(songs), NUM_RESAMPLES, seed=0)

    def mean(values: list[float]) -> str:
        estimate = estimate_mean([[value] for value in values], draws)
        low, high = estimate.interval
        return f"{estimate.value:.2f} ({low:.2f} to {high:.2f})"

    lines = ["| what | made anew | before |", "|---|---|---|"]
    for name, label in (
        ("codes_outside_equal", "codes outside equal by hash"),
        ("codes_inside_differ", "codes inside differ"),
        ("audio_outside_equal", "audio outside equal by hash"),
    ):
        lines.append(f"| {label} | {sum(song[name] for song in songs)} of {len(songs)} songs | |")
    counts = [sum(song["old_seed_returns"][name] for song in songs) for name in CODE_NAMES[1:]]
    lines.append(
        f"| ids, coarse, fine codes return with the old seed | {', '.join(map(str, counts))} of {len(songs)} | |"
    )
    for side in ("left", "right"):
        new, old = ([song[key] for song in songs] for key in (f"{side}_seam", f"old_{side}"))
        cells = []
        for of in (new, old):
            at, elsewhere = (np.array([one[key] for one in of]) for key in ("at_seams", "elsewhere_p95"))
            below = f"{(at <= elsewhere).sum()} of {len(of)} below"
            cells.append(f"{np.median(at):.2f}; {np.median(elsewhere):.2f}; {below}")
        lines.append(f"| flux at the {side} seam; 95th percentile elsewhere (medians) | {cells[0]} | {cells[1]} |")
    beats = [beat["at_seams"] <= beat["elsewhere_p95"] for song in songs for beat in song["other_beats"]]
    lines.append(f"| the same at all beats outside | {sum(beats)} of {len(beats)} below | |")
    for place in ("inside", "elsewhere"):
        cells = [mean([song[key][place] for song in songs]) for key in ("chord_tones", "old_chord_tones")]
        lines.append(f"| sung time in the band's chord, {place} | {cells[0]} | {cells[1]} |")
    cells = [mean([song[key]["inside"] - song[key]["elsewhere"] for song in songs]) for key in KEYS]
    lines.append(f"| inside minus elsewhere | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


KEYS = ("chord_tones", "old_chord_tones")

if __name__ == "__main__":
    run_script(main)
