"""Lines of words."""

import numpy as np
import pytest

from accompgen_hf.songs.lyrics import count_syllables, write_line


@pytest.mark.parametrize("num_syllables", [1, 2, 3, 8, 24])
def test_a_line_has_the_asked_number_of_syllables(num_syllables):
    for seed in range(10):
        line = write_line(np.random.default_rng(seed), num_syllables)
        assert sum(count_syllables(word) for word in line) == num_syllables


def test_lines_and_words_that_cannot_be_are_named():
    with pytest.raises(ValueError, match="`num_syllables` must be at least 1, got 0"):
        write_line(np.random.default_rng(0), 0)
    with pytest.raises(ValueError, match="`word` must be one of the vocabulary, got 'syzygy'"):
        count_syllables("syzygy")
