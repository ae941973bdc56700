"""One accompaniment as a stream: vocals go in whole or in chunks, finished audio comes out while the rest is made.

vocals -> mono, 16 kHz, gain, 40 ms grid, keyed noise -> the model's `stream` -> rate -> (start_s, audio)

Every step works on what has arrived and gives the bits that the whole recording would give.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

from .audio_accompgen import ChunkResampler, fit_length, fold_to_mono, load_chunk, soften_peaks
from .loudness_accompgen import LoudnessMeter
from .processing_accompgen import gain_of_loudness, output_num_samples, padded_num_samples, vocal_noise

SAMPLES_PER_GRID_STEP = 640
LEVEL_DURATION_S = 10  # length of the first chunks that set the level


class AccompanimentStream(Iterator):
    """Iterator over `(start_s, audio)`: consecutive pieces of one accompaniment, float32 `(num_samples,)`.

    Args:
        model (`AccompGenForConditionalGeneration`): The model whose `stream` makes the accompaniment.
        processor (`AccompGenProcessor`): The processor, which has level, noise and rates.
        chunks (iterable of arrays or tensors): Vocals, `(num_samples,)` or `(channels, num_samples)` each.
        sampling_rate (`int`): Rate of the chunks in Hz.
        seed (`int`): Seed of the noise and of the stages.
        vocals_lufs (`float`, *optional*): Loudness of the whole recording in LUFS. If `None`, it is measured over the
            first 10 s.
        output_sampling_rate (`int`, *optional*): Rate of the pieces in Hz; `None` is the codec's rate.
        settings: Everything else that `model.stream` takes.

    Attributes:
        seed (`int`), sampling_rate (`int`, Hz of the pieces)
        num_samples (`int`): Samples that have come out so far; at the end the vocals' length at `sampling_rate`.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        chunks: Iterable[np.ndarray | torch.Tensor],
        sampling_rate: int,
        seed: int,
        vocals_lufs: float | None = None,
        output_sampling_rate: int | None = None,
        **settings: Any,
    ):
        self.seed = seed
        self.sampling_rate = processor.output_sampling_rate if output_sampling_rate is None else output_sampling_rate
        self.num_samples = 0
        self._processor, self._vocals_rate = processor, sampling_rate
        self._num_vocals = 0  # samples that have arrived
        self._has_ended = False
        audio = model.stream(self._input_values(chunks, vocals_lufs), seed=seed, **settings)
        self._pieces = self._finished_pieces(audio)

    def __next__(self) -> tuple[float, np.ndarray]:
        piece = next(self._pieces)
        start_s = self.num_samples / self.sampling_rate
        self.num_samples += len(piece)
        return start_s, piece

    def _input_values(self, chunks: Iterable, vocals_lufs: float | None) -> Iterator[torch.FloatTensor]:
        """What `AccompGenProcessor.prepare_vocals` makes of the whole, in multiples of 640 samples."""
        rate = self._processor.sampling_rate
        held, start = np.zeros(0, np.float32), 0  # 16 kHz samples from `start` on
        target_lufs, gate_lufs = self._processor.vocal_target_lufs, self._processor.vocal_gate_lufs
        gain = None if vocals_lufs is None else gain_of_loudness(vocals_lufs, target_lufs, gate_lufs)
        for waveform in self._resampled(chunks):
            held = np.concatenate([held, waveform])
            if gain is None and (len(held) >= LEVEL_DURATION_S * rate or self._has_ended):
                meter = LoudnessMeter(1, rate)
                meter.push(held[None, : LEVEL_DURATION_S * rate])
                gain = gain_of_loudness(meter.loudness(), target_lufs, gate_lufs)
            if self._has_ended:
                held = fit_length(held, padded_num_samples(self._num_vocals, self._vocals_rate, rate) - start)
            num_ready = 0 if gain is None else len(held) // SAMPLES_PER_GRID_STEP * SAMPLES_PER_GRID_STEP
            if num_ready:
                values = held[:num_ready] * np.float32(gain)
                values += vocal_noise(self.seed, 0, start, num_ready, self._processor.noise_std)
                yield torch.from_numpy(values)
                held, start = held[num_ready:], start + num_ready

    def _resampled(self, chunks: Iterable) -> Iterator[np.ndarray]:
        resampler = ChunkResampler(self._vocals_rate, self._processor.sampling_rate)
        for chunk in chunks:
            chunk = fold_to_mono(load_chunk(chunk))
            self._num_vocals += len(chunk)
            yield resampler.push(chunk)
        if self._num_vocals < self._vocals_rate // 10:
            raise ValueError(
                f"`vocals` must last at least 0.1 s, got {self._num_vocals} samples at {self._vocals_rate} Hz."
            )
        self._has_ended = True
        yield resampler.finish()

    def _finished_pieces(self, audio: Iterable[torch.FloatTensor]) -> Iterator[np.ndarray]:
        """Cut to the vocals' length, and change the rate."""
        codec_rate = self._processor.output_sampling_rate
        resampler = ChunkResampler(codec_rate, self.sampling_rate)
        for piece in audio:
            piece = piece.float().cpu().numpy()
            if self._has_ended:  # nothing before the end can reach beyond it
                num_samples = output_num_samples(self._num_vocals, self._vocals_rate, codec_rate)
                piece = piece[: max(0, num_samples - resampler.num_in)]
            resampled = resampler.push(piece)
            if len(resampled):
                yield soften_peaks(resampled)
        num_left = output_num_samples(self._num_vocals, self._vocals_rate, self.sampling_rate) - self.num_samples
        rest = fit_length(resampler.finish(), num_left)
        if len(rest):
            yield soften_peaks(rest)


__all__ = ["LEVEL_DURATION_S", "AccompanimentStream"]
