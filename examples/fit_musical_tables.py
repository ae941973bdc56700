"""Fit the tables of key and beats on training songs, and write them into the package.

    python examples/fit_musical_tables.py

Chords of keys are counted in the scores of songs. Places of onsets in the bar are fitted on true accompaniments. No
model's output and no held-out song goes in. examples/measure_metrics.py measures the result on other songs.
"""

import argparse
from pathlib import Path

import numpy as np

from accompgen_hf.accompgen import musical_tables_accompgen
from accompgen_hf.accompgen.progress_accompgen import ProgressBar
from accompgen_hf.evaluation.protocol.fit_musical_tables import (
    make_metronome,
    make_rhythm_example,
    make_tables,
    replace_tables,
)
from accompgen_hf.files import write_text
from accompgen_hf.scripts import run_script, script_parser
from accompgen_hf.songs.song import compose_song, require_training_seed, synthesize_song

RATE = 24_000
TABLES_PATH = Path(musical_tables_accompgen.__file__)


def parse_arguments() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--output", type=Path, default=TABLES_PATH, help="file of the tables")
    parser.add_argument(
        "--rhythm_seeds",
        type=int,
        nargs=2,
        default=[0, 160],
        metavar=("FIRST", "END"),
        help="songs that beats are fitted to",
    )
    parser.add_argument(
        "--chord_seeds",
        type=int,
        nargs=2,
        default=[20_000, 21_500],
        metavar=("FIRST", "END"),
        help="songs that keys and chords are fitted to",
    )
    parser.add_argument("--num_metronomes", type=int, default=32, help="metronomes that beats are also fitted to")
    parser.add_argument("--duration_s", type=float, default=10.0, help="seconds of an excerpt")
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    for first, end in (options.rhythm_seeds, options.chord_seeds):
        require_training_seed(first)
        require_training_seed(end - 1)
    examples = []
    for seed in ProgressBar(range(*options.rhythm_seeds), desc="accompaniments", unit="song"):
        song = synthesize_song(compose_song(seed, duration_s=options.duration_s), RATE)
        known = song.annotation
        examples.append(make_rhythm_example(song.instrumental, RATE, known.tempo_bpm, known.meter, -known.start_s))
    for index, tempo_bpm in enumerate(np.linspace(60.0, 170.0, options.num_metronomes)):
        first_s = 0.6 * index / options.num_metronomes
        clicks = make_metronome(tempo_bpm, options.duration_s, RATE, first_s)
        examples.append(make_rhythm_example(clicks, RATE, tempo_bpm, None, first_s))
    scores = (compose_song(seed, duration_s=options.duration_s) for seed in range(*options.chord_seeds))
    made_with = {
        name: getattr(options, name) for name in ("rhythm_seeds", "num_metronomes", "chord_seeds", "duration_s")
    }
    tables = make_tables(ProgressBar(scores, desc="scores", unit="song"), examples, made_with)
    write_text(options.output, replace_tables(TABLES_PATH.read_text("utf-8"), tables))
    print(options.output)


if __name__ == "__main__":
    run_script(main)
