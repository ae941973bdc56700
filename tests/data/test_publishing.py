"""The card of token shards."""

from dataclasses import replace

import pytest
import yaml

from accompgen_hf.data.publishing import describe_shards, push_shards
from accompgen_hf.data.shards import Manifest


@pytest.fixture
def manifest() -> Manifest:
    settings = {"num_clusters": 500, "codebook_size": 1024, "part_names": ["drums", "bass"], "style_names": ["rock"]}
    hours = {"CC0-1.0": 1.25, "CC-BY-4.0": 0.5}
    return Manifest("f" * 64, settings, [], {"train": 900, "validation": 200}, 300, ["t7"], 6300.0, hours)


def test_the_card_tells_hours_of_every_licence_and_what_the_tokens_are(manifest):
    card = describe_shards(manifest, "me/shards")
    head = yaml.safe_load(card.split("---")[1])
    assert (head["license"], head["size_categories"]) == ("other", "1K<n<10K")
    assert head["configs"] == [{"config_name": "default", "data_files": "shard-*.parquet"}]
    for line in (
        "| CC0-1.0 | 1.25 |",
        "| CC-BY-4.0 | 0.50 |",
        "| together | 1.75 |",
        "| tracks | 300, of which 1 gave no tokens |",
        "| rows | 900 train, 200 validation |",
        "| parts | drums, bass |",
        "| styles | rock |",
        f"| token fingerprint | `{'f' * 64}` |",
    ):
        assert line in card
    assert "examples/train_stage.py --streaming --data me/shards" in card


@pytest.mark.parametrize(
    ("licence", "word"), [("CC-BY-NC-SA-4.0", "cc-by-nc-sa-4.0"), ("unknown", "other"), ("Attribution", "other")]
)
def test_the_head_has_the_hubs_word_for_a_licence(manifest, licence, word):
    card = describe_shards(replace(manifest, hours_by_licence={licence: 1.0}), "me/shards")
    assert yaml.safe_load(card.split("---")[1])["license"] == word


def test_an_unfinished_folder_is_not_pushed(tmp_path):
    with pytest.raises(
        ValueError, match=r"`data` must be a folder of token shards, but .*manifest.json does not exist"
    ):
        push_shards(tmp_path, "me/shards")
