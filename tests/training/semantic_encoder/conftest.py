"""Clips and targets that the tests of this folder share; made once, since songs take seconds."""

import pytest

from accompgen_hf.training.semantic_encoder.pool import SongPool
from accompgen_hf.training.semantic_encoder.targets import SemanticTargets
from tiny_encoder import chunks_of_two_clips


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Two clips to train on, two to measure on, and their targets."""
    folder = tmp_path_factory.getbasetemp() / "semantic_encoder_parts"
    with chunks_of_two_clips():
        pool, held_out_pool = SongPool(folder / "pool", 2).build(), SongPool(folder / "pool", 2, 790_000).build()
        yield pool, held_out_pool, SemanticTargets(folder / "targets").build(pool, held_out_pool)
