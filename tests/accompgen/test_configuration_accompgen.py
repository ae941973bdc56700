"""Configurations: the vocabulary's layout by hand, the paper's defaults, round trips on disk, and every refusal."""

import json

import pytest
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, EncodecConfig, HubertConfig

from accompgen_hf import (
    AccompGenCoarseConfig,
    AccompGenConfig,
    AccompGenFineConfig,
    AccompGenSemanticConfig,
    AccompGenSemanticEncoderConfig,
)
from accompgen_hf.accompgen.configuration_accompgen import AccompGenStageConfig
from tiny import tiny_codec_config, tiny_config, tiny_stage_config

STAGE_CONFIGS = (AccompGenSemanticConfig, AccompGenCoarseConfig, AccompGenFineConfig)
# transformers' `@strict` wraps what a validator raises; the message carries ours.
REFUSED = (ValueError, StrictDataclassError)


def layout(config) -> list[tuple]:
    return [(s.name, s.frame_rate, s.num_codebooks, s.codebook_size, s.offset) for s in config.segments]


def fields(config) -> dict:
    return {name: value for name, value in config.to_dict().items() if name != "_name_or_path"}


def test_the_vocabulary_of_each_stage_counts_up_from_three_special_ids():
    assert layout(AccompGenSemanticConfig()) == [
        ("vocal_semantic_ids", 50, 1, 500, 3),
        ("instrumental_semantic_ids", 50, 1, 500, 503),
    ]
    assert layout(AccompGenCoarseConfig()) == [
        ("vocal_semantic_ids", 50, 1, 500, 3),
        ("instrumental_semantic_ids", 50, 1, 500, 503),
        ("coarse_codes", 75, 4, 1024, 1003),
    ]
    assert layout(AccompGenFineConfig()) == [("coarse_codes", 75, 4, 1024, 3), ("fine_codes", 75, 4, 1024, 4099)]
    assert layout(AccompGenFineConfig(condition_on_semantics=True)) == [
        ("vocal_semantic_ids", 50, 1, 500, 3),
        ("instrumental_semantic_ids", 50, 1, 500, 503),
        ("coarse_codes", 75, 4, 1024, 1003),
        ("fine_codes", 75, 4, 1024, 5099),
    ]
    sizes = [config_class().vocab_size for config_class in STAGE_CONFIGS]
    assert sizes == [3 + 500 + 500, 3 + 500 + 500 + 4096, 3 + 4096 + 4096]
    assert AccompGenFineConfig(condition_on_semantics=True).vocab_size == 3 + 500 + 500 + 4096 + 4096


def test_a_frame_lasts_three_units_of_a_150th_second_at_50_hz_and_two_at_75_hz():
    units = {segment.name: segment.time_units_per_frame for segment in AccompGenCoarseConfig().segments}
    assert units == {"vocal_semantic_ids": 3, "instrumental_semantic_ids": 3, "coarse_codes": 2}


