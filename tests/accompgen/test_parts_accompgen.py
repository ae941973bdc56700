"""Names of parts and styles: which are taken, which are refused, and what they make of a stage's vocabulary."""

import re
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig

from accompgen_hf import AccompGenCoarseConfig, AccompGenConfig, AccompGenFineConfig, AccompGenSemanticConfig
from accompgen_hf.accompgen.codebooks_accompgen import codes_to_ids, ids_to_codes
from accompgen_hf.accompgen.parts_accompgen import choose_parts, style_id, style_ids, to_name
from accompgen_hf.hub import list_stage_words
from tiny import tiny_config, tiny_stage_config

PARTS = ("drums", "bass", "other")
STYLES = ("bossa_nova", "rock")
STAGE_CONFIGS = (AccompGenSemanticConfig, AccompGenCoarseConfig, AccompGenFineConfig)


def config_with(parts=PARTS, styles=STYLES):
    return SimpleNamespace(part_names=parts, style_names=styles)


def layout(config) -> list[tuple]:
    return [
        (segment.name, segment.num_codebooks, segment.codebook_size, segment.offset) for segment in config.segments
    ]


def test_only_the_plan_has_a_stream_for_each_part():
    assert layout(AccompGenSemanticConfig(part_names=PARTS)) == [
        ("vocal_semantic_ids", 1, 500, 3),
        ("instrumental_semantic_ids", 3, 500, 503),
    ]
    assert AccompGenSemanticConfig(part_names=PARTS).vocab_size == 3 + 500 + 3 * 500
    for config_class in STAGE_CONFIGS[1:]:
        assert layout(config_class(part_names=PARTS)) == layout(config_class())


def test_one_part_and_no_style_are_the_paper():
    for config_class in STAGE_CONFIGS:
        config = config_class()
        assert (config.part_names, config.style_names) == (("instrumental",), ())
        assert (config.num_part_rows, config.num_style_rows) == (0, 0)
        assert config.style_dropout == 0.3  # ours
    assert not AccompGenSemanticConfig().target_segment.has_codebook_axis


def test_tables_of_parts_stand_where_a_row_is_one_part():
    rows = [config_class(part_names=PARTS, style_names=STYLES) for config_class in STAGE_CONFIGS]
    assert [config.num_part_rows for config in rows] == [0, 3, 3]
    assert [config.num_style_rows for config in rows] == [3, 3, 3]


def test_a_plan_of_three_parts_looks_back_as_far_in_seconds():
    assert AccompGenSemanticConfig(part_names=PARTS).relative_attention_max_distance == 3 * 128
    assert AccompGenCoarseConfig(part_names=PARTS).relative_attention_max_distance == 128
    assert (
        AccompGenSemanticConfig(part_names=PARTS, relative_attention_max_distance=64).to_dict()[
            "relative_attention_max_distance"
        ]
        == 64
    )


def test_streams_of_parts_are_interleaved_frame_by_frame_like_codebooks():
    segment = tiny_stage_config(AccompGenSemanticConfig, part_names=PARTS).target_segment
    assert (segment.offset, segment.codebook_size) == (23, 20)
    codes = torch.tensor([[[1, 2], [3, 4], [5, 6]]])  # drums, bass and other, two frames
    ids = codes_to_ids(segment, codes)
    assert ids.tolist() == [[23 + 1, 43 + 3, 63 + 5, 23 + 2, 43 + 4, 63 + 6]]
    assert torch.equal(ids_to_codes(segment, ids), codes)
    with pytest.raises(ValueError, match=re.escape("must be (batch_size, 3, num_frames), got (1, 2)")):
        codes_to_ids(segment, codes[:, 0])


def test_words_of_a_plan_have_the_names_of_its_parts():
    words = list_stage_words(tiny_stage_config(AccompGenSemanticConfig, part_names=PARTS))
    assert [words[index] for index in (22, 23, 43, 82)] == ["<vocal_19>", "<drums_0>", "<bass_0>", "<other_19>"]
    assert len(words) == 83


