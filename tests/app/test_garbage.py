"""Garbage is looked for rarely while a command runs, and as before behind it."""

import gc

import pytest

from accompgen_hf.app import cli
from accompgen_hf.app.garbage import collected_rarely


def test_garbage_is_looked_for_rarely_inside_and_as_before_behind_it():
    before = gc.get_threshold()
    with collected_rarely():
        assert gc.get_threshold() == (50_000, *before[1:])
    assert gc.get_threshold() == before
    with pytest.raises(KeyError), collected_rarely():
        raise KeyError
    assert gc.get_threshold() == before


def test_a_command_loads_the_libraries_with_garbage_collected_rarely(monkeypatch):
    before, inside = gc.get_threshold(), []
    monkeypatch.setattr(cli.accompgen_hf, "register", lambda: inside.append(gc.get_threshold()[0]))
    assert cli.main(["generate", "no_such.wav"]) == 2
    assert inside == [50_000]
    assert gc.get_threshold() == before
