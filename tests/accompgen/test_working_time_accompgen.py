"""The clock of work stands still while something is prepared."""

import pytest

from accompgen_hf.accompgen import working_time_accompgen
from accompgen_hf.accompgen.working_time_accompgen import is_preparing, not_counted, prepared_seconds, working_time


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(working_time_accompgen, "_PAUSES", working_time_accompgen._Pauses())
    monkeypatch.setattr(working_time_accompgen.time, "monotonic", lambda: now[0])
    return now


def test_time_of_preparing_is_left_out(clock):
    begin = working_time()
    clock[0] += 2
    with not_counted():
        assert is_preparing()
        clock[0] += 50
        assert working_time() - begin == 2
    clock[0] += 3
    assert not is_preparing()
    assert working_time() - begin == 5
    assert prepared_seconds() == 50


def test_two_at_once_count_once_and_an_error_ends_it(clock):
    begin = working_time()
    with not_counted():
        clock[0] += 10
        with pytest.raises(OSError, match="disk"), not_counted():
            raise OSError("disk")
        clock[0] += 10
    clock[0] += 1
    assert working_time() - begin == 1
    assert not is_preparing()
