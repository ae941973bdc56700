"""Training on shards of parts and styles: a run goes through, and its numbers say how each part does."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers import EncodecModel

from accompgen_hf import AccompGenForConditionalGeneration
from accompgen_hf.data.shards import Manifest, TokenRow, shard_name, shard_schema, write_rows
from accompgen_hf.training.stages.loop import train_stage
from tiny import STAGE_CLASSES, init_codebooks, sharpen, tiny_codec_config, tiny_config, tiny_stage_config
from tiny_shards import MODEL, make_arguments

PARTS, STYLES = ("drums", "bass", "other"), ("rock", "waltz")
NAMED = {**MODEL, "part_names": list(PARTS), "style_names": list(STYLES)}


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(5)
    rows = []
    for index in range(20):
        ids, plan = generator.integers(0, 12, 40), generator.integers(0, 12, (3, 40))
        streams = [stream.astype(np.int16) for stream in (ids, plan, generator.integers(0, 8, (3, 8, 60)))]
        split = "validation" if index % 2 == 0 else "train"
        rows.append(TokenRow(f"t{index:03d}", "CC0-1.0", split, 0.0, 1.0, *streams, style=STYLES[index % 2]))
    sha256 = write_rows(folder / shard_name(0), rows, shard_schema(True, True))
    settings = {"num_clusters": 12, "codebook_size": 8, "part_names": list(PARTS), "style_names": list(STYLES)}
    shard = {"file": shard_name(0), "sha256": sha256, "num_rows": 20}
    Manifest("f" * 64, settings, [shard], {}, 20, [], 16.0, format_version=2).save(folder)
    return folder


def make_codec() -> EncodecModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        codec = EncodecModel(tiny_codec_config(codebook_size=8, target_bandwidths=[0.9, 1.8])).eval()
        init_codebooks(codec)
    return codec


def test_a_stage_of_single_parts_trains_is_heard_and_says_how_each_part_does(shards, tmp_path):
    make_codec().save_pretrained(tmp_path / "codec")
    heard = {"codec": str(tmp_path / "codec"), "sample_every": 3, "sample_clips": 2}
    fields = {"stage": "coarse", "model": NAMED, "max_steps": 3, "validation_clips": 10}
    summary = train_stage(make_arguments(shards, tmp_path / "run", **fields, **heard))["validation"]
    for part in PARTS:
        assert len(summary[f"perplexity_{part}"]) == 4
        assert {f"loss_{part}", f"conditioning_gain_{part}"} <= set(summary)
    assert len(list((tmp_path / "run" / "samples" / "step-00000003").glob("*.wav"))) == 2


def test_a_plan_of_parts_trains_and_has_a_perplexity_for_each(shards, tmp_path):
    fields = {"stage": "semantic", "model": NAMED, "max_steps": 2}
    summary = train_stage(make_arguments(shards, tmp_path / "run", **fields))["validation"]
    assert len(summary["perplexity"]) == 3
    assert not any(name.startswith("loss_") for name in summary)


def test_a_plan_of_parts_is_heard_part_by_part_through_a_whole_model(shards, tmp_path):
    stages = {
        f"{name}_config": tiny_stage_config(
            config_class, num_clusters=12, codebook_size=8, part_names=PARTS, style_names=STYLES
        )
        for name, config_class in zip(("semantic", "coarse", "fine"), STAGE_CLASSES, strict=True)
    }
    encoder = tiny_config().semantic_encoder_config
    encoder.num_clusters = 12
    parts = {"semantic_encoder_config": encoder, "codec_config": make_codec().config}
    config = tiny_config(**stages, **parts, bandwidth=1.8, preview_bandwidth=0.9, token_fingerprint="f" * 64)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AccompGenForConditionalGeneration(config)
        sharpen(model.coarse)
        init_codebooks(model.codec)
    model.save_pretrained(tmp_path / "whole")
    fields = {"stage": "semantic", "model": NAMED, "max_steps": 2, "sample_every": 2, "sample_clips": 2}
    train_stage(make_arguments(shards, tmp_path / "run", codec=str(tmp_path / "whole"), **fields))
    for step in ("step-00000002", "true"):
        clips = {path.stem: soundfile.read(path)[0] for path in (tmp_path / "run" / "samples" / step).iterdir()}
        assert set(clips) == {f"clip-{index}{part}" for index in (0, 1) for part in ("", "-drums", "-bass", "-other")}
        assert not np.array_equal(clips["clip-0-drums"], clips["clip-0-bass"])
        total = np.clip(sum(clips[f"clip-0-{part}"] for part in PARTS), -1, 1)
        np.testing.assert_allclose(clips["clip-0"], total, atol=2 / 2**15)  # 16 bits
