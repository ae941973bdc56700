"""Batches of compiled steps: groups of rows change no code, whoever runs them."""

import pytest
import torch

from accompgen_hf import AccompGenFineConfig, AccompGenSemanticConfig
from accompgen_hf.accompgen import numba_batches_accompgen as batches
from accompgen_hf.accompgen.numba_engine_accompgen import pack_weights
from tiny import random_clip, tiny_stage

pytest.importorskip("numba")
PARTS = ("drums", "bass")


@pytest.fixture(params=[1, 2])
def num_threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize(("guidance_scale", "group_size"), [(3.0, 2), (1.0, 2), (3.0, 1)])
def test_groups_of_rows_give_the_codes_of_the_torch_engine(monkeypatch, num_threads, guidance_scale, group_size):
    monkeypatch.setattr(batches, "rows_together", lambda *_: group_size)
    stage = tiny_stage(AccompGenFineConfig, relative_position_axis="time", part_names=PARTS, style_names=("waltz",))
    conditioning, _ = random_clip(stage.config, 5, 0.4)
    settings = {"seed": [3, 1, 4, 1, 5], "guidance_scale": guidance_scale, "temperature": 0.9}
    settings |= {"part": ["drums", "bass", "bass", "drums", "bass"], "style": ["waltz", None, None, "waltz", None]}
    compiled = stage.generate_codes(**conditioning, **settings, engine="numba")
    assert torch.equal(compiled, stage.generate_codes(**conditioning, **settings, engine="torch"))


def test_forced_ids_and_evidence_stay_with_their_rows(monkeypatch):
    monkeypatch.setattr(batches, "rows_together", lambda *_: 1)
    stage = tiny_stage(AccompGenSemanticConfig, history_dropout=0.5)
    conditioning, _ = random_clip(stage.config, 3, 0.4)
    settings = {"seed": 2, "guidance_scale": 3.0, "evidence_scale": 2.0}
    compiled = stage.generate_codes(**conditioning, **settings, engine="numba")
    assert torch.equal(compiled, stage.generate_codes(**conditioning, **settings, engine="torch"))


def test_as_many_rows_run_together_as_the_cache_holds_beside_the_weights(monkeypatch):
    stage = tiny_stage(AccompGenFineConfig)  # keys and values of 2 layers of 2 heads of 16 numbers
    row_bytes = 2 * (2 * 2 * 2 * 16 * 4) * 100  # with guidance, 100 positions
    weights = pack_weights(stage).num_bytes
    for spare, expected in ((3.5, 3), (99, 20), (0.5, 20)):
        monkeypatch.setattr(batches, "_CACHE_BYTES", weights + round(spare * row_bytes))
        assert batches.rows_together(stage, 100, 20) == expected
