"""Several seeds in one table."""

import pytest

from accompgen_hf.evaluation.protocol.table_over_seeds import compare_seeds


def run(**systems):
    metrics = {
        name: {"metrics": {"beat_f1": {"value": value}, "vocal_leakage_db": {"value": -30.0}}}
        for name, value in systems.items()
    }
    return {"dataset": {"num_songs": 4}, "systems": metrics}


def test_a_cell_is_the_mean_of_the_seeds_with_their_range():
    table = compare_seeds([run(ours=0.2, oracle=0.8), run(ours=0.4, oracle=0.9), run(ours=0.3, oracle=1.0)])
    assert "| ours | 0.30 [0.20, 0.40] |" in table
    assert "| oracle | 0.90 [0.80, 1.00] |" in table
    assert "3 seeds of 4 songs each" in table


def test_runs_of_other_systems_and_single_runs_are_refused():
    with pytest.raises(ValueError, match=r"same systems, got \['a'\] and \['b'\]"):
        compare_seeds([run(a=1.0), run(b=1.0)])
    with pytest.raises(ValueError, match="at least two to be compared, got 1"):
        compare_seeds([run(a=1.0)])
