"""The tables that ship know what they were made of."""

from accompgen_hf.accompgen.musical_tables_accompgen import load_tables
from accompgen_hf.songs.song import HELD_OUT_SEED


def test_the_shipped_tables_are_made_of_training_songs():
    made_with = load_tables()["made_with"]
    assert max(made_with["rhythm_seeds"] + made_with["chord_seeds"]) < HELD_OUT_SEED
