"""What an evaluation says in its first second, and what four songs cost."""

import argparse
import importlib.util
import time
from pathlib import Path

import numpy as np
import pytest

from accompgen_hf.accompgen.audio_accompgen import write_audio
from accompgen_hf.evaluation.protocol.evaluate_options import BUILT_IN, add_protocol_options
from accompgen_hf.evaluation.protocol.plan import check_plan, choose_scope

SCRIPT = Path(__file__).resolve().parents[3] / "examples" / "evaluate.py"


def evaluate(options: argparse.Namespace) -> dict | None:
    spec = importlib.util.spec_from_file_location("evaluate_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.evaluate(options)


def make_options(output_dir: Path, *arguments: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--output_dir")
    add_protocol_options(parser)
    return parser.parse_args(["--output_dir", str(output_dir), *map(str, arguments)])


def test_what_cannot_be_scored_is_said_before_anything_is_made(tmp_path):
    """Somebody's four songs: an hour of work went before "too few windows"."""
    (tmp_path / "mine").mkdir()
    cases = {
        "`num_songs` gives at most 4 windows, and FAD and APA need 20.*`--quick`": ["--num_songs", 4],
        "`num_reference` gives at most 5 windows": ["--num_reference", 5],
        "`system` mine: .*nowhere is not a folder": ["--system", f"mine={tmp_path / 'nowhere'}"],
        "`system` mine: .*mine holds no sound file": ["--system", f"mine={tmp_path / 'mine'}"],
        "`system` must be NAME=DIR, got 'mine'": ["--system", "mine"],
        "`variant` must be NAME:OPTION=VALUE": ["--variant", "cold"],
        "`model` nowhere is not a folder": ["--quick", "--model", "nowhere"],
        "`page` .*page.md is not a file": ["--page", tmp_path / "page.md"],
        "`data` .*nowhere is not a folder": ["--dataset", "musdb18", "--data", tmp_path / "nowhere"],
        "`model` .*nowhere is not a folder": ["--model", tmp_path / "nowhere"],
        "`name` must be one of": ["--embedders", "vgish"],
    }
    started = time.process_time()
    for message, arguments in cases.items():
        with pytest.raises(ValueError, match=message):
            evaluate(make_options(tmp_path / "run", *arguments))
    assert time.process_time() - started < 5
    assert not (tmp_path / "run").exists()


def test_inputs_are_exported_without_rendering_anything_else(tmp_path, capsys):
    options = ["--quick", "--num_songs", 1, "--window_s", 2, "--export_inputs", tmp_path / "in"]
    evaluate(make_options(tmp_path / "run", *options))
    assert len(list((tmp_path / "in" / "vocals").iterdir())) == 1
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"inputs"}
    assert "1 songs under test and 0 others, about" in capsys.readouterr().out


def test_four_songs_are_scored_without_sets(tmp_path):
    """The person's own outputs beside the truth: no reference, no corpus, and an answer that says what it lacks."""
    shape = ["--quick", "--window_s", 4]
    evaluate(make_options(tmp_path / "run", *shape, "--export_inputs", tmp_path / "in"))
    names = sorted(path.name for path in (tmp_path / "in" / "vocals").iterdir())
    assert len(names) == 4
    noise = np.random.default_rng(0).standard_normal(4 * 24_000).astype(np.float32)
    (tmp_path / "mine").mkdir()
    for name in names[:-1]:
        write_audio(tmp_path / "mine" / name, 0.1 * noise, 24_000)
    mine = ["--system", f"mine={tmp_path / 'mine'}"]
    with pytest.raises(ValueError, match=f"must hold one file for window '{names[-1].removesuffix('.wav')}'"):
        evaluate(make_options(tmp_path / "run", *shape, *mine))  # known since the export
    write_audio(tmp_path / "mine" / names[-1], 0.1 * noise, 24_000)
    results = evaluate(make_options(tmp_path / "run", *shape, *mine))
    assert set(results["systems"]) == {"mine", "truth"}
    found = results["systems"]["mine"]["metrics"]
    assert "vocal_leakage_db" in found
    assert not any(key.startswith(("fad", "apa")) for key in found)
    assert results["dataset"]["reference"] is None
    assert {path.name for path in (tmp_path / "run").iterdir()}.isdisjoint({"reference", "pairs", "corpus_index.json"})


def test_what_quick_and_its_absence_choose(tmp_path):
    plain, quick = make_options(tmp_path), make_options(tmp_path, "--quick")
    with_own = make_options(tmp_path, "--quick", "--system", "mine=DIR")
    for options in (plain, quick, with_own):
        choose_scope(options, BUILT_IN)
    assert (plain.num_songs, plain.systems) == (32, list(BUILT_IN))
    assert (quick.num_songs, quick.systems, quick.embedders) == (4, ["ours"], [])
    assert with_own.systems == []
    with pytest.raises(ValueError, match="`systems` retrieval need a corpus, and `quick` renders none"):
        choose_scope(make_options(tmp_path, "--quick", "--systems", "ours", "retrieval"), BUILT_IN)
    check_plan(quick)
