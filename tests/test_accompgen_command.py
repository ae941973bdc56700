"""The command answers before the libraries that do the work are loaded, and works all the same."""

import importlib.metadata
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import accompgen_hf

ROOT = Path(__file__).resolve().parents[1]

CALL = """
import json, resource, sys
from accompgen_command import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    used = resource.getrusage(resource.RUSAGE_SELF)
    heavy = sorted({"torch", "transformers", "numpy", "matplotlib"} & set(sys.modules))
    print(json.dumps({"cpu_s": used.ru_utime + used.ru_stime, "heavy": heavy, "code": end.code}))
"""


def run_python(*arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "100"}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=True, timeout=300
    )
    return done.stdout


@pytest.mark.parametrize("arguments", [["--version"], ["generate", "--help"], ["generate", "--top-k", "many"]])
def test_what_needs_no_work_is_answered_in_half_a_second_of_cpu_time(arguments):
    *_, last = run_python("-c", CALL, *arguments).splitlines()
    used = json.loads(last)
    assert used["heavy"] == []
    assert used["cpu_s"] < 0.5
    assert used["code"] == (2 if "many" in arguments else 0)


def test_the_version_names_the_libraries_that_matter():
    said = run_python("-c", "from accompgen_command import main; main(['--version'])")
    versions = [importlib.metadata.version(name) for name in ("torch", "transformers")]
    assert said.startswith(
        f"accompgen_hf {accompgen_hf.__version__}, torch {versions[0]}, transformers {versions[1]}, "
    )


def test_the_tab_key_completes_commands_and_options(tmp_path):
    pytest.importorskip("argcomplete", reason="completion needs argcomplete (extra `completion`)")

    def complete(line: str) -> set[str]:
        answer = tmp_path / "answer"
        answer.touch()
        asked = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_STDOUT_FILENAME": str(answer)}
        asked.update(
            COMP_LINE=line, COMP_POINT=str(len(line)), _ARGCOMPLETE_SUPPRESS_SPACE="1", _ARGCOMPLETE_SHELL="bash"
        )
        code = "from accompgen_command import main; main()"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), *sys.path]), **asked}
        subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=300)
        return set(answer.read_text().split())

    assert {"generate", "demo", "web", "assemble", "verify"} <= complete("accompgen ")
    assert complete("accompgen generate --tempe") == {"--temperature"}


def test_the_package_is_the_command_too_and_as_quick():
    begin = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert run_python("-m", "accompgen_hf", "--version").startswith(f"accompgen_hf {accompgen_hf.__version__}, torch ")
    end = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert end.ru_utime + end.ru_stime - begin.ru_utime - begin.ru_stime < 0.5


def test_models_are_registered_when_the_work_begins():
    """`verify` begins to work at once; by then Transformers knows the task."""
    code = (
        "from accompgen_command import main\n"
        "import accompgen_hf\n"
        "assert main(['verify', accompgen_hf.DEFAULT_MODEL]) == 0\n"
        "from transformers.pipelines import PIPELINE_REGISTRY\n"
        "impl = PIPELINE_REGISTRY.check_task(accompgen_hf.TASK)[1]['impl']\n"
        "assert impl is accompgen_hf.VocalAccompanimentPipeline\n"
    )
    assert "every file is as it was saved" in run_python("-c", code)


def test_names_that_are_not_there_are_said_so():
    with pytest.raises(AttributeError, match="module 'accompgen_hf' has no attribute 'Nothing'"):
        accompgen_hf.Nothing  # noqa: B018
