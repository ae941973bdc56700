"""Progress in a log file: few lines, and an estimate that is right from the start."""

import contextlib
import io
import os
import re
import signal
import threading

import pytest
from tqdm.auto import tqdm

from accompgen_hf.accompgen import progress_accompgen, working_time_accompgen
from accompgen_hf.accompgen.progress_accompgen import ProgressBar, StageProgress
from accompgen_hf.accompgen.working_time_accompgen import not_counted, working_time


@pytest.fixture(autouse=True)
def nothing_prepared(monkeypatch):
    """What other tests have prepared is not heard of here."""
    monkeypatch.setattr(working_time_accompgen, "_PAUSES", working_time_accompgen._Pauses())


class Clock:
    """A clock that the test moves."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(progress_accompgen.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(progress_accompgen.time, "time", lambda: self.now)


def test_a_log_gets_a_line_every_ten_seconds_with_a_sane_estimate(monkeypatch, capfd):
    """100 s of work in steps of 0.1 s: the second of two stages is three times the work of the first."""
    clock = Clock(monkeypatch)
    with StageProgress(25.0, {"semantic": 1.0, "coarse": 3.0}, is_shown=True) as progress:
        for stage, num_steps in (("semantic", 250), ("coarse", 750)):
            for _ in range(num_steps):
                clock.now += 0.1
                progress.report(stage, 25.0 / num_steps)
    lines = capfd.readouterr().err.splitlines()
    assert 9 <= len(lines) <= 11
    for index, line in enumerate(lines[:-1], start=1):
        assert float(re.search(r"about ([\d.]+) s left", line)[1]) == pytest.approx(100 - 10 * index, abs=2)
    assert lines[0].startswith("semantic: 10.0 of 25.0 s of audio, 10 % of all")
    assert lines[-1] == "25.0 s of audio: done"


def test_what_is_prepared_at_the_first_use_is_no_part_of_the_pace(monkeypatch, capfd):
    """A minute of compiling before each stage, then 64 codes at a time: 30 s of work, and no estimate is wild."""
    clock = Clock(monkeypatch)
    done_s = 0.0
    with StageProgress(9.0, {"semantic": 1.0, "coarse": 2.0}, is_shown=True) as progress:
        clock.now += 5  # the encoder
        for stage, num_calls in (("semantic", 10), ("coarse", 20)):
            with not_counted():
                clock.now += 60
            for _ in range(num_calls):
                clock.now, done_s = clock.now + 1.0, done_s + 1.0
                for _ in range(64):
                    progress.report(stage, 9.0 / num_calls / 64)
                said = re.search(r"about ([\d.]+) s left", progress.line(stage, working_time()))
                assert said or done_s == 1.0
                assert said is None or float(said[1]) == pytest.approx(30 - done_s, abs=1)
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == "semantic: 0.0 of 9.0 s of audio, 0 % of all"  # at once after the wait: nobody knows yet


def test_nothing_is_written_to_a_log_unasked(capfd):
    for is_shown in (None, False):
        with StageProgress(1.0, {"semantic": 1.0}, is_shown) as progress:
            progress.report("semantic", 1.0)
    assert capfd.readouterr().err == ""


def test_a_loop_of_a_script_writes_a_line_every_ten_seconds_to_a_log(monkeypatch):
    clock, file = Clock(monkeypatch), io.StringIO()
    bar = ProgressBar(total=1000, desc="semantic", file=file, mininterval=1.0)
    bar._time = lambda: clock.now
    bar.start_t = bar.last_print_t = clock.now
    with bar:
        for _ in range(1000):
            clock.now += 0.1
            bar.update()
    lines = file.getvalue().splitlines()
    assert 9 <= len(lines) <= 11
    assert all(line.startswith("semantic") and "\r" not in line for line in lines)
    assert "1000/1000" in lines[-1]


def test_a_loop_of_a_script_leaves_what_is_prepared_out_of_its_pace(monkeypatch):
    clock, file = Clock(monkeypatch), io.StringIO()
    bar = ProgressBar(total=10, desc="songs", file=file)
    bar._time = lambda: clock.now
    bar.start_t = bar.last_print_t = clock.now
    with bar:
        for index in range(2):
            with not_counted() if index == 0 else contextlib.nullcontext():
                clock.now += 90
            clock.now += 12
            bar.update()
        assert "<01:4" in file.getvalue().splitlines()[0]  # 9 songs of 12 s, not of 102 s
        bar.disable = True


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar_for_each_stage(monkeypatch):
    monkeypatch.setattr("sys.stderr", Terminal())
    with StageProgress(2.0, {"semantic": 1.0, "fine": 1.0}) as progress:
        progress.report("semantic", 2.0)
        progress.report("fine", 2.1)
        drawn = progress_accompgen.sys.stderr.getvalue()
    assert "semantic" in drawn
    assert "fine" in drawn
    assert "\r" in drawn


def test_a_process_that_is_killed_while_it_draws_leaves_no_lock_behind():
    child = os.fork()
    if child == 0:
        ProgressBar.get_lock().acquire()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert ProgressBar.get_lock().acquire(timeout=1)
    ProgressBar.get_lock().release()


def test_the_bars_of_stages_do_not_wait_for_the_lock_that_processes_share(monkeypatch):
    monkeypatch.setattr("sys.stderr", Terminal())

    def draw() -> None:
        with StageProgress(2.0, {"semantic": 1.0}) as progress:
            progress.report("semantic", 2.0)

    drawing = threading.Thread(target=draw)
    with tqdm.get_lock():  # as a killed process would hold it
        drawing.start()
        drawing.join(timeout=10)
        is_waiting = drawing.is_alive()
    drawing.join()
    assert not is_waiting
