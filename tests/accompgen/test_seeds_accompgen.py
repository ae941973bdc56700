"""Seeds: drawn and resolved in one place, and the uniform numbers that depend on them alone."""

import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from transformers import set_seed

from accompgen_hf.accompgen.seeds_accompgen import NUM_DRAWN_SEEDS, draw_seed, draw_uniforms, resolve_seeds


def test_a_longer_table_begins_with_the_shorter_one():
    longest = draw_uniforms([11], "fine_codes", [2.6], 300)
    for num_slots in (1, 16, 63, 64, 65, 200):
        assert torch.equal(draw_uniforms([11], "fine_codes", [2.6], num_slots), longest[:, :num_slots])


def test_a_row_of_numbers_depends_on_its_own_key_alone():
    together = draw_uniforms([4, 5, 4], "coarse_codes", [0.0, 0.0, 2.6], 10)
    for row, (seed, start) in enumerate([(4, 0.0), (5, 0.0), (4, 2.6)]):
        assert torch.equal(draw_uniforms([seed], "coarse_codes", [start], 10)[0], together[row])
    others = draw_uniforms([4], "fine_codes", [0.0], 10), draw_uniforms([4], "coarse_codes", [0.04], 10)
    rows = [*together, others[0][0], others[1][0]]
    assert len({tuple(row.tolist()) for row in rows}) == len(rows)


def test_numbers_are_uniform_float32():
    numbers = draw_uniforms([1], "coarse_codes", [0.0], 50_000)
    assert numbers.dtype == torch.float32
    assert numbers.min() >= 0
    assert numbers.max() < 1
    shares = torch.histc(numbers, 10, 0, 1) / 50_000
    torch.testing.assert_close(shares, torch.full((10,), 0.1), atol=0.006, rtol=0)


def test_a_users_seed_gives_the_same_numbers_in_every_release():
    numbers = draw_uniforms([7], "instrumental_semantic_ids", [5.0], 3)[0]
    torch.testing.assert_close(numbers, torch.tensor([0.297666013, 0.205887794, 0.192836761]), atol=1e-6, rtol=0)


def test_global_random_state_is_left_alone():
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    draw_uniforms([1, 2], "coarse_codes", [0.0, 5.0], 100)
    resolve_seeds(7, 3)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    assert random.getstate() == states[2]


def test_parts_have_numbers_of_their_own_and_one_part_has_those_of_the_whole_band():
    whole = draw_uniforms([7, 7], "coarse_codes", [0.4, 0.4], 70)
    parts = draw_uniforms([7, 7, 7], "coarse_codes", [0.4] * 3, 70, parts=["drums", "bass", None])
    assert torch.equal(parts[2], whole[0])
    assert not torch.equal(parts[0], parts[1])
    assert not torch.equal(parts[0], whole[0])
    assert torch.equal(parts[1], draw_uniforms([7], "coarse_codes", [0.4], 70, parts=["bass"])[0])


def test_item_i_uses_seed_plus_i_or_its_own():
    assert resolve_seeds(7, 3) == [7, 8, 9]
    assert resolve_seeds([5, 5, 1], 3) == [5, 5, 1]
    assert resolve_seeds(np.int64(7), 2) == [7, 8]
    fresh = resolve_seeds(None, 2)
    assert fresh[1] == fresh[0] + 1
    assert fresh != resolve_seeds(None, 2)


def test_a_list_of_seeds_must_fit_the_batch():
    with pytest.raises(
        ValueError, match=r"`seed` must be an integer of at least 0, or a list of 3 of them, got \[1, 2\]"
    ):
        resolve_seeds([1, 2], 3)


def test_variations_leave_room_for_each_other():
    assert resolve_seeds(7, 3, num_variations=4) == [7, 11, 15]
    assert resolve_seeds([5, 9], 2, num_variations=4) == [5, 9]


@pytest.mark.parametrize("seed", [-1, [1, -1], "7", 3.5, ["7", "8"]])
def test_what_is_no_seed_is_refused(seed):
    with pytest.raises(ValueError, match="`seed` must be an integer of at least 0, or a list of 2 of them"):
        resolve_seeds(seed, 2)


def test_set_seed_of_transformers_decides_what_is_drawn_and_processes_draw_differently():
    set_seed(11)
    drawn = [draw_seed(), draw_seed()]
    set_seed(11)
    assert [draw_seed(), draw_seed()] == drawn
    assert drawn[0] != drawn[1]
    code = "from accompgen_hf.accompgen.seeds_accompgen import draw_seed; print(draw_seed())"
    fresh = [subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in range(2)]
    assert fresh[0] != fresh[1]


def test_a_drawn_seed_is_short():
    assert all(0 <= draw_seed() < NUM_DRAWN_SEEDS for _ in range(100))
