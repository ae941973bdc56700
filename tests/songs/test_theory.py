"""Time and scales."""

import pytest

from accompgen_hf.songs.theory import swing_beat


def test_swing_moves_the_off_beat_only():
    assert [swing_beat(beat, 0.64) for beat in (0.0, 0.5, 1.0)] == pytest.approx([0.0, 0.64, 1.0])
    assert swing_beat(-0.5, 0.64) == pytest.approx(-0.36)
    assert swing_beat(2.75, 0.5) == pytest.approx(2.75)
