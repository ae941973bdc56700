"""Filters: what is dropped, why, and that each can be switched off."""

import json
from dataclasses import replace

import numpy as np
import pytest

from accompgen_hf.data.filter_picture import draw_histograms
from accompgen_hf.data.filtering import (
    ClipFilter,
    add_counts,
    clip_bounds,
    count_clips,
    describe_counts,
    filter_pair,
    measure_bleed,
    measure_clip,
)

RATE = 16000
FILTER = ClipFilter(clip_duration_s=1.0)


def noise(seconds: float, level_db: float, seed: int) -> np.ndarray:
    shape = round(seconds * RATE)
    return (10 ** (level_db / 20) * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def pair(seconds: float = 4.0, vocals_db: float = -20.0, instrumental_db: float = -20.0):
    return noise(seconds, vocals_db, 0), noise(seconds, instrumental_db, 1)


def reasons(verdict) -> list[list[str]]:
    return [clip["reasons"] for clip in verdict.clips]


def test_a_good_pair_is_kept_in_rows_of_up_to_three_clips():
    verdict = filter_pair("a", *pair(), RATE, FILTER)
    assert reasons(verdict) == [[]] * 4
    assert verdict.spans == [(0, 75), (75, -1)]
    assert [clip["start_s"] for clip in verdict.clips] == [0.0, 1.0, 2.0, 3.0]


def test_measures_are_those_of_known_signals():
    seconds = np.arange(RATE) / RATE
    sine = np.sin(2 * np.pi * 500 * seconds).astype(np.float32)
    vocals = np.where(seconds < 0.4, 0.1 * sine, 0).astype(np.float32)
    values = measure_clip(vocals, 0.2 * sine, RATE)
    assert values["instrumental_rms_db"] == pytest.approx(20 * np.log10(0.2 / np.sqrt(2)), abs=0.01)
    assert values["vocals_over_instrumental_db"] == pytest.approx(10 * np.log10(0.4) + 20 * np.log10(0.5), abs=0.01)
    assert values["vocal_activity"] == pytest.approx(0.4)
    silence = np.zeros(RATE, np.float32)
    assert measure_clip(silence, silence, RATE)["instrumental_rms_db"] == -120


def test_a_silent_instrumental_is_dropped_and_splits_the_row():
    vocals, instrumental = pair()
    instrumental[RATE : 2 * RATE] *= 0.3  # -30.5 dBFS
    vocals[RATE : 2 * RATE] *= 0.3
    verdict = filter_pair("a", vocals, instrumental, RATE, FILTER)
    assert reasons(verdict) == [[], ["silent_instrumental"], [], []]
    assert verdict.spans == [(0, 25), (50, -1)]
    assert filter_pair("a", vocals, instrumental, RATE, replace(FILTER, min_instrumental_rms_db=None)).spans[0] == (
        0,
        75,
    )


def test_vocals_far_above_the_instrumental_are_dropped():
    verdict = filter_pair("a", *pair(2.0, vocals_db=-14.5), RATE, FILTER)
    assert reasons(verdict) == [["loud_vocals"]] * 2
    assert verdict.spans == []
    assert reasons(filter_pair("a", *pair(2.0, vocals_db=-15.5), RATE, FILTER)) == [[]] * 2
    off = replace(FILTER, max_vocals_over_instrumental_db=None)
    assert reasons(filter_pair("a", *pair(2.0, vocals_db=-14.5), RATE, off)) == [[]] * 2


def test_a_share_of_clips_without_voice_stays_and_always_the_same():
    silence, instrumental = np.zeros(100 * RATE, np.float32), noise(100, -20, 1)
    first, again = (filter_pair("a", silence, instrumental, RATE, FILTER) for _ in range(2))
    num_kept = sum(not clip["reasons"] for clip in first.clips)
    assert 3 < num_kept < 20
    assert first.spans == again.spans
    assert first.spans != filter_pair("b", silence, instrumental, RATE, FILTER).spans
    for options, expected in (({"keep_vocalless": 0.0}, 0), ({"min_vocal_activity": None}, 100)):
        kept = filter_pair("a", silence, instrumental, RATE, replace(FILTER, **options)).clips
        assert sum(not clip["reasons"] for clip in kept) == expected


def test_pairs_of_other_lengths_are_rejected_whole_and_small_differences_cut_off():
    vocals, instrumental = pair(2.0)
    verdict = filter_pair("a", vocals[: -RATE // 10], instrumental, RATE, FILTER)
    assert verdict.clips == [
        {
            "track_id": "a",
            "start_s": 0.0,
            "duration_s": 1.9,
            "reasons": ["duration_mismatch"],
            "values": {"duration_mismatch_s": 0.1},
        }
    ]
    near = filter_pair("a", vocals[: -RATE // 25], instrumental, RATE, FILTER)
    assert len(near.vocals) == len(near.instrumental) == len(vocals) - RATE // 25
    assert near.spans == [(0, -1)]
    off = filter_pair("a", vocals[:RATE], instrumental, RATE, replace(FILTER, max_duration_mismatch_s=None))
    assert off.spans == [(0, -1)]


@pytest.mark.parametrize("delay", [0, 160, -160])  # 10 ms
def test_a_voice_in_the_instrumental_is_found_also_when_it_is_late(delay):
    vocals, instrumental = pair()
    bleeding = instrumental + 0.3 * np.roll(vocals, delay)
    assert measure_bleed(vocals, instrumental, RATE) < 0.06
    assert measure_bleed(vocals, bleeding, RATE) == pytest.approx(0.3 / np.sqrt(1.09), abs=0.03)
    verdict = filter_pair("a", vocals, bleeding, RATE, FILTER)
    assert verdict.spans == []
    assert {reason for clip in verdict.clips for reason in clip["reasons"]} == {"bleed"}
    off = replace(FILTER, max_bleed_correlation=None)
    assert filter_pair("a", vocals, bleeding, RATE, off).spans == [(0, 75), (75, -1)]


def test_common_low_notes_and_silence_are_no_bleed():
    vocals, instrumental = pair()
    bass = 0.3 * np.sin(2 * np.pi * 110 * np.arange(len(vocals)) / RATE).astype(np.float32)
    assert measure_bleed(vocals + bass, instrumental + bass, RATE) < 0.06
    assert measure_bleed(np.zeros_like(vocals), instrumental, RATE) == 0.0


def test_clips_cover_the_pair_and_the_last_takes_what_is_left():
    assert clip_bounds(RATE * 34 // 10, RATE, FILTER) == [(0, 25), (25, 50), (50, -1)]
    assert clip_bounds(RATE * 36 // 10, RATE, FILTER)[-1] == (75, -1)
    assert clip_bounds(RATE // 5, RATE, FILTER) == [(0, -1)]


def test_counts_of_parts_sum_to_those_of_the_whole(tmp_path):
    clips = filter_pair("a", *pair(), RATE, FILTER).clips + filter_pair("b", *pair(2.0, -14.0), RATE, FILTER).clips
    counts = count_clips(clips)
    parts = [json.loads(json.dumps(count_clips([clip]))) for clip in clips]
    assert add_counts(parts) == counts
    assert counts["clips"] == {"kept": 4, "dropped": 2}
    assert counts["reasons"] == {"loud_vocals": 2}
    assert sum(counts["histograms"]["vocal_activity"]["kept"]) == 4
    assert describe_counts(counts) == "4 clips kept (0.00 h), 2 dropped (0.00 h): loud_vocals 2"
    draw_histograms(tmp_path / "a.png", counts, replace(FILTER, min_vocal_activity=None))
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_wrong_thresholds_are_refused():
    with pytest.raises(ValueError, match=r"`clip_duration_s` must be a multiple of 0.04 s and at least 1 s, got 1.01"):
        ClipFilter(clip_duration_s=1.01)
    with pytest.raises(ValueError, match=r"`keep_vocalless` must be in \[0, 1\], got 10"):
        ClipFilter(keep_vocalless=10)
