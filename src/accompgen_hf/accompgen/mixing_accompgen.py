"""Voice and band into one mix, in blocks: the loudness of each, the sum, and a limiter that keeps true peaks down.

Both sides are read several times, block by block, so that only one number per millisecond of the song is held. A mix
of blocks and a mix of whole arrays are the same bits.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

import numpy as np

from .audio_accompgen import as_finite, as_waveform, fit_length, fold_to_mono, resample
from .audio_checks_accompgen import check_sampling_rate
from .loudness_accompgen import LoudnessMeter

_BLOCK_SAMPLES = 1 << 18
_MAX_BOOST_DB = 30.0  # a larger gain would raise the accompaniment's noise, not its music
_OVERSAMPLING = 8  # BS.1770-4 annex 2 asks for at least 4; 4 still misses up to 0.7 dB near the highest frequencies
_FFT_SIZE, _FFT_CONTEXT = 1 << 13, 1 << 9
_LIMITER_MARGIN_DB = 0.15  # other meters' filters read up to 0.13 dB more on noise

OpenBlocks = Callable[[], Iterable[np.ndarray]]  # begins anew with the first of consecutive (channels, num_samples)


def mix(
    vocals: np.ndarray,
    accompaniment: np.ndarray,
    sampling_rate: int,
    accompaniment_lufs_offset: float = -3.0,
    true_peak_ceiling_db: float = -1.0,
    *,
    accompaniment_sampling_rate: int | None = None,
) -> np.ndarray:
    """Set an accompaniment under (or over) the vocals by loudness, add both, and keep true peaks below a ceiling.

    The vocals are not changed unless the sum would pass the ceiling: then a limiter with 5 ms of look-ahead lowers the
    sum around its peaks. Where either side has no loudness (under 0.4 s, or below the gate at -70 LUFS), the
    accompaniment is added as it is.

    Args:
        vocals: float array of shape `(num_samples,)` or `(channels, num_samples)`.
        accompaniment: float array of such a shape. Mono goes to all channels of a stereo recording, and to the front
            pair of a wider one.
        sampling_rate (`int`): Rate of the vocals and of the result in Hz.
        accompaniment_lufs_offset (`float`): Loudness of the accompaniment minus that of the vocals, in LU.
        true_peak_ceiling_db (`float`): Highest true peak in dBTP, at most 0.
        accompaniment_sampling_rate (`int`): Rate of the accompaniment in Hz. `None` means that of the vocals.

    Returns:
        float32 array of the shape of `vocals`: the accompaniment is cut or padded to it.

    Raises:
        ValueError: If an array is empty, not finite or of a wrong shape, or a number is out of its range.
        ImportError: If pyloudnorm is missing, or soxr and the rates differ.
    """
    vocals = as_finite(vocals, "`vocals`")
    accompaniment = as_finite(accompaniment, "`accompaniment`")
    if accompaniment_sampling_rate is not None:
        accompaniment = resample(accompaniment, accompaniment_sampling_rate, sampling_rate)
    sides = np.atleast_2d(vocals), np.atleast_2d(accompaniment)
    blocks = mix_blocks(
        lambda: sides[:1], lambda: sides[1:], sampling_rate, accompaniment_lufs_offset, true_peak_ceiling_db
    )
    mixed, end = np.empty_like(sides[0]), 0
    for block in blocks:
        mixed[:, end : end + block.shape[1]] = block
        end += block.shape[1]
    return mixed.reshape(vocals.shape)


def mix_blocks(
    open_vocals: OpenBlocks,
    open_accompaniment: OpenBlocks,
    sampling_rate: int,
    accompaniment_lufs_offset: float = -3.0,
    true_peak_ceiling_db: float = -1.0,
) -> Iterator[np.ndarray]:
    """`mix` of recordings that come in blocks, both at `sampling_rate`.

    Args:
        open_vocals, open_accompaniment (`Callable`): Functions that give consecutive blocks from the beginning: finite
            float32 arrays of shape `(channels, num_samples)` of any length.

    Yields:
        float32 arrays of shape `(channels, num_samples)`, in all as many samples as the vocals have.

    Raises:
        ValueError: If a number is out of its range.
        ImportError: If pyloudnorm is missing.
    """
    if not np.isfinite(accompaniment_lufs_offset):
        raise ValueError(f"`accompaniment_lufs_offset` must be a finite number, got {accompaniment_lufs_offset}.")
    if not -60 <= true_peak_ceiling_db <= 0:
        raise ValueError(f"`true_peak_ceiling_db` must be between -60 and 0 dBTP, got {true_peak_ceiling_db}.")
    sampling_rate = check_sampling_rate(sampling_rate)

    def open_pairs() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return _in_step(open_vocals(), open_accompaniment())

    gain = np.float32(10 ** (_balance_db(open_pairs(), sampling_rate, accompaniment_lufs_offset) / 20))

    def open_sum() -> Iterator[np.ndarray]:
        for vocals, accompaniment in open_pairs():
            total = vocals.copy()
            total[: len(accompaniment)] += gain * accompaniment
            yield total

    yield from _limit(open_sum, sampling_rate, 10 ** (true_peak_ceiling_db / 20))


def _in_step(
    vocals: Iterable[np.ndarray], accompaniment: Iterable[np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Equally long blocks of both, as long as the vocals last, with channels that can be added."""
    accompaniment = iter(accompaniment)
    held = next(accompaniment)
    for block in vocals:
        for start in range(0, block.shape[1], _BLOCK_SAMPLES):
            piece = block[:, start : start + _BLOCK_SAMPLES]
            num_samples = piece.shape[1]
            while held.shape[1] < num_samples and (more := next(accompaniment, None)) is not None:
                held = np.concatenate([held, more], axis=1)
            yield piece, _match_channels(fit_length(held[:, :num_samples], num_samples), len(piece))
            held = held[:, num_samples:]


