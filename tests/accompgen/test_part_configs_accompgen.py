"""Config fields that hold the config of a part."""

from transformers.models.encodec.configuration_encodec import EncodecConfig

from accompgen_hf import AccompGenCodecConfig
from accompgen_hf.accompgen.part_configs_accompgen import as_config


def test_nothing_gives_the_default_and_a_dict_its_fields():
    assert as_config(None, AccompGenCodecConfig).to_dict() == AccompGenCodecConfig().to_dict()
    assert as_config({"model_type": "encodec", "num_filters": 8}, AccompGenCodecConfig).num_filters == 8


def test_a_config_stays_what_it_is_and_one_of_the_base_class_becomes_ours():
    config = AccompGenCodecConfig()
    assert as_config(config, AccompGenCodecConfig) is config
    plain = as_config(EncodecConfig(num_filters=8), AccompGenCodecConfig)
    assert type(plain) is AccompGenCodecConfig
    assert (plain.num_filters, plain.decoder_type) == (8, "encodec")
