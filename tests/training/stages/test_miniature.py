"""Songs to tokens to three stages to a model that accompanies, in small: every part of the real chain."""

import numpy as np
import pytest
import torch

from accompgen_hf import AccompGenForConditionalGeneration
from accompgen_hf.data.preparation import prepare_shards
from accompgen_hf.data.song_source import song_tracks
from accompgen_hf.data.tokenization import TokenExtractor, TokenRecipe
from accompgen_hf.training.stages.arguments import StageTrainingArguments
from accompgen_hf.training.stages.loop import train_stage
from tiny import STAGE_SIZES, WINDOWS, tiny_model


def test_songs_become_an_accompanist(tmp_path):
    parts = tiny_model()
    extractor = TokenExtractor(parts.semantic_encoder, parts.codec, TokenRecipe(bandwidth=2.4))
    manifest = prepare_shards(song_tracks(0, 6, 1.2), extractor, tmp_path / "shards", validation_share=0.5)
    assert min(manifest.splits.values()) >= 2

    for stage, windows in zip(("semantic", "coarse", "fine"), WINDOWS.values(), strict=True):
        arguments = StageTrainingArguments(
            stage=stage,
            data=str(tmp_path / "shards"),
            output_dir=str(tmp_path / stage),
            model={**STAGE_SIZES, **windows},
            max_steps=3,
            global_batch_size=2,
            warmup_steps=1,
            validation_clips=2,
        )
        assert np.isfinite(train_stage(arguments)["validation"]["conditioning_gain"])

    stages = {stage: tmp_path / stage / "final" for stage in ("semantic", "coarse", "fine")}
    options = {"semantic_encoder": parts.semantic_encoder, "codec": parts.codec}
    options.update(bandwidth=2.4, preview_bandwidth=1.2)
    model = AccompGenForConditionalGeneration.from_sub_models(**stages, **options)
    assert model.config.token_fingerprint == manifest.token_fingerprint
    model.save_pretrained(tmp_path / "model")
    assert AccompGenForConditionalGeneration.from_pretrained(tmp_path / "model").config.token_fingerprint is not None

    with torch.no_grad():
        parts.semantic_encoder.centroids.mul_(2)  # equal sizes, other tokens
    with pytest.raises(ValueError, match=rf"`token_fingerprint` of stage `semantic` is {manifest.token_fingerprint}"):
        AccompGenForConditionalGeneration.from_sub_models(**stages, **options)
