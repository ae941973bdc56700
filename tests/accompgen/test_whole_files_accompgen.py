"""Files and folders are whole or absent, whatever happens while they are written."""

import hashlib

import pytest

from accompgen_hf.files import (
    folder_written_whole,
    hash_file,
    write_bytes,
)


def test_a_folder_takes_the_place_of_the_old_one_as_a_whole(tmp_path):
    for names in (("a", "b"), ("c",)):
        with folder_written_whole(tmp_path / "folder") as staging:
            for name in names:
                (staging / name).write_text(name)
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["c"]

    def write_half():
        with folder_written_whole(tmp_path / "folder") as staging:
            (staging / "d").write_text("d")
            raise ValueError("half")

    with pytest.raises(ValueError, match="half"):
        write_half()
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["c"]
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_hash_is_that_of_the_bytes(tmp_path):
    content = bytes(range(256)) * 5000
    write_bytes(tmp_path / "a", content)
    assert hash_file(tmp_path / "a") == hashlib.sha256(content).hexdigest()
