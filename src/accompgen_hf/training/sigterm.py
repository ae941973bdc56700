"""A wish to stop that a training loop asks about: schedulers send SIGTERM before they kill."""

import signal
import threading


class SigtermFlag:
    """Remembers a SIGTERM inside a `with` block; the process goes on until the loop has saved its work."""

    def __init__(self):
        self.is_set = False

    def __enter__(self) -> "SigtermFlag":
        # Only a process's main thread may set handlers; elsewhere its owner decides.
        self._is_installed = threading.current_thread() is threading.main_thread()
        if self._is_installed:
            self._previous = signal.signal(signal.SIGTERM, self._remember)
        return self

    def __exit__(self, *_) -> None:
        if self._is_installed:
            signal.signal(signal.SIGTERM, self._previous)

    def _remember(self, *_) -> None:
        self.is_set = True
