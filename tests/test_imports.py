"""The import floors, and what may stand in a file that travels beside the weights; read with `ast`, nothing is run."""

import ast
import re
import sys
from pathlib import Path

import pytest
from transformers.dynamic_module_utils import get_imports, get_relative_imports

PACKAGE = "accompgen_hf"
SOURCE = Path(__file__).resolve().parents[1] / "src" / PACKAGE

# Rooms of the package, floor by floor. A file imports from its own room and from lower floors. A folder stands for
# every file below it that no longer name claims.
FLOORS = (
    ("accompgen", "scripts"),
    ("registration",),
    ("files", "songs", "model_parts"),
    ("data",),
    ("evaluation.metrics", "hub"),
    ("training", "singsong"),
    ("evaluation.systems",),
    ("evaluation.protocol",),
    ("app",),
    ("web",),
    ("app.cli",),
    ("__main__",),
)
HEIGHTS = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}

# What a load of the remote code may ask for: transformers' own requirements and torch.
TRAVELLING_ROOTS = {"torch", "transformers", "numpy", "huggingface_hub", "safetensors", "tokenizers", "tqdm"}


def source_files() -> list[Path]:
    return sorted(path for path in SOURCE.rglob("*.py") if path.name != "__init__.py")


def travelling_files() -> list[Path]:
    return [path for path in source_files() if path.parent == SOURCE / "accompgen"]


def find_room(name: str) -> str | None:
    """The longest room that holds a dotted name inside the package, e.g. `app.cli` or `evaluation.metrics`."""
    parts = name.split(".")
    candidates = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((candidate for candidate in candidates if candidate in HEIGHTS), None)


def dotted_name(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts)


def own_imports(path: Path) -> list[str]:
    """Dotted names inside the package that a file imports, at its top or inside functions."""
    package_parts = path.relative_to(SOURCE).parent.parts
    names = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names if alias.name.split(".")[0] == PACKAGE]
        elif isinstance(node, ast.ImportFrom) and node.level:
            base = (PACKAGE, *package_parts)[: 1 + len(package_parts) - (node.level - 1)]
            names += [".".join((*base, node.module or node.names[0].name))]
        elif isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == PACKAGE:
            names.append(node.module if node.module != PACKAGE else f"{PACKAGE}.{node.names[0].name}")
    return [name.removeprefix(f"{PACKAGE}.") for name in names]


def may_import(upper: str, lower: str) -> bool:
    """Whether a file of the room `upper` may import from the room `lower`."""
    return upper == lower or HEIGHTS[lower] < HEIGHTS[upper]


def test_every_file_stands_in_a_room():
    homeless = [dotted_name(path) for path in source_files() if find_room(dotted_name(path)) is None]
    assert not homeless, f"add the folder to FLOORS: {homeless}"


def test_every_room_exists():
    places = [SOURCE.joinpath(*room.split(".")) for room in HEIGHTS]
    assert not [place for place in places if not place.is_dir() and not place.with_suffix(".py").is_file()]


@pytest.mark.parametrize("path", source_files(), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_a_file_imports_only_from_its_room_and_below(path: Path):
    room = find_room(dotted_name(path))
    used = [name for name in own_imports(path) if name != PACKAGE]
    above = [name for name in used if find_room(name) and not may_import(room, find_room(name))]
    assert not above, f"{room} imports {above}"


def test_the_floors_themselves_can_say_no():
    assert may_import("app.cli", "web")
    assert may_import("training", "data")
    assert not may_import("web", "app.cli")
    assert not may_import("data", "evaluation.metrics")
    assert not may_import("training", "evaluation.systems")
    assert not may_import("training", "singsong")
    assert not may_import("accompgen", "data")


@pytest.mark.parametrize("path", travelling_files(), ids=lambda path: path.name)
def test_a_travelling_file_imports_only_siblings_by_name(path: Path):
    siblings = {sibling.stem for sibling in travelling_files()}
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            assert node.level == 1, f"line {node.lineno}: `..` leaves the uploaded folder"
            assert node.module in siblings, f"line {node.lineno}: write `from .name_accompgen import x`"
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
        assert PACKAGE not in {name.split(".")[0] for name in names}, f"line {node.lineno}: not on a stranger's disk"


@pytest.mark.parametrize("path", travelling_files(), ids=lambda path: path.name)
def test_transformers_finds_in_a_travelling_file_only_what_is_there(path: Path):
    siblings = {sibling.stem for sibling in travelling_files()}
    assert set(get_relative_imports(path)) <= siblings  # reads lines, also those of docstrings
    unknown = set(get_imports(path)) - TRAVELLING_ROOTS - set(sys.stdlib_module_names)
    assert not unknown, f"outside try, these become requirements of every load: {sorted(unknown)}"


@pytest.mark.parametrize("path", travelling_files(), ids=lambda path: path.name)
def test_no_class_of_a_travelling_file_is_named_tokenizer(path: Path):
    classes = [node.name for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.ClassDef)]
    assert not [name for name in classes if "Tokenizer" in name], "transformers would write a wrong auto_map"


def test_generation_imports_nothing_that_calls_generate():
    """One direction: pipeline -> model -> chain -> windows -> generate, and nobody looks back."""
    seen, waiting = set(), ["accompgen.generation_accompgen"]
    while waiting:
        name = waiting.pop()
        seen.add(name)
        waiting += {*own_imports(SOURCE.joinpath(*name.split(".")).with_suffix(".py"))} - seen
    callers = ("windows", "stage_chain", "modeling", "streaming", "pipeline")
    assert "accompgen.seeds_accompgen" in seen
    assert not seen & {f"accompgen.{caller}_accompgen" for caller in callers}
    assert "accompgen.modeling_accompgen_stages" not in seen


def test_no_class_name_stands_for_two_things():
    places: dict[str, list[str]] = {}
    for path in source_files():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(dotted_name(path))
    assert not {name: files for name, files in places.items() if len(files) > 1}


@pytest.mark.parametrize("path", source_files(), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_every_module_starts_by_saying_what_it_does(path: Path):
    assert re.match(r'"""\S', path.read_text("utf-8")), "no docstring on the first line"
