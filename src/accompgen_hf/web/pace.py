"""How long a take takes: the work of each step per second of audio, learned from the takes that are finished."""

from collections.abc import Mapping

STEPS = ("listening", "semantic", "coarse", "fine", "mixing")
# CPU seconds per second of audio: the shipped default in compiled steps on one thread, 18 s of singing, shared out as
# `examples/benchmarks/server.py page` found. Mixing includes the files of the page. Until the first take is finished
# only the ratios count.
_FIRST_GUESS = {"listening": 0.03, "semantic": 0.3, "coarse": 0.93, "fine": 0.06, "mixing": 0.16}
_ENOUGH_S, _ENOUGH_WORK = 2.0, 0.08  # of a job, before its own speed says more than the takes before it


class Pace:
    """The work of each step, in seconds per second of audio."""

    def __init__(self) -> None:
        self._costs = dict(_FIRST_GUESS)
        self._is_measured = False

    def costs(self, is_preview: bool) -> dict[str, float]:
        """Cost of every step of a take in order; a preview has no fine codes."""
        return {step: self._costs[step] for step in STEPS if not (is_preview and step == "fine")}

    def learn(self, seconds_of_steps: Mapping[str, float], duration_s: float) -> None:
        """Take over what the steps of a finished take have cost.

        Args:
            seconds_of_steps: Seconds of work of each step.
            duration_s (`float`): Length of the recording.
        """
        if duration_s > 0:
            self._costs.update({step: seconds / duration_s for step, seconds in seconds_of_steps.items()})
            self._is_measured = True

    def speed(self, work: float, total: float, elapsed_s: float) -> float | None:
        """Seconds that one unit of work takes in a job, `None` as long as nobody can know.

        Args:
            work, total (`float`): Work that is done, and all of it, in the unit of `costs` times seconds of audio.
            elapsed_s (`float`): How long the job has been running.
        """
        if elapsed_s > _ENOUGH_S and work > _ENOUGH_WORK * total:
            return elapsed_s / work
        return 1.0 if self._is_measured else None
