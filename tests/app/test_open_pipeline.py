"""How the command opens the pipeline: on which device, with how many threads."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from accompgen_hf.app import cli
from accompgen_hf.app.open_pipeline import SHIPPED_VOCALS, UsageError, choose_device, choose_threads, set_threads


def test_a_model_that_nobody_has_is_one_error_at_once_where_the_hub_does_not_answer(tmp_path):
    closed = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "accompgen_hf", "generate", str(SHIPPED_VOCALS), "--model", "me/nothing"]
    found = subprocess.run(
        command, env={**os.environ, **closed, "NO_PROXY": "127.0.0.1"}, cwd=tmp_path, capture_output=True, text=True
    )
    assert found.returncode == 1
    [line] = found.stderr.splitlines()
    assert line.startswith("accompgen: error: 'me/nothing' is no folder here, and not found as a Hub id: Got: Connect")


@pytest.mark.parametrize("command", ["generate", "demo", "regenerate", "web"])
def test_every_command_says_how_many_threads_it_takes(command, capsys):
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "--threads N of the CPU (small models: 1, or 2 if they play several parts;" in said


def test_the_devices_are_tried_in_order(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto") == "mps"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert choose_device("auto") == "cuda"
    assert choose_device("cuda:0") == "cuda:0"
    with pytest.raises(UsageError, match="must be auto or one of cpu, cuda, cuda:0 on this machine, got 'cuda:1'"):
        choose_device("cuda:1")


@pytest.mark.parametrize(
    ("hidden_size", "num_parts", "environment", "device", "expected"),
    [
        (96, 1, {}, "cpu", 1),
        (96, 3, {}, "cpu", 2),
        (1024, 1, {}, "cpu", 3),
        (96, 1, {"OMP_NUM_THREADS": "3"}, "cpu", 3),
        (96, 1, {}, "cuda", 3),
    ],
)
def test_a_small_model_gets_few_threads_unless_told_otherwise(
    monkeypatch, hidden_size, num_parts, environment, device, expected
):
    stage = SimpleNamespace(config=SimpleNamespace(hidden_size=hidden_size))
    config = SimpleNamespace(part_names=("drums", "bass", "other")[:num_parts])
    model = SimpleNamespace(semantic=stage, coarse=stage, fine=stage, config=config)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    num_threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        choose_threads(SimpleNamespace(model=model, device=torch.device(device)))
        assert torch.get_num_threads() == expected
        set_threads(None)
        assert torch.get_num_threads() == expected
        set_threads(2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(num_threads)
