"""Changes of the sampling rate, of a whole waveform or of one that arrives in chunks: the same bits either way."""

import numpy as np
import torch

from .audio_checks_accompgen import check_sampling_rate
from .optional_accompgen import import_optional


def as_waveform(audio: np.ndarray | torch.Tensor, name: str = "`audio`") -> np.ndarray:
    """float32, contiguous.

    Raises:
        ValueError: If it is not floating point of one or two dimensions.
    """
    if isinstance(audio, torch.Tensor):
        audio = audio.detach().cpu().float().numpy()
    audio = np.asarray(audio)
    if audio.ndim not in (1, 2) or audio.dtype.kind != "f":
        raise ValueError(
            f"{name} must be floating point of shape (num_samples,) or (channels, num_samples), "
            f"got {audio.dtype} {audio.shape}. `load_audio` makes it so."
        )
    return np.ascontiguousarray(audio, dtype=np.float32)


def resampled_length(num_samples: int, orig_sampling_rate: int, sampling_rate: int) -> int:
    """Number of samples after a change of rate, the one rounding everywhere: `round`, halves to the even number."""
    return round(num_samples * sampling_rate / orig_sampling_rate)


def resample(audio: np.ndarray, orig_sampling_rate: int, sampling_rate: int) -> np.ndarray:
    """Change the rate with soxr.

    Args:
        audio: Waveform of shape `(num_samples,)` or `(channels, num_samples)`.

    Returns:
        float32 array with exactly `resampled_length` samples; a copy if the rate stays.

    Raises:
        ValueError: If a rate is outside 4000-768000 Hz or not whole.
        ImportError: If soxr is missing.
    """
    audio = as_waveform(audio)
    orig_sampling_rate = check_sampling_rate(orig_sampling_rate, "`orig_sampling_rate`")
    sampling_rate = check_sampling_rate(sampling_rate)
    if orig_sampling_rate == sampling_rate:
        return audio.copy()
    soxr = import_optional("soxr", "Resampling")
    num_samples = resampled_length(audio.shape[-1], orig_sampling_rate, sampling_rate)
    channels = [soxr.resample(channel, orig_sampling_rate, sampling_rate) for channel in np.atleast_2d(audio)]
    channels = [fit_length(channel, num_samples) for channel in channels]  # soxr may be one sample off
    return channels[0] if audio.ndim == 1 else np.stack(channels)


class ChunkResampler:
    """`resample` for audio that arrives in chunks: the joined results are the same bits.

    Args:
        num_channels (`int`, *optional*): Channels of chunks `(channels, num_samples)`. `None` means `(num_samples,)`.
    """

    def __init__(self, orig_sampling_rate: int, sampling_rate: int, num_channels: int | None = None):
        orig_sampling_rate = check_sampling_rate(orig_sampling_rate, "`orig_sampling_rate`")
        self.rates = orig_sampling_rate, check_sampling_rate(sampling_rate)
        self.num_in = self._num_out = 0
        self._shape = () if num_channels is None else (num_channels,)
        self._soxr = None
        if self.rates[0] != self.rates[1]:
            stream = import_optional("soxr", "Resampling").ResampleStream
            self._soxr = [stream(*self.rates, 1, dtype="float32") for _ in range(num_channels or 1)]

    def push(self, chunk: np.ndarray) -> np.ndarray:
        """The next samples in; all that are certain by now out."""
        self.num_in += chunk.shape[-1]
        resampled = chunk if self._soxr is None else self._resample(chunk, is_last=False)
        self._num_out += resampled.shape[-1]
        return resampled

    def finish(self) -> np.ndarray:
        """What is left, so that there are `resampled_length` samples in all."""
        rest = np.zeros((*self._shape, 0), np.float32)
        rest = rest if self._soxr is None else self._resample(rest, is_last=True)
        return fit_length(rest, resampled_length(self.num_in, *self.rates) - self._num_out)

    def _resample(self, chunk: np.ndarray, is_last: bool) -> np.ndarray:
        rows = zip(self._soxr, np.atleast_2d(chunk), strict=True)
        resampled = np.stack([stream.resample_chunk(row, last=is_last) for stream, row in rows])
        return resampled.reshape(*self._shape, -1)


def fit_length(audio: np.ndarray, num_samples: int) -> np.ndarray:
    """Cut, or add zeros, at the end of the last axis."""
    missing = num_samples - audio.shape[-1]
    if missing <= 0:
        return audio[..., :num_samples]
    return np.pad(audio, [(0, 0)] * (audio.ndim - 1) + [(0, missing)])


__all__ = ["ChunkResampler", "as_waveform", "fit_length", "resample", "resampled_length"]
