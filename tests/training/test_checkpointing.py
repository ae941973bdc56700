"""Checkpoints: whole or absent, the newest few, and a damaged one named and passed over."""

import os
import signal
import time

import pytest
import torch
from accelerate import Accelerator

from accompgen_hf.training import checkpointing
from accompgen_hf.training.checkpointing import SigtermFlag, find_checkpoint, list_checkpoints, save_checkpoint


@pytest.fixture
def accelerator() -> Accelerator:
    accelerator = Accelerator()
    accelerator.prepare(torch.nn.Linear(64, 64))
    return accelerator


def test_the_newest_few_stay_and_the_newest_is_found(accelerator, tmp_path):
    for step in (5, 10, 15, 100):
        save_checkpoint(accelerator, tmp_path, step, {"num_skipped_steps": step}, keep_checkpoints=2)
    assert [step for step, _ in list_checkpoints(tmp_path)] == [15, 100]
    folder, state = find_checkpoint(tmp_path)
    assert folder.name == "checkpoint-00000100"
    assert (state["step"], state["num_skipped_steps"]) == (100, 100)
    accelerator.load_state(str(folder))


def test_no_checkpoint_is_none(tmp_path):
    assert find_checkpoint(tmp_path) is None


def test_a_damaged_checkpoint_is_named_and_passed_over(accelerator, tmp_path, caplog):
    for step in (1, 2):
        save_checkpoint(accelerator, tmp_path, step, {}, keep_checkpoints=2)
    weights = tmp_path / "checkpoint-00000002" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1  # a flipped bit that safetensors loads without a word
    weights.write_bytes(content)
    assert find_checkpoint(tmp_path)[0].name == "checkpoint-00000001"
    assert "checkpoint-00000002/model.safetensors has another sha256" in caplog.text
    (tmp_path / "checkpoint-00000001" / "state.json").write_text("{")
    with pytest.raises(ValueError, match=r"has 2 checkpoints and all are damaged"):
        find_checkpoint(tmp_path)


def test_a_save_that_dies_anywhere_leaves_the_old_checkpoint(accelerator, tmp_path, monkeypatch):
    save_checkpoint(accelerator, tmp_path, 1, {}, keep_checkpoints=1)
    for name in ("hash_file", "_sync"):
        with monkeypatch.context() as patch:
            patch.setattr(checkpointing, name, lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                save_checkpoint(accelerator, tmp_path, 2, {}, keep_checkpoints=1)
        assert [step for step, _ in list_checkpoints(tmp_path)] == [1]
        assert find_checkpoint(tmp_path)[0].name == "checkpoint-00000001"
    save_checkpoint(accelerator, tmp_path, 2, {}, keep_checkpoints=1)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-00000002"]


def _kill_saves(accelerator, folder, delays_s) -> None:
    save_checkpoint(accelerator, folder, 1, {}, keep_checkpoints=2)
    for delay_s in delays_s:
        step = find_checkpoint(folder)[1]["step"]
        child = os.fork()
        if child == 0:
            while True:
                step += 1
                save_checkpoint(accelerator, folder, step, {}, keep_checkpoints=2)
        time.sleep(delay_s)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        newest = list_checkpoints(folder)[-1][1]
        assert find_checkpoint(folder)[0] == newest  # never the older one: the newest is whole


def test_sigkill_while_saving_leaves_nothing_unloadable(accelerator, tmp_path):
    _kill_saves(accelerator, tmp_path, [0.01 + 0.007 * number for number in range(12)])


@pytest.mark.slow
def test_a_hundred_sigkills_while_saving_leave_nothing_unloadable(accelerator, tmp_path):
    _kill_saves(accelerator, tmp_path, [0.005 + 0.0031 * number for number in range(100)])


def test_sigterm_is_remembered_inside_the_block_alone():
    before = signal.getsignal(signal.SIGTERM)
    with SigtermFlag() as flag:
        assert not flag.is_set
        os.kill(os.getpid(), signal.SIGTERM)
        assert flag.is_set
    assert signal.getsignal(signal.SIGTERM) == before
