"""Audio of a stage in training: codes of validation clips, heard through a codec or completed by a whole model."""

import numpy as np
import pytest
import soundfile
import torch
from transformers import EncodecModel

from accompgen_hf import AccompGenForConditionalGeneration
from accompgen_hf.training.stages.loop import train_stage
from tiny import STAGE_CLASSES, init_codebooks, tiny_codec_config, tiny_config, tiny_stage_config
from tiny_shards import MODEL, make_arguments, write_shards

SIZES = {"num_clusters": 12, "codebook_size": 8}


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return write_shards(tmp_path_factory.mktemp("data") / "shards")


@pytest.fixture(scope="module")
def codec(tmp_path_factory):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        codec = EncodecModel(tiny_codec_config(codebook_size=8, target_bandwidths=[0.9, 1.8])).eval()
        init_codebooks(codec)
    folder = tmp_path_factory.mktemp("parts") / "codec"
    codec.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def whole_model(tmp_path_factory, codec):
    stages = {
        f"{name}_config": tiny_stage_config(config_class, **SIZES)
        for name, config_class in zip(("semantic", "coarse", "fine"), STAGE_CLASSES, strict=True)
    }
    encoder = tiny_config().semantic_encoder_config
    encoder.num_clusters = 12
    parts = {"semantic_encoder_config": encoder, "codec_config": EncodecModel.from_pretrained(codec).config}
    config = tiny_config(**stages, **parts, bandwidth=1.8, preview_bandwidth=0.9, token_fingerprint="f" * 64)
    folder = tmp_path_factory.mktemp("parts") / "whole"
    AccompGenForConditionalGeneration(config).save_pretrained(folder)
    return folder


def read_clips(folder):
    clips = [soundfile.read(path)[0] for path in sorted(folder.glob("clip-*.wav"))]
    return np.stack(clips)


@pytest.mark.parametrize("stage", ["coarse", "fine"])
def test_a_codec_lets_hear_what_a_stage_makes_of_validation_clips(shards, codec, tmp_path, stage):
    fields = {"stage": stage, "max_steps": 3, "codec": str(codec), "sample_every": 2, "sample_clips": 3}
    train_stage(make_arguments(shards, tmp_path, **fields))
    folders = sorted(path.name for path in (tmp_path / "samples").iterdir())
    assert folders == ["step-00000002", "step-00000003", "true"]
    generated, true = (read_clips(tmp_path / "samples" / name) for name in ("step-00000003", "true"))
    assert generated.shape == true.shape == (3, 9600)  # 0.4 s at 24 kHz
    assert true.std() > 0
    assert not np.array_equal(generated, true)


def test_samples_do_not_change_the_training(shards, codec, tmp_path):
    fields = {"stage": "coarse", "max_steps": 3, "model": {**MODEL, "dropout": 0.1}}
    silent = train_stage(make_arguments(shards, tmp_path / "silent", **fields))
    heard = train_stage(make_arguments(shards, tmp_path / "heard", codec=str(codec), sample_every=1, **fields))
    assert heard["validation"] == silent["validation"]


def test_a_semantic_stage_is_heard_through_a_whole_model(shards, whole_model, codec, tmp_path):
    train_stage(make_arguments(shards, tmp_path / "run", max_steps=1, codec=str(whole_model)))
    assert read_clips(tmp_path / "run" / "samples" / "step-00000001").shape == (2, 9600)
    with pytest.raises(ValueError, match=r"`codec` must be a whole model for a semantic stage"):
        train_stage(make_arguments(shards, tmp_path / "x", codec=str(codec)))


def test_other_codecs_are_refused(shards, whole_model, tmp_path):
    other = EncodecModel(tiny_codec_config())
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match=r"`codec` has 16 codes per codebook, the stage 8"):
        train_stage(make_arguments(shards, tmp_path / "x", stage="fine", codec=str(tmp_path / "other")))
    model = AccompGenForConditionalGeneration.from_pretrained(whole_model)
    model.config.token_fingerprint = "a" * 64
    model.save_pretrained(tmp_path / "foreign")
    with pytest.raises(ValueError, match=r"`codec` .*foreign is a+"):
        train_stage(make_arguments(shards, tmp_path / "x", codec=str(tmp_path / "foreign")))
    model.fine.save_pretrained(tmp_path / "stage")
    with pytest.raises(ValueError, match=r"`codec` must be an EnCodec or a whole AccompGen model, got accompgen_fine"):
        train_stage(make_arguments(shards, tmp_path / "x", codec=str(tmp_path / "stage")))
