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


@pytest.fixture(scope="module")
def parts_of_bands(tmp_path_factory):
    """The same with drums, bass and other."""
    folder = tmp_path_factory.getbasetemp() / "semantic_encoder_parts_of_bands"
    with chunks_of_two_clips():
        pools = [SongPool(folder / "pool", 2, seed, with_parts=True).build() for seed in (0, 790_000)]
        yield *pools, SemanticTargets(folder / "targets").build(*pools)
