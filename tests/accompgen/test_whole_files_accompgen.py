"""Files and folders are whole or absent, whatever happens while they are written."""

import hashlib
import os

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


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_files_of_a_folder_are_read_by_whom_the_folder_is(tmp_path):
    with folder_written_whole(tmp_path / "folder") as staging:
        (staging / "code").mkdir()
        for name in ("weights", "code/model"):
            (staging / name).touch(mode=0o600)
        staging.chmod(0o750)
    modes = [(tmp_path / "folder" / name).stat().st_mode & 0o777 for name in ("weights", "code/model")]
    assert modes == [0o640, 0o640]


def test_a_hash_is_that_of_the_bytes(tmp_path):
    content = bytes(range(256)) * 5000
    write_bytes(tmp_path / "a", content)
    assert hash_file(tmp_path / "a") == hashlib.sha256(content).hexdigest()
