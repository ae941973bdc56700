"""The whole protocol in miniature: MUSDB18's folders, every kind of system, and a run that was killed."""

import argparse
import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from accompgen_hf import AccompGenProcessor, VocalAccompanimentPipeline
from accompgen_hf.accompgen.audio_accompgen import write_audio
from accompgen_hf.data.corpora import STEM_STREAMS
from accompgen_hf.evaluation.protocol import collection
from accompgen_hf.evaluation.protocol.evaluate_options import add_protocol_options, build_embedders, build_windows
from stem_files import RATE as STEM_RATE
from stem_files import write_stem_file
from tiny import tiny_model

SCRIPT = Path(__file__).resolve().parents[3] / "examples" / "evaluate.py"
WINDOW_S = 0.96  # one window of the log-mel embedder
NUM_WINDOWS = 10


def load_script():
    spec = importlib.util.spec_from_file_location("evaluate_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_options(output_dir: Path, *arguments: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--output_dir")
    add_protocol_options(parser)
    return parser.parse_args(["--output_dir", str(output_dir), *map(str, arguments)])


def song_stems(index: int, seconds: float) -> dict[str, np.ndarray]:
    """Pulses of a chord under a tone that stands for the voice; every song another key."""
    rng = np.random.default_rng(index)
    time = np.arange(round(seconds * STEM_RATE)) / STEM_RATE
    root = 110 * 2 ** (index / 12)
    pulse = np.exp(-8 * (time % 0.5))
    sounds = {
        "drums": rng.normal(size=len(time)) * pulse * 0.05,
        "bass": 0.1 * np.sin(2 * np.pi * root * time),
        "other": sum(0.05 * np.sin(2 * np.pi * root * ratio * time) for ratio in (2, 2.52, 3)) * pulse,
        "vocals": 0.1 * np.sin(2 * np.pi * (2 * root + 3 * np.sin(30 * time)) * time),
    }
    stems = {name: np.tile(sounds[name], (2, 1)).astype(np.float32) for name in STEM_STREAMS[1:]}
    return {"mix": sum(stems.values()), **stems}


@pytest.fixture(scope="module")
def musdb(tmp_path_factory):
    """Two songs to test, two for the reference and a short one for the corpus, as STEM files and as HQ's folders."""
    folder = tmp_path_factory.mktemp("musdb")
    for index in range(5):
        split, name = ("test" if index < 2 else "train"), f"Artist {index} - Song"
        stems = song_stems(index, 3.1 if index == 3 else NUM_WINDOWS * WINDOW_S + 0.1)
        write_stem_file(folder / "stem" / split / f"{name}.stem.mp4", stems)
        for stem, audio in stems.items():
            path = folder / "hq" / split / name / f"{'mixture' if stem == 'mix' else stem}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_audio(path, audio, STEM_RATE)
    return folder


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    VocalAccompanimentPipeline(tiny_model(), AccompGenProcessor(), device="cpu").save_pretrained(folder)
    return folder


def musdb_options(output_dir: Path, data: Path, model: Path, *more: object) -> argparse.Namespace:
    arguments = ["--dataset", "musdb18", "--data", data, "--num_songs", 2]
    arguments += ["--window_s", WINDOW_S, "--windows_per_song", NUM_WINDOWS]
    arguments += ["--embedders", "logmel", "--model", model, "--num_resamples", 5, "--target", "instrumental"]
    return make_options(output_dir, *arguments, *more)


@pytest.mark.parametrize(
    ("form", "built_in"),
    [
        ("stem", ("random", "retrieval", "oracle")),
        pytest.param("hq", ("random", "oracle"), marks=pytest.mark.slow),  # test_windows.py reads HQ by default
    ],
)
def test_musdb18_runs_with_every_kind_of_system(form, built_in, musdb, model_folder, tmp_path):
    evaluate = load_script().evaluate
    theirs = tmp_path / "theirs"
    inputs = tmp_path / "inputs"
    evaluate(musdb_options(tmp_path / "run", musdb / form, model_folder, "--export_inputs", inputs))
    for path in (inputs / "vocals").iterdir():  # "another system" plays the voice back
        theirs.mkdir(exist_ok=True)
        shutil.copyfile(path, theirs / path.name)
    systems = ("--systems", *built_in, "--system", f"theirs={theirs}")
    evaluate(
        musdb_options(
            tmp_path / "run", musdb / form, model_folder, *systems, "--listening_test", tmp_path / "listening"
        )
    )
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert list(results["systems"]) == sorted([*built_in, "theirs", "truth"])
    assert results["dataset"]["num_songs"] == 2
    assert results["dataset"]["num_windows"] == len(list((inputs / "vocals").iterdir())) == 20
    fad = {name: system["metrics"]["fad_isolated.logmel"]["value"] for name, system in results["systems"].items()}
    assert fad["truth"] < fad["theirs"]
    assert results["embedders"]["logmel"]["weights_hash"]
    assert results["separation"] is None
    table = (tmp_path / "run" / "table.md").read_text()
    assert "FADs and Δ: n/a" in table
    assert "not checked: no model has a training_tracks.json, and no --training_data was given" in table
    assert (tmp_path / "run" / "results.png").is_file()
    assert (tmp_path / "run" / "model_index_theirs.yaml").is_file()
    assert (tmp_path / "listening" / "key.json").is_file()


