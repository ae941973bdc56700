"""Runs of several seeds in one table."""

import json

import pytest

from accompgen_hf.training.stages.comparison import compare_runs


def write_run(folder, loss):
    folder.mkdir()
    validation = {"loss": loss, "conditioning_gain": 0.5, "null_gain": 1.0, "perplexity": [2.0, 4 * loss]}
    (folder / "summary.json").write_text(json.dumps({"step": 3, "validation": validation}))
    return folder


def test_a_setting_has_the_mean_and_the_interval_of_its_seeds(tmp_path):
    folders = [write_run(tmp_path / f"time-{seed}", 1.0 + seed / 10) for seed in range(3)]
    folders.append(write_run(tmp_path / "token-0", 2.0))
    lines = compare_runs(folders).splitlines()
    # Three values 0.1 apart: standard deviation 0.1, t of two degrees of freedom 4.30.
    assert lines[2] == "| time | 3 | 1.100 ± 0.248 | 0.500 ± 0.000 | 1.000 ± 0.000 | 2.0, 4.4 |"
    assert lines[3] == "| token | 1 | 2.000 | 0.500 | 1.000 | 2.0, 8.0 |"


def test_other_names_and_unfinished_runs_are_refused(tmp_path):
    (tmp_path / "time-1").mkdir()
    with pytest.raises(ValueError, match=r"holds no summary.json; its run is not finished"):
        compare_runs([tmp_path / "time-1"])
    with pytest.raises(ValueError, match=r"must be named SETTING-SEED, got 'time'"):
        compare_runs([tmp_path / "time"])
