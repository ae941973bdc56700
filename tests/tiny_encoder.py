"""Sizes of an encoder in training that a test can afford."""

from contextlib import contextmanager

import pytest

from accompgen_hf.training.semantic_encoder import pool, targets
from accompgen_hf.training.semantic_encoder.model import SMALL_HUBERT
from accompgen_hf.training.semantic_encoder.run import SemanticEncoderArguments, SemanticEncoderTrainer

TINY_HUBERT = {
    **SMALL_HUBERT,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": [120, 16, 16],
    "conv_kernel": [256, 4, 4],
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}

TINY_RUN = {"max_steps": 4, "crop_duration_s": 1.0, "batch_clips": 2, "warmup_steps": 1, "hubert": TINY_HUBERT}
TINY_RUN |= {"save_every": 2, "evaluate_every": 2, "evaluation_clips": 2}


@contextmanager
def chunks_of_two_clips():
    """Pools and targets whose chunks are as small as a test can afford."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "CHUNK_CLIPS", 2)
        patch.setattr(targets, "CHUNK_CLIPS", 2)
        yield


def make_trainer(parts, folder, **changes) -> SemanticEncoderTrainer:
    """A trainer of the tiny encoder on `(pool, held_out_pool, targets)`."""
    return SemanticEncoderTrainer(SemanticEncoderArguments(str(folder), **{**TINY_RUN, **changes}), *parts)
