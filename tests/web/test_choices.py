"""The fields of the page: what is read from them, and what is refused in words for a visitor."""

import pytest

from accompgen_hf.web.choices import Refused, read_seed


def test_the_seed_field_takes_a_whole_number_or_nothing():
    assert [read_seed(text) for text in ("", "  ", None, " 42 ", "0")] == [None, None, None, 42, 0]
    for text in ("-1", "1.5", "seven", "٣", "1" * 5000):
        with pytest.raises(Refused, match="The seed must be a whole number from 0 to"):
            read_seed(text)
