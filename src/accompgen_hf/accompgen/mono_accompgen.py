"""One channel out of several: their mean, or the loudest alone where they cancel each other out."""

import warnings

import numpy as np

from .resampling_accompgen import as_waveform

_CANCELLED_DB = -20.0  # of the mean against the loudest channel: what is left is no voice any more
_AUDIBLE_POWER = 1e-9  # of the loudest channel


class ChannelPowers:
    """Finds out whether the channels of a recording cancel each other out, as where one has the wrong polarity.

    Args:
        num_channels (`int`): Channels of the recording.
    """

    def __init__(self, num_channels: int):
        self._energies = np.zeros(num_channels + 1)  # of the channels, and of their mean
        self._num_samples = 0

    def push(self, audio: np.ndarray) -> None:
        """Take the next samples, `(channels, num_samples)`."""
        if len(audio) > 1:
            for row, channel in enumerate([*audio, audio.mean(axis=0, dtype=np.float32)]):
                self._energies[row] += np.dot(channel, channel)
        self._num_samples += audio.shape[1]

    def lone_channel(self, name: str = "`source`") -> int | None:
        """The loudest channel if the mean of all is 20 dB quieter, which is said in a warning; else `None`."""
        powers = self._energies / max(1, self._num_samples)
        loudest = int(np.argmax(powers[:-1])) if len(powers) > 2 else 0
        if powers[loudest] < _AUDIBLE_POWER:
            return None
        level_db = 10 * np.log10(max(powers[-1], 1e-30) / powers[loudest])
        if level_db > _CANCELLED_DB:
            return None
        amount = f"{-level_db:.0f} dB quieter than" if level_db > -100 else "silent beside"
        warnings.warn(
            f"The channels of {name} cancel each other out: their mean is {amount} channel {loudest + 1}, which is "
            "heard alone. Does one of them have the wrong polarity?",
            UserWarning,
            stacklevel=3,
        )
        return loudest


def fold_to_mono(audio: np.ndarray) -> np.ndarray:
    """A whole recording, `(channels, num_samples)` or `(num_samples,)`, to `(num_samples,)`, float32.

    The mean over channels, or the loudest channel where they cancel each other out, which is said in a warning.
    """
    audio = as_waveform(audio)
    if audio.ndim == 1:
        return audio
    powers = ChannelPowers(len(audio))
    powers.push(audio)
    return fold_piece(audio, powers.lone_channel())


def fold_piece(audio: np.ndarray, channel: int | None) -> np.ndarray:
    """`fold_to_mono` of a piece of a recording, as `ChannelPowers` has decided for the whole."""
    return audio.mean(axis=0, dtype=np.float32) if channel is None else audio[channel]


__all__ = ["ChannelPowers", "fold_piece", "fold_to_mono"]