@pytest.mark.parametrize("config_class", STAGE_CONFIGS)
def test_parts_and_styles_survive_the_disk(config_class, tmp_path):
    config = tiny_stage_config(config_class, part_names=list(PARTS), style_names=list(STYLES), style_dropout=0.5)
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert (loaded.part_names, loaded.style_names, loaded.style_dropout) == (PARTS, STYLES, 0.5)
    assert loaded.segments == config.segments
    assert loaded.relative_attention_max_distance == config.relative_attention_max_distance


def make_composite(**of_stage) -> AccompGenConfig:
    stages = zip(("semantic_config", "coarse_config", "fine_config"), STAGE_CONFIGS, strict=True)
    return tiny_config(**{name: tiny_stage_config(stage, **of_stage.get(name, {})) for name, stage in stages})


def test_the_composite_has_the_parts_and_styles_of_its_stages(tmp_path):
    both = {"part_names": PARTS, "style_names": STYLES}
    config = make_composite(semantic_config=both, coarse_config=both, fine_config=both)
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert (loaded.part_names, loaded.style_names) == (PARTS, STYLES)
    assert (tiny_config().part_names, tiny_config().style_names) == (("instrumental",), ())


@pytest.mark.parametrize("name", ["part_names", "style_names"])
@pytest.mark.parametrize("stage", ["coarse_config", "fine_config"])
def test_stages_of_other_parts_or_styles_are_refused(stage, name):
    message = f"`{name}` of {stage} are .*'bass', 'drums'.* but those of semantic_config"
    with pytest.raises(StrictDataclassError, match=message):
        make_composite(**{stage: {name: ("bass", "drums")}})


@pytest.mark.parametrize("field", ["part_names", "style_names"])
@pytest.mark.parametrize("names", [["Drums", "bass"], ["bass", "bass"], ["../up", "bass"]])
def test_names_that_no_file_can_have_and_repeated_ones_are_refused(field, names):
    with pytest.raises(ValueError, match=f"`{field}` must be different names of small letters"):
        AccompGenSemanticConfig(**{field: names})


def test_no_part_at_all_and_a_style_called_any_are_refused():
    with pytest.raises(ValueError, match="`part_names` must name at least one part"):
        AccompGenSemanticConfig(part_names=[])
    with pytest.raises(ValueError, match="`style_names` must not hold 'any'"):
        AccompGenSemanticConfig(style_names=["any", "rock"])


def test_parts_are_chosen_in_the_models_order():
    assert choose_parts(config_with(), None) == (0, 1, 2)
    assert choose_parts(config_with(), ["other", "drums"]) == (0, 2)
    assert choose_parts(config_with(("instrumental",)), None) == (0,)


@pytest.mark.parametrize("parts", [["guitar"], [], "drums"])
def test_unknown_parts_are_refused_with_the_list_of_known_ones(parts):
    with pytest.raises(ValueError, match="`parts` must be a list of names out of drums, bass, other, got"):
        choose_parts(config_with(), parts)


def test_a_model_of_one_part_says_so_when_asked_for_parts():
    with pytest.raises(ValueError, match="`parts` must be left out: this model plays one part, 'instrumental'"):
        choose_parts(config_with(("instrumental",)), ["drums"])


def test_row_0_is_any_style_and_style_i_has_row_i_plus_1():
    assert [style_id(config_with(), name) for name in (None, "any", "bossa_nova", "rock")] == [0, 0, 1, 2]
    assert style_ids(config_with(), "rock", 2) == [2, 2]
    assert style_ids(config_with(), ["rock", None], 2) == [2, 0]
    assert style_ids(config_with(), None, 2) == [0, 0]


def test_unknown_styles_are_refused_with_the_list_of_known_ones():
    with pytest.raises(ValueError, match="`style` must be one of any, bossa_nova, rock, got 'polka'"):
        style_id(config_with(), "polka")
    with pytest.raises(ValueError, match="`style` must be left out: this model knows no styles; got 'rock'"):
        style_id(config_with(styles=()), "rock")
    with pytest.raises(ValueError, match="`style` must be one name or a list of 3, got 2"):
        style_ids(config_with(), ["rock", "rock"], 3)


def test_free_text_becomes_a_name():
    assert [to_name(text) for text in ("Hip-Hop", "Old-Time / Historic", "bossa_nova")] == [
        "hip_hop",
        "old_time_historic",
        "bossa_nova",
    ]
