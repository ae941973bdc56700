"""The Inference Endpoints handler: bytes in, wav out, and what it refuses."""

import base64
import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from accompgen_hf import VocalAccompanimentPipeline
from tiny import tiny_model

PATH = Path(__file__).resolve().parents[1] / "examples" / "endpoint" / "handler.py"


@pytest.fixture(scope="module")
def handler(tmp_path_factory):
    folder = tmp_path_factory.mktemp("repository")
    VocalAccompanimentPipeline(model=tiny_model(), device="cpu").save_pretrained(folder, include_code=True)
    spec = importlib.util.spec_from_file_location("handler", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.EndpointHandler(str(folder), max_bytes=200_000, max_duration_s=2.0)


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
        (recording(), [1], "`parameters` must be an object, got list"),
    ],
)
def test_a_request_is_refused_with_one_sentence(handler, inputs, parameters, message):
    with pytest.raises(ValueError, match=message):
        handler({"inputs": inputs, "parameters": parameters})