def _match_channels(accompaniment: np.ndarray, num_channels: int) -> np.ndarray:
    """(channels, num_samples) with as many channels as the vocals have, or their front pair."""
    if len(accompaniment) == num_channels:
        return accompaniment
    return np.repeat(fold_to_mono(accompaniment)[None], min(num_channels, 2), axis=0)


def balance_gain(
    vocals: np.ndarray, accompaniment: np.ndarray, sampling_rate: int, accompaniment_lufs_offset: float = -3.0
) -> float:
    """Factor by which `mix` multiplies the accompaniment before it adds it; arguments as there."""
    vocals = np.atleast_2d(as_finite(vocals, "`vocals`"))
    accompaniment = np.atleast_2d(as_finite(accompaniment, "`accompaniment`"))
    pair = vocals, _match_channels(accompaniment, len(vocals))
    return 10 ** (_balance_db([pair], check_sampling_rate(sampling_rate), accompaniment_lufs_offset) / 20)


def _balance_db(pairs: Iterable[tuple[np.ndarray, np.ndarray]], sampling_rate: int, lufs_offset: float) -> float:
    """Gain that sets the accompaniment `lufs_offset` from the vocals; 0 where a side has no loudness."""
    meters = None
    for pair in pairs:
        meters = meters or [LoudnessMeter(len(side), sampling_rate) for side in pair]
        for meter, side in zip(meters, pair, strict=True):
            meter.push(side)
    vocals_lufs, accompaniment_lufs = (meter.loudness() for meter in meters)
    if not (np.isfinite(vocals_lufs) and np.isfinite(accompaniment_lufs)):
        return 0.0
    return min(vocals_lufs + lufs_offset - accompaniment_lufs, _MAX_BOOST_DB)


def true_peak(audio: np.ndarray) -> float:
    """Highest absolute value between as well as at the samples (BS.1770-4 annex 2, by oversampling). 1.0 = 0 dBTP."""
    return _highest_peak([np.atleast_2d(as_waveform(audio))])


def _highest_peak(blocks: Iterable[np.ndarray]) -> float:
    return max((float(peaks.max()) for _, peaks in _iterate_peaks(blocks)), default=0.0)


