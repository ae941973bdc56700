"""Progress on stderr: a bar on a terminal or in a notebook, and in a log file a line every ten seconds."""

import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from tqdm.auto import tqdm

from .working_time_accompgen import prepared_seconds, working_time

LOG_INTERVAL_S = 10.0
_IN_ONE_GO_S, _ENOUGH_S = 0.05, 1.0  # reports that belong to one; of work, before its pace says anything
_IS_WIDGET = any(base.__module__.endswith("notebook") for base in tqdm.__mro__)
_FORMAT = "{desc:>8} {percentage:3.0f}%|{bar}| {n:.1f}/{total:.1f} s of audio [{elapsed}<{remaining}]"


def is_log(file: Any) -> bool:
    """Whether a stream keeps every line: it is no terminal, and this is no notebook."""
    return not _IS_WIDGET and not getattr(file, "isatty", lambda: False)()


class _Bar(tqdm):
    """tqdm with a lock of this process: one that is killed while it draws would hold tqdm's, which forks share."""


_Bar.set_lock(threading.RLock())


class ProgressBar(_Bar):
    """tqdm, but where nothing can be drawn over, a line every ten seconds and at the end."""

    def __init__(self, *args: Any, **kwargs: Any):
        file = kwargs.get("file") or sys.stderr
        self._is_log = is_log(file)
        if self._is_log:
            kwargs = {**kwargs, "file": file, "mininterval": LOG_INTERVAL_S, "maxinterval": LOG_INTERVAL_S}
            kwargs = {**kwargs, "miniters": 0, "ncols": 80, "leave": True, "position": None}
        self._prepared_s = prepared_seconds()
        super().__init__(*args, **kwargs)

    def update(self, n: float | None = 1) -> bool | None:
        """Count on; what has been prepared meanwhile is left out of the pace, and so of the estimate."""
        prepared_s = prepared_seconds()
        if not self.disable:
            self.last_print_t += prepared_s - self._prepared_s
        self._prepared_s = prepared_s
        return super().update(n)

    def display(self, msg: str | None = None, pos: int | None = None) -> Any:
        """Draw, or write a line; the empty bar at the start says nothing in a log."""
        if not self._is_log:
            return super().display(msg, pos)
        if self.n > self.initial or msg:
            self.fp.write(f"{str(self) if msg is None else msg}\n")
            self.fp.flush()
        return True

    def close(self) -> None:
        """End the bar, or write the last line."""
        if not self._is_log:
            super().close()
        elif not self.disable:
            self.disable = True
            self._decr_instances(self)
            self.display()


class StageProgress:
    """The stages of a generation, one after the other: a bar each, or the whole as lines of a log.

    Args:
        seconds (`float`): Seconds of music that each stage makes.
        shares (`dict` of `str` to `float`): Work of each stage in its order, in any unit; what is left is estimated
            from it, since a stage that has not begun has no speed of its own.
        is_shown (`bool`, *optional*): Whether to show it. `None` shows it on a terminal.
    """

    def __init__(self, seconds: float, shares: Mapping[str, float], is_shown: bool | None = None):
        self._seconds, self._shares = seconds, shares
        self._done = dict.fromkeys(shares, 0.0)
        self._bars: dict[str, Any] = {}
        self._is_log = bool(is_shown) and is_log(sys.stderr)
        self._said_at = time.monotonic()
        self._first: tuple[float, float] | None = None  # when the first report came, and what share was done then
        if not self._is_log:
            disable = None if is_shown is None else not is_shown
            self._bars = {
                stage: _Bar(total=seconds, desc=stage, disable=disable, bar_format=_FORMAT, position=index)
                for index, stage in enumerate(shares)
            }

    def __enter__(self) -> "StageProgress":
        return self

    def __exit__(self, *error: object) -> None:
        for bar in self._bars.values():
            bar.close()
        if self._is_log and error[0] is None:
            print(f"{self._seconds:.1f} s of audio: done", file=sys.stderr, flush=True)

    def report(self, stage: str, seconds_just_finished: float) -> None:
        """Note what a stage has just finished."""
        left = self._seconds - self._done[stage]
        just = min(seconds_just_finished, left)  # sums of floats end a hair too high
        bar = self._bars.get(stage)
        if bar is not None:
            if self._done[stage] == 0:  # its speed counts from when it begins
                bar.start_t = bar.last_print_t = time.time()
            bar.update(just)
        self._done[stage] += just
        now = working_time()
        if self._first is None or now - self._first[0] < _IN_ONE_GO_S:
            self._first = (now if self._first is None else self._first[0], self._part())
        if self._is_log and time.monotonic() - self._said_at >= LOG_INTERVAL_S:
            self._said_at = time.monotonic()
            print(self.line(stage, now), file=sys.stderr, flush=True)

    def _part(self) -> float:
        """The share of all work that is done."""
        work = [share * self._done[name] / self._seconds for name, share in self._shares.items()]
        return sum(work) / sum(self._shares.values())

    def line(self, stage: str, now: float) -> str:
        """What is done, and how long the rest takes at the pace since the first report.

        What comes before that report comes once: the encoder, the weights, the compiled step.
        """
        part = self._part()
        line = f"{stage}: {self._done[stage]:.1f} of {self._seconds:.1f} s of audio, {100 * part:.0f} % of all"
        since, part_then = self._first or (now, part)
        if now - since < _ENOUGH_S or part <= part_then:
            return line
        left_s = (now - since) * (1 - part) / (part - part_then)
        return line + f", about {left_s:.0f} s left" if left_s < 120 else line + f", about {left_s / 60:.0f} min left"


__all__ = ["LOG_INTERVAL_S", "ProgressBar", "StageProgress", "is_log"]
