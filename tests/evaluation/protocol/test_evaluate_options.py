"""Options of examples/evaluate.py that become systems."""

import pytest

from accompgen_hf.evaluation.protocol.evaluate_options import parse_variant


def test_a_variant_names_settings_of_stages_and_of_the_call():
    system = parse_variant("cold:temperature=0.5,semantic.guidance_scale=1,semantic.top_k=50,preview=true", "DIR")
    assert system.name == "cold"
    assert str(system.folder) == "DIR"
    assert system.generate_kwargs == {
        "temperature": 0.5,
        "semantic_kwargs": {"guidance_scale": 1, "top_k": 50},
        "preview": True,
    }


def test_a_variant_may_be_another_model():
    system = parse_variant("other:model=some/folder", "DIR")
    assert str(system.folder) == "some/folder"
    assert system.generate_kwargs == {}


def test_a_variant_may_decode_with_fewer_bits():
    system = parse_variant("small:weight_format=int8", "DIR")
    assert system.weight_format == "int8"
    assert system.generate_kwargs == {}


@pytest.mark.parametrize("text", ["cold", "cold:", ":top_k=1", "cold:top_k", "cold:top_k=", "cold:=3"])
def test_a_variant_without_settings_is_refused(text):
    with pytest.raises(ValueError, match=r"`variant` must be NAME:OPTION=VALUE.*got"):
        parse_variant(text, "DIR")
