"""Takes of the task: spans made anew and snapped to beats, longer recordings continued, the best of several kept."""

import numpy as np
import pytest
import torch

from accompgen_hf import VocalAccompanimentPipeline
from accompgen_hf.accompgen import regeneration_accompgen
from accompgen_hf.accompgen.stage_chain_accompgen import CODE_NAMES
from tiny import tiny_model

RATE = 24_000
SETTINGS = {"guidance_scale": 1.0, "return_codes": True}
START, END = 0.6, 0.92


@pytest.fixture(scope="module")
def pipe() -> VocalAccompanimentPipeline:
    return VocalAccompanimentPipeline(model=tiny_model())


def make_vocals(duration_s: float = 1.6) -> dict:
    time_s = np.arange(round(duration_s * RATE)) / RATE
    noise = np.random.default_rng(0).standard_normal(3 * RATE)[: len(time_s)]
    tone = 0.2 * np.sin(2 * np.pi * (200 + 40 * time_s) * time_s)
    return {"array": (tone + 0.02 * noise).astype(np.float32), "sampling_rate": RATE}


@pytest.fixture(scope="module")
def whole(pipe) -> dict:
    return pipe(make_vocals(), seed=3, **SETTINGS)


def make_sheet(beats: list[float]) -> dict:
    chord = {"start_s": 0.0, "end_s": 1.6, "name": "Eb", "root": 3, "quality": "maj"}
    sheet = {"duration_s": 1.6, "key": "Eb major", "tempo_bpm": 120.0, "meter": 3, "beat_times": beats}
    return {**sheet, "downbeat_times": beats[:1], "chords": [chord]}


def changed_share(codes: torch.Tensor, before: torch.Tensor, start_s: float, end_s: float) -> tuple[bool, bool]:
    """Whether codes at 75 Hz differ inside and outside of a span."""
    is_other = (codes != before).any(0)
    inside = torch.zeros(len(is_other), dtype=torch.bool)
    inside[round(start_s * 75) : round(end_s * 75)] = True
    return bool(is_other[inside].any()), bool(is_other[~inside].any())


def test_a_span_is_made_anew_with_another_seed_and_comes_back_with_the_old_one(pipe, whole):
    asked = {"known_codes": whole, "regenerate": (START, END), "snap": False}
    other = pipe(make_vocals(), seed=8, **asked, **SETTINGS)
    assert other["regenerated"] == (START, END)
    assert other["seed"] == 8
    assert changed_share(other["coarse_codes"], whole["coarse_codes"], START, END) == (True, False)
    before = round(START * RATE)
    np.testing.assert_array_equal(other["audio"][:before], whole["audio"][:before])
    assert not np.array_equal(other["audio"], whole["audio"])
    again = pipe(make_vocals(), seed=3, **asked, **SETTINGS)
    np.testing.assert_array_equal(again["audio"], whole["audio"])
    assert "regenerated" not in whole


def test_ends_snap_to_the_beats_of_the_earlier_results_lead_sheet(pipe, whole):
    known = {**whole, "lead_sheet": make_sheet([0.5, 1.0])}
    other = pipe(make_vocals(), seed=8, known_codes=known, regenerate=(START, END), **SETTINGS)
    assert other["regenerated"] == (0.48, 1.0)  # on the 40 ms grid
    assert changed_share(other["coarse_codes"], whole["coarse_codes"], 0.48, 1.0) == (True, False)
    to_the_end = pipe(make_vocals(), seed=8, known_codes=known, regenerate=(START, None), **SETTINGS)
    assert to_the_end["regenerated"] == (0.48, 1.6)
    plan = {name: whole[name] for name in CODE_NAMES[:2]}
    with pytest.raises(ValueError, match="`snap` must be False where `known_codes` have no `coarse_codes`"):
        pipe(make_vocals(), seed=8, known_codes=plan, regenerate=(START, END))


def test_the_lead_sheet_stays_outside_of_the_span(pipe, whole):
    known = {**whole, "lead_sheet": make_sheet([0.1, 0.6, 1.1])}
    asked = {"seed": 8, "regenerate": (START, END), "snap": False, **SETTINGS}
    [sheet] = [take["lead_sheet"] for take in pipe([make_vocals()], known_codes=[known], **asked)]
    for name in ("key", "tempo_bpm", "meter", "downbeat_times", "duration_s"):
        assert sheet[name] == known["lead_sheet"][name]
    assert [sheet["beat_times"][place] for place in (0, 2)] == [0.1, 1.1]
    assert START <= sheet["beat_times"][1] < END
    assert {chord["name"] for chord in sheet["chords"] if not START <= chord["start_s"] < END} == {"Eb"}
    alone = {name: value for name, value in whole.items() if name != "lead_sheet"}  # nothing is known of it
    anew = pipe(make_vocals(), known_codes=alone, **asked)["lead_sheet"]
    assert anew["meter"] is None  # what the tiny model plays has no beat
    assert pipe(make_vocals(), known_codes=known, lead_sheet=False, **asked).get("lead_sheet") is None


