"""What a semantic stage's ids say about chord and beat, before anything is heard: to choose its settings cheaply.

    python examples/probe_semantic_stage.py --pool_dir runs/third/semantic_encoder/pool --settings 3@0.9 3@0.7 1@0.7

A table, learned on true ids of training songs, names chord and quarter of the beat of every frame. It is read on true
and on generated ids of other songs (seeds from 790000 on, which are not under test), those of each part for a model
that plays parts. The songs of the pool are as its `--composition`, `--singers` and `--renderer` said. Settings:
GUIDANCE@TEMPERATURE.
"""

import argparse

import numpy as np
import torch

import accompgen_hf
from accompgen_hf.accompgen.modeling_accompgen import AccompGenForConditionalGeneration
from accompgen_hf.data.source_options import add_song_recipe_options, read_song_recipe
from accompgen_hf.scripts import run_script, script_parser
from accompgen_hf.training.semantic_encoder.finish import read_heard_waveform
from accompgen_hf.training.semantic_encoder.pool import SongPool
from accompgen_hf.training.semantic_encoder.probe import derive_labels, probe_label

PROBED = ("chord", "beat_phase")


def parse_arguments() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--pool_dir", required=True, help="songs of train_semantic_encoder.py")
    parser.add_argument("--model", default=accompgen_hf.DEFAULT_MODEL, help="folder of the composite")
    parser.add_argument(
        "--settings", nargs="+", default=["3@0.9"], metavar="GUIDANCE@TEMPERATURE", help="settings to compare"
    )
    parser.add_argument("--num_table_songs", type=int, default=100, help="a multiple of 50")
    parser.add_argument("--num_songs", type=int, default=50, help="a multiple of 50")
    parser.add_argument("--seed", type=int, default=0, help="seed of the clips")
    add_song_recipe_options(parser)
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    model = AccompGenForConditionalGeneration.from_pretrained(options.model, dtype=torch.float32).eval()
    has_parts = len(model.config.part_names) > 1
    played = list(model.config.part_names) if has_parts else ["instrumental"]
    recipe = read_song_recipe(options)
    training = SongPool(options.pool_dir, options.num_table_songs, 0, recipe, has_parts)
    held_out = SongPool(options.pool_dir, options.num_songs, 790_000, recipe, has_parts)
    table_ids = {kind: extract_ids(model, training, kind) for kind in ("vocals", *played)}
    true_ids = {kind: extract_ids(model, held_out, kind) for kind in ("vocals", *played)}
    labels = [derive_labels("vocals", pool.read_labels(range(pool.num_clips))) for pool in (training, held_out)]

    def show(name: str, kind: str, ids: np.ndarray) -> None:
        found = [probe_label(table_ids[kind].ravel(), labels[0][key].ravel(), ids.ravel(), labels[1][key].ravel())
                 for key in PROBED]  # fmt: skip
        changes = (ids[:, 1:] != ids[:, :-1]).mean() * 50
        print(f"| {name} | {found[0].accuracy:.3f} | {found[1].accuracy:.3f} | {changes:.1f} |", flush=True)

    print("| ids | chord | quarter of the beat | changes per second |\n|---|---|---|---|")
    show("of the voice", "vocals", true_ids["vocals"])
    for kind in played:
        show(f"true, {kind}", kind, true_ids[kind])
    for setting in options.settings:
        guidance_scale, temperature = map(float, setting.split("@"))
        generated = model.semantic.generate_codes(
            vocal_semantic_ids=torch.from_numpy(true_ids["vocals"]),
            seed=options.seed,
            guidance_scale=guidance_scale,
            temperature=temperature,
            window_batch_size=options.num_songs,
        )
        generated = generated.reshape(options.num_songs, len(played), -1)  # one stream has no axis of parts
        for index, kind in enumerate(played):
            name = f"generated, {kind}, guidance {guidance_scale:g}, temperature {temperature:g}"
            show(name, kind, generated[:, index].numpy())


@torch.no_grad()
def extract_ids(model: AccompGenForConditionalGeneration, pool: SongPool, kind: str) -> np.ndarray:
    """Semantic ids (num_clips, T50) of one side of every song."""
    waveforms = [torch.from_numpy(read_heard_waveform(pool, kind, clip))[None] for clip in range(pool.num_clips)]
    return np.concatenate([model.semantic_encoder(waveform).semantic_ids.numpy() for waveform in waveforms])


if __name__ == "__main__":
    run_script(main)
