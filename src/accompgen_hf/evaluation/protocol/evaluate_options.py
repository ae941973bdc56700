"""From the options of examples/evaluate.py to systems, windows, corpus and embedders."""

import argparse
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import accompgen_hf
from accompgen_hf.data.corpora import musdb18_recordings, musdb18hq_recordings
from accompgen_hf.data.source_options import add_separator_options, add_song_recipe_options, read_song_recipe
from accompgen_hf.data.sources import SourceRecording, Track, pair_recordings
from accompgen_hf.evaluation.metrics.audio_embedders import EMBEDDERS, Embedder, load_embedder
from accompgen_hf.evaluation.protocol.excerpts import (
    CORPUS_SEED,
    REFERENCE_SEED,
    SEPARATED,
    VOCALS,
    WindowFolder,
    choose_recordings,
    describe_recipe,
    held_out_song_tracks,
    recording_tracks,
    songs_under_test,
    write_windows,
)
from accompgen_hf.evaluation.protocol.plan import NUM_QUICK_SONGS, NUM_SONGS, describe_work
from accompgen_hf.evaluation.protocol.scoring import TARGETS
from accompgen_hf.evaluation.systems.corpus import Corpus
from accompgen_hf.evaluation.systems.oracle import GIVEN_STAGES, OracleSystem, StageOracleSystem
from accompgen_hf.evaluation.systems.system import FolderSystem, OursSystem, System
from accompgen_hf.files import read_json, write_csv

DATASETS = ("songs", "musdb18", "folder")
BUILT_IN = ("random", "retrieval", "oracle", "ours")
DEFAULT_EMBEDDERS = ("logmel", "harmony-rhythm")
EXCERPT_SLACK_S = 2.0  # a corpus excerpt is longer than a window, so that it can begin on a beat


def add_protocol_options(parser: argparse.ArgumentParser) -> None:
    """Options of examples/evaluate.py."""
    add = parser.add_argument_group("test set").add_argument
    add("--dataset", choices=DATASETS, default="songs", help="procedural songs, MUSDB18 (STEM or HQ), ready pairs")
    add("--data", metavar="DIR", help="of musdb18 or folder")
    add("--quick", action="store_true", help="four songs and no sets: scores without FAD and APA, in a minute")
    add("--num_songs", type=int, help=f"songs under test ({NUM_SONGS}, with --quick {NUM_QUICK_SONGS})")
    add("--seed", type=int, default=0, help="chooses songs and windows, and seeds every system")
    add("--window_s", type=float, default=10.0, help="length of a window")
    add("--windows_per_song", type=int, default=1, help="procedural songs have one")
    add("--num_reference", type=int, default=200, help="songs of the reference set, none of them under test")
    add("--reference", metavar="DIR", help="ready pairs to be the reference, instead of songs beside the test set")
    add_song_recipe_options(parser)
    add("--export_inputs", type=Path, metavar="DIR", help="write vocals and window list for another system, and stop")
    add = parser.add_argument_group("systems").add_argument
    described = f"which of our own play; default: {' '.join(BUILT_IN)}"
    add("--systems", nargs="*", choices=BUILT_IN, help=described)
    add("--model", default=accompgen_hf.DEFAULT_MODEL, metavar="DIR", help="`ours`, and the codec of the oracle")
    add("--system", nargs="+", default=[], metavar="NAME=DIR", help="outputs of any system: DIR/<window_id>.wav")
    add("--singsong", metavar="DIR", help="a trained SingSong")
    add("--musicgen", metavar="ID", help="MusicGen-melody by Hub id or folder")
    add("--corpus", metavar="DIR", help="ready pairs for random and retrieval, instead of songs beside the test set")
    add("--corpus_size", type=int, default=500, help="procedural songs of the corpus")
    described = "our model with other settings: NAME:guidance_scale=1,semantic.temperature=0.8,model=DIR,..."
    add("--variant", nargs="+", default=[], metavar="NAME:OPTION=VALUE", help=described)
    add("--stage_oracles", nargs="+", choices=GIVEN_STAGES, default=[], help="our model with true codes up to a stage")
    add("--device", default="cpu", help="where models run")
    add = parser.add_argument_group("measuring").add_argument
    embedders = [name for name in DEFAULT_EMBEDDERS if name in EMBEDDERS]
    described = f"of {', '.join(EMBEDDERS)}; weights are a file, folder or Hub id (default: {' '.join(embedders)})"
    described += "; without a name no FAD and no APA"
    add("--embedders", nargs="*", default=embedders, metavar="NAME[=WEIGHTS]", help=described)
    add("--target", choices=TARGETS, default="mix", help="what FAD hears")
    add("--isolated_only", action="store_true", help="leave FADs and Δ out")
    add("--num_resamples", type=int, default=300, help="for the intervals")
    add("--training_data", nargs="+", default=[], metavar="DIR", help="token shards of the model's own training")
    add("--allow_seen", action="store_true", help="go on if the model was trained on these songs, and print it")
    add("--page", type=Path, metavar="FILE", help="also put table and picture into this Markdown page")
    add("--listening_test", type=Path, metavar="DIR", help="also write blind mixes with a key file")
    add_separator_options(parser)


