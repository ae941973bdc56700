"""Read from single semantic ids what is sung and played: notes, chords, the quarter of the beat.

    python examples/probe_semantic_encoder.py --semantic_encoder DIR --work_dir runs/probe --with_parts \\
        --composition lead_sheets --singers mixed --renderer mixed

A table is learned on some songs and scored on others. The songs stay in the work folder.
"""

from pathlib import Path

import torch

from accompgen_hf.data.source_options import add_song_recipe_options, read_song_recipe
from accompgen_hf.model_parts import load_part
from accompgen_hf.scripts import run_script, script_parser
from accompgen_hf.training.semantic_encoder.finish import probe_encoder
from accompgen_hf.training.semantic_encoder.pool import SongPool


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument("--semantic_encoder", required=True, help="folder of the encoder, or of a whole model")
    parser.add_argument("--work_dir", type=Path, required=True, help="keeps the songs")
    parser.add_argument("--num_clips", type=int, default=150, help="songs to learn the tables on")
    parser.add_argument("--num_held_out_clips", type=int, default=50, help="songs to score them on")
    parser.add_argument("--first_held_out_seed", type=int, default=790_000, help="their first seed; not a test song")
    parser.add_argument("--with_parts", action="store_true", help="read the band's parts, too")
    add_song_recipe_options(parser)
    options = parser.parse_args()
    recipe = read_song_recipe(options)
    recipe.require()
    pools = [
        SongPool(options.work_dir, number, seed, recipe, options.with_parts).build()
        for number, seed in ((options.num_clips, 0), (options.num_held_out_clips, options.first_held_out_seed))
    ]
    encoder = load_part(options.semantic_encoder, "semantic_encoder", dtype=torch.float32)
    print("| ids of | label | accuracy | chance | information, bits |\n|---|---|---|---|---|")
    for kind, labels in probe_encoder(encoder, *pools).items():
        for name, result in labels.items():
            if isinstance(result, dict):
                numbers = f"{result['accuracy']:.2f} | {result['chance']:.2f} | {result['information_bits']:.2f}"
                print(f"| {kind} | {name} | {numbers} |")


if __name__ == "__main__":
    run_script(main)
