"""Codes beside the audio: the same integers back, where they come from, and damage that is noticed."""

import pytest
import torch

from accompgen_hf.app.kept_codes import CODES_FILE, has_codes, read_codes, write_codes

RESULT = {
    "vocal_semantic_ids": torch.arange(50),
    "instrumental_semantic_ids": torch.arange(50) + 400,
    "coarse_codes": torch.arange(300).view(4, 75),
    "audio": torch.zeros(8),
    "seed": 7,
    "token_fingerprint": "f1",
}


def test_codes_come_back_with_their_origin(tmp_path):
    write_codes(tmp_path / CODES_FILE, RESULT)
    codes = read_codes(tmp_path)
    assert sorted(codes) == sorted(set(RESULT) - {"audio"})
    assert (codes["seed"], codes["token_fingerprint"]) == (7, "f1")
    for name in ("vocal_semantic_ids", "instrumental_semantic_ids", "coarse_codes"):
        assert codes[name].dtype == torch.int64
        assert torch.equal(codes[name], RESULT[name])


def test_codes_are_read_by_whom_other_files_are(tmp_path):
    write_codes(tmp_path / CODES_FILE, RESULT)
    (tmp_path / "other").touch()
    assert (tmp_path / CODES_FILE).stat().st_mode == (tmp_path / "other").stat().st_mode


def test_the_same_codes_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_codes(tmp_path / name, RESULT)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_result_without_codes_is_refused(tmp_path):
    assert not has_codes({"seed": 7})
    with pytest.raises(ValueError, match="`result` must have codes: call the pipeline with `return_codes=True`"):
        write_codes(tmp_path / CODES_FILE, {"seed": 7})


def test_missing_and_damaged_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match=f"has no {CODES_FILE}: it is no result folder"):
        read_codes(tmp_path)
    (tmp_path / CODES_FILE).write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"cannot be read .* the file is damaged"):
        read_codes(tmp_path)


def test_a_folder_that_cannot_be_written_is_an_os_error(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        write_codes(tmp_path / "missing" / CODES_FILE, RESULT)