def test_without_a_lead_sheet_the_beats_are_those_of_what_the_codes_play(pipe, whole, monkeypatch):
    heard = []

    def listen(audio, sampling_rate):
        heard.append((audio, sampling_rate))
        return {"beat_times": [0.4]}

    monkeypatch.setattr(regeneration_accompgen, "make_lead_sheet", listen)
    known = {name: value for name, value in whole.items() if name != "lead_sheet"}
    other = pipe(make_vocals(), seed=8, known_codes=known, regenerate=(0.3, 1.5), **SETTINGS)
    assert other["regenerated"] == (0.4, 1.6)
    [(audio, rate)] = heard
    assert rate == RATE
    np.testing.assert_allclose(audio[: len(whole["audio"])], whole["audio"], atol=1e-5)


def test_several_takes_of_one_span_share_a_batch(pipe, whole):
    takes = pipe(
        make_vocals(), seed=8, num_variations=3, known_codes=whole, regenerate=(START, END), snap=False, **SETTINGS
    )
    assert [take["seed"] for take in takes] == [8, 9, 10]
    for take in takes:
        assert changed_share(take["coarse_codes"], whole["coarse_codes"], START, END) == (True, False)
    assert not torch.equal(takes[0]["coarse_codes"], takes[1]["coarse_codes"])


def test_a_seed_is_drawn_for_a_span_and_kept_to_continue(pipe, whole, monkeypatch):
    monkeypatch.setattr("accompgen_hf.accompgen.seeds_accompgen.draw_seed", lambda: 77)
    other = pipe(make_vocals(), known_codes=whole, regenerate=(START, END), snap=False, **SETTINGS)
    assert other["seed"] == 77
    short = pipe(make_vocals(0.8), seed=5, **SETTINGS)
    longer = pipe(make_vocals(), known_codes=short, **SETTINGS)
    assert longer["seed"] == 5
    assert longer["regenerated"] == (0.8, 1.6)
    for name in CODE_NAMES[1:]:
        assert torch.equal(longer[name][..., : short[name].shape[-1]], short[name])
    assert len(longer["audio"]) == round(1.6 * RATE)


def test_a_list_has_a_span_for_each_recording(pipe, whole):
    first, second = pipe(
        [make_vocals(), make_vocals()],
        seed=8,
        known_codes=[whole, whole],
        regenerate=[(START, END), None],
        snap=False,
        batch_size=2,
        **SETTINGS,
    )
    assert first["regenerated"] == (START, END)
    assert "regenerated" not in second
    assert torch.equal(second["fine_codes"], whole["fine_codes"])


def test_codes_of_another_model_and_spans_outside_are_refused(pipe, whole, monkeypatch):
    monkeypatch.setattr(pipe.model.config, "token_fingerprint", "aaaa")
    with pytest.raises(ValueError, match="`token_fingerprint` of `known_codes` is bbbb, that of this model is aaaa"):
        pipe(make_vocals(), known_codes={**whole, "token_fingerprint": "bbbb"}, regenerate=(START, END))
    with pytest.raises(ValueError, match=r"`regenerate` must begin inside the 1\.6 s whose codes are known"):
        pipe(make_vocals(), known_codes=whole, regenerate=(5.0, 9.0))  # not snapped to the last beat
    with pytest.raises(ValueError, match="`regenerate` needs `known_codes`"):
        pipe(make_vocals(), regenerate=(START, END))
    with pytest.raises(TypeError, match="`regenerate` must be a pair"):
        pipe(make_vocals(), known_codes=whole, regenerate=1.0)


def test_the_best_takes_come_first_each_with_its_ranking(pipe, monkeypatch):
    scores = {3: 0.2, 4: 0.9, 5: 0.5}

    def rank(vocals, sampling_rate, takes):
        assert (vocals.shape, sampling_rate) == ((1, round(1.6 * RATE)), RATE)
        return sorted(takes, key=lambda take: -scores[take["seed"]])

    monkeypatch.setattr("accompgen_hf.accompgen.pipeline_accompgen.rank_takes", rank)
    asked = {"seed": 3, "num_variations": 3, "preview": True, "guidance_scale": 1.0}
    assert pipe(make_vocals(), keep=1, **asked)["seed"] == 4
    assert [take["seed"] for take in pipe(make_vocals(), keep=2, **asked)] == [4, 5]
    of_two = pipe([make_vocals()], keep=1, **asked)
    assert [take["seed"] for take in of_two] == [4]


@pytest.mark.parametrize(("keep", "num_variations"), [(0, 3), (4, 3), (True, 3), (1.0, 3), (1, 1)])
def test_more_takes_than_are_made_cannot_be_kept(pipe, keep, num_variations):
    with pytest.raises(ValueError, match="`keep` must be a whole number from 1 to `num_variations`"):
        pipe(make_vocals(), num_variations=num_variations, keep=keep)
