"""Vocos's weights decode in our class as in the original package; other codebooks are refused."""

import importlib.machinery
import importlib.util
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
from transformers import EncodecConfig, EncodecModel

from accompgen_hf import AccompGenCodec
from accompgen_hf.accompgen.codec_accompgen import decode_in_blocks
from accompgen_hf.training.codec.vocos import convert_vocos

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
BANDWIDTHS = (1.5, 3.0, 6.0)


def tiny_encodec() -> EncodecModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = EncodecConfig(num_filters=2, hidden_size=16, codebook_dim=16, target_bandwidths=list(BANDWIDTHS))
        codec = EncodecModel(config).eval()
        for layer in codec.quantizer.layers:
            layer.codebook.embed.copy_(torch.randn(1024, 16))
    return codec


@pytest.fixture
def vocos(monkeypatch):
    """The original package, or a skip; while importing it asks for torchaudio and encodec, which decoding does not."""
    if importlib.util.find_spec("vocos") is None:
        pytest.skip("the original `vocos` package is not installed: pip install --no-deps vocos")
    stubs = {
        "torchaudio": {},
        "torchaudio.functional": {},
        "torchaudio.functional.functional": {"_hz_to_mel": None, "_mel_to_hz": None},
        "encodec": {"EncodecModel": None},
    }
    for name, fields in stubs.items():
        try:
            __import__(name)
        except Exception:  # not there, or not loadable beside CPU torch
            stub = types.ModuleType(name)
            stub.__spec__ = importlib.machinery.ModuleSpec(name, None)
            vars(stub).update(fields)
            monkeypatch.setitem(sys.modules, name, stub)
    try:
        from vocos import heads, models, pretrained
    except Exception as error:
        pytest.skip(f"the original `vocos` package does not import: {error}")
    return types.SimpleNamespace(heads=heads, models=models, whole=pretrained.Vocos)


@pytest.fixture
def original(vocos):
    """A tiny Vocos with random weights, on the codebooks of `tiny_encodec`."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        backbone = vocos.models.VocosBackbone(16, 24, 48, 3, adanorm_num_embeddings=len(BANDWIDTHS))
        head = vocos.heads.ISTFTHead(24, 1280, 320, padding="same")
        features = torch.nn.Module()
        features.codebook_weights = torch.nn.Parameter(
            torch.cat([layer.codebook.embed for layer in tiny_encodec().quantizer.layers])
        )
        model = vocos.whole(features, backbone, head).eval()
        for name, parameter in model.named_parameters():
            if "codebook" not in name:
                parameter.add_(0.2 * torch.randn(parameter.shape))
    return model


@pytest.mark.parametrize(("row", "num_codebooks"), [(0, 2), (1, 4), (2, 8)])
def test_audio_equals_that_of_the_original_package(original, row, num_codebooks):
    encodec = tiny_encodec()
    codec = convert_vocos(original.state_dict(), encodec, BANDWIDTHS)
    codes = torch.randint(0, 1024, (2, num_codebooks, 90), generator=torch.Generator().manual_seed(2))
    embeddings = encodec.quantizer.decode(codes.transpose(0, 1))
    expected = original.decode(embeddings, bandwidth_id=torch.tensor([row]))
    assert expected.abs().max() > 0.01
    torch.testing.assert_close(decode_in_blocks(codec, codes), expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(decode_in_blocks(codec, codes, 0.8, 0.16), expected, atol=1e-5, rtol=1e-4)


def test_the_script_writes_a_folder_that_loads(original, tmp_path):
    tiny_encodec().save_pretrained(tmp_path / "encodec")
    torch.save(original.state_dict(), tmp_path / "pytorch_model.bin")
    command = [sys.executable, EXAMPLES / "convert_vocos.py", "--vocos", tmp_path / "pytorch_model.bin"]
    command += ["--encodec", tmp_path / "encodec", "--output_dir", tmp_path / "out", "--bandwidths", "1.5", "3", "6"]
    subprocess.run(command, check=True, timeout=300)
    codec = AccompGenCodec.from_pretrained(tmp_path / "out")
    assert codec.config.norm_bandwidths == [1.5, 3.0, 6.0]
    codes = torch.randint(0, 1024, (1, 8, 20), generator=torch.Generator().manual_seed(2))
    expected = convert_vocos(original.state_dict(), tiny_encodec(), BANDWIDTHS)
    assert torch.equal(decode_in_blocks(codec, codes), decode_in_blocks(expected, codes))


def test_weights_of_other_codebooks_bandwidths_or_kinds_are_refused(original):
    other = tiny_encodec()
    with pytest.raises(ValueError, match="`bandwidths` must name the 3 bandwidths of the checkpoint, got"):
        convert_vocos(original.state_dict(), other)
    other.quantizer.layers[0].codebook.embed.mul_(1.01)
    with pytest.raises(ValueError, match="`state` must have been trained on the codebooks of `encodec`"):
        convert_vocos(original.state_dict(), other, BANDWIDTHS)
    with pytest.raises(ValueError, match="`state` must be of a Vocos for EnCodec tokens, it lacks"):
        convert_vocos({}, other, BANDWIDTHS)
