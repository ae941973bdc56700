"""How often the commands let Python look for garbage that only counts the references to itself."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_NEW_OBJECTS = 50_000  # instead of 700


@contextmanager
def collected_rarely() -> Iterator[None]:
    """Look for garbage after every 50,000 new objects, not after every 700.

    The libraries make half a million objects that live as long as the process does. By default Python goes through
    them again and again while they are loaded, and once more while the first picture is drawn.
    """
    before = gc.get_threshold()
    gc.set_threshold(_NEW_OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
