"""What a run prints and sends to trackers; a tracker without its package is an error that names it."""

import sys
from types import SimpleNamespace

import pytest
from accelerate import tracking

from accompgen_hf.training.run_files import read_metrics
from accompgen_hf.training.stages import reporting
from accompgen_hf.training.stages.loop import train_stage
from accompgen_hf.training.stages.reporting import check_trackers
from tiny_shards import make_arguments, write_shards


def test_a_tracker_whose_package_is_missing_is_named(monkeypatch):
    packages = {"wandb": ("no_such_wandb",), "tensorboard": ("no_such_board", "no_such_either")}
    monkeypatch.setattr(reporting, "TRACKER_PACKAGES", packages)
    with pytest.raises(ImportError, match=r"`report_to` wandb needs no_such_wandb: `pip install no_such_wandb`"):
        check_trackers(["wandb"])
    with pytest.raises(ImportError, match=r"needs no_such_board: `pip install no_such_board`"):
        check_trackers(["tensorboard"])
    check_trackers([])


def test_numbers_reach_tensorboard_and_the_run_says_what_it_is(tmp_path, capsys):
    pytest.importorskip("tensorboardX")
    shards = write_shards(tmp_path / "shards")
    arguments = make_arguments(shards, tmp_path / "run", max_steps=2, report_to="tensorboard", peak_tflops=0.5)
    summary = train_stage(arguments)
    printed = capsys.readouterr().out
    assert "world size 1: 1 processes x 1 micro-batches of at most 4 = global batch 4" in printed
    assert "MFU of 0.5 TFLOPS a device" in printed
    assert list((tmp_path / "run" / "accompgen").glob("events.out.tfevents.*"))
    trained = [event for event in read_metrics(tmp_path / "run") if event["kind"] == "train"]
    assert all(0 < event["mfu"] < 1 for event in trained)
    assert 0 < summary["mfu"] < 1


@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_numbers_reach_a_tracker_under_flat_names_and_the_run_is_closed(name, tmp_path, monkeypatch):
    heard = {"logged": [], "config": {}, "finished": 0}

    def finish():
        heard["finished"] += 1

    # What accelerate asks of either package.
    run = SimpleNamespace(log=lambda values, step: heard["logged"].append((step, values)), finish=finish)
    package = SimpleNamespace(
        init=lambda project: heard.update(project=project) or run,
        config=SimpleNamespace(update=lambda values, **_: heard["config"].update(values)),
        finish=finish,
    )
    monkeypatch.setitem(sys.modules, name, package)
    monkeypatch.setattr(tracking, "_available_trackers", [tracking.LoggerType(name)])
    shards = write_shards(tmp_path / "shards")
    train_stage(make_arguments(shards, tmp_path / "run", max_steps=2, report_to=name))
    assert heard["project"] == "accompgen"
    assert (heard["config"]["max_steps"], heard["config"]["model.hidden_size"]) == (2, 32)
    assert [(step, "train/loss" in values, "validation/loss" in values) for step, values in heard["logged"]] == [
        (1, True, False),
        (2, True, False),
        (2, False, True),
    ]
    assert all(isinstance(value, int | float) for _, values in heard["logged"] for value in values.values())
    assert heard["finished"] == 1


def test_without_a_peak_there_is_no_mfu(tmp_path, capsys):
    summary = train_stage(make_arguments(write_shards(tmp_path / "shards"), tmp_path / "run", max_steps=1))
    assert "MFU n/a (give `--peak_tflops`)" in capsys.readouterr().out
    assert summary["mfu"] is None
    assert "mfu" not in read_metrics(tmp_path / "run")[0]


def test_nested_values_become_flat_names():
    values = {"loss": 1.0, "perplexity": [2.0, 3.0], "model": {"size": 4}, "codec": None}
    flat = {"loss": 1.0, "perplexity_1": 2.0, "perplexity_2": 3.0, "model.size": 4}
    assert reporting._flatten(values) == flat
