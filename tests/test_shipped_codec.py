"""The codec of the shipped default: without a hum at its frame rate."""

import numpy as np
import pytest
import torch

from accompgen_hf import DEFAULT_MODEL, AccompGenCodec
from accompgen_hf.accompgen.codec_accompgen import decode_in_blocks, encode_in_blocks
from accompgen_hf.model_parts import load_part
from accompgen_hf.songs.song import HELD_OUT_SEED
from accompgen_hf.training.codec.evaluation import comb_excess_db
from accompgen_hf.training.codec.material import synthesize_tracks


@pytest.fixture(scope="module")
def codec() -> AccompGenCodec:
    return load_part(DEFAULT_MODEL, "codec").eval()


def test_its_running_sums_are_not_shipped_and_its_weights_are_float32(codec):
    assert codec.config.decoder_type == "fourier"
    assert {parameter.dtype for parameter in codec.parameters()} == {torch.float32}
    assert not any(layer.codebook.embed_avg.any() for layer in codec.quantizer.layers)


def test_it_does_not_hum_at_its_frame_rate(codec):
    tracks = synthesize_tracks(HELD_OUT_SEED)
    band = sum(track for name, track in tracks.items() if name != "vocals").astype(np.float32)
    codes = encode_in_blocks(codec, torch.from_numpy(band)[None])
    decoded = decode_in_blocks(codec, codes)[0].numpy()
    assert comb_excess_db(decoded, 75.0, 24_000) < comb_excess_db(band, 75.0, 24_000) + 3
    # A codec whose decoder upsamples in steps hums: lines 20 dB above the gaps.
    assert decoded.std() == pytest.approx(band.std(), rel=0.3)
