"""Files and folders are whole or absent, whatever happens while they are written."""

import re
from pathlib import Path

import pytest

import accompgen_hf
from accompgen_hf.files import (
    read_json,
    save_figure,
    write_bytes,
    write_json,
    written_whole,
)


def test_a_file_gets_its_name_at_the_end_of_the_block(tmp_path):
    with written_whole(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
        assert not (tmp_path / "a.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    write_bytes(tmp_path / "a.txt", b"old")

    def write_half():
        with written_whole(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_a_temporary_file_stands_in_progress_where_there_is_one(tmp_path):
    (tmp_path / ".progress").mkdir()
    with written_whole(tmp_path / "a.txt") as temporary:
        assert temporary.parent == tmp_path / ".progress"
        temporary.write_text("new")
    assert (tmp_path / "a.txt").read_text() == "new"


def test_json_comes_back_with_sorted_keys_or_in_its_own_order(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": [2]})
    assert (tmp_path / "a.json").read_text() == '{\n "a": [\n  2\n ],\n "b": 1\n}\n'
    write_json(tmp_path / "a.json", {"b": 1, "a": 2}, indent=2, sort_keys=False)
    assert (tmp_path / "a.json").read_text() == '{\n  "b": 1,\n  "a": 2\n}\n'
    assert read_json(tmp_path / "a.json") == {"b": 1, "a": 2}


def test_a_figure_is_a_picture_without_a_program_name(tmp_path):
    figure = pytest.importorskip("matplotlib.figure").Figure(figsize=(1, 1))
    save_figure(figure, tmp_path / "a.png", dpi=50)
    content = (tmp_path / "a.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert b"Software" not in content


def test_no_other_module_gives_files_their_names():
    source = Path(accompgen_hf.__file__).parent
    renaming = re.compile(r"os\.(replace|rename)\(|\.rename\(|shutil\.move\(")
    found = {path.name for path in source.rglob("*.py") if renaming.search(path.read_text("utf-8"))}
    assert found == {"whole_files_accompgen.py"}
