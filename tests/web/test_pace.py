"""Estimates of the time left: from the take's own speed, and from the takes before it."""

import itertools

import pytest

from accompgen_hf.accompgen import working_time_accompgen
from accompgen_hf.accompgen.working_time_accompgen import not_counted
from accompgen_hf.web.jobs import VisitorJob
from accompgen_hf.web.pace import Pace
from accompgen_hf.web.texts import describe

# Seconds of the clock at which the shipped default came to each step, and its end: 9 and 18 s of song, a quarter of a
# core (`examples/benchmarks/server.py page --threads 1` beside other work).
TIMELINES = {
    9.1: {"listening": 0.0, "semantic": 0.98, "coarse": 10.85, "fine": 49.48, "mixing": 52.29, "end": 59.48},
    18.2: {"listening": 0.0, "semantic": 2.45, "coarse": 25.02, "fine": 94.39, "mixing": 99.18, "end": 111.36},
}


@pytest.fixture(autouse=True)
def nothing_prepared(monkeypatch):
    """What other tests have prepared is not heard of here."""
    monkeypatch.setattr(working_time_accompgen, "_PAUSES", working_time_accompgen._Pauses())


class Job(VisitorJob):
    """A job whose clock the test sets: it has gone through a timeline up to `now`."""

    def __init__(self, pace, duration_s, timeline, now):
        super().__init__(None, 1, pace, duration_s)
        steps = list(timeline)
        for step, after in itertools.pairwise(steps):
            if timeline[step] > now:
                break
            self.step, self.entered[step] = step, self.started + timeline[step]
            if step not in ("listening", "mixing"):
                share = (now - timeline[step]) / (timeline[after] - timeline[step])
                self.audio_s[step] = min(share, 1.0) * duration_s
        self.now = self.started + now


@pytest.mark.parametrize("duration_s", TIMELINES)
@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("share", [0.2, 0.4, 0.6, 0.8])
def test_the_estimate_is_within_a_factor_of_one_and_a_half(duration_s, is_first, share, monkeypatch):
    timeline, pace = TIMELINES[duration_s], Pace()
    if not is_first:  # the take before was another recording, of 9 s
        steps = list(TIMELINES[9.1].items())
        pace.learn({step: end - begin for (step, begin), (_, end) in itertools.pairwise(steps)}, 9.1)
    job = Job(pace, duration_s, timeline, share * timeline["end"])
    monkeypatch.setattr("time.monotonic", lambda: job.now)
    progress = job.progress()
    left = (1 - share) * timeline["end"]
    assert left / 1.5 < progress.seconds_left < left * 1.5
    assert progress.fraction == pytest.approx(share, abs=0.15)


def test_while_the_step_is_compiled_the_job_says_so_and_its_estimate_stands_still(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    job = VisitorJob(None, 1, Pace(), 10.0)
    job.begin_take(1)
    now[0] += 1
    with not_counted():
        now[0] += 60
        progress = job.progress()
        assert (progress.stage, progress.seconds_left) == ("preparing", None)
        assert "once" in describe(progress)
    job.enter("semantic")
    now[0] += 1.5
    job.report("semantic", 10.0)  # 2.5 s for 0.33 of 1.48 s of work for every second of audio
    assert job.progress().seconds_left == pytest.approx(2.5 / 3.3 * (14.8 - 3.3), rel=0.01)
    job.enter("coarse")
    now[0] += 10
    job.end_take()
    assert job.pace.costs(False)["listening"] == pytest.approx(0.1)


def test_the_next_step_begins_when_the_last_of_this_one_is_reported(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    job = VisitorJob(None, 1, Pace(), 10.0)
    job.begin_take(1)
    for stage, following, num_windows in (("semantic", "coarse", 1), ("coarse", "fine", 2), ("fine", "mixing", 4)):
        for index in range(num_windows):
            assert job.step == (stage if stage != "semantic" else "listening")
            now[0] += 3.0
            job.report(stage, 10.0 / num_windows)
            assert job.step == (following if index == num_windows - 1 else stage)
    now[0] += 1.0
    job.end_take()
    costs = job.pace.costs(False)
    assert costs["coarse"] == pytest.approx(0.6)  # both of its windows: 3 s before the first is reported, 3 s after
    assert costs["mixing"] == pytest.approx(0.1)


def test_nobody_knows_before_the_first_take_has_begun_to_move():
    assert Pace().speed(0.0, 10.0, 1.0) is None
    assert Pace().speed(5.0, 10.0, 20.0) == 4.0


def test_a_finished_take_tells_what_its_steps_cost():
    pace = Pace()
    pace.learn({"listening": 1.0, "coarse": 8.0}, 2.0)
    assert (pace.costs(False)["listening"], pace.costs(False)["coarse"]) == (0.5, 4.0)
    assert pace.speed(0.0, 10.0, 0.5) == 1.0
    assert "fine" not in pace.costs(is_preview=True)
