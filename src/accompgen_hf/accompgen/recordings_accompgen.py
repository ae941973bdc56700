"""A recording that is read in blocks, as often as needed, so that memory does not depend on its length."""

import hashlib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from .audio_accompgen import load_audio
from .audio_checks_accompgen import check_samples, check_stated_rate
from .audio_files_accompgen import iter_audio_file
from .loudness_accompgen import LoudnessMeter
from .mono_accompgen import ChannelPowers, fold_piece
from .resampling_accompgen import ChunkResampler


class Recording:
    """A checked recording at its own rate.

    Args:
        source: The same as for `load_audio`. A file is read block by block; anything else is loaded whole.
        sampling_rate, allow_truncated, max_duration_s: The same as for `load_audio`.

    Attributes:
        sampling_rate (`int`): Rate in Hz.
        num_channels, num_samples (`int`): Shape of the recording.
        duration_s (`float`): Duration in seconds.
        lone_channel (`int`, *optional*): The one that is heard alone where the channels cancel each other out.

    Raises:
        TypeError, ValueError, ImportError: As `load_audio`: a file is read once from end to end.
    """

    def __init__(
        self,
        source: Any,
        sampling_rate: int | None = None,
        *,
        allow_truncated: bool = False,
        max_duration_s: float | None = None,
    ):
        self._path = self._audio = None
        if isinstance(source, (str, os.PathLike)):
            self._path = source
            self.num_samples, powers = 0, None
            for block, rate in iter_audio_file(source, allow_truncated=allow_truncated, max_duration_s=max_duration_s):
                check_stated_rate(sampling_rate, rate)
                check_samples(block, self.num_samples)
                self.num_samples += block.shape[1]
                self.num_channels, self.sampling_rate = block.shape[0], rate
                powers = powers or ChannelPowers(self.num_channels)
                powers.push(block)
        else:
            self._audio, self.sampling_rate = load_audio(
                source, sampling_rate, allow_truncated=allow_truncated, max_duration_s=max_duration_s
            )
            self.num_channels, self.num_samples = self._audio.shape
            powers = ChannelPowers(self.num_channels)
            powers.push(self._audio)
        self.duration_s = self.num_samples / self.sampling_rate
        self.lone_channel = powers.lone_channel(f"`source` {os.fspath(source)!r}" if self._path else "`source`")

    def blocks(self, sampling_rate: int | None = None) -> Iterator[np.ndarray]:
        """Yield all blocks from the first one on.

        Args:
            sampling_rate (`int`, *optional*): Rate of the blocks in Hz. `None` means the recording's own.

        Yields:
            float32 arrays of shape `(channels, num_samples)`, of any length; joined they are the resampled whole.

        Raises:
            ValueError: If the file is no longer what it was.
        """
        resampler = ChunkResampler(self.sampling_rate, sampling_rate or self.sampling_rate, self.num_channels)
        for block in self._own_blocks():
            yield resampler.push(block)
        yield resampler.finish()

    def _own_blocks(self) -> Iterator[np.ndarray]:
        if self._audio is not None:
            for start in range(0, self.num_samples, self.sampling_rate):
                yield self._audio[:, start : start + self.sampling_rate]
            return
        num_samples = 0
        for block, _ in iter_audio_file(self._path, is_known=True):
            num_samples += block.shape[1]
            yield block
        if num_samples != self.num_samples:
            raise ValueError(
                f"`source` {os.fspath(self._path)!r} has changed while it was worked on: it held {self.num_samples} "
                f"samples, now {num_samples}. Start again."
            )

    def mono_blocks(self, sampling_rate: int) -> Iterator[np.ndarray]:
        """Yield the voice in one channel, `(num_samples,)` per block, from the first block on."""
        resampler = ChunkResampler(self.sampling_rate, sampling_rate)
        for block in self._own_blocks():
            yield resampler.push(fold_piece(block, self.lone_channel))
        yield resampler.finish()

    def mono_loudness(self, sampling_rate: int) -> float:
        """Integrated loudness in LUFS of the voice in one channel, at this rate."""
        meter = LoudnessMeter(1, sampling_rate)
        for block in self.mono_blocks(sampling_rate):
            meter.push(block[None])
        return meter.loudness()

    def sample_hash(self) -> str:
        """sha256 of all samples and of their shape, in hexadecimal."""
        digest = hashlib.sha256(f"{self.num_channels, self.num_samples, self.sampling_rate}".encode())
        for block in self._own_blocks():
            digest.update(np.ascontiguousarray(block.T).tobytes())  # in the order of time, however it is cut
        return digest.hexdigest()

    def read(self, duration_s: float | None = None) -> np.ndarray:
        """Read the whole recording, or its first seconds, as an array `(channels, num_samples)`."""
        num_samples = self.num_samples if duration_s is None else -int(-duration_s * self.sampling_rate // 1)
        pieces, num_read = [], 0
        for block in self._own_blocks():
            pieces.append(block)
            num_read += block.shape[1]
            if num_read >= num_samples:
                break
        return np.concatenate(pieces, axis=1)[:, :num_samples]


__all__ = ["Recording"]
