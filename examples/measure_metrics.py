"""Measure the metrics themselves, on procedural songs whose truth is known: the numbers of docs/measured/metrics.md.

    python examples/measure_metrics.py --num_songs 64

True accompaniments, silence and clicks against the truth; noise, detuning and delay at rising levels; FAD and APA.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

from accompgen_hf.accompgen.progress_accompgen import ProgressBar
from accompgen_hf.evaluation.metrics.audio_embedders import load_embedder
from accompgen_hf.evaluation.protocol.sanity import (
    DISTURBANCES,
    measure_distances,
    measure_disturbances,
    measure_truth,
)
from accompgen_hf.files import write_json
from accompgen_hf.scripts import run_script, script_parser
from accompgen_hf.songs.song import HELD_OUT_SEED, Song, generate_song

RATE = 24_000
PARTS = ("truth", "disturbances", "distances")


def parse_arguments() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--num_songs", type=int, default=64, help="songs to measure on")
    parser.add_argument("--first_seed", type=int, default=HELD_OUT_SEED + 1000, help="default: held out, %(default)s")
    parser.add_argument("--duration_s", type=float, default=10.0, help="seconds of an excerpt")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what is measured")
    parser.add_argument("--output", type=Path, metavar="FILE", help="also as JSON")
    return parser.parse_args()


def make_songs(first_seed: int, options: argparse.Namespace) -> list[Song]:
    seeds = range(first_seed, first_seed + options.num_songs)
    return [
        generate_song(seed, duration_s=options.duration_s, sampling_rate=RATE)
        for seed in ProgressBar(seeds, desc="songs", unit="song")
    ]


def print_table(title: str, rows: Mapping[str, Mapping[str, float]]) -> None:
    columns = list(next(iter(rows.values())))
    print(f"\n| {title} | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 1) + "|")
    for name, row in rows.items():
        print(f"| {name} | " + " | ".join(f"{row[column]:.2f}" for column in columns) + " |")


def main() -> None:
    options = parse_arguments()
    songs, found = make_songs(options.first_seed, options), {}
    if "truth" in options.parts:
        found["truth"] = measure_truth(songs)
        print_table(f"{len(songs)} songs of {options.duration_s:g} s", found["truth"])
    tables = {}
    if "disturbances" in options.parts:
        tables["disturbances"] = measure_disturbances(songs)
    if "distances" in options.parts:
        reference = make_songs(options.first_seed + options.num_songs, options)
        embedders = load_embedder("logmel"), load_embedder("harmony-rhythm")
        tables["distances"] = measure_distances(songs, reference, *embedders)
    for part, kinds in tables.items():
        found[part] = kinds
        for kind, levels in kinds.items():
            unit = DISTURBANCES[kind][1] if kind in DISTURBANCES else "instrumentals"
            print_table(f"{kind}, {unit}", levels)
    if options.output is not None:
        write_json(options.output, found, sort_keys=False)


if __name__ == "__main__":
    run_script(main)
