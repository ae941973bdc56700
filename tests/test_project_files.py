"""Files that stand beside the code say what the code says."""

import ast
import re
import sys
from pathlib import Path

import yaml

import accompgen_hf

ROOT = Path(__file__).resolve().parents[1]


def test_the_citation_names_this_version_and_the_paper_of_the_readme():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    readme = (ROOT / "README.md").read_text("utf-8")
    assert citation["version"] == accompgen_hf.__version__
    assert citation["license"] == "Apache-2.0"
    assert set(citation) >= {"cff-version", "message", "title", "authors"}  # what the format asks for
    [paper] = citation["references"]
    assert " ".join(paper["title"].split()) == re.search(r"title  = \{(.+)\}", readme)[1]
    assert paper["identifiers"][0]["value"].removeprefix("arXiv:") in readme


def test_there_is_a_way_to_report_a_weakness_in_private():
    text = " ".join((ROOT / "SECURITY.md").read_text("utf-8").split())
    assert "do not open a public issue" in text
    assert "trust_remote_code" in text


def test_the_wheel_says_that_its_types_can_be_read():
    assert (ROOT / "src" / "accompgen_hf" / "py.typed").is_file()
    assert re.search(r'package_data=\{\s*"accompgen_hf": \["py\.typed", ', (ROOT / "setup.py").read_text("utf-8"))
    assert "-m twine check --strict" in (ROOT / ".ci" / "run").read_text("utf-8")


def test_lint_checks_the_types_of_every_public_class():
    settings = (ROOT / "pyproject.toml").read_text("utf-8")
    patterns = ast.literal_eval(
        re.search(r"\[tool\.mypy\].*?^files = (\[.*?\])", settings, re.DOTALL | re.MULTILINE)[1]
    )
    checked = {path for pattern in patterns for path in ROOT.glob(pattern)}
    modules = {getattr(accompgen_hf, name).__module__ for name in accompgen_hf.__all__}
    assert checked >= {Path(sys.modules[module].__file__).resolve() for module in modules | {"accompgen_hf"}}
    assert "-m mypy\n" in (ROOT / "Makefile").read_text("utf-8")
    assert re.search(r'^    "mypy>=', (ROOT / "setup.py").read_text("utf-8"), re.MULTILINE)  # in the extra `dev`


def test_the_extra_for_audio_columns_brings_their_decoder_and_the_guide_says_so():
    assert re.search(r'EXTRAS\["datasets"\] = \[.*"torchcodec>=', (ROOT / "setup.py").read_text("utf-8"))
    guide = " ".join((ROOT / "docs" / "guide" / "generate.md").read_text("utf-8").split())
    assert "decodes an `Audio` column with torchcodec" in guide
    assert "the extra `datasets` brings torchcodec" in guide
