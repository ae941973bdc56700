"""A handler for Hugging Face Inference Endpoints: the bytes of a recording in, wav files out, with caps.

Put this file, requirements.txt and the wheel that it names into the root of a model repository; the endpoint
calls `EndpointHandler(path)` once and then the object for every request. The body is an audio file
(`Content-Type: audio/wav`, `audio/flac`, `audio/mpeg`, ...), or JSON with the file as base64 in `inputs`. The
endpoints' server can only answer JSON, so the wav files are base64 there; `make_wav` gives the bytes to other servers.

```json
{"inputs": "UklGR...", "parameters": {"seed": 7, "preview": true}}
{"inputs": "UklGR...", "parameters": {"style": "rock", "parts": ["drums", "bass"]}}
{"inputs": "UklGR...", "parameters": {"key": "A minor", "tempo_bpm": 96, "chords": [[0.0, 2.5, "Am"]]}}
```

The second one is for a model of several parts that knows styles, the third for one that listens for beat and chords.
Where `parts` are asked for, the answer has each of them in `stems`.
"""

import base64
import binascii
import io
import os
from typing import Any

import numpy as np
import soundfile
import transformers

import accompgen_hf
from accompgen_hf.accompgen.options_accompgen import GENERATION_OPTIONS, limit_options

MAX_BYTES = 20 * 2**20
MAX_DURATION_S = 60.0
PARAMETERS = limit_options(
    seed=(0, 2**31 - 1),
    guidance_scale=(0.0, 20.0),
    temperature=(0.05, 5.0),
    top_k=(1, 1024),
    preview=(False, True),
    accompaniment_lufs_offset=(-30.0, 30.0),
) | {name: GENERATION_OPTIONS[name] for name in ("style", "parts", "key", "tempo_bpm", "chords")}


class EndpointHandler:
    """Loads the repository in `path`; `max_bytes` and `max_duration_s` limit a request."""

    def __init__(self, path: str = "", max_bytes: int = MAX_BYTES, max_duration_s: float = MAX_DURATION_S):
        self.max_bytes, self.max_duration_s = max_bytes, max_duration_s
        model = path or accompgen_hf.DEFAULT_MODEL
        device = os.environ.get("ACCOMPGEN_DEVICE") or None  # `None`: the accelerator, if there is one
        # The installed package's classes, never code of the repository.
        self.pipe = accompgen_hf.VocalAccompanimentPipeline(
            model=transformers.AutoModel.from_pretrained(model),
            processor=transformers.AutoProcessor.from_pretrained(model),
            device=device,
        )

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        """Answer one request.

        Args:
            data (`dict`): `inputs` (bytes or base64) and `parameters`, some of `PARAMETERS`.

        Returns:
            `dict` with `mix` and `accompaniment` (24-bit wav files as base64), `sampling_rate` and `seed`; if `parts`
            are asked for, also `stems`, a `dict` of them as 32-bit float wav files, whose sum is the accompaniment.

        Raises:
            ValueError: If the request is refused; the server answers 400 with the text.
        """
        parameters = data.get("parameters") or {}
        result = self._run(data.get("inputs"), parameters)
        rate = result["sampling_rate"]
        wavs = {"mix": result["mix"], "accompaniment": result["audio"]}
        encoded: dict[str, Any] = {name: _encode(_to_wav(audio, rate)) for name, audio in wavs.items()}
        if parameters.get("parts") is not None:
            # A part alone may pass full scale, which the sum does not.
            stems = result["stems"]
            encoded["stems"] = {name: _encode(_to_wav(stem, rate, "FLOAT")) for name, stem in stems.items()}
        return {**encoded, "content_type": "audio/wav", "sampling_rate": rate, "seed": result["seed"]}

    def make_wav(self, recording: bytes, **parameters: Any) -> bytes:
        """The mix alone, for servers that can answer bytes."""
        result = self._run(recording, parameters)
        return _to_wav(result["mix"], result["sampling_rate"])

    def _run(self, recording: Any, parameters: dict[str, Any]) -> dict[str, Any]:
        return self.pipe(
            self._decode(recording),
            output_sampling_rate="input",
            max_duration_s=self.max_duration_s,
            show_progress=False,
            **_check_parameters(parameters),
        )

    def _decode(self, recording: Any) -> bytes:
        if isinstance(recording, str):  # never a path or an address: those would be the server's
            if len(recording) > self.max_bytes * 4 / 3 + 4:
                raise ValueError(f"`inputs` must be at most {self.max_bytes} bytes of audio.")
            try:
                recording = base64.b64decode(recording, validate=True)
            except (binascii.Error, ValueError):
                raise ValueError("`inputs` must be an audio file as base64, or the file itself as the body.") from None
        if not isinstance(recording, (bytes, bytearray)):
            raise ValueError(f"`inputs` must be an audio file, got {type(recording).__name__}.")
        if len(recording) > self.max_bytes:
            raise ValueError(f"`inputs` must be at most {self.max_bytes} bytes of audio, got {len(recording)}.")
        return bytes(recording)


def _check_parameters(parameters: Any) -> dict[str, Any]:
    if not isinstance(parameters, dict):
        raise ValueError(f"`parameters` must be an object, got {type(parameters).__name__}.")
    checked = {}
    for name, value in parameters.items():
        if name not in PARAMETERS:
            raise ValueError(f"`parameters` must be some of {', '.join(PARAMETERS)}, got {name!r}.")
        option = PARAMETERS[name]
        if not option.accepts(value):
            kind = option.kind.__name__ + (
                "" if option.kind in (str, list) else f" from {option.low} to {option.high}"
            )
            raise ValueError(f"`{name}` must be {kind}, got {value!r}.")
        checked[name] = option.kind(value)
    return checked


def _encode(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _to_wav(audio: np.ndarray, sampling_rate: int, subtype: str = "PCM_24") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, audio.T, sampling_rate, format="WAV", subtype=subtype)
    return buffer.getvalue()
