"""One visitor's job: how far it is, how long it still takes, and whether it was stopped."""

import queue
import threading
from dataclasses import dataclass, field
from pathlib import Path

from accompgen_hf.accompgen.working_time_accompgen import is_preparing, working_time
from accompgen_hf.web.pace import Pace


class Stopped(Exception):
    """The job was stopped, by the visitor or by the end of the visit."""


@dataclass(frozen=True)
class Progress:
    """How far a job is: the `fraction` of all its work, the stage that runs now, and the take that it works on."""

    fraction: float
    stage: str
    take: int
    num_takes: int
    seconds_left: float | None


@dataclass
class VisitorJob:
    """What one visitor waits for, written by the thread that works and read by the one that tells.

    Args:
        folder (`Path`): Where its files are, until it is closed.
        num_takes (`int`): How many takes were asked for.
        pace (`Pace`): What steps cost on this machine.
        duration_s (`float`): Length of what is played.
        is_preview (`bool`): Whether there is no fine stage.
        is_part (`bool`): Whether only a part of a take is made.
    """

    folder: Path
    num_takes: int
    pace: Pace
    duration_s: float = 0.0
    is_preview: bool = False
    is_part: bool = False
    take: int = 1
    step: str = "waiting"
    audio_s: dict[str, float] = field(default_factory=dict)  # of this take that each step has worked off
    entered: dict[str, float] = field(default_factory=dict)  # when this take came to a step
    started: float = field(default_factory=working_time)
    takes: queue.SimpleQueue = field(default_factory=queue.SimpleQueue)
    stopped: threading.Event = field(default_factory=threading.Event)
    closed: threading.Event = field(default_factory=threading.Event)

    def begin_take(self, number: int) -> None:
        """Go on with the next take."""
        self.take, self.audio_s, self.entered = number, {}, {}
        self.enter("listening")

    def enter(self, step: str) -> None:
        """Note that a step begins, or raise `Stopped`."""
        if self.stopped.is_set():
            raise Stopped
        self.step = step
        self.entered.setdefault(step, working_time())

    def report(self, stage: str, seconds_just_finished: float) -> None:
        """Receive the pipeline's progress; an exception raised here ends the generation.

        A stage reports what it has finished, so the next step begins when the last of this one is reported.
        """
        self.enter(stage)
        self.audio_s[stage] = self.audio_s.get(stage, 0.0) + seconds_just_finished
        if self.audio_s[stage] > 0.99 * self.duration_s:
            steps = list(self.pace.costs(self.is_preview))
            self.enter(steps[steps.index(stage) + 1])

    def end_take(self) -> None:
        """Let the next estimates know what the steps of this take have cost."""
        ends = [*list(self.entered.values())[1:], working_time()]
        seconds = {step: end - begin for (step, begin), end in zip(self.entered.items(), ends, strict=True)}
        if "coarse" in seconds and not self.is_part:  # a part is heard with what surrounds it
            self.pace.learn(seconds, self.duration_s)

    def progress(self) -> Progress:
        """Say how far the job is."""
        now = working_time()
        costs = {step: cost * self.duration_s for step, cost in self.pace.costs(self.is_preview).items()}
        of_take = sum(costs.values())
        work, total = (self.take - 1) * of_take, self.num_takes * of_take
        for step in costs:
            if step != self.step:
                work += costs[step] if step in self.entered else 0.0
                continue
            share = self.audio_s.get(step, 0.0) / self.duration_s
            speed = self.pace.speed(work + share * costs[step], total, now - self.started)
            if step not in self.audio_s and speed is not None:  # it reports nothing: time alone says how far it is
                share = (now - self.entered.get(step, now)) / (speed * costs[step])
            work += min(share, 0.95 if step not in self.audio_s else 1.0) * costs[step]  # not done before it is
        speed = self.pace.speed(work, total, now - self.started)
        step = "preparing" if is_preparing() else self.step
        is_known = speed is not None and step not in ("waiting", "preparing")
        fraction = work / total if total else 0.0
        return Progress(fraction, step, self.take, self.num_takes, (total - work) * speed if is_known else None)
