"""Kinds of stages are found by name and by config, and others can be added."""

from accompgen_hf.accompgen.configuration_accompgen import AccompGenFineConfig
from accompgen_hf.accompgen.modeling_accompgen_stages import AccompGenFineForCausalLM
from accompgen_hf.data import stage_kinds
from accompgen_hf.data.collator import StageCollator
from accompgen_hf.data.dataset import StageClipDataset
from accompgen_hf.data.stage_kinds import StageKind, kind_of, register_stage


def test_a_kind_is_found_by_its_config():
    kind = kind_of(AccompGenFineConfig())
    assert kind is stage_kinds.STAGE_KINDS["fine"]
    assert (kind.model_class, kind.dataset_class) == (AccompGenFineForCausalLM, StageClipDataset)
    assert kind.collator_class is StageCollator


def test_a_baseline_adds_its_own(monkeypatch):
    class OtherConfig:
        pass

    class OtherModel:
        config_class = OtherConfig

    monkeypatch.setattr(stage_kinds, "STAGE_KINDS", dict(stage_kinds.STAGE_KINDS))
    register_stage("other", StageKind(OtherModel))
    assert kind_of(OtherConfig()).model_class is OtherModel
