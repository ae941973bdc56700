"""Words and style of the page: what a visitor writes is escaped, and nothing is fetched from elsewhere."""

import re
from pathlib import Path

import pytest

from accompgen_hf.app.picture import _LANES
from accompgen_hf.web import texts
from accompgen_hf.web.studio import Progress

FOLDER = Path(texts.__file__).parent


def test_words_from_outside_are_escaped():
    for make in (texts.failure, texts.status):
        assert "<script>" not in make("<script>alert(1)</script>")
        assert "&lt;script&gt;" in make("<script>alert(1)</script>")


def test_no_text_names_another_host():
    constants = [value for value in vars(texts).values() if isinstance(value, str)]
    words = [*constants, texts.intro(60), texts.limits(60, 20 * 2**20, 3600, ["wav", "mp3"])]
    words += [path.read_text("utf-8") for path in FOLDER.glob("*.[cj]s*")]
    assert len(words) > 10
    assert not [text for text in words if re.search(r"https?://|url\(|@import", text) and text != texts.__doc__]


def test_the_limits_are_said_before_anybody_meets_them():
    words = texts.limits(60.0, 20 * 2**20, 3600, ["wav", "mp3", "m4a"])
    assert "60 s and 20 MB" in words
    assert "wav, mp3 or m4a" in words
    assert "about 1 h" in words


@pytest.mark.parametrize("stage", ["waiting", "listening", "semantic", "coarse", "fine", "mixing"])
def test_every_stage_has_words_and_the_take_is_named_where_there_are_several(stage):
    alone = texts.describe(Progress(0.5, stage, 1, 1, None))
    assert "take" not in alone
    assert texts.describe(Progress(0.5, stage, 2, 3, None)) == alone.replace(" …", ", take 2 of 3 …")


@pytest.mark.parametrize(
    ("seconds_left", "words"),
    [(None, ""), (0.2, "about 1 s left"), (42.3, "about 42 s left"), (200, "about 3 min left")],
)
def test_the_bar_says_percent_and_time_to_screen_readers_and_others(seconds_left, words):
    bar = texts.bar(Progress(0.256, "coarse", 1, 1, seconds_left))
    assert 'role="progressbar"' in bar
    assert 'aria-valuenow="26"' in bar
    assert "26 %" in bar
    assert f"<span>{words}</span>" in bar


def test_the_players_have_the_colours_of_the_picture():
    style = (FOLDER / "page.css").read_text("utf-8")
    assert dict(_LANES) == texts.LANE_COLORS
    assert f".waves .voice {{ fill: {texts.LANE_COLORS['vocals']}; }}" in style
    assert f".waves .band {{ fill: {texts.LANE_COLORS['accompaniment']}; }}" in style
