"""Loudness after ITU-R BS.1770, of a whole recording or of one that arrives in chunks: the same bits either way."""

import numpy as np

from .optional_accompgen import import_optional

_LOUDNESS_GATE = -70.0  # LUFS, the absolute gate of BS.1770
_BLOCK_SAMPLES = 1 << 18  # hours must not need gigabytes


class LoudnessMeter:
    """Integrated (gated) loudness, with pyloudnorm's filters.

    Args:
        num_channels (`int`): Number of channels, in the order of WAV files: from six on, the fourth is the bass
            effect channel and does not count.
        sampling_rate (`int`): Rate in Hz.

    Raises:
        ImportError: If pyloudnorm or scipy is missing.
    """

    def __init__(self, num_channels: int, sampling_rate: int):
        pyloudnorm = import_optional("pyloudnorm", "Measuring loudness")
        self._lfilter = import_optional("scipy.signal", "Measuring loudness", "scipy").lfilter
        shelf = pyloudnorm.IIRfilter(4.0, 1 / np.sqrt(2), 1500.0, sampling_rate, "high_shelf")
        high_pass = pyloudnorm.IIRfilter(0.0, 0.5, 38.0, sampling_rate, "high_pass")
        self.sampling_rate = sampling_rate
        self._filters = [(stage, np.zeros((num_channels, 2))) for stage in (shelf, high_pass)]
        self._held = np.zeros((num_channels, 0), np.float32)  # less than a hop of 0.1 s
        self._energy: list[np.ndarray] = []  # (channels, hops)
        self._num_hops = 0

    def push(self, audio: np.ndarray) -> None:
        """Take the next samples, `(channels, num_samples)`."""
        for start in range(0, audio.shape[1], _BLOCK_SAMPLES):
            self._push_block(audio[:, start : start + _BLOCK_SAMPLES])

    def _push_block(self, audio: np.ndarray) -> None:
        audio = np.concatenate([self._held, audio], axis=1) if self._held.shape[1] else audio
        first = self._bound(self._num_hops)
        num_hops = (first + audio.shape[1]) * 10 // self.sampling_rate
        bounds = [self._bound(hop) - first for hop in range(self._num_hops, num_hops + 1)]
        self._held = np.array(audio[:, bounds[-1] :], np.float32)
        if num_hops == self._num_hops:
            return
        block = audio[:, : bounds[-1]].astype(np.float64)
        for index, (stage, state) in enumerate(self._filters):
            block, state = self._lfilter(stage.b, stage.a, block, axis=1, zi=state)
            self._filters[index] = (stage, state)
        self._energy.append(np.add.reduceat(np.square(block), bounds[:-1], axis=1))
        self._num_hops = num_hops

    def _bound(self, hop: int) -> int:
        return hop * self.sampling_rate // 10  # hops of 0.1 s in whole samples

    def first_above(self, lufs: float) -> int | None:
        """In which tenth of a second the first 0.4 s begin that are louder than this; `None` if none are yet."""
        power = self._power()
        above = np.flatnonzero(power > 10 ** ((lufs + 0.691) / 10))
        return int(above[0]) if len(above) else None

    def loudness(self) -> float:
        """LUFS of all that was pushed; `-inf` for less than 0.4 s, and where everything is below -70 LUFS."""
        power = self._power()
        power = power[power > 10 ** ((_LOUDNESS_GATE + 0.691) / 10)]
        if len(power):
            power = power[power > power.mean() / 10]  # the relative gate, 10 LU below
        return float(-0.691 + 10 * np.log10(power.mean())) if len(power) else float("-inf")

    def _power(self) -> np.ndarray:
        """Weighted power of every 0.4 s, one per tenth of a second."""
        num_channels = self._held.shape[0]
        if num_channels >= 6:
            weights = [1.0, 1.0, 1.0, 0.0] + [1.41] * (num_channels - 4)
        else:
            weights = [[1.0], [1.0] * 2, [1.0] * 3, [1.0, 1.0, 1.41, 1.41], [1.0, 1.0, 1.0, 1.41, 1.41]]
            weights = weights[num_channels - 1]
        total = np.cumsum(np.concatenate([np.zeros((num_channels, 1)), *self._energy], axis=1), axis=1)
        power = np.maximum(total[:, 4:] - total[:, :-4], 0) / (0.4 * self.sampling_rate)  # per 0.4 s, every 0.1 s
        return np.asarray(weights) @ power


__all__ = ["LoudnessMeter"]
