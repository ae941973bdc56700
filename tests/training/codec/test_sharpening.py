"""A sharpened decoder: the postfilter by hand, music's power, what is left as it was, and the script."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from accompgen_hf import AccompGenCodec
from accompgen_hf.accompgen.codec_accompgen import decode_in_blocks, encode_in_blocks
from accompgen_hf.training.codec import sharpening
from accompgen_hf.training.codec.evaluation import spectral_flatness_db
from accompgen_hf.training.codec.material import write_songs
from accompgen_hf.training.codec.sharpening import MOST_GAIN_DB, sharpen_decoder
from accompgen_hf.training.codec.trainer import build_codec_config
from tiny_codec_training import TINY_MODEL, tone

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
NUM_BINS = 641


def tiny_codec(**fields) -> AccompGenCodec:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        codec = AccompGenCodec(build_codec_config(**{**TINY_MODEL, **fields})).eval()
        for layer in codec.quantizer.layers:
            layer.codebook.embed.copy_(torch.randn_like(layer.codebook.embed))
    return codec


def log_magnitudes(codec: AccompGenCodec, codes: torch.Tensor) -> torch.Tensor:
    """What the decoder's last layer says, `(T, F)`."""
    said = []
    hook = codec.decoder.output.register_forward_hook(lambda _, __, numbers: said.append(numbers[0, :, :NUM_BINS]))
    decode_in_blocks(codec, codes)
    hook.remove()
    return torch.cat(said).detach()


@pytest.fixture(scope="module")
def parts():
    return np.stack([tone(seed)["instrumental"] for seed in range(2)])


@pytest.fixture(scope="module")
def codes(parts):
    codec = tiny_codec()
    return encode_in_blocks(codec, torch.from_numpy(parts[:1]), codec.config.target_bandwidths[-1])


def test_log_magnitudes_move_away_from_the_mean_of_their_neighbours(parts, codes):
    plain, sharp = tiny_codec(), tiny_codec()
    gains = sharpen_decoder(sharp, [parts], 0.4)
    before = log_magnitudes(plain, codes).double().numpy()
    found = log_magnitudes(sharp, codes).double().numpy() - gains / 20 * np.log(10)
    for frame in (0, 20):
        for place in (0, 20, 40, 100, 500, 640):  # of 18.75 Hz: the filter begins at 500 Hz and is whole from 1 kHz on
            near = np.exp(-0.5 * ((np.arange(NUM_BINS) - place) / 6) ** 2)
            mean = near @ before[frame] / near.sum()
            amount = 0.4 * np.clip((18.75 * place - 500) / 500, 0, 1)
            expected = before[frame, place] + amount * (before[frame, place] - mean)
            assert found[frame, place] == pytest.approx(expected, abs=1e-4)


def test_phases_and_codes_stay(parts, codes):
    plain, sharp = tiny_codec(), tiny_codec()
    sharpen_decoder(sharp, [parts], 0.4)
    changed = {name for name, value in sharp.state_dict().items() if not torch.equal(value, plain.state_dict()[name])}
    assert changed == {"decoder.output.weight", "decoder.output.bias"}
    assert torch.equal(sharp.decoder.output.weight[NUM_BINS:], plain.decoder.output.weight[NUM_BINS:])
    assert torch.equal(sharp.decoder.output.bias[NUM_BINS:], plain.decoder.output.bias[NUM_BINS:])


def test_a_codec_that_is_too_quiet_gets_the_songs_power_back(monkeypatch):
    monkeypatch.setattr(sharpening, "_code", lambda codec, parts: parts * 10 ** (-4 / 20))
    noise = 0.1 * np.random.default_rng(0).standard_normal((2, 24_000))
    np.testing.assert_allclose(sharpen_decoder(tiny_codec(), [noise], 0.0), 4.0, atol=0.01)


def test_no_bin_gets_more_than_the_most(parts):
    codec = tiny_codec()
    assert np.abs(sharpen_decoder(codec, [1000 * parts], 0.0)).max() == pytest.approx(MOST_GAIN_DB, abs=1e-3)


def test_what_it_says_gets_more_tonal(parts, codes):
    plain, sharp = tiny_codec(), tiny_codec()
    sharpen_decoder(sharp, [parts], 1.0)
    flatness = [
        spectral_flatness_db(decode_in_blocks(codec, codes)[0].detach().numpy(), 1000, 4000, 24_000)
        for codec in (plain, sharp)
    ]
    assert flatness[1] < flatness[0] - 0.3


def test_wrong_arguments_are_refused(parts):
    with pytest.raises(ValueError, match="`codec` must have a Fourier decoder, got decoder_type 'encodec'"):
        sharpen_decoder(tiny_codec(decoder_type="encodec"), [parts])
    with pytest.raises(ValueError, match=r"`amount` must be from 0 to 1, got 1.5"):
        sharpen_decoder(tiny_codec(), [parts], 1.5)
    with pytest.raises(ValueError, match="`songs` must hold at least one song"):
        sharpen_decoder(tiny_codec(), [])


def test_the_script_writes_a_codec_of_the_same_codes(tmp_path, monkeypatch, codes, parts):
    tiny_codec().save_pretrained(tmp_path / "codec")
    for folder in ("a", "b"):
        write_songs(tmp_path / "songs" / folder, range(3), tone)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    options = ["--codec", "codec", "--songs_dir", "songs", "--output_dir", "sharp", "--num_songs", "2"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["sharpen_codec.py", *options])
    importlib.import_module("sharpen_codec").main()
    sharp = AccompGenCodec.from_pretrained(tmp_path / "sharp")
    songs = [
        np.round(tone(seed)["instrumental"].clip(-1, 1)[None] * 32767).astype(np.int16).astype(np.float32) / 32767
        for seed in (0, 1, 0, 1)
    ]
    expected = tiny_codec()
    sharpen_decoder(expected, songs)
    torch.testing.assert_close(sharp.decoder.output.bias, expected.decoder.output.bias)
    again = encode_in_blocks(sharp, torch.from_numpy(parts[:1]), sharp.config.target_bandwidths[-1])
    assert torch.equal(again, codes)


@pytest.mark.parametrize("num_songs", ["0", "-1"])
def test_the_script_refuses_less_than_one_song_of_each_folder(monkeypatch, num_songs):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    options = ["--codec", "codec", "--songs_dir", "songs", "--output_dir", "sharp", "--num_songs", num_songs]
    monkeypatch.setattr(sys, "argv", ["sharpen_codec.py", *options])
    with pytest.raises(ValueError, match=f"`num_songs` must be at least 1, got {num_songs}"):
        importlib.import_module("sharpen_codec").main()
