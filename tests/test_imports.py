"""The import floors, and what may stand in a file that travels beside the weights; read with `ast`, nothing is run."""

import ast
import re
import sys
from pathlib import Path

import pytest
from transformers.dynamic_module_utils import get_imports, get_relative_imports

PACKAGE = "accompgen_hf"
SOURCE = Path(__file__).resolve().parents[1] / "src" / PACKAGE

# A file imports from lower floors, and on its own floor from what stands left of it. `data` is the whole folder.
FLOORS = {
    0: (
        "checks_accompgen",
        "sharing_accompgen",
        "configuration_accompgen",
        "codebooks_accompgen",
        "fingerprint_accompgen",
        "decoding_accompgen",
        "loudness_accompgen",
        "audio_accompgen",
        "recordings_accompgen",
        "mixing_accompgen",
        "codec_accompgen",
        "attention_accompgen",
    ),
    1: (
        "logits_accompgen",
        "quantization_accompgen",
        "fast_decoding_accompgen",
        "windows_accompgen",
        "generation_accompgen",
        "processing_accompgen",
    ),
    2: ("modeling_accompgen_stages", "modeling_accompgen_semantic_encoder", "songs_accompgen", "modeling_accompgen"),
    3: ("streaming_accompgen", "pipeline_accompgen"),
    4: ("picture", "hub", "data", "evaluation"),
    5: ("baselines", "training"),
    6: (
        "protocol",
        "results",
        "repository_commands",
        "loading",
        "messages",
        "part_files",
        "jobs",
        "work",
        "web_studio",
        "web_texts",
        "web_layout",
        "web",
        "web_command",
        "cli",
    ),
}
SEPARATE_FLOORS = (4,)  # on this one not even the left neighbour
PLACES = {name: (floor, place) for floor, names in FLOORS.items() for place, name in enumerate(names)}

# What a load of the remote code may ask for: transformers' own requirements and torch.
TRAVELLING_ROOTS = {"torch", "transformers", "numpy", "huggingface_hub", "safetensors", "tokenizers", "tqdm"}


def source_files() -> list[Path]:
    return sorted(path for path in SOURCE.rglob("*.py") if path.name != "__init__.py")


def travelling_files() -> list[Path]:
    return sorted(SOURCE.glob("*_accompgen*.py"))


def name_in_table(path: Path) -> str:
    """A folder's files count as the folder."""
    return path.relative_to(SOURCE).with_suffix("").parts[0]


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


def is_below(upper: str, lower: str) -> bool:
    """Whether `upper` may import `lower`."""
    if upper == lower:
        return True
    (upper_floor, upper_place), (lower_floor, lower_place) = PLACES[upper], PLACES[lower]
    if upper_floor == lower_floor:
        return upper_floor not in SEPARATE_FLOORS and lower_place < upper_place
    return lower_floor < upper_floor


def test_every_file_has_its_place_in_the_table():
    missing = {name_in_table(path) for path in source_files()} - set(PLACES)
    assert not missing, f"add to FLOORS: {sorted(missing)}"


@pytest.mark.parametrize("path", source_files(), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_a_file_imports_only_from_below(path: Path):
    name = name_in_table(path)
    above = [used for used in own_imports(path) if used != PACKAGE and not is_below(name, used.split(".")[0])]
    assert not above, f"{name} imports {above}"


def test_the_table_itself_can_say_no():
    assert is_below("cli", "pipeline_accompgen")
    assert is_below("audio_accompgen", "decoding_accompgen")
    assert not is_below("decoding_accompgen", "audio_accompgen")
    assert not is_below("data", "evaluation")
    assert not is_below("configuration_accompgen", "data")


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


@pytest.mark.parametrize("path", source_files(), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_every_module_starts_by_saying_what_it_does(path: Path):
    assert re.match(r'"""\S', path.read_text("utf-8")), "no docstring on the first line"
