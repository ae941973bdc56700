"""The steps that make the default and the editions before it; none of them is run here."""

import argparse
import importlib
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import accompgen_hf

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
LAST_STEPS = ["tokens", "semantic", "coarse", "fine"]


@pytest.fixture
def list_steps(tmp_path, monkeypatch):
    """A call of a script of the chain gives its steps: name and the words of the first command."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    make_tiny = importlib.import_module("make_tiny")
    monkeypatch.chdir(tmp_path)

    def call(script: str, *options: str) -> dict[str, list[str]]:
        steps = {}

        def note(_work, name, _result, commands):
            steps[name] = commands[0]

        monkeypatch.setattr(make_tiny, "run_together", note)
        module = importlib.import_module(script)
        monkeypatch.setattr(module, "assemble", lambda *_places: None, raising=False)
        monkeypatch.setattr(sys, "argv", [script, *options])
        module.main()
        return steps

    return call


def test_the_default_is_made_with_the_packages_codec_and_gets_a_listener_before_it_is_assembled(list_steps):
    steps = list_steps("make_tiny")
    assert list(steps) == ["semantic_encoder", *LAST_STEPS, "listener", "assemble", "report"]
    assert steps["tokens"][steps["tokens"].index("--codec") + 1] == accompgen_hf.DEFAULT_MODEL
    listening = str(Path("runs", "third", "listener"))
    assert steps["listener"][-1] == listening
    assert steps["assemble"][steps["assemble"].index("--semantic") + 1] == listening


def test_the_second_edition_trains_its_own_codec_and_has_no_listener(list_steps):
    steps = list_steps("make_tiny", "--edition", "second")
    assert list(steps) == ["codec", "semantic_encoder", *LAST_STEPS, "assemble", "report"]
    codec = str(Path("runs", "second", "codec", "final"))
    assert steps["assemble"][steps["assemble"].index("--codec") + 1] == codec


def test_only_the_edition_that_starts_from_the_packages_codec_may_replace_the_package(list_steps, monkeypatch):
    with pytest.raises(ValueError, match="`--install` is for `--edition third`, got second"):
        list_steps("make_tiny", "--edition", "second", "--install")
    installed = []
    monkeypatch.setattr("subprocess.run", lambda words, check: installed.append(words))
    list_steps("make_tiny", "--install")
    assert installed[0][2:4] == ["--install", str(Path("runs", "third", "accompgen-tiny"))]


@pytest.mark.parametrize(
    ("reported", "expected"), [("not recorded", "coarse 92 min, fine 46 min"), ("coarse 50 min", "coarse 50 min")]
)
def test_an_installed_card_keeps_its_costs_where_the_report_knows_none(tmp_path, monkeypatch, reported, expected):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    assemble_tiny = importlib.import_module("assemble_tiny")
    installed, assembled, report = (tmp_path / name for name in ("installed", "assembled", "report"))
    for folder in (installed, assembled, report):
        folder.mkdir()
    (installed / "README.md").write_text(
        "# Old\n\nCPU-core minutes: coarse 92 min, fine 46 min. Old words.\n", "utf-8"
    )
    (assembled / "config.json").write_text("{}")
    (report / "report.json").write_text('{"is_placeholder": false}')
    (report / "README.md").write_text(f"# New\n\nCPU-core minutes: {reported}. New words.\n", "utf-8")
    monkeypatch.setattr(accompgen_hf, "DEFAULT_MODEL", str(installed))
    monkeypatch.setattr(sys, "argv", ["x", "--install", str(assembled), "--report", str(report)])
    assemble_tiny.main()
    card = (installed / "README.md").read_text("utf-8")
    assert card == f"# New\n\nCPU-core minutes: {expected}. New words.\n"


def test_other_work_on_the_machine_does_not_make_the_reported_model_slower(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    report_tiny = importlib.import_module("report_tiny")
    rate = report_tiny.RATE
    tone = np.sin(2 * np.pi * 220 * np.arange(rate) / rate).astype(np.float32)

    def play(*_recording, **_options):
        time.sleep(0.3)  # the processor does something else
        return {"audio": tone, "mix": tone}

    monkeypatch.setattr(report_tiny, "code_band", lambda _pipe, _song: tone)
    monkeypatch.setattr(report_tiny, "draw_picture", lambda *_args, **_options: None)
    annotation = SimpleNamespace(seed=0, mode="minor", tonic=9, key_name="A minor")
    song = SimpleNamespace(vocals=tone, sampling_rate=rate, instrumental=tone, annotation=annotation)
    options = argparse.Namespace(guidance_scale=None, output_dir=Path())
    assert report_tiny.measure_music(play, [song, song], options)["real_time_factor"] < 0.2


def test_singsong_learns_from_the_tokens_of_the_second_edition(list_steps):
    steps, second = list_steps("make_tiny_singsong"), list_steps("make_tiny", "--edition", "second")
    assert list(steps) == ["codec", "semantic_encoder", "tokens", "singsong", "singsong_fine"]
    assert steps["tokens"] == second["tokens"]
