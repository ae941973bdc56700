"""The interface of all embedders, and the checks of the audio that they hear."""

from typing import Any

import numpy as np

from accompgen_hf.accompgen.audio_accompgen import resample


def check_mono(audio: np.ndarray, name: str = "`audio`") -> np.ndarray:
    """Mono audio `(num_samples,)` as float32.

    Raises:
        ValueError: If it is not mono, empty, or holds NaN or infinity.
    """
    audio = np.asarray(audio, dtype=np.float32)
    if audio.ndim != 1 or audio.size == 0:
        raise ValueError(f"{name} must be mono, (num_samples,), with at least one sample, got {audio.shape}.")
    if not np.isfinite(audio).all():
        first = int(np.argmin(np.isfinite(audio)))
        raise ValueError(f"{name} holds NaN or infinity, first at sample {first}. The system that made it has failed.")
    return audio


def check_pair(vocals: np.ndarray, accompaniment: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both sides of a pair as mono float32 of equal length.

    Raises:
        ValueError: If a side fails [`check_mono`], or the lengths differ.
    """
    vocals, accompaniment = check_mono(vocals, "`vocals`"), check_mono(accompaniment, "`accompaniment`")
    if len(vocals) != len(accompaniment):
        raise ValueError(
            f"`vocals` and `accompaniment` must be equally long, got {len(vocals)} and {len(accompaniment)} samples. "
            "Are they of the same window?"
        )
    return vocals, accompaniment


class Embedder:
    """Turns audio into one vector per window.

    Attributes:
        name (`str`): Name, as in [`load_embedder`].
        sampling_rate (`int`): Rate in Hz of the audio that it hears; audio of another rate is resampled.
        window_s (`float`): Length of a window in seconds; a rest shorter than a window is left out.
        dimensions (`int`): Size of an embedding.
        weights_hash (`str`): sha256 of the weights, or of the settings where there are none.
    """

    name: str
    sampling_rate: int
    window_s: float
    dimensions: int
    weights_hash: str

    def embed(self, audio: np.ndarray, sampling_rate: int) -> np.ndarray:
        """Embed one recording.

        Args:
            audio (`np.ndarray` of shape `(num_samples,)`): Mono.
            sampling_rate (`int`): Rate in Hz.

        Returns:
            float32 array of shape `(num_windows, dimensions)`.

        Raises:
            ValueError: If the audio is not mono, holds NaN, or is shorter than one window.
        """
        audio = resample(check_mono(audio), sampling_rate, self.sampling_rate)
        return self._embed_windows(self._cut(audio))

    def embed_pair(self, vocals: np.ndarray, accompaniment: np.ndarray, sampling_rate: int) -> np.ndarray:
        """Embed a pair; unless an embedder hears both sides apart, the sum of both at equal power.

        Raises:
            ValueError: As [`Embedder.embed`], or if the lengths differ.
        """
        vocals, accompaniment = check_pair(vocals, accompaniment)
        return self.embed(0.1 * (_to_unit_power(vocals) + _to_unit_power(accompaniment)), sampling_rate)

    def _cut(self, audio: np.ndarray) -> np.ndarray:
        """(num_samples,) -> (num_windows, window_samples)"""
        window_samples = round(self.window_s * self.sampling_rate)
        num_windows = len(audio) // window_samples
        if num_windows == 0:
            raise ValueError(
                f"too few windows: `{self.name}` needs at least {self.window_s:g} s of audio, got "
                f"{len(audio) / self.sampling_rate:.2f} s."
            )
        return audio[: num_windows * window_samples].reshape(num_windows, window_samples)

    def _embed_windows(self, windows: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """What a result must say about its embedder."""
        return {
            "name": self.name,
            "sampling_rate": self.sampling_rate,
            "window_s": self.window_s,
            "dimensions": self.dimensions,
            "weights_hash": self.weights_hash,
        }


def _to_unit_power(audio: np.ndarray) -> np.ndarray:
    power = float(np.mean(np.square(audio, dtype=np.float64)))
    return audio / np.float32(np.sqrt(power)) if power > 1e-12 else audio
