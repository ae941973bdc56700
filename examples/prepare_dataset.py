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
#     "onnxruntime>=1.19",
# ]
# ///
"""Turn music into token shards for examples/train_stage.py: songs, pairs, FMA, MUSDB18, datasets, procedural songs.

    python examples/prepare_dataset.py --source pairs --data PAIRS \\
        --semantic_encoder DIR --codec DIR --output_dir SHARDS
    python examples/prepare_dataset.py --source fma --data fma_large --separate vocals.onnx ...
    python examples/prepare_dataset.py --num_songs 2000 ...            # procedural songs

Kill it whenever you like and start it again. To share the work, give every process its `--shard i/n` (0/4, 1/4, ...),
or start all of them with `accelerate launch` or torchrun. docs/guide/prepare_data.md has the whole way.
"""

import argparse
import logging
from pathlib import Path

import soundfile

from accompgen_hf.accompgen.parts_accompgen import WHOLE_BAND
from accompgen_hf.data.duplicates import find_duplicates, join_duplicates
from accompgen_hf.data.filtering import ClipFilter
from accompgen_hf.data.preparation import prepare_shards
from accompgen_hf.data.publishing import push_shards, reserve_dataset
from accompgen_hf.data.shards import MIN_HELD_OUT, raise_validation_share
from accompgen_hf.data.song_source import song_tracks
from accompgen_hf.data.source_options import (
    SOURCES,
    add_separator_options,
    add_source_options,
    find_share,
    list_recordings,
    open_separator,
    read_song_recipe,
)
from accompgen_hf.data.sources import SourceRecording, Track, make_tracks
from accompgen_hf.data.tokenization import TokenExtractor, TokenRecipe
from accompgen_hf.model_parts import load_part
from accompgen_hf.scripts import run_script, script_parser
from accompgen_hf.songs.band import PARTS
from accompgen_hf.songs.recipe import PLAIN_SONGS


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--output_dir", required=True, help="folder of the shards")
    parser.add_argument("--semantic_encoder", required=True, help="folder or Hub id, its own or a whole model's")
    parser.add_argument("--codec", required=True, help="folder or Hub id of an EnCodec, or a whole model's")
    parser.add_argument("--source", default="songs", choices=tuple(SOURCES), help="default: procedural songs")
    add_source_options(parser)
    add_separator_options(parser)
    add_filter_options(parser)
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, metavar="PART", help=f"tokenize parts one by one: {' '.join(PARTS)}"
    )
    parser.add_argument("--styles", action="store_true", help="write down each track's style: of songs, FMA, tables")
    parser.add_argument("--tracks_per_shard", type=int, default=64, help="tracks in each file")
    parser.add_argument("--max_failures", type=float, default=0.05, help="share of tracks that may fail")
    parser.add_argument(
        "--validation_share", type=float, default=0.02, help="share of groups held out, at least 2 tracks"
    )
    parser.add_argument("--split_group", default="track", choices=("track", "artist", "album"), help="kept together")
    parser.add_argument("--no_duplicates_check", action="store_true", help="do not look for equal files")
    parser.add_argument("--vocal_target_lufs", type=parse_optional, default=-20.0, help="level of the vocals, or none")
    parser.add_argument("--noise_std", type=float, default=0.01, help="noise on the vocals")
    parser.add_argument("--bandwidth", type=float, default=6.0, help="rate of the codec in kbps")
    parser.add_argument("--noise_seed", type=int, default=0, help="seed of the noise on the vocals")
    parser.add_argument("--device", default="cpu", help="where the models run")
    parser.add_argument(
        "--push_to_hub", metavar="REPO", help="dataset repository to upload the shards to, with a card"
    )
    parser.add_argument("--dry_run", action="store_true", help="open everything, say what would be made, and stop")
    return parser.parse_args(argv)


def add_filter_options(parser: argparse.ArgumentParser) -> None:
    default = ClipFilter()
    add = parser.add_argument_group(
        "filters", "`none` switches one off; procedural songs are not filtered"
    ).add_argument
    add("--no_filters", action="store_true", help="keep everything, one row per track")
    for name in (
        "min_instrumental_rms_db",
        "max_vocals_over_instrumental_db",
        "min_vocal_activity",
        "max_duration_mismatch_s",
    ):
        add(f"--{name}", type=parse_optional, default=getattr(default, name), help="default %(default)s")
    add(
        "--max_bleed_correlation",
        type=parse_optional,
        default=argparse.SUPPRESS,
        help=f"default {default.max_bleed_correlation} for ready pairs; off for what a separator made",
    )
    add("--keep_vocalless", type=float, default=default.keep_vocalless, help="share of clips without voice that stay")
    add("--clip_duration_s", type=float, default=default.clip_duration_s, help="length of the clips that are judged")


def parse_optional(text: str) -> float | None:
    return None if text.lower() == "none" else float(text)