def build_windows(options: argparse.Namespace) -> tuple[WindowFolder, WindowFolder | None, Corpus | None]:
    """Test set, reference and corpus: three sets of songs without a common one.

    With `quick`, and where the inputs alone are asked for, there is the test set alone.

    Raises:
        ValueError: If the songs do not suffice, or what their recipe needs is missing.
        ImportError: If a package is missing that their recipe needs.
    """
    output_dir = Path(options.output_dir)
    corpus_s = options.window_s + EXCERPT_SLACK_S
    recipe = read_song_recipe(options)
    if options.dataset == "songs":
        recipe.require()
        tested = songs_under_test(options.num_songs, options.seed, options.window_s, recipe)
        reference = held_out_song_tracks(REFERENCE_SEED, options.num_reference, options.window_s, recipe)
        corpus = held_out_song_tracks(CORPUS_SEED, options.corpus_size, corpus_s, recipe)
    else:
        recordings = list_test_recordings(options)
        chosen, others = choose_recordings(recordings, options.num_songs, options.seed)
        tested = recording_tracks(chosen)
        reference, corpus = divide_others(others, options)
    shape = {"window_s": options.window_s, "windows_per_song": options.windows_per_song, "seed": options.seed}
    shape["source"] = describe_recipe(recipe) if options.dataset == "songs" else {}
    if options.quick or options.export_inputs is not None:
        print(describe_work(tested, 0, count_systems(options), output_dir), flush=True)
        return write_windows(tested, output_dir / "inputs", **shape, label="test set"), None, None
    if options.reference is not None:
        reference = recording_tracks(pair_recordings(options.reference)[: options.num_reference])
    if options.corpus is not None:
        corpus = recording_tracks(pair_recordings(options.corpus))
    for tracks, name in ((reference, "reference"), (corpus, "corpus")):
        if not tracks:
            raise ValueError(f"`{name}` has no songs left beside the {len(tested)} under test. Give `--{name} DIR`.")
    print(describe_work(tested, len(reference) + len(corpus), count_systems(options), output_dir), flush=True)
    test_set = write_windows(tested, output_dir / "inputs", **shape, label="test set")
    reference_set = write_windows(reference, output_dir / "reference", **shape, label="reference")
    return test_set, reference_set, Corpus(corpus, corpus_s, output_dir / "corpus_index.json")


def list_test_recordings(options: argparse.Namespace) -> list[SourceRecording]:
    """Songs with stems of `--data`; MUSDB18 as STEM files or as HQ's folders, whichever is there.

    Raises:
        ValueError: If `--data` is missing or holds none.
    """
    if options.data is None:
        raise ValueError(f"`data` is needed with `--dataset {options.dataset}`: give its folder.")
    if options.dataset == "folder":
        return pair_recordings(options.data)
    is_stem = any(Path(options.data).rglob("*.stem.mp4"))
    return musdb18_recordings(options.data) if is_stem else musdb18hq_recordings(options.data)


def divide_others(others: Sequence[SourceRecording], options: argparse.Namespace) -> tuple[list[Track], list[Track]]:
    """Songs beside the test set: half for the reference, half for the corpus, unless one of them is given."""
    if options.reference is not None:
        return [], recording_tracks(others)
    if options.corpus is not None:
        return recording_tracks(others[: options.num_reference]), []
    return recording_tracks(others[::2][: options.num_reference]), recording_tracks(others[1::2])


def count_systems(options: argparse.Namespace) -> int:
    """How many systems play."""
    named = [options.musicgen, options.singsong]
    lists = (options.systems or (), options.system, options.variant, options.stage_oracles)
    return sum(map(len, lists)) + sum(name is not None for name in named)


