"""Train the small semantic encoder on procedural songs: songs, targets, masked prediction, centroids, probes.

    python examples/train_semantic_encoder.py --output_dir runs/semantic_encoder

Every step goes on where it was killed. The encoder lies in `<output_dir>/final`, its report in `report.json`.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from accompgen_hf.modeling_accompgen_semantic_encoder import AccompGenSemanticEncoder
from accompgen_hf.training.semantic_encoder import SemanticEncoderArguments, SemanticEncoderTrainer, read_metrics
from accompgen_hf.training.semantic_finish import (
    fit_pool_centroids,
    plot_metrics,
    probe_encoder,
    save_encoder,
    write_report,
)
from accompgen_hf.training.semantic_model import save_rounded_hubert
from accompgen_hf.training.semantic_pool import SongPool
from accompgen_hf.training.semantic_targets import SemanticTargets


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", required=True, help="folder for songs, checkpoints, metrics and the encoder")
    parser.add_argument("--num_clips", type=int, default=250, help="10-s songs to train on (default: %(default)s)")
    parser.add_argument(
        "--num_held_out_clips", type=int, default=50, help="songs to measure on (default: %(default)s)"
    )
    parser.add_argument("--first_held_out_seed", type=int, default=790_000, help="their first seed; not a test song")
    parser.add_argument("--num_clusters", type=int, default=500)
    parser.add_argument("--max_steps", type=int, default=1500)
    parser.add_argument("--batch_clips", type=int, default=4)
    parser.add_argument("--learning_rate", type=float, default=1e-3)
    parser.add_argument("--warmup_steps", type=int, default=100)
    parser.add_argument("--evaluate_every", type=int, default=100)
    parser.add_argument("--save_every", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    output_dir = Path(options.output_dir)
    seconds, started = {}, time.perf_counter()

    def note(name: str) -> None:
        nonlocal started
        seconds[name], started = round(time.perf_counter() - started, 1), time.perf_counter()

    # 1. Songs and the classes of their frames
    pool = SongPool(output_dir / "pool", options.num_clips).build()
    held_out_pool = SongPool(output_dir / "pool", options.num_held_out_clips, options.first_held_out_seed).build()
    note("songs")
    targets = SemanticTargets(output_dir / "targets", options.seed).build(pool, held_out_pool)
    note("targets")

    # 2. Masked prediction
    names = ("max_steps", "batch_clips", "learning_rate", "warmup_steps", "evaluate_every", "save_every", "seed")
    arguments = SemanticEncoderArguments(
        output_dir=str(output_dir / "run"), **{name: getattr(options, name) for name in names}
    )
    hubert = SemanticEncoderTrainer(arguments, pool, held_out_pool, targets).train()
    save_rounded_hubert(hubert, output_dir / "hubert")
    plot_metrics(output_dir / "run" / "metrics.jsonl", output_dir / "run" / "curve.png")
    note("masked_prediction")

    # 3. Centroids on the rounded weights
    layer = hubert.config.num_hidden_layers
    blank = np.zeros((1, hubert.config.hidden_size), np.float32)
    encoder = AccompGenSemanticEncoder.from_hubert(output_dir / "hubert", blank, layer=layer)
    centroids, centroid_report = fit_pool_centroids(
        encoder, pool, output_dir / "features", options.num_clusters, options.seed, arguments.noise_std
    )
    note("centroids")
    encoder = AccompGenSemanticEncoder.from_hubert(output_dir / "hubert", centroids, layer=layer)
    save_encoder(encoder, output_dir / "final")

    # 4. What the ids know, read from the folder that ships
    encoder = AccompGenSemanticEncoder.from_pretrained(output_dir / "final", dtype=torch.float32)
    probes = probe_encoder(encoder, pool, held_out_pool, arguments.noise_std)
    note("probes")
    report = {
        "parameters": sum(parameter.numel() for parameter in encoder.parameters()),
        "centroids": centroid_report,
        "probes": probes,
        "last_metrics": read_metrics(output_dir / "run" / "metrics.jsonl")[-1],
        "seconds_of_this_call": seconds,
    }
    write_report(output_dir / "report.json", report)
    print(f"Encoder in {output_dir / 'final'}, report in {output_dir / 'report.json'}.")


if __name__ == "__main__":
    main()
