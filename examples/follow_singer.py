"""Measure whether the band follows the singer: the same songs in another key or tempo, and a real recording.

    python examples/follow_singer.py --output_dir runs/following [--model DIR] [--num_songs 64] [--page PAGE]

Held-out songs are sung again from the same annotation, three semitones up, four down, and a tenth faster; the
recording is shifted by FFmpeg. Every output is kept: kill it and start it again. `following.md` is the table,
`following.json` holds every single result.
"""

import argparse
from pathlib import Path

import accompgen_hf
from accompgen_hf.app.open_pipeline import SHIPPED_VOCALS
from accompgen_hf.data.source_options import add_song_recipe_options, read_song_recipe
from accompgen_hf.evaluation.protocol.report import insert_block
from accompgen_hf.evaluation.protocol.singer_variations import (
    describe_recording,
    describe_songs,
    follow_recording,
    follow_songs,
    swapped_adherence,
)
from accompgen_hf.evaluation.systems.system import OursSystem
from accompgen_hf.files import write_json, write_text
from accompgen_hf.scripts import run_script, script_parser


def parse_arguments() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--output_dir", type=Path, required=True, help="keeps everything between runs")
    parser.add_argument("--model", default=accompgen_hf.DEFAULT_MODEL, help="folder of the composite")
    parser.add_argument("--num_songs", type=int, default=64, help="procedural songs to play to")
    parser.add_argument("--num_seeds", type=int, default=20, help="accompaniments of every version of the recording")
    parser.add_argument("--recording", type=Path, default=SHIPPED_VOCALS, help="real singing")
    parser.add_argument("--num_reference", type=int, default=100, help="real pairs to compare swapped ones with")
    parser.add_argument("--page", type=Path, metavar="FILE", help="also put the table into this Markdown page")
    add_song_recipe_options(parser)
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    if options.num_songs < 2:
        raise ValueError(f"`num_songs` must be at least 2, so that bands can be swapped, got {options.num_songs}.")
    options.output_dir.mkdir(parents=True, exist_ok=True)
    system, recipe = OursSystem(options.model), read_song_recipe(options)
    recipe.require()
    # 1. Songs in four versions, and the band that belongs to another singer.
    songs = follow_songs(system, options.output_dir, options.num_songs, recipe)
    swapped = swapped_adherence(options.output_dir, options.num_songs, options.num_reference, recipe)
    # 2. A real voice.
    recording = follow_recording(system, options.recording, options.output_dir, options.num_seeds)
    results = {"songs": songs, "swapped": swapped, "recording": recording}
    write_json(options.output_dir / "following.json", results, sort_keys=False)
    table = "\n".join([*describe_songs(songs, swapped), *describe_recording(recording)])
    write_text(options.output_dir / "following.md", table)
    if options.page is not None:
        insert_block(options.page, "following", table)
    print(table)


if __name__ == "__main__":
    run_script(main)
