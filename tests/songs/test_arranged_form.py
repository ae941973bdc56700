"""Arranged songs: the singer rests for whole bars in mid-song and is silent there, while the band plays on in time."""

import shutil
from itertools import pairwise

import numpy as np
import pytest

from accompgen_hf.songs.annotation import SongAnnotation
from accompgen_hf.songs.composition import compose_song
from accompgen_hf.songs.song import synthesize_song

SAMPLING_RATE = 24000


def longest_rest(annotation: SongAnnotation) -> tuple[float, float]:
    """Start and end of the longest silence between two sung notes."""
    rests = [(before.end_s, after.start_s) for before, after in pairwise(annotation.melody)]
    return max(rests, key=lambda rest: rest[1] - rest[0])


def find_long_breaks(singers: str, count: int) -> list[SongAnnotation]:
    found, seed = [], 0
    while len(found) < count:
        annotation = compose_song(seed, duration_s=24.0, composition="arranged", singers=singers)
        start_s, end_s = longest_rest(annotation)
        if end_s - start_s > 5.5:
            found.append(annotation)
        seed += 1
    return found


def rms_db(wave: np.ndarray) -> float:
    return float(20.0 * np.log10(np.sqrt(np.mean(wave.astype(np.float64) ** 2)) + 1e-9))


@pytest.fixture(scope="module")
def annotations():
    return [compose_song(seed, duration_s=24.0, composition="arranged") for seed in range(120)]


def test_about_half_of_long_excerpts_have_a_rest_of_six_to_nine_seconds_with_singing_around_it(annotations):
    rests = [longest_rest(annotation) for annotation in annotations]
    long = [(start, end) for start, end in rests if end - start > 5.5]
    assert 0.4 < len(long) / len(annotations) < 0.7
    # A pick-up shortens what eight seconds of bars give, a phrase that ends early makes it longer.
    assert max(end - start for start, end in long) < 11.0
    assert 6.5 < np.median([end - start for start, end in long]) < 9.0
    assert np.mean([start > 2.0 and end < 22.0 for start, end in long]) > 0.9


def test_breaks_take_whole_bars_and_repeat_the_bars_before_them(annotations):
    for annotation in annotations[:30]:
        bar_s = annotation.meter * annotation.beat_s
        breaks = [section for section in annotation.song_sections if section.name == "break"]
        assert any(6.0 - 1e-6 <= section.end_s - section.start_s <= 9.0 + 1e-6 for section in breaks)
        for section in breaks:
            length_s = section.end_s - section.start_s
            assert length_s / bar_s == pytest.approx(round(length_s / bar_s))

            def roots(first_s, length_s=length_s, annotation=annotation):
                times = first_s + np.arange(0.05, length_s, annotation.beat_s)
                return [next(c.root for c in annotation.song_chords if c.start_s <= t < c.end_s) for t in times]

            assert roots(section.start_s) == roots(section.start_s - length_s)


def test_some_short_excerpts_have_a_rest_of_two_bars():
    annotations = [compose_song(seed, duration_s=10.0, composition="arranged") for seed in range(60)]
    rests = [longest_rest(a) for a in annotations]
    is_rest = [end - start > 1.2 * a.meter * a.beat_s for (start, end), a in zip(rests, annotations, strict=True)]
    assert 0.2 < np.mean(is_rest) < 0.7
    assert max(end - start for start, end in rests) < 6.5


def test_every_length_of_excerpt_lies_inside_the_song():
    for seed in range(40):
        for duration_s in (0.5, 18.0, 40.0, 120.0):
            annotation = compose_song(seed, duration_s=duration_s, composition="arranged")
            assert annotation.start_s >= 0.0
            assert annotation.start_s + duration_s <= annotation.song_duration_s + 1e-6


def test_style_key_tempo_and_singer_are_those_of_the_other_compositions(annotations):
    for annotation in annotations[:5]:
        sheet = compose_song(annotation.seed, composition="lead_sheets")
        for name in ("style", "tonic", "mode", "tempo_bpm", "meter", "swing", "singer", "tuning_cents"):
            assert getattr(annotation, name) == getattr(sheet, name)


@pytest.mark.parametrize("singers", ["vowels", "words"])
def test_the_voice_is_silent_in_a_break_while_the_band_plays_on(singers):
    if singers == "words":
        pytest.importorskip("pyworld")
        if shutil.which("flite") is None:
            pytest.skip("needs the program flite")
    for annotation in find_long_breaks(singers, 2):
        song = synthesize_song(annotation)
        start_s, end_s = longest_rest(annotation)
        # The room dies away behind the last note, and a singer breathes in before the next one.
        inside = slice(round((start_s + 1.2) * SAMPLING_RATE), round((end_s - 0.7) * SAMPLING_RATE))
        assert rms_db(song.vocals[inside]) < rms_db(song.vocals) - 35.0
        assert np.abs(song.vocals[inside]).max() < 0.01
        half_seconds = song.instrumental[inside][: (inside.stop - inside.start) // 12000 * 12000].reshape(-1, 12000)
        assert min(rms_db(piece) for piece in half_seconds) > rms_db(song.instrumental) - 12.0
        beats = annotation.beat_times
        assert np.sum((beats > start_s) & (beats < end_s)) >= 6
