"""SingSong in the evaluation: the vocals get the level and noise, the outputs the lengths, that ours get."""

import os
from functools import cached_property
from typing import Any

import numpy as np
import torch

from accompgen_hf.accompgen.audio_accompgen import resample
from accompgen_hf.accompgen.processing_accompgen import AccompGenProcessor, output_num_samples
from accompgen_hf.evaluation.systems.system import ModelSystem, Window, fit_output
from accompgen_hf.singsong.accompaniment import SingSongForAccompaniment


class SingSongSystem(ModelSystem):
    """A folder that `SingSongForAccompaniment` saved, as `make tiny-singsong` leaves it.

    Args:
        folder, name, device, generate_kwargs: As [`ModelSystem`] takes them; the last are for the model's `generate`.
    """

    kind = "singsong"

    def __init__(self, folder: str | os.PathLike, name: str = "singsong", device: str = "cpu", **generate_kwargs: Any):
        super().__init__(folder, name, device, **generate_kwargs)

    @cached_property
    def model(self) -> SingSongForAccompaniment:
        """Loaded when first asked for, in float32."""
        model = SingSongForAccompaniment.from_pretrained(self.folder, dtype=torch.float32)
        return model.eval().to(self.device)

    def generate_batch(
        self, vocals: list[np.ndarray], sampling_rate: int, seeds: list[int], windows: list[Window]
    ) -> list[np.ndarray]:
        """Accompany equally long windows together."""
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
