"""A clock for estimates: it stands still while something is prepared that is prepared once, as the compiled step is.

Such time says nothing about how long the rest takes.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class _Pauses:
    """Pauses of all threads; those that overlap count once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._num_open, self._began, self._ended_s = 0, 0.0, 0.0

    def open(self) -> None:
        with self._lock:
            if self._num_open == 0:
                self._began = time.monotonic()
            self._num_open += 1

    def close(self) -> None:
        with self._lock:
            self._num_open -= 1
            if self._num_open == 0:
                self._ended_s += time.monotonic() - self._began

    @property
    def is_open(self) -> bool:
        return self._num_open > 0

    def seconds(self) -> float:
        with self._lock:
            return self._ended_s + (time.monotonic() - self._began if self._num_open else 0.0)


_PAUSES = _Pauses()


@contextmanager
def not_counted() -> Iterator[None]:
    """Stop the clock of work while the context is open, for all threads."""
    _PAUSES.open()
    try:
        yield
    finally:
        _PAUSES.close()


def is_preparing() -> bool:
    """Whether the clock of work stands still now."""
    return _PAUSES.is_open


def working_time() -> float:
    """Seconds of work; as with `time.monotonic`, only differences mean something."""
    return time.monotonic() - _PAUSES.seconds()


def prepared_seconds() -> float:
    """Seconds that have not been counted since this process began."""
    return _PAUSES.seconds()


__all__ = ["is_preparing", "not_counted", "prepared_seconds", "working_time"]
