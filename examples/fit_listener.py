"""Give a semantic stage a listener: tables of what ids have to do with beats and chords, counted in procedural songs.

    python examples/fit_listener.py --stage runs/semantic --data runs/tokens --output_dir runs/semantic-listening

Beats and chords of procedural songs are known, so the shards must be of these (`prepare_dataset.py --num_songs`).
Nothing of the stage changes but that; with `listening_scale` it is used.
"""

import argparse
from pathlib import Path

from accompgen_hf.accompgen.progress_accompgen import ProgressBar
from accompgen_hf.accompgen.training_record_accompgen import join_tracks
from accompgen_hf.data.dataset import ShardFolders, check_shards
from accompgen_hf.data.training_tracks import read_shard_tracks
from accompgen_hf.files import folder_written_whole
from accompgen_hf.model_parts import load_part
from accompgen_hf.scripts import run_script, script_parser
from accompgen_hf.songs.recipe import SongRecipe
from accompgen_hf.training.semantic_encoder.pool import FRAME_RATE
from accompgen_hf.training.stages.listener_tables import fit_listener


def parse_arguments() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--stage", required=True, help="folder or Hub id of the stage, its own or a whole model's")
    parser.add_argument("--data", nargs="+", required=True, help="folders of token shards of procedural songs")
    parser.add_argument("--output_dir", type=Path, required=True, help="folder of the stage with its listener")
    parser.add_argument("--listening_scale", type=float, default=3.0, help="weight that is saved with it (3)")
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    stage = load_part(options.stage, "semantic")
    sources = [ShardFolders(folder) for folder in options.data]
    check_shards([shards.manifests[0] for shards in sources], options.data, stage.config)
    songs = []
    for folder, shards in zip(options.data, sources, strict=True):
        source = shards.manifests[0].settings["source"]
        if source.get("corpus") != "songs":
            raise ValueError(f"`data` must be shards of procedural songs, got {folder} of {source}.")
        recipe = SongRecipe(**{name: source["recipe"][name] for name in ("composition", "singers")})
        rows, _ = shards.read_split("train", 1)
        for row in ProgressBar(rows, desc=f"songs of {folder}", unit="song"):
            seed, num_frames = int(row.track_id.rpartition("-")[2]), len(row.vocal_semantic_ids)
            songs.append((row, recipe.compose(seed, duration_s=num_frames / FRAME_RATE)))
    stage.training_tracks = join_tracks(
        [stage.training_tracks, *(frozenset(read_shard_tracks(folder)) for folder in options.data)]
    )
    stage.set_listener(fit_listener(stage.config, songs))
    stage.generation_config.listening_scale = options.listening_scale
    with folder_written_whole(options.output_dir) as staged:
        stage.save_pretrained(staged)
    print(options.output_dir)


if __name__ == "__main__":
    run_script(main)
