"""Songs that the tests of this folder listen to; made once, since rendering takes seconds."""

import pytest

from accompgen_hf.songs.song import HELD_OUT_SEED, STYLES, compose_song, generate_song


@pytest.fixture(scope="session")
def songs():
    """One ten-second song of every style."""
    found = {}
    for seed in range(HELD_OUT_SEED, HELD_OUT_SEED + 200):
        style = compose_song(seed).style
        if style not in found:
            found[style] = generate_song(seed)
        if len(found) == len(STYLES):
            return list(found.values())
    raise AssertionError(f"200 seeds gave only {sorted(found)}")
