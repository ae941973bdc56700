"""Measure what a model of parts plays: instruments, styles, drums on the beat, basses on the root.

    python examples/measure_band.py --model DIR --output_dir runs/band --composition lead_sheets --singers mixed \\
        --renderer mixed

Held-out songs are accompanied in their own styles. Beside the model stand the true parts and what its codec makes of
them. Scores are kept per song: kill it and start it again. `band.md` is the table, `band.json` holds every score.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from transformers import pipeline

import accompgen_hf  # registers the task
from accompgen_hf.data.source_options import add_song_recipe_options, read_song_recipe
from accompgen_hf.evaluation.protocol.band_scores import GIVEN, describe_bands, learn_styles, score_bands
from accompgen_hf.files import write_json, write_text
from accompgen_hf.scripts import run_script, script_parser
from accompgen_hf.songs.song import HELD_OUT_SEED


def parse_arguments() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--model", type=Path, default=Path(accompgen_hf.DEFAULT_MODEL), help="folder of the composite")
    parser.add_argument("--output_dir", type=Path, required=True, help="keeps everything between runs")
    parser.add_argument("--num_songs", type=int, default=64, help="songs to play to")
    parser.add_argument("--num_style_songs", type=int, default=320, help="true bands to learn the styles from")
    parser.add_argument("--duration_s", type=float, default=10.0, help="of every song")
    described = "also play from the true codes up to a stage: what is lost then, later stages lose"
    parser.add_argument("--given", nargs="+", choices=GIVEN, default=[], help=described)
    add_song_recipe_options(parser)
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    recipe = read_song_recipe(options)
    recipe.require()
    options.output_dir.mkdir(parents=True, exist_ok=True)
    pipe = pipeline("vocal-accompaniment", model=str(options.model), device="cpu")
    # Tunes are there to be measured on alone; their bands have the styles of all songs.
    learned = replace(recipe, composition="lead_sheets") if recipe.composition == "tunes" else recipe
    classifier = learn_styles(learned, options.num_style_songs, options.duration_s)
    seeds = range(HELD_OUT_SEED, HELD_OUT_SEED + options.num_songs)
    rows = score_bands(
        pipe, options.model, recipe, seeds, classifier, options.output_dir, options.duration_s, options.given
    )
    write_json(options.output_dir / "band.json", rows, sort_keys=False)
    table = describe_bands(rows)
    write_text(options.output_dir / "band.md", table)
    print(table)


if __name__ == "__main__":
    run_script(main)
