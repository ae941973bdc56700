"""Scores of parts: every song once, a killed run goes on, other parts are refused."""

import pytest

pytest.importorskip("sklearn")
from accompgen_hf import (
    AccompGenCoarseConfig,
    AccompGenFineConfig,
    AccompGenSemanticConfig,
    VocalAccompanimentPipeline,
)
from accompgen_hf.evaluation.metrics.style_classifier import StyleClassifier
from accompgen_hf.evaluation.protocol import band_scores
from accompgen_hf.evaluation.protocol.band_scores import BANDS, describe_bands, score_bands
from accompgen_hf.evaluation.systems.oracle import StageOracleSystem
from accompgen_hf.evaluation.systems.system import Window
from accompgen_hf.songs.recipe import PLAIN_SONGS
from accompgen_hf.songs.song import HELD_OUT_SEED
from tiny import tiny_model, tiny_stage_config

STAGES = {
    "semantic_config": AccompGenSemanticConfig,
    "coarse_config": AccompGenCoarseConfig,
    "fine_config": AccompGenFineConfig,
}


def make_pipe(**named) -> VocalAccompanimentPipeline:
    configs = {name: tiny_stage_config(stage, **named) for name, stage in STAGES.items()}
    return VocalAccompanimentPipeline(model=tiny_model(**configs))


def test_true_parts_score_above_those_of_a_model_that_has_learned_nothing(tmp_path, monkeypatch):
    pipe = make_pipe(part_names=("drums", "bass", "other"), style_names=("waltz",))
    pipe.save_pretrained(tmp_path / "model")
    train = [PLAIN_SONGS.generate(seed, duration_s=2.0) for seed in range(4)]
    classifier = StyleClassifier(
        [song.instrumental for song in train], 24_000, [song.annotation.style for song in train]
    )
    seeds = range(HELD_OUT_SEED, HELD_OUT_SEED + 2)
    arguments = (
        pipe,
        tmp_path / "model",
        PLAIN_SONGS,
        seeds,
        classifier,
        tmp_path / "report",
        4.0,
        ["semantic", "coarse"],
    )
    rows = score_bands(*arguments)
    assert [row["seed"] for row in rows] == list(seeds)
    assert all(row["truth"]["drum_beat_f1"] >= row["ours"]["drum_beat_f1"] for row in rows)
    assert all(row["truth"]["flatness_high_db"] < row["ours"]["flatness_high_db"] for row in rows)
    assert all(set(row) == {"seed", "style", *BANDS, "true-semantic", "true-coarse"} for row in rows)
    monkeypatch.setattr(band_scores, "_score_song", None)  # every song is there already
    assert score_bands(*arguments) == rows
    table = describe_bands(rows)
    assert table.splitlines()[0] == f"| 2 songs | {' | '.join(BANDS)} | true-semantic | true-coarse |"
    assert "| bass_root_rate |" in table
    with pytest.raises(ValueError, match="`model` must play drums, bass, other, got instrumental"):
        score_bands(make_pipe(), *arguments[1:])
    oracle = StageOracleSystem(tmp_path / "model", "semantic")
    window = Window("song", "song", 0.0, 1.0, lambda rate: train[0].instrumental[:rate])
    with pytest.raises(ValueError, match="`given` needs a model that plays one part, got one of drums, bass, other"):
        oracle.generate(train[0].vocals[:24_000], 24_000, 0, window)
