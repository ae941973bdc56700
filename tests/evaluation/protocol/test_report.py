"""A result as a table, a picture and a model card: every cell says what it is, or that it is nothing."""

import copy

import pytest
import yaml
from huggingface_hub.repocard_data import model_index_to_eval_results

from accompgen_hf.evaluation.protocol.report import (
    draw_results,
    format_table,
    insert_results,
    metric_table,
    model_index,
)
from accompgen_hf.evaluation.protocol.table_values import Metric

SCORES = {"key_exact": Metric("key"), "lufs": Metric("LUFS", None, 1)}


def estimate(value: float, low: float | None = None, high: float | None = None) -> dict:
    return {"value": value, "low": low, "high": high, "num_windows": 8}


@pytest.fixture
def results() -> dict:
    def system(fad: float, key: float, **normalised):
        metrics = {
            "fad_isolated.logmel": estimate(fad, fad - 0.5, fad + 0.5),
            "fad_infinity.logmel": estimate(fad - 1),
            "apa.harmony-rhythm": estimate(0.5, 0.4, 0.6),
            "key_exact": estimate(key, 0.0, 1.0),
            "lufs": estimate(-23.04, -24, -22),
        }
        return {"description": {"system": "accompgen"}, "metrics": metrics, "normalised": {"random": normalised}}

    embedder = {
        "name": "logmel",
        "weights_hash": "0123456789abcdef",
        "dimensions": 64,
        "dimensions_used": 32,
        "num_reference_windows": 400,
    }
    return {
        "dataset": {"name": "songs", "num_songs": 8, "num_windows": 8, "window_s": 10.0, "seed": 3},
        "target": "mix",
        "separation": None,
        "seen_songs": {"checked": "not checked", "seen": [], "allowed": False},
        "embedders": {"logmel": embedder},
        "fad_infinity_bounds": {"logmel": 16.0},
        "adherence_gates": {"harmony-rhythm": {"is_sensitive": True, "real": 0.9, "shuffled": 0.1}},
        "systems": {
            "random": system(3.0, 0.1),
            "ours": system(2.0, 0.5, key_exact=estimate(0.5, 0.1, 0.9), **{"fad_isolated.logmel": "void"}),
        },
        "made_with": {"commit": "abc", "versions": {"python": "3.11"}, "token_fingerprint": None},
    }


def table_of(results: dict) -> str:
    metrics = metric_table(list(results["systems"]["ours"]["metrics"]), SCORES)
    return format_table(results, metrics)


def test_the_table_names_sets_intervals_directions_and_embedders(results):
    table = table_of(results)
    for text in (
        "songs: 8 songs, 8 windows of 10 s, seed 3; FAD hears the mix",
        "| FADi logmel ↓ | FADi∞ logmel ↓ | APA harmony-rhythm ↑ |",
        "| ours | 2.00 [1.50, 2.50] | 1.00 | 0.50 [0.40, 0.60] |",
        "| Music | key ↑ | LUFS |",
        "| random | 0.10 [0.00, 1.00] | -23.0 [-24.0, -22.0] |",
        "| logmel | 400 | 32 (projected from 64) | 0123456789ab |",
        "FADs and Δ: n/a, there is no separator.",
        "Commit abc; python 3.11.",
    ):
        assert text in table


def test_normalised_scores_stand_below_and_say_void(results):
    assert "| random = 0, oracle = 1 | FADi logmel | key |" in table_of(results)
    assert "| ours | void | 0.50 [0.10, 0.90] |" in table_of(results)
    assert "retrieval = 0" not in table_of(results)


def test_the_bound_of_extrapolated_distances_is_printed(results):
    assert "FADi∞ of the oracle, twice, plus real against real (truth): logmel 16.00." in table_of(results)
    assert "| random | n/a | n/a |" in table_of(results)


def test_an_insensitive_embedder_prints_no_number(results):
    results["adherence_gates"]["harmony-rhythm"]["is_sensitive"] = False
    assert "| ours | 2.00 [1.50, 2.50] | 1.00 | insensitive |" in table_of(results)
    metrics = metric_table(list(results["systems"]["ours"]["metrics"]), SCORES)
    assert "apa.harmony-rhythm" not in model_index(results, metrics, "ours", "tiny")


def test_simulated_separation_and_seen_songs_are_said(results):
    changed = copy.deepcopy(results)
    changed["separation"] = {"separator": "simulated", "bleed_db": -20.0, "low_pass_hz": 4000.0}
    changed["seen_songs"] = {"checked": "x", "seen": ["Ann - One"], "allowed": True}
    table = table_of(changed)
    assert "simulated, not separated: the band bleeds in at -20 dB, below 4 kHz" in table
    assert "**1 of these songs were trained on** (`--allow_seen`): Ann - One." in table


def test_the_model_index_is_what_the_hub_reads(results):
    metrics = metric_table(list(results["systems"]["ours"]["metrics"]), SCORES)
    block = yaml.safe_load(model_index(results, metrics, "ours", "accompgen-tiny"))
    name, rows = model_index_to_eval_results(block["model-index"])
    assert name == "accompgen-tiny"
    values = {row.metric_type: row.metric_value for row in rows}
    assert values["fad_isolated.logmel"] == 2.0
    assert values["key_exact"] == 0.5
    assert {row.task_type for row in rows} == {"audio-to-audio"}
    with pytest.raises(ValueError, match="`system` must be one of random, ours, got 'theirs'"):
        model_index(results, metrics, "theirs", "x")


def test_the_picture_is_drawn_whole(results, tmp_path):
    draw_results(tmp_path / "results.png", results, metric_table(list(results["systems"]["ours"]["metrics"]), SCORES))
    assert (tmp_path / "results.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert [path.name for path in tmp_path.iterdir()] == ["results.png"]


def test_a_page_gets_the_results_between_its_marks(tmp_path):
    page, picture = tmp_path / "evaluation.md", tmp_path / "results.png"
    picture.write_bytes(b"picture")
    page.write_text("before\n<!-- results -->\nold\n<!-- end of results -->\nafter\n")
    for _ in range(2):  # twice is like once
        insert_results(page, "| new |\n", picture)
    lines = [line for line in page.read_text().splitlines() if line]
    drawn = "![Every system's scores with their intervals](images/evaluation.png)"
    assert lines == ["before", "<!-- results -->", "| new |", drawn, "<!-- end of results -->", "after"]
    assert (tmp_path / "images" / "evaluation.png").read_bytes() == b"picture"
    page.write_text("no marks")
    with pytest.raises(ValueError, match=r"`page` .* must have the lines"):
        insert_results(page, "x", picture)