def test_a_killed_run_gives_the_same_bytes(musdb, model_folder, tmp_path, monkeypatch):
    evaluate = load_script().evaluate
    systems = ("--systems", "random", "oracle")
    evaluate(musdb_options(tmp_path / "whole", musdb / "hq", model_folder, *systems))
    real, calls = collection.Scorer.embed, []

    def dies(self, item):
        calls.append(1)
        if len(calls) == 30:
            raise KeyboardInterrupt
        return real(self, item)

    monkeypatch.setattr(collection.Scorer, "embed", dies)
    with pytest.raises(KeyboardInterrupt):
        evaluate(musdb_options(tmp_path / "killed", musdb / "hq", model_folder, *systems))
    evaluate(musdb_options(tmp_path / "killed", musdb / "hq", model_folder, *systems))
    for name in ("results.json", "table.md"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    count = len(calls)
    evaluate(musdb_options(tmp_path / "killed", musdb / "hq", model_folder, *systems))
    assert len(calls) == count  # nothing is computed twice


def test_too_few_windows_say_what_to_do(musdb, model_folder, tmp_path):
    options = musdb_options(tmp_path, musdb / "hq", model_folder, "--systems", "random", "--windows_per_song", 3)
    with pytest.raises(ValueError, match="`num_songs` gives at most 6 windows, and FAD and APA need 20"):
        load_script().evaluate(options)


def test_without_embedders_two_windows_are_enough(musdb, model_folder, tmp_path):
    options = musdb_options(tmp_path, musdb / "hq", model_folder, "--systems", "random", "--windows_per_song", 1)
    options.embedders = []
    results = load_script().evaluate(options)
    found = results["systems"]["random"]["metrics"]
    assert "vocal_leakage_db" in found
    assert not any(key.startswith(("fad", "apa")) for key in found)


def test_missing_weights_and_unknown_embedders_are_named():
    with pytest.raises(ValueError, match="`weights` are missing for the embedder 'vggish'"):
        build_embedders(["vggish"])
    with pytest.raises(ValueError, match="`name` must be one of"):
        build_embedders(["vgish"])


def test_songs_that_do_not_suffice_are_named(musdb, tmp_path):
    with pytest.raises(ValueError, match="`data` is needed with `--dataset musdb18`"):
        build_windows(make_options(tmp_path, "--dataset", "musdb18"))
    with pytest.raises(ValueError, match=r"`num_songs` must be in \[1, 2\]"):
        build_windows(make_options(tmp_path, "--dataset", "musdb18", "--data", musdb / "hq", "--num_songs", 3))
    with pytest.raises(ValueError, match="`reference` has no songs left beside the 2 under test"):
        build_windows(
            make_options(tmp_path, "--dataset", "musdb18", "--data", musdb / "hq" / "test", "--num_songs", 2)
        )


def test_seeds_have_folders_of_their_own_and_one_table(musdb, model_folder, tmp_path):
    script = load_script()
    options = musdb_options(
        tmp_path / "run",
        musdb / "hq",
        model_folder,
        "--systems",
        "random",
        "oracle",
        "--listening_test",
        tmp_path / "l",
    )
    options.seeds = [0, 5]
    script.evaluate_seeds(options)
    assert "2 seeds of 2 songs each" in (tmp_path / "run" / "seeds.md").read_text("utf-8")
    for seed in options.seeds:
        assert (tmp_path / "run" / f"seed-{seed}" / "table.md").is_file()
        assert (tmp_path / "l" / f"seed-{seed}" / "key.json").is_file()
    options = musdb_options(tmp_path / "other", musdb / "hq", model_folder, "--page", tmp_path / "page.md")
    options.seeds = [0, 5]
    with pytest.raises(ValueError, match="`page` is of one run, `seeds` makes 2: leave one of them out"):
        script.evaluate_seeds(options)
