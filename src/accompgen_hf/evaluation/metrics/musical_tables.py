"""What the musical metrics know of music: how chords follow each other in a key, and where onsets lie in a bar.

`musical_tables.json` holds both, counted and fitted on training songs by examples/fit_musical_tables.py: their scores
and true accompaniments, never a model's output.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

from accompgen_hf.files import read_json

TABLES_PATH = Path(__file__).with_name("musical_tables.json")


@lru_cache(maxsize=1)
def load_tables() -> dict[str, Any]:
    """`made_with`; `chords`: by mode, counts of chords' seconds and of their steps; `rhythm`: weights by meter."""
    return read_json(TABLES_PATH)
