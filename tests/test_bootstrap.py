"""The set-up script of the Makefile: what it says before it downloads, and what it refuses; nothing is installed."""

import ast
import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / ".ci" / "bootstrap.py"


@pytest.fixture
def bootstrap():
    spec = importlib.util.spec_from_file_location("bootstrap", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def constraints(python_version: str) -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    chosen = [pin for pin in pins if pin.marker is None or pin.marker.evaluate({"python_version": python_version})]
    names = [canonical(pin.name) for pin in chosen]
    assert len(names) == len(set(names)), "one pin per package and Python"
    return {canonical(pin.name): str(pin.specifier).removeprefix("==") for pin in chosen}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements() -> list[Requirement]:
    """Requirements of setup.py, read without running it."""
    found = []
    for node in ast.walk(ast.parse((ROOT / "setup.py").read_text("utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.match(r"[\w-]+>=[\d.]+$", node.value):
            found.append(Requirement(node.value))
    return found


@pytest.mark.parametrize("python_version", ["3.10", "3.11", "3.13"])
def test_every_pin_satisfies_setup(python_version):
    pins = constraints(python_version)
    pinned = [requirement for requirement in requirements() if canonical(requirement.name) in pins]
    assert {"torch", "transformers", "numpy", "soundfile", "pytest", "sphinx", "myst-parser", "furo"} <= {
        requirement.name for requirement in pinned
    }
    for requirement in pinned:
        assert pins[canonical(requirement.name)] in requirement.specifier, requirement


def test_an_old_interpreter_can_read_the_script():
    ast.parse(SCRIPT.read_text("utf-8"), feature_version=(3, 6))


def test_cuda_libraries_are_announced_with_the_way_around_them(bootstrap, capsys):
    bootstrap.announce("demo", "cuda", False)
    said = capsys.readouterr().out
    assert "Downloading up to 2.98 GB" in said
    assert "make demo TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu" in said


def test_a_torch_on_this_disk_is_not_counted(bootstrap, capsys):
    bootstrap.announce("test", "here", False)
    said = capsys.readouterr().out
    assert "Downloading up to 0.41 GB" in said
    assert "TORCH_INDEX_URL" not in said


def test_without_a_new_python_the_cure_is_named(bootstrap, capsys, monkeypatch):
    monkeypatch.setattr(bootstrap, "MINIMUM", (99, 0))
    with pytest.raises(SystemExit) as caught:
        bootstrap.find_python()
    assert caught.value.code == 2
    assert "needs Python 3.10 or newer, found only" in capsys.readouterr().err


def test_an_environment_with_an_old_python_is_left_alone(bootstrap, capsys, monkeypatch, tmp_path):
    python = Path(bootstrap.python_of(str(tmp_path)))
    python.parent.mkdir()
    python.touch()
    monkeypatch.setattr(bootstrap, "version_of", lambda command: (3, 8))
    with pytest.raises(SystemExit):
        bootstrap.make_venv(str(tmp_path))
    assert "holds Python 3.8, this project needs 3.10 or newer. Remove that folder." in capsys.readouterr().err


def test_a_stamp_spares_the_second_installation(bootstrap, monkeypatch, tmp_path):
    installed = []
    monkeypatch.setattr(bootstrap, "make_venv", lambda venv: sys.executable)
    monkeypatch.setattr(bootstrap, "renew_pip", lambda python: None)
    monkeypatch.setattr(bootstrap, "torch_source", lambda *_: "here")
    monkeypatch.setattr(bootstrap, "pip_install", lambda python, arguments: installed.append(arguments[-1]))

    def call(profile):
        monkeypatch.setattr(sys, "argv", ["bootstrap.py", profile, "--venv", str(tmp_path)])
        bootstrap.main()

    call("demo")
    call("demo")
    assert installed == [".[fast]"]
    call("test")
    call("demo")
    assert installed == [".[fast]", ".[dev]", "einops"]
    call("docs")
    call("test")
    assert installed[3:] == [".[dev,docs]", "einops"]
    (tmp_path / "accompgen-stamp.json").write_text(json.dumps({"digest": "of other pins", "profiles": ["test"]}))
    call("demo")
    assert installed[5:] == [".[fast]"]
