"""The documentation names only what exists: functions, tests, files, links, anchors, commands and their options."""

import ast
import contextlib
import functools
import importlib
import io
import itertools
import pkgutil
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
GUIDE, MEASURED = ROOT / "docs" / "guide", ROOT / "docs" / "measured"


def pages() -> list[Path]:
    shelves = [path for path in ROOT.glob("docs/**/*.md") if "site" not in path.parts]
    return [*ROOT.glob("*.md"), *shelves, *ROOT.glob("model_cards/*.md")]


every_page = pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())


def prose(page: Path) -> str:
    """The page without its code blocks."""
    return re.sub(r"^ *```.*?^ *```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


def blocks(page: Path, language: str) -> list[str]:
    found = re.findall(rf"^ *```{language}\n(.*?)^ *```$", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    return [re.sub(r"^  +", "", block) if block.startswith(" ") else block for block in found]


@functools.cache
def files() -> list[str]:
    folders = (ROOT / name for name in (".ci", "docs", "examples", "model_cards", "src", "tests"))
    found = itertools.chain(ROOT.iterdir(), *(folder.rglob("*") for folder in folders))
    return [path.relative_to(ROOT).as_posix() for path in found if path.is_file()]


# The paper map


def table_rows() -> list[list[str]]:
    lines = (GUIDE / "paper_map.md").read_text("utf-8").splitlines()
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


# Links, tables, lengths


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@every_page
def test_a_relative_link_leads_to_a_file_and_its_heading(page: Path):
    for target in re.findall(r"\]\(([^)\s]+)[^)]*\)", prose(page)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        if path.startswith("site/api/"):  # written when the site is built
            continue
        there = (page.parent / path) if path else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


@every_page
def test_a_table_is_not_split_and_its_rows_have_one_width(page: Path):
    lines = page.read_text("utf-8").splitlines()
    tables = [list(rows) for is_row, rows in itertools.groupby(lines, lambda line: line.startswith("|")) if is_row]
    for rows in tables:
        assert len(rows) > 2, rows
        assert set(rows[1]) <= set("|-: "), rows[:2]
        assert len({len(re.findall(r"(?<!\\)\|", re.sub(r"`[^`]*`", "", row))) for row in rows}) == 1, rows


def test_the_readme_is_read_in_one_sitting():
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150


def test_every_page_of_the_shelves_is_in_the_sites_contents():
    listed = set(re.findall(r"^((?:guide|measured)/\w+)$", (ROOT / "docs" / "index.md").read_text("utf-8"), re.M))
    assert listed == {f"{shelf.name}/{page.stem}" for shelf in (GUIDE, MEASURED) for page in shelf.glob("*.md")}


def test_that_something_did_not_run_on_a_gpu_is_said_once():
    said = [page.name for page in pages() if re.search(r"not (yet )?(been )?run on a GPU", page.read_text("utf-8"))]
    assert said == ["hardware.md"]


# Names of files, modules and tests

KNOWN_ENDINGS = r"(?:py|yaml|toml|json|Dockerfile)"


@every_page
def test_a_file_that_a_page_names_exists(page: Path):
    """A name stands for a path from the root, the package or the tests, or for the end of one."""
    named = set(re.findall(rf"`((?:[\w.]+/)*[\w.]+\.{KNOWN_ENDINGS})`", prose(page)))
    ours = {
        name for name in named if name.endswith((".py", ".yaml", ".toml")) or name.startswith(("examples/", "src/"))
    }
    missing = {name for name in ours if not any(f"/{path}".endswith(f"/{name}") for path in files())}
    assert not missing


@every_page
def test_a_folder_that_a_page_names_exists(page: Path):
    named = set(
        re.findall(r"`((?:src|docs|tests|examples|accompgen|songs|data|training|evaluation)(?:/\w+)*/)`", prose(page))
    )
    bases = (ROOT, ROOT / "src" / "accompgen_hf")
    assert not {name for name in named if not any((base / name).is_dir() for base in bases)}


@every_page
def test_a_module_that_a_page_names_exists(page: Path):
    for name in set(re.findall(r"`(accompgen_hf(?:\.\w+)+)`", prose(page))):
        pkgutil.resolve_name(name)


@every_page
def test_what_a_python_block_imports_exists(page: Path):
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module)
                assert not [alias.name for alias in node.names if not hasattr(module, alias.name)], block


@every_page
def test_a_test_that_a_page_names_exists(page: Path):
    named = set(re.findall(r"`(test_[a-z0-9_]+)`", page.read_text("utf-8")))
    defined = set(
        re.findall(r"def (test_\w+)", "".join(path.read_text("utf-8") for path in ROOT.glob("tests/**/*.py")))
    )
    assert named <= defined, named - defined


# Commands


def commands(page: Path) -> list[list[str]]:
    """The words of every command of a page's console blocks."""
    found = []
    for block in blocks(page, "console"):
        lines = re.sub(r"\\\n", " ", block).splitlines()
        found += [shlex.split(line[2:], comments=True) for line in lines if line.startswith("$ ")]
    return found


@pytest.fixture(scope="module")
def options_of():
    """The long options that a script or a subcommand knows, by its own help; each is asked once."""
    known: dict[tuple[str, ...], set[str]] = {}

    def ask(*words: str) -> set[str]:
        if words not in known:
            said = io.StringIO()
            script = ROOT / ("src/accompgen_hf/app/cli.py" if words[0] == "accompgen" else words[0])
            with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
                patch.setattr(sys, "argv", [*words, "--help"])
                patch.syspath_prepend(script.parent)  # as Python does; some scripts import a neighbour
                with pytest.raises(SystemExit):
                    runpy.run_path(str(script), run_name="__main__")
            known[words] = set(re.findall(r"(?<![\w-])(--[a-z][\w-]*|-[a-z])(?![\w-])", said.getvalue()))
        return known[words]

    return ask


def split_command(words: list[str]) -> tuple[tuple[str, ...], list[str]] | None:
    """Whom a command calls, a script or a subcommand of accompgen, and what it passes on."""
    for place, word in enumerate(words):
        if word.startswith("examples/") and word.endswith(".py"):
            return (word,), words[place + 1 :]
        if word == "accompgen" or word == "accompgen_hf.app.cli":
            return ("accompgen", words[place + 1]), words[place + 2 :]
    return None


@every_page
def test_a_command_exists_and_has_the_options_that_a_page_gives_it(page: Path, options_of):
    for words in commands(page):
        target = split_command(words)
        if words[0] in ("docker", "apt") or target is None:
            continue
        given = {word.partition("=")[0] for word in target[1] if re.match(r"--?[a-z]", word)}
        unknown = {option for option in given - options_of(*target[0]) if not option.startswith("--model.")}
        assert not unknown, " ".join(words)


@every_page
def test_make_targets_modules_tests_and_extras_of_a_page_exist(page: Path):
    makefile = (ROOT / "Makefile").read_text("utf-8")
    extras = set(re.findall(r'^    "(\w+)": \[', (ROOT / "setup.py").read_text("utf-8"), re.M)) | {"all"}
    for words in commands(page):
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", makefile, re.M), words
        if "-m" in words and words[words.index("-m") + 1].startswith("accompgen_hf"):
            assert importlib.util.find_spec(words[words.index("-m") + 1]), words
        if "pytest" in words:
            named = [word for word in words if word.startswith("tests/")]
            assert not [word for word in named if not (ROOT / word.partition("::")[0]).exists()], words
        if words[:2] == ["pip", "install"]:
            named = re.findall(r"\[([\w,]+)\]", " ".join(words))
            assert {extra for group in named for extra in group.split(",")} <= extras, words
        configs = [word for word in words if word.startswith("examples/configs/") and "*" not in word]
        assert not [word for word in configs if not (ROOT / word).exists()], words


# Docstrings


def docstrings() -> list[tuple[str, str | None]]:
    """Every public module, class and function of the package with its docstring."""
    found = []

    def walk(node: ast.AST, name: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and child.name[0] != "_":
                if ".setter" not in "".join(map(ast.unparse, child.decorator_list)):
                    found.append((f"{name} {child.name}", ast.get_docstring(child)))
                if isinstance(child, ast.ClassDef):
                    walk(child, f"{name} {child.name}")

    for path in sorted((ROOT / "src").rglob("*.py")):
        module = ast.parse(path.read_text("utf-8"))
        found.append((path.relative_to(ROOT / "src").as_posix(), ast.get_docstring(module)))
        walk(module, found[-1][0])
    return found


def test_every_public_name_has_a_docstring():
    assert not [name for name, text in docstrings() if not text]


def test_no_argument_is_documented_by_a_fragment_that_begins_with_of():
    assert not [name for name, text in docstrings() if re.search(r"^ +[\w`, ]+(\(.*\))?: Of ", text or "", re.M)]
