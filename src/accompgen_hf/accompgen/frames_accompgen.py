"""Windows of audio that arrives in chunks, measured in blocks of fixed size: any chunks give the bits of the whole."""

from collections.abc import Callable

import numpy as np

from .resampling_accompgen import ChunkResampler

BLOCK_DURATION_S = 30.0  # an hour must not need gigabytes


class MeasuredFrames:
    """What a function measures in overlapping windows of mono audio.

    Args:
        orig_sampling_rate (`int`), sampling_rate (`int`): Rate of the chunks, and the one at which they are measured.
        window_samples (`int`), hop_samples (`int`): Length and distance of the windows at `sampling_rate`.
        measure (`Callable`): `(num_frames, window_samples)` -> one row per frame; called with consecutive frames.
        is_centred (`bool`): Frame k is centred on sample `k * hop_samples` instead of beginning there.

    Attributes:
        num_samples (`int`): Samples at `sampling_rate` so far.
    """

    def __init__(
        self,
        orig_sampling_rate: int,
        sampling_rate: int,
        window_samples: int,
        hop_samples: int,
        measure: Callable[[np.ndarray], np.ndarray],
        is_centred: bool = True,
    ):
        self._resampler = ChunkResampler(orig_sampling_rate, sampling_rate)
        self._window, self._hop, self._measure = window_samples, hop_samples, measure
        self._block = max(1, round(BLOCK_DURATION_S * sampling_rate / hop_samples))  # frames
        self._held = np.zeros(window_samples // 2 if is_centred else 0, np.float32)
        self._rows: list[np.ndarray] = []
        self._num_rows = self.num_samples = 0

    def push(self, chunk: np.ndarray) -> None:
        """Take the next samples, `(num_samples,)`."""
        self._append(self._resampler.push(chunk))
        needed = (self._block - 1) * self._hop + self._window
        while len(self._held) >= needed:
            self._measure_rows(self._block)

    def finish(self, count: Callable[[int], int] | None = None) -> np.ndarray:
        """End the audio and give the rows of all frames.

        Args:
            count (`Callable`, *optional*): Number of frames for so many samples; the last ones are filled up with
                zeros. `None` gives those that are full, and at least one.
        """
        self._append(self._resampler.finish())
        if count is None:
            num_frames = max(1, self._num_rows + (len(self._held) - self._window) // self._hop + 1)
        else:
            num_frames = count(self.num_samples)
        missing = (num_frames - self._num_rows - 1) * self._hop + self._window - len(self._held)
        self._held = np.pad(self._held, (0, max(0, missing)))
        while self._num_rows < num_frames:
            self._measure_rows(min(self._block, num_frames - self._num_rows))
        return np.concatenate(self._rows)[:num_frames]

    def _append(self, samples: np.ndarray) -> None:
        self.num_samples += len(samples)
        self._held = np.concatenate([self._held, samples])

    def _measure_rows(self, num_frames: int) -> None:
        piece = self._held[: (num_frames - 1) * self._hop + self._window]
        self._rows.append(self._measure(np.lib.stride_tricks.sliding_window_view(piece, self._window)[:: self._hop]))
        self._num_rows += num_frames
        self._held = self._held[num_frames * self._hop :]


__all__ = ["BLOCK_DURATION_S", "MeasuredFrames"]
