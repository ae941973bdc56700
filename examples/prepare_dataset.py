"""Turn procedural songs into token shards for examples/train_stage.py.

    python examples/prepare_dataset.py --num_songs 2000 --semantic_encoder DIR --codec DIR --output_dir SHARDS

Kill it whenever you like and start it again. To share the work, give every process its `--shard i/n` (0/4, 1/4, ...),
or start all of them with `accelerate launch` or torchrun.
"""

import argparse
import logging
import os

from transformers import EncodecModel

from accompgen_hf.data.preparation import prepare_shards, song_tracks
from accompgen_hf.data.tokenization import TokenExtractor, TokenRecipe
from accompgen_hf.modeling_accompgen_semantic_encoder import AccompGenSemanticEncoder


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", required=True, help="folder of the shards")
    parser.add_argument("--semantic_encoder", required=True, help="folder or Hub id of the semantic encoder")
    parser.add_argument("--codec", required=True, help="folder or Hub id of the EnCodec model")
    parser.add_argument("--first_seed", type=int, default=0, help="seed of the first song")
    parser.add_argument("--num_songs", type=int, required=True, help="songs, one per seed")
    parser.add_argument("--song_duration_s", type=float, default=10.0, help="seconds per song")
    parser.add_argument("--songs_dir", default=None, help="folder that keeps the songs as 16-bit files, for reuse")
    parser.add_argument("--shard", type=parse_share, default=None, metavar="i/n", help="this process's share")
    parser.add_argument("--tracks_per_shard", type=int, default=64)
    parser.add_argument("--max_failures", type=float, default=0.05, help="share of tracks that may fail")
    parser.add_argument("--validation_share", type=float, default=0.02, help="share of tracks kept for validation")
    parser.add_argument("--vocal_target_lufs", type=parse_level, default=-20.0, help="level of the vocals, or none")
    parser.add_argument("--noise_std", type=float, default=0.01, help="noise on the vocals")
    parser.add_argument("--bandwidth", type=float, default=6.0, help="of the codec, in kbps")
    parser.add_argument("--noise_seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="where the models run")
    parser.add_argument("--dry_run", action="store_true", help="say what would be made, and stop")
    return parser.parse_args()


def parse_share(text: str) -> tuple[int, int]:
    index, count = text.split("/")
    return int(index), int(count)


def parse_level(text: str) -> float | None:
    return None if text.lower() == "none" else float(text)


def main() -> None:
    arguments = parse_arguments()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    environment = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    worker_index, num_workers = environment if arguments.shard is None else arguments.shard
    tracks = song_tracks(arguments.first_seed, arguments.num_songs, arguments.song_duration_s, arguments.songs_dir)
    if arguments.dry_run:
        duration_s = len(tracks) * arguments.song_duration_s
        megabytes = duration_s * (2 * 50 + 8 * 75) * 2 / 1e6  # int16, before compression
        num_shards = -(-len(tracks) // arguments.tracks_per_shard)
        print(f"{len(tracks)} tracks, {duration_s / 3600:.2f} h, {num_shards} shards, at most {megabytes:.1f} MB")
        return
    extractor = TokenExtractor(
        AccompGenSemanticEncoder.from_pretrained(arguments.semantic_encoder).to(arguments.device),
        EncodecModel.from_pretrained(arguments.codec).to(arguments.device),
        TokenRecipe(arguments.vocal_target_lufs, arguments.noise_std, arguments.noise_seed, arguments.bandwidth),
    )
    manifest = prepare_shards(
        tracks,
        extractor,
        arguments.output_dir,
        tracks_per_shard=arguments.tracks_per_shard,
        worker_index=worker_index,
        num_workers=num_workers,
        max_failures=arguments.max_failures,
        validation_share=arguments.validation_share,
    )
    if manifest is None:
        print(f"Share {worker_index}/{num_workers} is done; others are missing.")
    else:
        rows = ", ".join(f"{count} {split}" for split, count in manifest.splits.items())
        print(
            f"{arguments.output_dir}: {manifest.duration_s / 3600:.2f} h in {rows} rows, "
            f"{len(manifest.failed_tracks)} failed, token_fingerprint {manifest.token_fingerprint}"
        )


if __name__ == "__main__":
    main()
