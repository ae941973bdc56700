"""The picture of a take for the page."""

import xml.etree.ElementTree as ElementTree

import numpy as np

from accompgen_hf.web.drawing import draw_take


def heights(path: str) -> np.ndarray:
    """Distance of the upper line from the middle of its lane."""
    points = np.array([point.split(",") for point in path.strip("MZ").split(" L")], dtype=float)
    upper, lower = points[: len(points) // 2, 1], points[len(points) // 2 :, 1][::-1]
    return (lower - upper) / 2


def test_a_sound_stands_where_it_is_in_time():
    vocals, band = np.zeros((2, 40_000), np.float32), np.zeros(40_000, np.float32)
    vocals[1, :10_000] = 0.5  # the first quarter, in one channel
    band[30_000:] = -0.1  # the last one, softer: each lane has a scale of its own
    drawn = ElementTree.fromstring(draw_take(vocals, band, 10_000))
    voice, accompaniment = (heights(path.get("d")) for path in drawn.findall("svg/path"))
    assert len(voice) == len(accompaniment) == 150
    assert np.flatnonzero(voice > 1).max() == 37
    assert np.flatnonzero(accompaniment > 1).min() == 112
    assert voice.max() == accompaniment.max() == 20  # of 25: the lanes do not touch


def test_silence_and_the_shortest_recording_can_be_drawn():
    assert "nan" not in draw_take(np.zeros((1, 800)), np.zeros(800), 8000)
    assert draw_take(np.ones((1, 20)), np.ones(20), 8000).startswith('<div class="drawing"><svg')


def test_a_long_recording_has_no_longer_picture():
    assert len(draw_take(np.ones((1, 10**6)), np.ones(10**6), 1000)) < 60_000


def test_beats_and_chords_stand_at_their_times_and_a_chord_that_goes_on_is_named_once():
    chords = [("Am", 0.0, 1.0), ("Am", 1.0, 2.0), ("N", 2.0, 3.0), ("F<", 3.0, 4.0)]
    sheet = {
        "beat_times": [0.0, 1.0, 2.0, 3.0],
        "downbeat_times": [2.0],
        "chords": [{"name": name, "start_s": start_s, "end_s": end_s} for name, start_s, end_s in chords],
    }
    drawn = ElementTree.fromstring(draw_take(np.ones((1, 40_000)), np.ones(40_000), 10_000, sheet))
    names = [(item.text, item.get("style")) for item in drawn.findall("ol/li")]
    assert names == [("Am", "left: 0.00%"), ("F<", "left: 75.00%")]
    beats, bars = (drawn.find(f"svg/path[@class='{name}']").get("d") for name in ("beats", "bars"))
    assert beats == "M0.0,0V100M37.2,0V100M74.5,0V100M111.8,0V100"
    assert bars == "M74.5,0V100"
