"""The documentation names only what exists: functions and tests of docs/paper_map.md, files behind links."""

import ast
import itertools
import pkgutil
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
    pkgutil.resolve_name(f"accompgen_hf.{name}")


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


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_table_is_not_split_and_its_rows_have_one_width(page: Path):
    lines = page.read_text("utf-8").splitlines()
    blocks = [list(rows) for is_row, rows in itertools.groupby(lines, lambda line: line.startswith("|")) if is_row]
    for rows in blocks:
        assert len(rows) > 2, rows
        assert set(rows[1]) <= set("|-: "), rows[:2]
        assert len({len(re.findall(r"(?<!\\)\|", re.sub(r"`[^`]*`", "", row))) for row in rows}) == 1, rows


@pytest.mark.parametrize("page", ["reliability.md", "web.md", "sharing.md"])
def test_a_test_that_a_page_names_exists(page: str):
    named = set(re.findall(r"`(test_[a-z0-9_]+)`", (ROOT / "docs" / page).read_text("utf-8")))
    defined = set(
        re.findall(r"def (test_\w+)", "".join(path.read_text("utf-8") for path in ROOT.glob("tests/**/*.py")))
    )
    assert named <= defined, named - defined
