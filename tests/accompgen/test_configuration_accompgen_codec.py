"""Settings of the codec: a plain EnCodec config loads, contexts are those worked out by hand, nonsense is refused."""

import pytest
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, EncodecConfig

from accompgen_hf import AccompGenCodecConfig

REFUSED = (ValueError, StrictDataclassError)


def test_a_plain_encodec_config_is_the_encodec_form(tmp_path):
    EncodecConfig(num_filters=5).save_pretrained(tmp_path)
    config = AccompGenCodecConfig.from_pretrained(tmp_path)
    assert (config.decoder_type, config.num_filters) == ("encodec", 5)
    assert config.decoder_context_frames == (None, 0)


def test_our_config_survives_the_disk(tmp_path):
    config = AccompGenCodecConfig(decoder_type="fourier", decoder_dim=24, norm_bandwidths=[1.5, 6.0])
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(loaded, AccompGenCodecConfig)
    assert loaded.to_diff_dict() == config.to_diff_dict()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, (6 * 9 + 1, 2)),
        ({"num_decoder_layers": 2}, (6 * 3 + 1, 2)),
        ({"is_causal": False, "istft_padding": "same"}, (3 * 9 + 2, 3 * 9 + 2)),
        ({"is_causal": False}, (3 * 9 + 1, 3 * 9 + 2)),
        ({"istft_padding": "same"}, (6 * 9 + 2, 2)),
    ],
)
def test_context_follows_from_layers_and_windows(fields, expected):
    assert AccompGenCodecConfig(decoder_type="fourier", **fields).decoder_context_frames == expected


def test_the_row_of_a_bandwidth_follows_from_the_number_of_codebooks():
    config = AccompGenCodecConfig(decoder_type="fourier", norm_bandwidths=[1.5, 3.0, 6.0, 12.0])
    assert [config.norm_row(number) for number in (2, 4, 8, 16)] == [0, 1, 2, 3]
    assert AccompGenCodecConfig(decoder_type="fourier").norm_row(5) == 0
    with pytest.raises(ValueError, match=r"`codes` must have one of \[2, 4, 8, 16\] codebooks.*got 5"):
        config.norm_row(5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"decoder_type": "wave"}, r"`decoder_type` must be one of \('encodec', 'fourier'\), got 'wave'"),
        ({"istft_padding": "valid"}, r"`istft_padding` must be one of \('center', 'same'\), got 'valid'"),
        ({"num_decoder_layers": 0}, "`num_decoder_layers` must be at least 1, got 0"),
        ({"decoder_kernel_size": 6}, "`decoder_kernel_size` must be odd and positive, got 6"),
        ({"n_fft": 320}, "`n_fft` must be even, longer than the hop of 320 samples"),
        ({"norm_bandwidths": []}, "`norm_bandwidths` must be None or name at least one bandwidth"),
    ],
)
def test_nonsense_is_refused(fields, message):
    with pytest.raises(REFUSED, match=message):
        AccompGenCodecConfig(**{"decoder_type": "fourier", **fields})
