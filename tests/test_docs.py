"""The documentation names only what exists: functions and tests of docs/paper_map.md, files behind links."""

import ast
import functools
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def table_rows() -> list[list[str]]:
    lines = (ROOT / "docs" / "paper_map.md").read_text("utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return [row for row in cells if row[0] != "in the paper"]


def quoted(column: int) -> list[str]:
    return sorted({name for row in table_rows() for name in re.findall(r"`([^`]+)`", row[column])})


@pytest.mark.parametrize("name", quoted(2))
def test_a_named_function_exists(name: str):
    parts = name.split(".")
    depth = 2 if parts[0] in ("data", "evaluation", "baselines", "training", "protocol") else 1
    module = importlib.import_module(".".join(["accompgen_hf", *parts[:depth]]))
    functools.reduce(getattr, parts[depth:], module)


@pytest.mark.parametrize("name", quoted(3))
def test_a_named_test_exists(name: str):
    path, test = name.split("::")
    functions = ast.walk(ast.parse((ROOT / "tests" / path).read_text("utf-8")))
    assert test in {node.name for node in functions if isinstance(node, ast.FunctionDef)}


def test_every_row_has_four_cells_and_a_known_mark():
    for row in table_rows():
        assert len(row) == 4, row
        assert set(row[1].split(", ")) <= {"P", "C", "D"}, row


def pages() -> list[Path]:
    return [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("model_cards/*.md")]


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_relative_link_leads_to_a_file(page: Path):
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text("utf-8"))
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert not missing
