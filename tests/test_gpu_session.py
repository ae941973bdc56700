"""The script for a GPU runs through on the CPU, and says what it does not know."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "examples" / "benchmarks" / "gpu_session.sh"
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a shell script")


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(["bash", str(SCRIPT), *arguments], capture_output=True, text=True, timeout=900)


def test_an_unknown_option_is_refused():
    done = run("--fast")
    assert done.returncode == 2
    assert "unknown option --fast; allowed are --dry_run, --output FILE and --python PYTHON" in done.stderr


def test_its_parts_take_at_most_eight_minutes():
    limits = [int(limit) for limit in re.findall(r"^ *part \S+ (\d+) \S", SCRIPT.read_text(), re.MULTILINE)]
    assert len(limits) == 6
    assert sum(limits) + sum(limits[2:4]) <= 8 * 60  # two of them run in both precisions


@pytest.mark.slow
def test_a_dry_run_goes_through_on_the_cpu_and_writes_one_json(tmp_path):
    done = run("--dry_run", "--output", str(tmp_path / "report.json"), "--python", sys.executable)
    report = json.loads((tmp_path / "report.json").read_text())
    assert done.returncode == 0, (done.stderr, report)
    assert report["dry_run"]
    trained = {name: part["report"] for name, part in report["parts"].items() if name not in ("tests", "decode")}
    assert set(trained) == {
        "semantic_bf16",
        "coarse_bf16",
        "semantic_fp16",
        "coarse_fp16",
        "fine_bf16",
        "coarse_fsdp2",
    }
    assert all(one["tokens_per_s"]["stage"][0] > 0 for one in trained.values())
    assert trained["coarse_fsdp2"]["fsdp2"]
    assert report["parts"]["decode"]["report"]["contexts"][0]["steps"]["fast"]["ms"]
