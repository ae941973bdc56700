"""Checkpoints are whole or absent and a damaged one is passed over; metrics hold no event twice after a resume."""

import os
import signal
import time
from dataclasses import dataclass

import pytest
import torch
from accelerate import Accelerator

from accompgen_hf.training import run_files
from accompgen_hf.training.run_files import (
    MetricsLog,
    RunFolder,
    describe_run,
    find_checkpoint,
    list_checkpoints,
    read_metrics,
    save_checkpoint,
)


@pytest.fixture
def accelerator() -> Accelerator:
    accelerator = Accelerator()
    accelerator.prepare(torch.nn.Linear(64, 64))
    return accelerator


def save(accelerator, folder, step, state=None, keep_checkpoints=2):
    write = lambda staging: accelerator.save_state(str(staging))  # noqa: E731
    return save_checkpoint(folder, step, write, state or {}, keep_checkpoints)


def test_the_newest_few_stay_and_the_newest_is_found(accelerator, tmp_path):
    for step in (5, 10, 15, 100):
        save(accelerator, tmp_path, step, {"num_skipped_steps": step})
    assert [step for step, _ in list_checkpoints(tmp_path)] == [15, 100]
    folder, state = find_checkpoint(tmp_path)
    assert folder.name == "checkpoint-00000100"
    assert (state["step"], state["num_skipped_steps"]) == (100, 100)
    accelerator.load_state(str(folder))


def test_no_checkpoint_is_none(tmp_path):
    assert find_checkpoint(tmp_path) is None


def test_a_damaged_checkpoint_is_named_and_passed_over(accelerator, tmp_path, caplog):
    for step in (1, 2):
        save(accelerator, tmp_path, step)
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
    save(accelerator, tmp_path, 1, keep_checkpoints=1)
    for name in ("hash_file", "publish_folder"):
        with monkeypatch.context() as patch:
            patch.setattr(run_files, name, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                save(accelerator, tmp_path, 2, keep_checkpoints=1)
        assert [step for step, _ in list_checkpoints(tmp_path)] == [1]
        assert find_checkpoint(tmp_path)[0].name == "checkpoint-00000001"
    save(accelerator, tmp_path, 2, keep_checkpoints=1)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-00000002"]


def _kill_saves(accelerator, folder, delays_s) -> None:
    save(accelerator, folder, 1)
    for delay_s in delays_s:
        step = find_checkpoint(folder)[1]["step"]
        child = os.fork()
        if child == 0:
            while True:
                step += 1
                save(accelerator, folder, step)
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


@dataclass
class Arguments:
    output_dir: str
    learning_rate: float = 0.1
    betas: tuple[float, float] = (0.9, 0.99)


def open_run(output_dir, **fields) -> tuple[RunFolder, torch.nn.Linear, torch.optim.AdamW]:
    model = torch.nn.Linear(3, 3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    run = describe_run(Arguments(str(output_dir), **fields), ("output_dir",))
    return RunFolder(output_dir, run, {"model": model, "optimizer": optimizer}), model, optimizer


def test_a_run_folder_gives_models_optimizers_and_step_back(tmp_path):
    folder, model, optimizer = open_run(tmp_path / "run")
    assert folder.resume() == 0
    for step in (1, 2, 3):
        model(torch.ones(2, 3)).sum().backward()
        optimizer.step()
        folder.metrics.write("train", step, loss=float(step))
        if step < 3:
            folder.save(step)
    before = torch.load(tmp_path / "run" / "checkpoint-00000002" / "model.pt")
    again, model, optimizer = open_run(tmp_path / "run")
    assert again.resume() == 2
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    assert optimizer.state_dict()["state"][0]["step"] == 2
    assert [event["step"] for event in read_metrics(tmp_path / "run")] == [1, 2]  # step 3 will be done again


def test_a_run_folder_of_other_arguments_is_refused_and_both_sides_are_named(tmp_path):
    folder = open_run(tmp_path)[0]
    folder.resume()
    folder.save(1)
    with pytest.raises(ValueError, match=r"a run with \{'learning_rate': 0.1\}, now asked: \{'learning_rate': 0.2\}"):
        open_run(tmp_path, learning_rate=0.2)[0].resume()
    assert open_run(tmp_path)[0].resume() == 1


def test_a_resumed_run_drops_what_it_will_do_again(tmp_path):
    log = MetricsLog(tmp_path, 0)
    for step in range(1, 5):
        log.write("train", step, loss=1.0 / step)
    with open(log.path, "a", encoding="utf-8") as file:
        file.write('{"kind": "train", "st')  # killed while writing
    MetricsLog(tmp_path, 2).write("train", 3, loss=9.0)
    assert [(event["step"], event["loss"]) for event in read_metrics(tmp_path)] == [(1, 1.0), (2, 0.5), (3, 9.0)]


def test_no_metrics_are_an_empty_list(tmp_path):
    assert read_metrics(tmp_path) == []


def test_metrics_of_one_kind_are_read_alone(tmp_path):
    log = MetricsLog(tmp_path, 0)
    log.write("train", 1, loss=2.0)
    log.write("validation", 1, loss=3.0)
    assert [event["loss"] for event in read_metrics(tmp_path, "validation")] == [3.0]
