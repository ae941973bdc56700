# /// script
# requires-python = ">=3.10"
# dependencies = [
#     "torch>=2.11",
#     "transformers>=5.17",
#     "safetensors>=0.4.3",
#     "huggingface-hub>=1.0",
#     "tokenizers>=0.22",
#     "numpy>=1.26",
#     "soundfile>=0.13",
#     "soxr>=0.5",
#     "pyloudnorm>=0.1.1",
#     "matplotlib>=3.8",
#     "mido>=1.3",
#     "tqdm>=4.66",
#     "accelerate>=1.10",
#     "datasets>=4.0",
#     "scikit-learn>=1.5",
#     "PyYAML>=6.0",
#     "peft>=0.18",
# ]
# ///
"""Train the small semantic encoder on procedural songs: songs, targets, masked prediction, centroids, tuning, probes.

    python examples/train_semantic_encoder.py --output_dir runs/semantic_encoder

Every step goes on where it was killed. The encoder lies in `<output_dir>/final`, its report in `report.json`.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from accompgen_hf.accompgen.modeling_accompgen_semantic_encoder import AccompGenSemanticEncoder
from accompgen_hf.data.source_options import add_song_recipe_options, read_song_recipe
from accompgen_hf.files import write_json
from accompgen_hf.scripts import run_script, script_parser
from accompgen_hf.training.run_files import read_metrics
from accompgen_hf.training.semantic_encoder.finish import (
    draw_accuracies,
    fit_pool_centroids,
    probe_encoder,
    save_encoder,
)
from accompgen_hf.training.semantic_encoder.model import save_rounded_hubert
from accompgen_hf.training.semantic_encoder.pool import SongPool
from accompgen_hf.training.semantic_encoder.run import SemanticEncoderArguments, SemanticEncoderTrainer
from accompgen_hf.training.semantic_encoder.targets import SemanticTargets
from accompgen_hf.training.semantic_encoder.tuning import COMMITMENT_WEIGHT, FAMILY_WEIGHTS, SemanticTuner

# Fields of `SemanticEncoderArguments` that are options here.
RUN_OPTIONS = ("max_steps", "batch_clips", "learning_rate", "warmup_steps", "evaluate_every", "save_every", "seed")
RUN_OPTIONS += ("init_from", "optimizer")


def parse_arguments() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--output_dir", required=True, help="folder for songs, checkpoints, metrics and the encoder")
    parser.add_argument("--num_clips", type=int, default=1500, help="10-s songs to train on (default: %(default)s)")
    parser.add_argument(
        "--num_held_out_clips", type=int, default=50, help="songs to measure on (default: %(default)s)"
    )
    parser.add_argument("--first_held_out_seed", type=int, default=790_000, help="their first seed; not a test song")
    parser.add_argument("--num_clusters", type=int, default=500, help="number of centroids")
    parser.add_argument(
        "--num_centroid_clips", type=int, default=250, help="of them, to fit all centroids on (default: %(default)s)"
    )
    described = "without centroids, nothing hidden (default: %(default)s)"
    parser.add_argument("--heard_steps", type=int, default=0, help=described)
    described = "of the tuning with centroids; None: half of the other"
    parser.add_argument("--tuning_learning_rate", type=float, help=described)
    described = "how near features are held to their centroids"
    parser.add_argument("--commitment_weight", type=float, default=COMMITMENT_WEIGHT, help=described)
    parser.add_argument("--tuning_steps", type=int, default=3400, help="with centroids (default: %(default)s)")
    parser.add_argument("--with_parts", action="store_true", help="learn the band's parts, too, not its sum alone")
    add_song_recipe_options(parser)
    for name in RUN_OPTIONS:
        default = getattr(SemanticEncoderArguments, name)
        kind = str if default is None else type(default)
        parser.add_argument(f"--{name}", type=kind, default=default, help="(default: %(default)s)")
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    output_dir = Path(options.output_dir)
    seconds, started = {}, time.perf_counter()

    def note(name: str) -> None:
        nonlocal started
        seconds[name], started = round(time.perf_counter() - started, 1), time.perf_counter()

    # 1. Songs and the classes of their frames
    folder, recipe = output_dir / "pool", read_song_recipe(options)
    recipe.require()
    pool = SongPool(folder, options.num_clips, recipe=recipe, with_parts=options.with_parts).build()
    held_out = options.num_held_out_clips, options.first_held_out_seed
    held_out_pool = SongPool(folder, *held_out, recipe, options.with_parts).build()
    note("songs")
    num_few = min(options.num_clips, options.num_centroid_clips)
    few = SongPool(folder, num_few, recipe=recipe, with_parts=options.with_parts)
    targets = SemanticTargets(output_dir / "targets", options.seed).build(few, pool, held_out_pool)
    note("targets")

    # 2. Masked prediction
    given = {name: getattr(options, name) for name in RUN_OPTIONS}
    arguments = SemanticEncoderArguments(output_dir=str(output_dir / "run"), **given)
    trainer = SemanticEncoderTrainer(arguments, pool, held_out_pool, targets)
    trainer.train()
    draw_accuracies(output_dir / "run")
    note("masked_prediction")

    # 3. Chord and beat in the foreground, and nothing hidden
    changes = {"learning_rate": options.learning_rate / 2, "warmup_steps": 20, "family_weights": dict(FAMILY_WEIGHTS)}
    if options.heard_steps:
        own = {"output_dir": str(output_dir / "heard"), "max_steps": options.heard_steps, "seed": options.seed + 2}
        trainer = SemanticTuner(
            replace(arguments, **changes, **own), pool, held_out_pool, targets, trainer.model, centroids=None
        )
        trainer.train()
        note("heard")
    hubert = trainer.model.hubert
    save_rounded_hubert(hubert, output_dir / "hubert")

    # 4. Centroids, and both tuned so that the ids keep what the features know
    layer = hubert.config.num_hidden_layers
    blank = np.zeros((1, hubert.config.hidden_size), np.float32)
    encoder = AccompGenSemanticEncoder.from_hubert(output_dir / "hubert", blank, layer=layer)
    centroids, centroid_report = fit_pool_centroids(
        encoder, few, output_dir / "features", options.num_clusters, options.seed, arguments.noise_std
    )
    note("centroids")
    changes |= {"output_dir": str(output_dir / "tuning"), "max_steps": options.tuning_steps, "seed": options.seed + 1}
    if options.tuning_learning_rate is not None:
        changes["learning_rate"] = options.tuning_learning_rate
    tuning = replace(arguments, **changes)
    tuner = SemanticTuner(tuning, pool, held_out_pool, targets, trainer.model, centroids, options.commitment_weight)
    save_rounded_hubert(tuner.train(), output_dir / "hubert_tuned")
    note("tuning")
    encoder = AccompGenSemanticEncoder.from_hubert(output_dir / "hubert_tuned", tuner.centroids, layer=layer)
    save_encoder(encoder, output_dir / "final")

    # 5. What the ids know, read from the folder that ships
    encoder = AccompGenSemanticEncoder.from_pretrained(output_dir / "final", dtype=torch.float32)
    probes = probe_encoder(encoder, few, held_out_pool, arguments.noise_std)
    note("probes")
    report = {
        "songs": recipe.describe(),
        "parameters": sum(parameter.numel() for parameter in encoder.parameters()),
        "centroids": centroid_report,
        "probes": probes,
        "last_metrics": {kind: read_metrics(output_dir / "run", kind)[-1] for kind in ("train", "validation")},
        "seconds_of_this_call": seconds,
    }
    write_json(output_dir / "report.json", report, sort_keys=False)
    print(f"Encoder in {output_dir / 'final'}, report in {output_dir / 'report.json'}.")


if __name__ == "__main__":
    run_script(main)
