"""The codec's oracle: the true accompaniment, encoded and decoded. No system that speaks these codes can do better."""

import os
from typing import Any

import numpy as np
import torch

from accompgen_hf.audio_accompgen import resample
from accompgen_hf.baselines.system import Window, fit_output, hash_model_folder
from accompgen_hf.codec_accompgen import decode_in_blocks, encode_in_blocks
from accompgen_hf.configuration_accompgen import AccompGenConfig
from accompgen_hf.modeling_accompgen import AccompGenForConditionalGeneration


class OracleSystem:
    """The true accompaniment through the codec of a composite model.

    Args:
        folder (`str` or `os.PathLike`): Of the composite.
        name (`str`): In the table.
    """

    def __init__(self, folder: str | os.PathLike, name: str = "oracle"):
        self.folder, self.name = folder, name
        self._codec = None

    def describe(self) -> dict[str, Any]:
        return {"system": "codec oracle", "files": hash_model_folder(self.folder)}

    @property
    def codec(self) -> torch.nn.Module:
        """Loaded when first asked for, in float32."""
        if self._codec is None:
            model = AccompGenForConditionalGeneration.from_pretrained(self.folder, dtype=torch.float32)
            self._codec, self._config = model.codec.eval(), model.config
        return self._codec

    def generate(self, vocals: np.ndarray, sampling_rate: int, seed: int, window: Window) -> np.ndarray:
        codec = self.codec
        config: AccompGenConfig = self._config
        blocks = {
            "block_duration_s": config.codec_block_duration_s,
            "context_duration_s": config.codec_context_duration_s,
        }
        codec_rate = codec.config.sampling_rate
        waveform = torch.from_numpy(window.load_instrumental(codec_rate))[None]
        codes = encode_in_blocks(codec, waveform, config.bandwidth, **blocks)
        decoded = decode_in_blocks(codec, codes, **blocks)[0, : waveform.shape[1]].float().numpy()
        decoded = resample(np.clip(decoded, -1, 1), codec_rate, sampling_rate)
        return fit_output(decoded, len(vocals), sampling_rate, f"the accompaniment of {window.window_id}")
