"""What a person meets who calls a script: help that says everything once, and errors in one line."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from accompgen_hf.scripts import describe_fields, run_script, script_parser

ROOT = Path(__file__).resolve().parents[1]

HELPS = """
import argparse, json, pathlib, runpy, sys

class Found(BaseException):
    pass

def capture(parser, *_args, **_kwargs):
    raise Found(parser)

argparse.ArgumentParser.parse_args = argparse.ArgumentParser.parse_known_args = capture
said = {}
for script in sorted(pathlib.Path("examples").rglob("*.py")):
    if "run_script(main)" not in script.read_text("utf-8"):
        continue
    sys.argv = [str(script)]
    sys.path.insert(0, str(script.parent))
    try:
        runpy.run_path(str(script), run_name="__main__")
    except Found as found:
        parser = found.args[0]
        formatter = parser._get_formatter()
        said[str(script)] = {
            action.dest: [action.help and formatter._expand_help(action), repr(action.default), action.required]
            for action in parser._actions
        }
    sys.path.pop(0)
print(json.dumps(said))
"""


def run_python(*arguments: str, **variables: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **variables}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=600, cwd=ROOT
    )


@pytest.fixture(scope="module")
def helps() -> dict[str, dict[str, list]]:
    """Help, default and duty of every option of every script."""
    return json.loads(run_python("-c", HELPS).stdout.splitlines()[-1])


def test_every_option_of_every_script_is_explained(helps):
    assert len(helps) >= 25
    silent = [
        f"{script} {name}" for script, options in helps.items() for name, option in options.items() if not option[0]
    ]
    assert not silent


def test_every_option_shows_its_default(helps):
    nothing = ("None", "False", "[]", "{}", "'==SUPPRESS=='")
    unsaid = [
        f"{script} {name}: {text}"
        for script, options in helps.items()
        for name, (text, default, is_required) in options.items()
        if not is_required and default not in nothing and "(" not in text and "default" not in text
    ]
    assert not unsaid
    assert "(32, with --quick 4)" in helps["examples/evaluate.py"]["num_songs"][0]
    assert helps["examples/train_stage.py"]["learning_rate"][0].endswith("(0.0003, unless the file says else)")


@dataclass
class Sizes:
    """Sizes.

    Attributes:
        width, depth (`int`): Numbers of units. They are
            positive.
        rate (`float`, *optional*): Of the `run`, in %; high.
    """

    width: int
    depth: int
    rate: float | None = None


def test_help_comes_from_the_docstring():
    assert describe_fields(Sizes) == {
        "width": "numbers of units",
        "depth": "numbers of units",
        "rate": "of the run, in %%",
    }


def test_a_default_is_named_once(capsys):
    parser = script_parser("Do it.")
    parser.add_argument("--speed", type=int, default=3, help="how fast")
    parser.add_argument("--colour", default="red", help="red by default")
    parser.add_argument("--dry_run", action="store_true", help="do nothing")
    text = parser.format_help()
    assert "how fast (3)" in text
    assert "red by default\n" in text
    assert "do nothing\n" in text


def test_a_wrong_option_is_one_line(capsys):
    parser = script_parser("Do it.", prog="do.py")
    parser.add_argument("--speed", type=int, help="how fast")
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["--speed", "high"])
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line == "do.py: error: argument --speed: invalid int value: 'high' (`do.py --help` lists the options)"


def test_an_error_that_the_user_can_mend_is_one_line(capsys):
    def fail():
        raise ValueError("`rate` must be positive,\n got -1. Give another.")

    with pytest.raises(SystemExit) as ended:
        run_script(fail)
    assert ended.value.code == 1
    assert capsys.readouterr().err == "error: `rate` must be positive, got -1. Give another.\n"


@pytest.mark.skipif(torch.backends.cuda.is_built(), reason="this torch knows cuda")
def test_a_device_that_torch_was_built_without_is_one_line(capsys):
    with pytest.raises(SystemExit):
        run_script(lambda: torch.zeros(1, device="cuda"))
    assert capsys.readouterr().err == (
        "error: Torch not compiled with CUDA enabled: give `--device cpu`, or install another torch.\n"
    )


def test_a_mistake_of_ours_shows_where(capsys):
    with pytest.raises(SystemExit):
        run_script(lambda: {}["missing"])
    assert "Traceback" in capsys.readouterr().err


def test_a_script_that_is_called_wrongly_says_one_line():
    done = run_python("examples/train_stage.py", "--config", "examples/configs/tiny/fine.yaml", "--data", "nowhere",
                      "--output_dir", "nowhere", "--max_steps", "0")  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: `max_steps` must be at least 1, got 0."
    assert "Traceback" not in done.stderr


def test_of_two_processes_one_tells(tmp_path):
    script = tmp_path / "fail.py"
    script.write_text(
        "from accompgen_hf.scripts import run_script\n"
        "def main():\n    raise ValueError('`data` is missing.')\n"
        "run_script(main)\n"
    )
    variables = {"ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}
    launch = ["-m", "torch.distributed.run", "--nproc_per_node", "2", str(script)]
    done = run_python(*launch, **variables)
    assert done.returncode == 1
    assert done.stderr.count("error: `data` is missing.") == 1
    assert 'fail.py", line' not in done.stderr  # the launcher's own traceback is not ours
