"""The record of training tracks travels with the weights: read, joined, shared with the parts, and saved again."""

import json

import pytest
from transformers import AutoModelForCausalLM

from accompgen_hf import AccompGenForConditionalGeneration
from accompgen_hf.accompgen.manifest_accompgen import verify_manifest
from accompgen_hf.accompgen.training_record_accompgen import format_record, join_tracks, read_record
from accompgen_hf.data.training_tracks import hash_track
from tiny import tiny_model

RATES = {"bandwidth": 2.4, "preview_bandwidth": 1.2}  # of the tiny codec
TRACKS = frozenset({hash_track("Ann - One"), hash_track("Bea - Two")})


def test_a_record_names_no_track_and_is_read_back(tmp_path):
    (tmp_path / "training_tracks.json").write_bytes(format_record(TRACKS))
    text = (tmp_path / "training_tracks.json").read_text()
    assert "ann" not in text.lower().replace("tracks", "")
    assert json.loads(text)["tracks"] == sorted(json.loads(text)["tracks"])
    assert read_record(tmp_path) == TRACKS
    assert read_record(tmp_path / "elsewhere") is None
    (tmp_path / "training_tracks.json").write_text("[]")
    with pytest.raises(ValueError, match=r"training_tracks.json is damaged .* assemble the model again"):
        read_record(tmp_path)


def test_a_model_made_of_parts_has_the_tracks_of_all_or_no_record():
    assert join_tracks([frozenset("a"), frozenset("b")]) == {"a", "b"}
    assert join_tracks([frozenset("a"), None]) is None


def test_a_stage_saved_from_the_composite_carries_the_record(tmp_path):
    """The evaluation believes the record: a stage trained further from this one must not claim fewer tracks."""
    model = tiny_model()
    model.training_tracks = TRACKS
    model.save_pretrained(tmp_path / "band")
    loaded = AccompGenForConditionalGeneration.from_pretrained(tmp_path / "band")
    loaded.semantic.save_pretrained(tmp_path / "semantic")
    assert read_record(tmp_path / "semantic") == TRACKS
    assert verify_manifest(tmp_path / "semantic") == []
    stage = AutoModelForCausalLM.from_pretrained(tmp_path / "semantic")
    assert stage.training_tracks == TRACKS
    assembled = AccompGenForConditionalGeneration.from_sub_models(
        stage, loaded.coarse, loaded.fine, loaded.semantic_encoder, loaded.codec, **RATES
    )
    assembled.save_pretrained(tmp_path / "again")
    assert read_record(tmp_path / "again") == TRACKS
    loaded.coarse.training_tracks = None  # of one part nobody knows what it has seen
    assembled = AccompGenForConditionalGeneration.from_sub_models(
        stage, loaded.coarse, loaded.fine, loaded.semantic_encoder, loaded.codec, **RATES
    )
    assert assembled.training_tracks is None