def build_systems(options: argparse.Namespace, corpus: Corpus | None) -> list[System]:
    """Systems in the table's order: floors, others, ours, ceiling.

    Raises:
        ValueError: If a `--system` is not NAME=DIR, or a folder is missing.
    """
    from accompgen_hf.evaluation.systems.retrieval import RandomSystem, RetrievalSystem

    systems: list[System] = []
    if "random" in options.systems:
        systems.append(RandomSystem(corpus))
    if "retrieval" in options.systems:
        systems.append(RetrievalSystem(corpus))
    for pair in options.system:
        name, sign, folder = pair.partition("=")
        if not sign or not name or not folder:
            raise ValueError(f"`system` must be NAME=DIR, got {pair!r}.")
        systems.append(FolderSystem(name, folder))
    if options.musicgen is not None:
        from accompgen_hf.evaluation.systems.musicgen import MusicGenMelodySystem

        systems.append(MusicGenMelodySystem(options.musicgen, device=options.device))
    if options.singsong is not None:
        from accompgen_hf.evaluation.systems.singsong import SingSongSystem

        systems.append(SingSongSystem(options.singsong))
    if "ours" in options.systems:
        systems.append(OursSystem(options.model, device=options.device))
    systems += [parse_variant(text, options.model, options.device) for text in options.variant]
    systems += [StageOracleSystem(options.model, given, device=options.device) for given in options.stage_oracles]
    if "oracle" in options.systems:
        systems.append(OracleSystem(options.model))
    return systems


def parse_variant(text: str, model: str | os.PathLike, device: str = "cpu") -> OursSystem:
    """Our model with settings of its own, from `NAME:OPTION=VALUE[,OPTION=VALUE]`.

    An option is one of the pipeline's call; with `semantic.`, `coarse.` or `fine.` before it, it is for that stage;
    `model` is another folder, `weight_format` what its `set_weight_format` takes. Values are JSON, or else text.

    Raises:
        ValueError: If `text` is anything else.
    """
    name, sign, settings = text.partition(":")
    pairs = [setting.partition("=") for setting in settings.split(",")]
    if not sign or not name or any(not (option and equals and value) for option, equals, value in pairs):
        raise ValueError(f"`variant` must be NAME:OPTION=VALUE[,OPTION=VALUE...], got {text!r}.")
    generate_kwargs: dict[str, Any] = {}
    for option, _, written in pairs:
        try:
            value = json.loads(written)
        except json.JSONDecodeError:
            value = written
        stage, dot, own = option.partition(".")
        if option == "model":
            model = str(value)
        elif dot:
            generate_kwargs.setdefault(f"{stage}_kwargs", {})[own] = value
        else:
            generate_kwargs[option] = value
    return OursSystem(model, name, device, **generate_kwargs)


def build_embedders(names: Sequence[str]) -> dict[str, Embedder]:
    """Embedders by name, from NAME or NAME=WEIGHTS."""
    embedders = {}
    for text in names:
        name, _, weights = text.partition("=")
        embedders[name] = load_embedder(name, weights or None)
    return embedders


def list_models(options: argparse.Namespace) -> list[str]:
    """Folders of our models under test, which say what they were trained on."""
    variants = [str(parse_variant(text, options.model).folder) for text in options.variant]
    own = [options.model] if "ours" in options.systems or options.stage_oracles else []
    return [*dict.fromkeys([*own, *variants, *([] if options.singsong is None else [options.singsong])])]


def read_fingerprint(model: str | os.PathLike) -> str | None:
    """`token_fingerprint` of a model's folder, if it states one."""
    path = Path(model) / "config.json"
    return read_json(path).get("token_fingerprint") if path.is_file() else None


def export_inputs(test_set: WindowFolder, folder: Path, has_separated: bool) -> Path:
    """Copy vocals, and separated ones, with a `windows.csv` that names the files to answer with.

    Returns:
        The list's path.
    """
    kinds = (VOCALS, SEPARATED) if has_separated else (VOCALS,)
    rows: list[list[Any]] = [["window_id", "song_id", "start_s", "duration_s", *kinds, "answer_with"]]
    for kind in kinds:
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for window in test_set.windows:
        for kind in kinds:
            shutil.copyfile(test_set.path(window, kind), folder / kind / f"{window.window_id}.wav")
        files = [*(f"{kind}/{window.window_id}.wav" for kind in kinds), f"{window.window_id}.wav"]
        rows.append([window.window_id, window.song_id, window.start_s, window.duration_s, *files])
    path = folder / "windows.csv"
    write_csv(path, rows)
    return path
