"""The generation options: one declaration, and everybody who reads it."""

import argparse
import inspect

import pytest

from accompgen_hf import VocalAccompanimentPipeline
from accompgen_hf.accompgen.numba_engine_accompgen import ENGINES
from accompgen_hf.accompgen.options_accompgen import GENERATION_OPTIONS, is_of_kind, limit_options, split_by_step
from accompgen_hf.app.cli import build_parser
from accompgen_hf.app.result_folders import SETTINGS_KINDS
from accompgen_hf.web.choices import PAGE_OPTIONS


def command_options() -> dict[str, argparse.Action]:
    [commands] = [action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction)]
    return {action.dest: action for action in commands.choices["generate"]._actions}


def test_the_command_and_settings_files_know_every_option_meant_for_them():
    actions = command_options()
    for option in GENERATION_OPTIONS.values():
        if option.help is not None:
            assert actions[option.key].help == option.help
        if option.is_setting:
            assert SETTINGS_KINDS[option.key] is option.kind


def test_the_pipelines_steps_take_the_options_that_are_theirs():
    steps = {"preprocess": "preprocess", "postprocess": "postprocess"}
    for option in GENERATION_OPTIONS.values():
        if option.step in steps:
            parameters = inspect.signature(getattr(VocalAccompanimentPipeline, steps[option.step])).parameters
            assert option.name in parameters


def test_an_option_of_words_takes_its_choices_alone():
    engine = GENERATION_OPTIONS["engine"]
    assert engine.choices == ENGINES
    assert engine.accepts("numba")
    assert not engine.accepts("jax")
    assert not engine.accepts(1)
    assert command_options()["engine"].choices == ENGINES


def test_the_page_narrows_ranges_and_nothing_else():
    for name, option in PAGE_OPTIONS.items():
        declared = GENERATION_OPTIONS[name]
        assert option.kind is declared.kind
        assert declared.low <= option.low <= option.high <= declared.high


def test_arguments_are_divided_among_the_steps():
    given = {"sampling_rate": 8000, "preview": True, "min_p": 0.1, "return_codes": True, "seed": 3}
    assert split_by_step(given) == (
        {"sampling_rate": 8000},
        {"preview": True, "min_p": 0.1, "seed": 3},
        {"return_codes": True},
    )


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (int, [0, -3], [True, 1.0, "1", None]),
        (float, [0, 1.5], [True, float("nan"), float("inf"), "1"]),
        (bool, [True, False], [0, 1, None]),
        (dict, [{}, {"a": 1}], [[], "a"]),
        (str, ["", "a"], [1, b"a"]),
    ],
)
def test_kinds_are_those_of_json(kind, good, bad):
    assert all(is_of_kind(value, kind) for value in good)
    assert not any(is_of_kind(value, kind) for value in bad)


def test_an_option_accepts_its_range():
    options = limit_options(guidance_scale=(0, 10.0), preview=(False, True))
    assert [options["guidance_scale"].accepts(value) for value in (0, 10, 10.5, -1, True)] == [True, True] + [
        False
    ] * 3
    assert [options["preview"].accepts(value) for value in (True, 1)] == [True, False]
    assert GENERATION_OPTIONS["coarse_kwargs"].accepts({"temperature": 1.0})