def open_tracks(arguments: argparse.Namespace) -> tuple[list[Track], list[SourceRecording], dict | None]:
    """Tracks, the recordings that they come from, and the source's description for the manifest."""
    if arguments.parts is not None and len(set(arguments.parts)) != max(2, len(arguments.parts)):
        raise ValueError(f"`--parts` must name different parts, two at least, got {' '.join(arguments.parts)}.")
    own = {"parts": arguments.parts is not None, "styles": arguments.styles}
    if arguments.source == "songs":
        recipe = read_song_recipe(arguments)
        recipe.require()
        seeds = (arguments.first_seed, arguments.num_songs)
        songs = song_tracks(*seeds, arguments.song_duration_s, arguments.songs_dir, recipe, **own)
        source = None if recipe == PLAIN_SONGS else {"corpus": "songs", "recipe": recipe.describe()}
        return songs, [], source
    recordings = list_recordings(arguments)
    separator = open_separator(arguments, device="cpu" if arguments.device == "cpu" else "auto", num_threads=1)
    tracks = make_tracks(recordings, separator, arguments.split_group, **own)
    if not arguments.no_duplicates_check:
        tracks = join_duplicates(tracks, find_duplicates(recordings))
    return tracks, recordings, {"corpus": arguments.source, "separator": separator and separator.describe()}


def choose_filter(arguments: argparse.Namespace) -> ClipFilter | None:
    if arguments.source == "songs" or arguments.no_filters:
        return None
    values = {name: value for name, value in vars(arguments).items() if name in ClipFilter.__dataclass_fields__}
    if "max_bleed_correlation" not in values and is_separated(arguments):
        # A separator leaves something of each in the other: that is the data we have, and no fault of the pair.
        values["max_bleed_correlation"] = None
    return ClipFilter(**values)


def is_separated(arguments: argparse.Namespace) -> bool:
    """Whether a separator makes the stems now, or examples/separate_songs.py made them with one."""
    is_made_before = arguments.source == "pairs" and (Path(arguments.data) / "separator.json").is_file()
    return arguments.separate is not None or is_made_before


def estimate_hours(arguments: argparse.Namespace, recordings: list[SourceRecording]) -> float:
    """Hours of audio, from the headers of up to 50 files; FMA's clips last 30 s, other unread ones count 4 minutes."""
    if arguments.source == "songs":
        return arguments.num_songs * arguments.song_duration_s / 3600
    durations_s = []
    for recording in recordings[:: max(1, len(recordings) // 50)]:
        try:
            durations_s.append(soundfile.info(str(recording.files[0])).duration)
        except (IndexError, RuntimeError):
            durations_s.append(30.0 if arguments.source == "fma" else 240.0)
    return len(recordings) * sum(durations_s) / len(durations_s) / 3600


def describe_plan(arguments: argparse.Namespace, tracks: list[Track], recordings: list[SourceRecording]) -> str:
    hours = estimate_hours(arguments, recordings)
    megabytes = hours * 3600 * (2 * 50 + 8 * 75) * 2 / 1e6  # int16, before compression
    num_shards = -(-len(tracks) // arguments.tracks_per_shard)
    licences = sorted({track.licence for track in tracks})
    return (
        f"{len(tracks)} tracks, {hours:.2f} h before filters, {num_shards} shards, at most {megabytes:.1f} MB; "
        f"licences: {', '.join(licences[:8])}{' ...' if len(licences) > 8 else ''}"
    )


def main(argv: list[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    worker_index, num_workers = find_share(arguments)
    tracks, recordings, source = open_tracks(arguments)
    clip_filter = choose_filter(arguments)
    validation_share = raise_validation_share(tracks, arguments.validation_share)
    if validation_share > arguments.validation_share:
        held_out = f"{MIN_HELD_OUT} of {len(tracks)} tracks are held out"
        print(f"`validation_share` is {validation_share:.4f}, so that {held_out}.")
    recipe = TokenRecipe(
        arguments.vocal_target_lufs,
        arguments.noise_std,
        arguments.noise_seed,
        arguments.bandwidth,
        part_names=WHOLE_BAND if arguments.parts is None else tuple(arguments.parts),
    )
    extractor = TokenExtractor(
        load_part(arguments.semantic_encoder, "semantic_encoder").to(arguments.device),
        load_part(arguments.codec, "codec").to(arguments.device),
        recipe,
    )
    if arguments.dry_run:
        print(describe_plan(arguments, tracks, recordings))
        return
    repository = None if arguments.push_to_hub is None else reserve_dataset(arguments.push_to_hub)
    manifest = prepare_shards(
        tracks,
        extractor,
        arguments.output_dir,
        tracks_per_shard=arguments.tracks_per_shard,
        worker_index=worker_index,
        num_workers=num_workers,
        max_failures=arguments.max_failures,
        validation_share=validation_share,
        clip_filter=clip_filter,
        source=source,
    )
    if manifest is None:
        print(f"Share {worker_index}/{num_workers} is done; others are missing.")
    else:
        rows = ", ".join(f"{count} {split}" for split, count in manifest.splits.items())
        print(
            f"{arguments.output_dir}: {manifest.duration_s / 3600:.2f} h in {rows} rows, "
            f"{len(manifest.failed_tracks)} failed, token_fingerprint {manifest.token_fingerprint}"
        )
        if not sum(manifest.splits.values()):
            print("Nothing was kept: rejected.jsonl and filtering.png say why.")
        for licence, hours in manifest.hours_by_licence.items():
            print(f"  {hours:.2f} h {licence}")
        if repository is not None:
            print(push_shards(arguments.output_dir, repository))


if __name__ == "__main__":
    run_script(main)