def test_class_defaults_are_the_papers_base():
    for config_class in STAGE_CONFIGS:
        config = config_class()
        assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (1024, 6, 16)
        assert (config.head_dim, config.intermediate_size) == (64, 2 * 4 * 1024 // 3)
        assert (config.relative_attention_num_buckets, config.relative_attention_max_distance) == (32, 128)
        assert (config.cross_segment_num_buckets, config.cross_segment_max_distance) == (64, 500)
        assert (config.relative_position_axis, config.bidirectional_prefix) == ("token", False)
        assert (config.num_clusters, config.codebook_size, config.num_codebooks) == (500, 1024, 4)
        assert config.condition_dropout == 0.1
        assert config.history_dropout == config.relative_bias_slope == 0  # ours; off is the paper
        assert config.eos_token_id is None
    windows = [(config_class().clip_duration_s, config_class().window_overlap_s) for config_class in STAGE_CONFIGS]
    assert windows == [(10.0, 5.0), (5.0, 2.4), (3.0, 0.0)]
    assert AccompGenFineConfig().condition_on_semantics is False
    encoder = AccompGenSemanticEncoderConfig()
    assert (encoder.layer, encoder.num_clusters) == (9, 500)
    assert (encoder.block_duration_s, encoder.block_hop_s) == (10.0, 8.0)
    composite = AccompGenConfig()
    assert (composite.noise_std, composite.bandwidth, composite.preview_bandwidth) == (0.01, 6.0, 3.0)
    assert (composite.codec_block_duration_s, composite.codec_context_duration_s) == (10.0, 2.0)
    assert composite.vocal_target_lufs == -20.0
    assert composite.is_placeholder is False


def test_names_on_disk_are_the_ones_announced():
    assert [config_class.model_type for config_class in STAGE_CONFIGS] == [
        "accompgen_semantic",
        "accompgen_coarse",
        "accompgen_fine",
    ]
    assert AccompGenSemanticEncoderConfig.model_type == "accompgen_semantic_encoder"
    assert AccompGenConfig.model_type == "accompgen"
    assert list(AccompGenConfig.sub_configs) == [
        "semantic_encoder_config",
        "semantic_config",
        "coarse_config",
        "fine_config",
        "codec_config",
    ]


@pytest.mark.parametrize("config_class", STAGE_CONFIGS)
def test_a_stage_config_survives_the_disk(config_class, tmp_path):
    config = tiny_stage_config(
        config_class, relative_position_axis="time", bidirectional_prefix=True, token_fingerprint="f" * 64
    )
    config.silence_codes = {config.segments[0].name: [3] * config.segments[0].num_codebooks}
    config.save_pretrained(tmp_path)
    for loaded in (config_class.from_pretrained(tmp_path), AutoConfig.from_pretrained(tmp_path)):
        assert type(loaded) is config_class
        assert fields(loaded) == fields(config)
        assert loaded.segments == config.segments


def test_a_fine_config_with_semantics_survives_the_disk(tmp_path):
    tiny_stage_config(AccompGenFineConfig, condition_on_semantics=True).save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert loaded.conditioning_names == ("vocal_semantic_ids", "instrumental_semantic_ids", "coarse_codes")
    assert "segments" not in json.loads((tmp_path / "config.json").read_text())


def test_the_composite_survives_the_disk_with_its_five_parts(tmp_path):
    config = tiny_config(noise_std=0.02, vocal_target_lufs=None, is_placeholder=True, token_fingerprint="a1")
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert fields(loaded) == fields(config)
    parts = {name: type(getattr(loaded, name)) for name in AccompGenConfig.sub_configs}
    assert parts == AccompGenConfig.sub_configs
    assert type(loaded.semantic_encoder_config.hubert_config) is HubertConfig
    assert (loaded.noise_std, loaded.vocal_target_lufs, loaded.is_placeholder) == (0.02, None, True)


def test_sub_configs_may_be_dicts_objects_or_missing():
    given = AccompGenSemanticConfig(hidden_size=48)
    from_object = AccompGenConfig(semantic_config=given)
    from_dict = AccompGenConfig(semantic_config=given.to_dict(), codec_config={"num_filters": 7})
    assert from_object.semantic_config is given
    assert from_dict.semantic_config.to_dict() == given.to_dict()
    assert from_dict.codec_config.num_filters == 7
    assert from_dict.fine_config.to_dict() == AccompGenFineConfig().to_dict()
    codec = AccompGenConfig().codec_config
    of_encodec = {**EncodecConfig().to_dict(), "model_type": "accompgen_codec"}
    assert {name: value for name, value in codec.to_dict().items() if name in of_encodec} == of_encodec
    assert codec.decoder_type == "encodec"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"vocab_size": 5}, "`vocab_size` must be 1003 .* got 5. Leave it out"),
        ({"relative_position_axis": "x"}, r"`relative_position_axis` must be in \('token', 'time'\), got 'x'"),
        ({"hidden_act": "relu"}, r"`hidden_act` must be 'gelu' \(GEGLU, Eq. 4\), got 'relu'"),
        ({"tie_word_embeddings": True}, "`tie_word_embeddings` must be False: a stage has one head per quantizer"),
        ({"relative_attention_num_buckets": 30}, "`relative_attention_num_buckets` must be a multiple of 4 .* got 30"),
        ({"relative_attention_num_buckets": 0}, "`relative_attention_num_buckets` must be .* at least 4, got 0"),
        (
            {"cross_segment_num_buckets": 6},
            "`cross_segment_num_buckets` must be a multiple of 4 .* got 6",
        ),
        ({"clip_duration_s": 9.99}, "`clip_duration_s` must be a multiple of 0.04 s, got 9.99"),
        ({"window_overlap_s": 0.05}, "`window_overlap_s` must be a multiple of 0.04 s, got 0.05"),
        (
            {"window_overlap_s": 10.0},
            "`window_overlap_s` must be .* below `clip_duration_s` 10.0, got 10.0",
        ),
        ({"window_overlap_s": -0.4}, "`window_overlap_s` must be at least 0 .* got -0.4"),
        ({"hidden_size": "32"}, "Field 'hidden_size' expected int, got str"),
        ({"bidirectional_prefix": "no"}, "Field 'bidirectional_prefix' expected bool, got str"),
    ],
)
def test_a_stage_config_refuses(given, message):
    with pytest.raises(REFUSED, match=message):
        AccompGenSemanticConfig(**given)


@pytest.mark.parametrize("config_class", [*STAGE_CONFIGS, AccompGenSemanticEncoderConfig, AccompGenConfig])
def test_types_are_checked_on_every_config_class(config_class):
    field = "initializer_range" if config_class is AccompGenConfig else "num_clusters"
    with pytest.raises(StrictDataclassError, match=f"Field '{field}' expected"):
        config_class(**{field: "many"})


def test_the_shared_base_names_no_target():
    with pytest.raises(NotImplementedError):
        _ = AccompGenStageConfig().target_name


def test_the_composite_refuses_other_centroids_naming_both_sides():
    with pytest.raises(REFUSED, match="`num_clusters` of coarse_config is 30, but the semantic encoder has 20"):
        tiny_config(coarse_config=tiny_stage_config(AccompGenCoarseConfig, num_clusters=30))


def test_the_composite_refuses_another_codebook_size_naming_both_sides():
    with pytest.raises(REFUSED, match="`codebook_size` of fine_config is 32, but the codec has 16"):
        tiny_config(fine_config=tiny_stage_config(AccompGenFineConfig, codebook_size=32))


def test_the_composite_refuses_stages_of_another_token_space_naming_both_sides():
    semantic = tiny_stage_config(AccompGenSemanticConfig, token_fingerprint="aaa")
    with pytest.raises(REFUSED, match=r"`token_fingerprint` of semantic_config is aaa, but .* give bbb"):
        tiny_config(semantic_config=semantic, token_fingerprint="bbb")
    tiny_config(semantic_config=semantic, token_fingerprint="aaa")
    tiny_config(semantic_config=semantic)  # a composite without a fingerprint cannot disagree


@pytest.mark.parametrize("name", ["bandwidth", "preview_bandwidth"])
def test_the_composite_refuses_a_bandwidth_that_the_codec_lacks(name):
    with pytest.raises(REFUSED, match=rf"`{name}` must be one of the codec's \[1.2, 2.4\] kbps, got 6.0"):
        tiny_config(codec_config=tiny_codec_config(), **{name: 6.0})
