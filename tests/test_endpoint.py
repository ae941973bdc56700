"""The Inference Endpoints handler: bytes in, wav out, and what it refuses."""

import base64
import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from accompgen_hf import VocalAccompanimentPipeline
from tiny import tiny_model, tiny_part_model

PATH = Path(__file__).resolve().parents[1] / "examples" / "endpoint" / "handler.py"


def open_handler(folder: Path, model):
    VocalAccompanimentPipeline(model=model, device="cpu").save_pretrained(folder, include_code=True)
    spec = importlib.util.spec_from_file_location("handler", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.EndpointHandler(str(folder), max_bytes=200_000, max_duration_s=2.0)


@pytest.fixture(scope="module")
def handler(tmp_path_factory):
    return open_handler(tmp_path_factory.mktemp("repository"), tiny_model())


def recording(duration_s: float = 0.5, sampling_rate: int = 22_050, file_format: str = "WAV") -> bytes:
    tone = 0.3 * np.sin(2 * np.pi * 220 * np.arange(round(duration_s * sampling_rate)) / sampling_rate)
    buffer = io.BytesIO()
    soundfile.write(buffer, tone, sampling_rate, format=file_format)
    return buffer.getvalue()


def test_bytes_and_base64_give_the_same_wav_of_the_same_length(handler):
    parameters = {"seed": 3, "preview": True, "top_k": 4, "guidance_scale": 2}
    of_bytes = handler({"inputs": recording(file_format="FLAC"), "parameters": parameters})
    text = base64.b64encode(recording(file_format="FLAC")).decode()
    assert handler({"inputs": text, "parameters": parameters}) == of_bytes
    assert (of_bytes["sampling_rate"], of_bytes["seed"], of_bytes["content_type"]) == (22_050, 3, "audio/wav")
    for name in ("mix", "accompaniment"):
        info = soundfile.info(io.BytesIO(base64.b64decode(of_bytes[name])))
        assert (info.frames, info.samplerate, info.subtype) == (11_025, 22_050, "PCM_24")
    wav = handler.make_wav(recording(file_format="FLAC"), **parameters)
    assert wav == base64.b64decode(of_bytes["mix"])


@pytest.mark.parametrize(
    ("inputs", "parameters", "message"),
    [
        (None, {}, "`inputs` must be an audio file, got NoneType"),
        ("/etc/passwd", {}, "`inputs` must be an audio file as base64|not audio|read"),
        ("https://example.com/a.wav", {}, "`inputs` must be an audio file as base64"),
        ("A" * 300_000, {}, "`inputs` must be at most 200000 bytes"),
        (b"A" * 300_000, {}, "`inputs` must be at most 200000 bytes of audio, got 300000"),
        (recording(2.5), {}, "`max_duration_s`|at most 2"),
        (b"not audio", {}, "audio"),
        (recording(), {"callback": "os.system"}, "`parameters` must be some of seed, .*, got 'callback'"),
        (recording(), {"seed": -1}, "`seed` must be int from 0 to 2147483647, got -1"),
        (recording(), {"seed": True}, "`seed` must be int"),
        (recording(), {"top_k": 2.5}, "`top_k` must be int"),
        (recording(), {"preview": 1}, "`preview` must be bool"),
        (recording(), {"temperature": float("nan")}, "`temperature` must be float from 0.05 to 5.0, got nan"),
        (recording(), {"style": 3}, "`style` must be str, got 3"),
        (recording(), {"parts": "drums"}, "`parts` must be list, got 'drums'"),
        (recording(), {"style": "rock"}, "`style` must be left out: this model knows no styles"),
        (recording(), {"parts": ["drums"]}, "`parts` must be left out: this model plays one part"),
        (recording(), [1], "`parameters` must be an object, got list"),
    ],
)
def test_a_request_is_refused_with_one_sentence(handler, inputs, parameters, message):
    with pytest.raises(ValueError, match=message):
        handler({"inputs": inputs, "parameters": parameters})


def test_style_and_parts_are_asked_for_and_the_stems_add_up(tmp_path):
    handler = open_handler(tmp_path, tiny_part_model())
    parameters = {"seed": 3, "style": "rock", "parts": ["drums", "other"]}
    answer = handler({"inputs": recording(), "parameters": parameters})
    stems = {name: soundfile.read(io.BytesIO(base64.b64decode(wav)))[0] for name, wav in answer["stems"].items()}
    accompaniment, _ = soundfile.read(io.BytesIO(base64.b64decode(answer["accompaniment"])))
    assert list(stems) == ["drums", "other"]
    np.testing.assert_allclose(sum(stems.values()), accompaniment, atol=2**-22)  # two steps of 24 bits
    other = handler({"inputs": recording(), "parameters": {**parameters, "style": "bossa_nova"}})
    assert other["accompaniment"] != answer["accompaniment"]
    assert "stems" not in handler({"inputs": recording(), "parameters": {"seed": 3, "preview": True}})
    with pytest.raises(ValueError, match="`style` must be one of any, bossa_nova, rock, got 'polka'"):
        handler({"inputs": recording(), "parameters": {"style": "polka"}})
    with pytest.raises(ValueError, match="`parts` must be a list of names out of drums, bass, other, got"):
        handler({"inputs": recording(), "parameters": {"parts": ["kazoo"]}})
