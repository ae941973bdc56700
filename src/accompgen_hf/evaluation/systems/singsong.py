"""SingSong in the evaluation: the vocals get the level and noise, the outputs the lengths, that ours get."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from accompgen_hf.accompgen.audio_accompgen import resample
from accompgen_hf.accompgen.processing_accompgen import AccompGenProcessor, output_num_samples
from accompgen_hf.evaluation.systems.system import Window, fit_output, hash_model_folder
from accompgen_hf.singsong.accompaniment import SingSongForAccompaniment


class SingSongSystem:
    """A folder that `SingSongForAccompaniment` saved, as `make tiny-singsong` leaves it.

    Args:
        folder (`str` or `os.PathLike`): Folder of the whole system.
        name (`str`): Name in the table.
        device (`str`): Device, as torch names it.
        generate_kwargs: Further arguments of `generate`: `guidance_scale`, `temperature`, ...
    """

    def __init__(self, folder: str | os.PathLike, name: str = "singsong", device: str = "cpu", **generate_kwargs: Any):
        self.name = name
        self.folder = Path(folder)
        self.device = device
        self.generate_kwargs = generate_kwargs
        self._model = None

    def describe(self) -> dict[str, Any]:
        return {"system": "singsong", "files": hash_model_folder(self.folder), "options": self.generate_kwargs}

    @property
    def model(self) -> SingSongForAccompaniment:
        """The model in float32, loaded when it is first needed."""
        if self._model is None:
            model = SingSongForAccompaniment.from_pretrained(self.folder, dtype=torch.float32)
            self._model = model.eval().to(self.device)
        return self._model

    def generate(self, vocals: np.ndarray, sampling_rate: int, seed: int, window: Window) -> np.ndarray:
        return self.generate_batch([vocals], sampling_rate, [seed], [window])[0]

    def generate_batch(
        self, vocals: list[np.ndarray], sampling_rate: int, seeds: list[int], windows: list[Window]
    ) -> list[np.ndarray]:
        config = self.model.config
        processor = AccompGenProcessor(vocal_target_lufs=config.vocal_target_lufs, noise_std=config.noise_std)
        prepared = [
            processor.prepare_vocals(voice, sampling_rate, seed=seed)
            for voice, seed in zip(vocals, seeds, strict=True)
        ]
        input_values = torch.from_numpy(np.stack(prepared)).to(self.device)
        played = self.model.generate(input_values, seed=seeds, **self.generate_kwargs).audio.float().cpu().numpy()
        codec_rate = config.codec_config.sampling_rate
        outputs = []
        for voice, audio, window in zip(vocals, played, windows, strict=True):
            audio = audio[: output_num_samples(len(voice), sampling_rate, codec_rate)]
            audio = np.clip(resample(audio, codec_rate, sampling_rate), -1, 1)
            outputs.append(fit_output(audio, len(voice), sampling_rate, f"SingSong's output for {window.window_id}"))
        return outputs
