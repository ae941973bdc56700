"""Command-line options of sources, shares of the work and separators, common to the scripts that read songs."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from accompgen_hf import DEFAULT_MODEL
from accompgen_hf.data.corpora import (
    dataset_recordings,
    fma_recordings,
    musdb18_recordings,
    musdb18hq_recordings,
)
from accompgen_hf.data.mdx import MDX_PRESETS
from accompgen_hf.data.separation import SEPARATOR_OPTIONS, Separator, load_separator
from accompgen_hf.data.song_source import song_recordings
from accompgen_hf.data.sources import (
    UNKNOWN_LICENCE,
    SourceRecording,
    filter_licences,
    folder_recordings,
    pair_recordings,
)
from accompgen_hf.songs.composition import COMPOSITIONS, SINGERS
from accompgen_hf.songs.recipe import SongRecipe
from accompgen_hf.songs.song import RENDERERS

SOURCES: dict[str, Callable[[argparse.Namespace], list[SourceRecording]]] = {
    "folder": lambda options: folder_recordings(options.data, options.licence),
    "pairs": lambda options: pair_recordings(options.data, options.licence),
    "fma": lambda options: fma_recordings(options.data, options.fma_metadata),
    "musdb18": lambda options: musdb18_recordings(options.data),
    "musdb18hq": lambda options: musdb18hq_recordings(options.data),
    "dataset": lambda options: dataset_recordings(
        options.data, options.audio_columns, options.dataset_split, options.licence, options.id_column
    ),
    "songs": lambda options: song_recordings(
        options.first_seed, options.num_songs, options.song_duration_s, options.songs_dir, read_song_recipe(options)
    ),
}


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """Options that say where recordings come from."""
    add = parser.add_argument_group("source").add_argument
    add("--data", help="folder, or Hub id of a dataset")
    add("--licence", default=UNKNOWN_LICENCE, help="licence of everything that does not state its own")
    add("--allow_licenses", nargs="+", metavar="PATTERN", help="keep these licences alone, such as 'CC0*' 'CC-BY-4.0'")
    add("--fma_metadata", metavar="CSV", help="FMA's tracks.csv, if it is not beside the clips")
    add("--audio_columns", nargs="+", help="dataset: the column of songs, or those of vocals and instrumental")
    add("--dataset_split", default="train", help="dataset: name of the split to read")
    add("--id_column", help="dataset: column with the tracks' names")
    add("--first_seed", type=int, default=0, help="songs: seed of the first one")
    add("--num_songs", type=int, default=0, help="songs: how many, one per seed")
    add("--song_duration_s", type=float, default=10.0, help="songs: seconds of each")
    add("--songs_dir", help="songs: folder that keeps them as 16-bit files, for reuse")
    add_song_recipe_options(parser)
    parser.add_argument("--shard", type=parse_share, metavar="i/n", help="this process's share of the work")


def add_held_out_song_options(parser: argparse.ArgumentParser, num_songs: int, duration_s: float) -> None:
    """Options of scripts that play to held-out songs and keep what they have played; the defaults of two are given."""
    add = parser.add_argument
    add("--output_dir", type=Path, required=True, help="keeps everything between runs")
    add("--model", default=DEFAULT_MODEL, help="folder or repository")
    add("--num_songs", type=int, default=num_songs, help="held-out songs")
    add("--duration_s", type=float, default=duration_s, help="length of a song in seconds")
    add("--device", default="cpu", help="cpu, cuda or cuda:0")


def add_song_recipe_options(parser: argparse.ArgumentParser) -> None:
    """Options that say how procedural songs are made; the defaults are plain songs, those of the second edition."""
    add = parser.add_argument_group("procedural songs").add_argument
    add(
        "--composition",
        default="plain",
        choices=COMPOSITIONS,
        help="lead_sheets: melodies as loose as real ones; arranged: those in short sections, with rests in mid-song; "
        "tunes: known ones, for evaluation alone",
    )
    add(
        "--singers",
        default="vowels",
        choices=SINGERS,
        help="words need flite and pyworld; mixed: in a third of the songs",
    )
    add(
        "--renderer",
        default="numpy",
        choices=RENDERERS,
        help="soundfont: sampled instruments; mixed: in half of the songs",
    )
    add("--soundfont", metavar="FILE", help="General MIDI bank (.sf2); default: FluidR3 GM of fluid-soundfont-gm")


def read_song_recipe(options: argparse.Namespace) -> SongRecipe:
    """The recipe of those options."""
    return SongRecipe(options.composition, options.singers, options.renderer, options.soundfont)


def parse_share(text: str) -> tuple[int, int]:
    """Read `i/n`, share i of n.

    Raises:
        argparse.ArgumentTypeError: If it is something else.
    """
    try:
        index, count = map(int, text.split("/"))
    except ValueError:
        index, count = 0, 0
    if not 0 <= index < count:
        raise argparse.ArgumentTypeError(f"must be i/n with 0 <= i < n, such as 0/4, got {text!r}")
    return index, count


def find_share(options: argparse.Namespace) -> tuple[int, int]:
    """Share of `--shard`, or of this process among those of torchrun or `accelerate launch`."""
    if options.shard is not None:
        return options.shard
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def add_separator_options(parser: argparse.ArgumentParser) -> None:
    """Options that say how whole songs are separated."""
    add = parser.add_argument_group("separation").add_argument
    add("--separate", metavar="MODEL", help=".onnx file of MDX-Net, or a demucs model such as htdemucs")
    add("--separate_preset", metavar="NAME", help=f"what the file is, if not its name: {', '.join(MDX_PRESETS)}")
    add("--separate_n_fft", type=int, help="samples per analysis window")
    add("--separate_gain", type=float, help="factor on the network's output")
    add("--separate_stem", choices=("vocals", "instrumental"), help="what the network predicts")


def list_recordings(options: argparse.Namespace) -> list[SourceRecording]:
    """Recordings of `--source`, with allowed licences.

    Raises:
        ValueError: If `--data` is missing or does not hold what `--source` says.
    """
    if options.data is None and options.source != "songs":
        raise ValueError(f"`data` is needed with `--source {options.source}`: give its folder or dataset.")
    return filter_licences(SOURCES[options.source](options), options.allow_licenses)


def open_separator(options: argparse.Namespace, **more: Any) -> Separator | None:
    """The separator of `--separate`, with one thread: sums over threads would make stems depend on the machine."""
    if options.separate is None:
        return None
    given = {name: getattr(options, option) for option, name in SEPARATOR_OPTIONS.items()}
    return load_separator(
        options.separate, **{name: value for name, value in {**given, **more}.items() if value is not None}
    )
