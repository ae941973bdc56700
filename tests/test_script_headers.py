"""PEP 723 headers of the training scripts: what `uv run` installs is what setup.py asks for."""

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import setuptools

tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11")
ROOT = Path(__file__).resolve().parents[1]
EXTRAS = {
    "train_stage": ["train"],
    "train_codec": ["train"],
    "train_semantic_encoder": ["train"],
    "prepare_dataset": ["train", "separate"],
    "fit_kmeans": ["train"],
}
# The regular expression of PEP 723.
BLOCK = r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$"


@pytest.fixture
def metadata(monkeypatch) -> dict[str, Any]:
    found = {}
    monkeypatch.setattr(setuptools, "setup", lambda **options: found.update(options))
    source = (ROOT / "setup.py").read_text("utf-8")
    exec(compile(source, "setup.py", "exec"), {"__file__": str(ROOT / "setup.py")})
    return found


@pytest.mark.parametrize("script", EXTRAS)
def test_a_header_names_what_setup_names(script, metadata):
    source = (ROOT / "examples" / f"{script}.py").read_text("utf-8")
    [block] = re.finditer(BLOCK, source)
    lines = block["content"].splitlines(keepends=True)
    header = tomllib.loads("".join(line[2:] if line.startswith("# ") else line[1:] for line in lines))
    needed = metadata["install_requires"] + [
        requirement for extra in EXTRAS[script] for requirement in metadata["extras_require"][extra]
    ]
    assert header == {"requires-python": metadata["python_requires"], "dependencies": needed}
    assert ast.get_docstring(ast.parse(source))


def test_the_line_for_rented_machines_has_options_that_hf_knows():
    guide = re.sub(r"\\\n", " ", (ROOT / "docs" / "guide" / "train.md").read_text("utf-8"))
    [line] = re.findall(r"^\$ hf jobs uv run (.+)$", guide, re.M)
    words = shlex.split(line)
    script = words.index("examples/train_stage.py")
    hf = "from huggingface_hub.cli.hf import main; main()"
    asked = [sys.executable, "-c", hf, "jobs", "uv", "run", "--help"]
    said = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=300).stdout
    assert not [word for word in words[:script] if word.startswith("-") and not re.search(rf"(?<!\S){word}\b", said)]
