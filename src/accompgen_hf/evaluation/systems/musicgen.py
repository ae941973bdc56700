"""MusicGen-melody by its Hub id: a text model that hears the vocals' strongest pitch class 8 times a second.

It is no accompanist, but the one peer that Transformers itself can run. Its weights are CC-BY-NC 4.0.
"""

import math
import os
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer, MusicgenMelodyForConditionalGeneration
from transformers.audio_utils import chroma_filter_bank

from accompgen_hf.accompgen.audio_accompgen import resample
from accompgen_hf.evaluation.systems.system import Window, fit_output, hash_model_folder

CHROMA_FFT_SIZE, CHROMA_HOP_SIZE = 16_384, 4096  # of its feature extractor
MAX_DURATION_S = 30.0
PROMPT = "instrumental backing track for a singer, no vocals"


class MusicGenMelodySystem:
    """`MusicgenMelodyForConditionalGeneration`, conditioned on the vocals and one prompt.

    Args:
        model_id (`str` or `os.PathLike`): Hub id or folder, such as `"facebook/musicgen-melody"`.
        name (`str`): Name in the table.
        prompt (`str`): The same for every window: a system that reads each song's title would be another task.
        guidance_scale (`float`): Scale of its own guidance.
        device (`str`): Device, as torch names it.
    """

    def __init__(
        self,
        model_id: str | os.PathLike,
        name: str = "musicgen-melody",
        prompt: str = PROMPT,
        guidance_scale: float = 3.0,
        device: str = "cpu",
    ):
        self.model_id, self.name, self.prompt = str(model_id), name, prompt
        self.guidance_scale, self.device = guidance_scale, device

    def describe(self) -> dict[str, Any]:
        """Hashes of the model's files or its Hub id, and the options."""
        is_folder = Path(self.model_id).is_dir()
        return {
            "system": "musicgen-melody",
            "model": hash_model_folder(self.model_id) if is_folder else self.model_id,
            "options": {"prompt": self.prompt, "guidance_scale": self.guidance_scale},
        }

    @cached_property
    def model(self) -> MusicgenMelodyForConditionalGeneration:
        """The model, loaded or downloaded when it is first needed."""
        try:
            with torch.random.fork_rng():  # modules draw weights while they are built
                model = MusicgenMelodyForConditionalGeneration.from_pretrained(self.model_id)
            self._tokenizer = AutoTokenizer.from_pretrained(self.model_id)
        except OSError as error:
            raise ValueError(
                f"`musicgen` {self.model_id!r} cannot be loaded: give a folder or a Hub id such as "
                f"facebook/musicgen-melody, with a network or the files in the cache. ({error})"
            ) from error
        return model.eval().to(self.device)

    def generate(self, vocals: np.ndarray, sampling_rate: int, seed: int, window: Window) -> np.ndarray:
        """Accompany one window, in its own way."""
        duration_s = len(vocals) / sampling_rate
        if duration_s > MAX_DURATION_S:
            raise ValueError(
                f"`vocals` must last at most {MAX_DURATION_S:.0f} s for MusicGen, got {duration_s:.1f} s. "
                "Use a smaller `--window_s`."
            )
        model = self.model
        codec = model.config.audio_encoder
        num_frames = math.ceil(duration_s * codec.sampling_rate / codec.hop_length)
        text = self._tokenizer([self.prompt], return_tensors="pt").to(self.device)
        features = melody_features(resample(vocals, sampling_rate, codec.sampling_rate), codec.sampling_rate)
        # Its `generate` draws from the global generator; the fork gives the caller's state back.
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(seed)
            audio = model.generate(
                input_ids=text["input_ids"],
                attention_mask=text["attention_mask"],
                input_features=torch.from_numpy(features)[None].to(self.device),
                do_sample=True,
                guidance_scale=self.guidance_scale,
                # The codebooks are delayed against each other: the last one ends that many steps later.
                max_new_tokens=num_frames + model.config.decoder.num_codebooks,
            )
        audio = audio[0].mean(0).float().cpu().numpy()[: round(duration_s * codec.sampling_rate)]
        audio = resample(np.clip(audio, -1, 1), codec.sampling_rate, sampling_rate)
        return fit_output(audio, len(vocals), sampling_rate, f"MusicGen's output for {window.window_id}")


def melody_features(audio: np.ndarray, sampling_rate: int, num_chroma: int = 12) -> np.ndarray:
    """What `MusicgenMelodyFeatureExtractor` computes; the class itself needs torchaudio.

    Args:
        audio (`np.ndarray` of shape `(num_samples,)`): Mono audio at the model's rate.
        sampling_rate (`int`): Rate in Hz.

    Returns:
        float32 `(num_frames, 12)`: a one at the strongest pitch class of each frame.
    """
    missing = max(0, CHROMA_FFT_SIZE - len(audio))
    waveform = torch.from_numpy(np.pad(np.asarray(audio, np.float32), (missing // 2, missing - missing // 2)))
    window = torch.hann_window(CHROMA_FFT_SIZE)
    spectrum = torch.stft(waveform, CHROMA_FFT_SIZE, CHROMA_HOP_SIZE, window=window, return_complex=True)
    filters = chroma_filter_bank(CHROMA_FFT_SIZE, num_chroma, sampling_rate, tuning=0)
    chroma = torch.from_numpy(filters).float() @ spectrum.abs().square()  # (12, num_frames)
    return torch.nn.functional.one_hot(chroma.argmax(0), num_chroma).float().numpy()
