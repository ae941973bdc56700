"""One accompaniment as a stream: vocals go in whole or in chunks, finished audio comes out while the rest is made.

vocals -> mono, 16 kHz, gain, 40 ms grid, keyed noise -> the model's `stream` -> rate -> (start_s, audio)

Every step works on what has arrived and gives the bits that the whole recording would give.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from .audio_accompgen import bend_parts, load_chunk, soften_peaks
from .lead_sheet_accompgen import LeadSheet, LeadSheetListener
from .loudness_accompgen import LoudnessMeter
from .mono_accompgen import ChannelPowers, fold_piece
from .processing_accompgen import gain_of_loudness, output_num_samples, padded_num_samples, vocal_noise
from .resampling_accompgen import ChunkResampler, fit_length
from .torch_defaults_accompgen import usual_torch_defaults

SAMPLES_PER_GRID_STEP = 640
LEVEL_DURATION_S = 10  # length of the chunks, from their first sound on, that set the level
MAX_SILENCE_S = 60  # length of the silence that is held back until there is a sound
_POLARITY_DURATION_S = 1  # length of the sound that tells whether the channels cancel each other out


class AccompanimentStream(Iterator):
    """Iterator over `(start_s, audio)`: consecutive pieces of one accompaniment, float32 `(num_samples,)`.

    Args:
        model (`AccompGenForConditionalGeneration`): The model whose `stream` makes the accompaniment.
        processor (`AccompGenProcessor`): The processor, which has level, noise and rates.
        chunks (iterable of arrays or tensors): Vocals, `(num_samples,)` or `(channels, num_samples)` each.
        sampling_rate (`int`): Rate of the chunks in Hz.
        seed (`int`): Seed of the noise and of the stages.
        vocals_lufs (`float`, *optional*): Loudness of the whole recording in LUFS. If `None`, it is measured over 10 s
            from the first sound on. Silence before it is held back, at most 60 s of it.
        output_sampling_rate (`int`, *optional*): Rate of the pieces in Hz; `None` is the codec's rate.
        part_names (sequence of `str`): Parts that the model gives, if it has several.
        lead_sheet (`bool`): Whether to hear what is played.
        settings: Everything else that `model.stream` takes.

    Attributes:
        seed (`int`), sampling_rate (`int`, Hz of the pieces)
        num_samples (`int`): Samples that have come out so far; at the end the vocals' length at `sampling_rate`.
        stems (`dict` of `str` to `np.ndarray`): Parts of the newest piece, which is their sum; empty for a model of
            one part.
        lead_sheet (`dict`, *optional*): What was played, as a call gives it; `None` until the stream has ended.
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
        part_names: Sequence[str] = (),
        lead_sheet: bool = True,
        **settings: Any,
    ):
        self.seed = seed
        self.sampling_rate = processor.output_sampling_rate if output_sampling_rate is None else output_sampling_rate
        self.num_samples = 0
        self.lead_sheet: LeadSheet | None = None
        self._listener = LeadSheetListener(processor.output_sampling_rate) if lead_sheet else None
        self._processor, self._vocals_rate = processor, sampling_rate
        self._num_vocals = 0  # samples that have arrived
        self._has_ended = False
        self._part_names = tuple(part_names)
        self.stems: dict[str, np.ndarray] = {}
        self._newest_stems = torch.zeros(0, 0)  # of the piece that the model has given last
        if self._part_names:
            settings = {**settings, "on_stems": self._keep_stems}
        audio = model.stream(self._input_values(chunks, vocals_lufs), seed=seed, **settings)
        self._pieces = self._finished_pieces(audio)

    def __next__(self) -> tuple[float, np.ndarray]:
        with usual_torch_defaults():
            rows = next(self._pieces)
        piece = soften_peaks(rows[0])
        if self._part_names:
            self.stems = dict(zip(self._part_names, bend_parts(rows[1:], rows[0], piece), strict=True))
        start_s = self.num_samples / self.sampling_rate
        self.num_samples += len(piece)
        return start_s, piece

    def _input_values(self, chunks: Iterable, vocals_lufs: float | None) -> Iterator[torch.FloatTensor]:
        """What `AccompGenProcessor.prepare_vocals` makes of the whole, in multiples of 640 samples."""
        rate = self._processor.sampling_rate
        held, start = np.zeros(0, np.float32), 0  # 16 kHz samples from `start` on
        level = _Level(self._processor, vocals_lufs)
        for waveform in self._resampled(chunks):
            held = np.concatenate([held, waveform])
            num_known = level.hear(waveform, held, start, self._has_ended)
            if self._has_ended:
                held = fit_length(held, padded_num_samples(self._num_vocals, self._vocals_rate, rate) - start)
                num_known = len(held)
            num_ready = num_known // SAMPLES_PER_GRID_STEP * SAMPLES_PER_GRID_STEP
            if num_ready:
                values = held[:num_ready] * np.float32(level.gain)
                values += vocal_noise(self.seed, 0, start, num_ready, self._processor.noise_std)
                yield torch.from_numpy(values)
                held, start = held[num_ready:], start + num_ready

    def _resampled(self, chunks: Iterable) -> Iterator[np.ndarray]:
        resampler = ChunkResampler(self._vocals_rate, self._processor.sampling_rate)
        for chunk in self._in_one_channel(map(load_chunk, chunks)):
            yield resampler.push(chunk)
        self._has_ended = True
        yield resampler.finish()

    def _in_one_channel(self, chunks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Mono chunks. Of several channels the first are held back until it is known whether they cancel out."""
        held: list[np.ndarray] | None = None
        channel = None
        for chunk in chunks:
            self._num_vocals += chunk.shape[1]
            if self._num_vocals == chunk.shape[1] and len(chunk) > 1:
                held, powers = [], ChannelPowers(len(chunk))
                meter = LoudnessMeter(len(chunk), self._vocals_rate)
            if held is None:
                yield fold_piece(chunk, channel)
                continue
            held.append(chunk)
            powers.push(chunk)
            meter.push(chunk)
            onset = meter.first_above(self._processor.vocal_gate_lufs)
            end_s = MAX_SILENCE_S if onset is None else 0.1 * onset + _POLARITY_DURATION_S
            if self._num_vocals >= end_s * self._vocals_rate:
                channel = powers.lone_channel("`vocals`")
                yield from (fold_piece(piece, channel) for piece in held)
                held = None
        if self._num_vocals < self._vocals_rate // 10:
            raise ValueError(
                f"`vocals` must last at least 0.1 s, got {self._num_vocals} samples at {self._vocals_rate} Hz."
            )
        if held is not None:
            channel = powers.lone_channel("`vocals`")
            yield from (fold_piece(piece, channel) for piece in held)

    def _keep_stems(self, stems: torch.FloatTensor) -> None:
        self._newest_stems = stems

    def _finished_pieces(self, audio: Iterable[torch.FloatTensor]) -> Iterator[np.ndarray]:
        """Cut to the vocals' length, and change the rate: rows of the sum and of its parts, if there are several."""
        codec_rate = self._processor.output_sampling_rate
        resampler = ChunkResampler(codec_rate, self.sampling_rate, 1 + len(self._part_names))
        for piece in audio:
            rows = torch.cat([piece[None], self._newest_stems]) if self._part_names else piece[None]
            rows = rows.float().cpu().numpy()
            if self._has_ended:  # nothing before the end can reach beyond it
                num_samples = output_num_samples(self._num_vocals, self._vocals_rate, codec_rate)
                rows = rows[:, : max(0, num_samples - resampler.num_in)]
            if self._listener is not None:
                stems = dict(zip(self._part_names, rows[1:], strict=True)) if self._part_names else None
                self._listener.push(soften_peaks(rows[0]), stems)
            resampled = resampler.push(rows)
            if resampled.shape[1]:
                yield resampled
        num_left = output_num_samples(self._num_vocals, self._vocals_rate, self.sampling_rate) - self.num_samples
        rest = fit_length(resampler.finish(), num_left)
        if rest.shape[1]:
            yield rest
        if self._listener is not None:
            self.lead_sheet = self._listener.finish()


class _Level:
    """The one gain of vocals that arrive in pieces, found from their first sound on.

    Attributes:
        gain (`float`): Gain of the samples that may go on by now; until there is a sound, that of silence.
    """

    def __init__(self, processor: Any, vocals_lufs: float | None):
        self._processor, self._rate = processor, processor.sampling_rate
        self._is_known = vocals_lufs is not None
        self._meter = LoudnessMeter(1, self._rate)
        self._onset: int | None = None  # at 16 kHz
        self.gain = self._gain_of(vocals_lufs if self._is_known else float("-inf"))

    def hear(self, waveform: np.ndarray, held: np.ndarray, start: int, is_end: bool) -> int:
        """How many of the samples that are held back may go on with `gain`.

        Args:
            waveform: The newest samples.
            held: All that are held back, these among them.
            start (`int`): Where the first of them is in the recording.
            is_end (`bool`): Nothing follows.
        """
        if self._is_known:
            return len(held)
        if self._onset is None:
            self._meter.push(waveform[None])
            hop = self._meter.first_above(self._processor.vocal_gate_lufs)
            self._onset = None if hop is None else hop * self._rate // 10
        if self._onset is None and not is_end:
            num_silent = len(held) - self._rate  # a sound may have begun in the last second
            return num_silent if len(held) > MAX_SILENCE_S * self._rate else 0
        first = max(0, (self._onset or 0) - start)
        sound = held[first : first + LEVEL_DURATION_S * self._rate]
        if len(sound) < LEVEL_DURATION_S * self._rate and not is_end:
            return 0
        meter = LoudnessMeter(1, self._rate)
        meter.push(sound[None])
        self.gain = self._gain_of(meter.loudness())
        self._is_known = True
        return len(held)

    def _gain_of(self, loudness: float) -> float:
        return gain_of_loudness(loudness, self._processor.vocal_target_lufs, self._processor.vocal_gate_lufs)


__all__ = ["LEVEL_DURATION_S", "MAX_SILENCE_S", "AccompanimentStream"]