def _iterate_peaks(blocks: Iterable[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (start, peaks): per sample the highest absolute value over channels up to the next sample.

    Interpolated by FFT twice, with all up to half the rate, and without the last twentieth, as converters do it: for
    noise up to half the rate the two differ by up to 1 dB either way, for other sounds not at all.
    """
    size = _FFT_SIZE - 2 * _FFT_CONTEXT
    fade = np.clip((0.98 - np.linspace(0, 1, _FFT_SIZE // 2 + 1)) / 0.04, 0, 1).astype(np.float32)
    gains = np.stack([np.ones_like(fade), np.sin(0.5 * np.pi * fade) ** 2]) * np.float32(_OVERSAMPLING)
    gains[:, -1] /= 2  # half the rate becomes an ordinary frequency
    held, first, start = None, 0, 0  # samples from `first` on
    for block in chain(blocks, [None]):
        if block is not None:
            held = block if held is None else np.concatenate([held, block], axis=1)
        end = first + (0 if held is None else held.shape[1])
        while start < end and (block is None or start + size + _FFT_CONTEXT <= end):
            context, num_peaks = min(start, _FFT_CONTEXT), min(size, end - start)
            piece = held[:, start - context - first : start + num_peaks + _FFT_CONTEXT - first]
            spectra = gains[:, None] * np.fft.rfft(piece, _FFT_SIZE)  # (2, channels, frequencies)
            fine = np.abs(np.fft.irfft(spectra, _FFT_SIZE * _OVERSAMPLING))
            fine = fine[..., context * _OVERSAMPLING : (context + num_peaks) * _OVERSAMPLING]
            rows = [*fine.reshape(2 * len(piece), -1)]
            phases = [row[phase::_OVERSAMPLING] for row in rows for phase in range(_OVERSAMPLING)]
            yield start, _highest([*np.abs(piece[:, context : context + num_peaks]), *phases])
            start += size
        if held is not None:
            kept = max(first, start - _FFT_CONTEXT)
            held, first = held[:, kept - first :], kept


def _highest(arrays: Iterable[np.ndarray]) -> np.ndarray:
    """Maximum over equally long arrays, element by element: `max(axis=...)` over a short axis is 20 times slower."""
    return functools.reduce(np.maximum, arrays)


def _limit(open_blocks: OpenBlocks, sampling_rate: int, ceiling: float) -> Iterator[np.ndarray]:
    """The blocks, lower where their true peaks pass the ceiling."""
    target = ceiling * 10 ** (-_LIMITER_MARGIN_DB / 20)
    frame_size = max(1, sampling_rate // 1000)  # the gain has one value per millisecond, linear in between
    frame_peaks = _measure_frames(open_blocks(), frame_size)
    if frame_peaks.max() <= ceiling:
        yield from open_blocks()
        return
    allowed = np.minimum(1.0, target / np.maximum(frame_peaks, 1e-9))
    # Both ends of a frame's line must be low enough for it, and its last oversampled peak may lie in the next frame.
    allowed[1:] = np.minimum(allowed[1:], allowed[:-1])
    gain = _smooth_gain(allowed)

    def open_limited() -> Iterator[np.ndarray]:
        start = 0
        for block in open_blocks():
            end = start + block.shape[1]
            frames = np.arange(start // frame_size, end // frame_size + 2)
            lines = np.interp(np.arange(start, end) / frame_size, frames, gain[frames.clip(max=len(gain) - 1)])
            yield block * lines.astype(np.float32)
            start = end

    peak = _highest_peak(open_limited())
    if peak <= target:
        yield from open_limited()
    else:  # the moving gain leaves at most a few hundredths of a decibel
        yield from (block * np.float32(target / peak) for block in open_limited())


def _measure_frames(blocks: Iterable[np.ndarray], frame_size: int) -> np.ndarray:
    """The highest peak of every frame, `(num_frames + 1,)` with a zero at the end."""
    measured, num_samples = [], 0
    for start, peaks in _iterate_peaks(blocks):
        num_samples = start + len(peaks)
        first = start // frame_size
        lead = start - first * frame_size  # frames go on from block to block
        peaks = np.concatenate([np.zeros(lead, np.float32), peaks])
        measured.append((first, np.maximum.reduceat(peaks, np.arange(0, len(peaks), frame_size))))
    frame_peaks = np.zeros(-(-num_samples // frame_size) + 1, dtype=np.float32)
    for first, highest in measured:
        frames = slice(first, first + len(highest))
        frame_peaks[frames] = np.maximum(frame_peaks[frames], highest)
    return frame_peaks


def _smooth_gain(allowed: np.ndarray, num_attack: int = 5, release: float = 0.99) -> np.ndarray:
    """A gain per millisecond, never above `allowed`: 5 ms of look-ahead down, about 100 ms back up."""
    padded = np.concatenate([allowed, np.ones(num_attack)])
    held = np.lib.stride_tricks.sliding_window_view(padded, num_attack + 1).min(axis=1)
    value = 1.0
    for start in range(0, len(held), _BLOCK_SAMPLES):  # a Python number takes four times the memory
        targets = held[start : start + _BLOCK_SAMPLES].tolist()
        for index, target in enumerate(targets):
            targets[index] = value = min(target, 1.0 - (1.0 - value) * release)
        held[start : start + _BLOCK_SAMPLES] = targets
    # The mean over the last milliseconds turns the step down into a ramp that ends at the peak.
    padded = np.concatenate([np.ones(num_attack), held])
    return np.lib.stride_tricks.sliding_window_view(padded, num_attack + 1).mean(axis=1)


__all__ = ["OpenBlocks", "balance_gain", "mix", "mix_blocks", "true_peak"]
