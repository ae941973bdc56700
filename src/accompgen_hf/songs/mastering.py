"""Rooms, loudness and soft limiting for procedural songs, all in the frequency domain with numpy alone."""

import numpy as np


def fast_length(length: int) -> int:
    """Smallest product of 2, 3 and 5 that is at least `length`: FFTs of prime lengths are slow."""
    best = 1 << max(length - 1, 1).bit_length()
    five = 1
    while five < best:
        three = five
        while three < best:
            two = three * (1 << max(0, -(-length // three) - 1).bit_length())
            best = min(best, two) if two >= length else best
            three *= 3
        five *= 5
    return best


def room_impulse(rng: np.random.Generator, rt60_s: float, level: float, sampling_rate: int) -> np.ndarray:
    """Impulse response: the direct sound, a few early reflections, and a noise tail that darkens; float32."""
    num_samples = int(max(rt60_s, 0.05) * sampling_rate)
    time = np.arange(num_samples) / sampling_rate
    tail = rng.standard_normal(num_samples).astype(np.float32)
    tail[1:] = 0.6 * tail[1:] + 0.4 * tail[:-1]
    tail *= np.exp(-6.9 * time / rt60_s).astype(np.float32)
    tail[: int(0.012 * sampling_rate)] = 0.0
    for delay_s in rng.uniform(0.004, 0.03, size=5):
        tail[min(int(delay_s * sampling_rate), num_samples - 1)] += 3.0 * float(rng.uniform(-1.0, 1.0))
    tail *= np.float32(level / (np.sqrt(np.sum(tail**2)) + 1e-9))
    tail[0] = 1.0
    return tail


def filter_wave(
    wave: np.ndarray, response: np.ndarray | None, impulse: np.ndarray | None, sampling_rate: int
) -> np.ndarray:
    """Convolve with `impulse` and weigh by `response(frequencies)`; same length, float32."""
    size = fast_length(len(wave) + (0 if impulse is None else len(impulse)))
    spectrum = np.fft.rfft(wave, size)
    if impulse is not None:
        spectrum *= np.fft.rfft(impulse, size)
    if response is not None:
        grid = np.linspace(0.0, sampling_rate / 2, len(response))
        spectrum *= np.interp(np.linspace(0.0, sampling_rate / 2, len(spectrum)), grid, response).astype(np.float32)
    return np.fft.irfft(spectrum, size)[: len(wave)].astype(np.float32)


def _k_weighting(frequencies: np.ndarray) -> np.ndarray:
    """Power gain of ITU-R BS.1770's two filters, from their analog forms."""
    ratio = frequencies / 1681.97
    shelf = ((1.0 - 1.5849 * ratio**2) ** 2 + (1.2587 * ratio / 0.7072) ** 2) / (
        (1.0 - ratio**2) ** 2 + (ratio / 0.7072) ** 2
    )
    low = (frequencies / 38.135) ** 4
    return shelf * low / ((1.0 - (frequencies / 38.135) ** 2) ** 2 + (frequencies / (0.5003 * 38.135)) ** 2 + 1e-12)


def loudness_lufs(wave: np.ndarray, sampling_rate: int) -> float:
    """Integrated loudness with the two gates of BS.1770, mono; -inf for silence. K-weighting acts per 400-ms block."""
    size, hop = int(0.4 * sampling_rate), int(0.1 * sampling_rate)
    if len(wave) < size:
        wave = np.pad(wave, (0, size - len(wave)))
    blocks = np.lib.stride_tricks.sliding_window_view(wave, size)[::hop]
    gain = _k_weighting(np.fft.rfftfreq(size, 1.0 / sampling_rate)).astype(np.float32)
    powers = []
    for first in range(0, len(blocks), 256):
        spectrum = np.fft.rfft(blocks[first : first + 256], axis=1)
        powers.append(2.0 * (np.abs(spectrum) ** 2 * gain).sum(axis=1) / size**2)
    power = np.concatenate(powers).astype(np.float64)
    kept = power[power > 10.0 ** ((-70.0 + 0.691) / 10.0)]
    if len(kept) == 0:
        return -np.inf
    kept = kept[kept > 0.1 * kept.mean()]
    return float(-0.691 + 10.0 * np.log10(kept.mean()))


def to_loudness(
    wave: np.ndarray, target_lufs: float, sampling_rate: int, max_gain_db: float = 40.0, ceiling: float = 0.97
) -> np.ndarray:
    """Bring to a loudness with one gain, then round off the peaks so that none passes `ceiling`; float32.

    `max_gain_db` bounds the gain: a window that catches only the end of a note is not made as loud as a song.
    """
    level = loudness_lufs(wave, sampling_rate)
    if not np.isfinite(level):
        return wave.astype(np.float32)
    wave = wave * np.float32(10.0 ** (min(target_lufs - level, max_gain_db) / 20.0))
    if np.abs(wave).max() <= 0.7 * ceiling:
        return wave
    knee = np.float32(0.6 * ceiling)
    rest = np.float32(ceiling) - knee
    over = np.abs(wave) > knee
    wave[over] = np.sign(wave[over]) * (knee + rest * np.tanh((np.abs(wave[over]) - knee) / rest))
    return wave


def gain_of_parts(mix: np.ndarray, mastered: np.ndarray, parts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Give every part the gain, sample by sample, that mastering gave the mix: the parts add up to `mastered`."""
    is_sound = np.abs(mix) > 1e-7
    ratio = np.ones_like(mix)
    np.divide(mastered, mix, out=ratio, where=is_sound)
    # Where the mix crosses zero its parts need not: there the largest gain, that of quiet samples, is the right one.
    ratio[~is_sound] = ratio[is_sound].max() if is_sound.any() else 1.0
    return {name: part * ratio for name, part in parts.items()}


def limiter_gain(wave: np.ndarray, target_lufs: float, sampling_rate: int, ceiling: float = 0.97) -> np.ndarray:
    """Gain per sample that brings `wave` to a loudness and looks ahead to every peak: none passes `ceiling`; float32.

    It moves slowly enough (5 ms ahead, 60 ms back) to be applied to the parts of a mix one by one.
    """
    level = loudness_lufs(wave, sampling_rate)
    if not np.isfinite(level):
        return np.ones_like(wave)
    gain = 10.0 ** (min(target_lufs - level, 40.0) / 20.0)
    hop = max(1, int(0.005 * sampling_rate))
    num_blocks = -(-len(wave) // hop)
    blocks = np.pad(np.abs(wave) * gain, (0, num_blocks * hop - len(wave))).reshape(num_blocks, hop)
    needed = np.minimum(1.0, ceiling / np.maximum(blocks.max(axis=1), 1e-9))
    # Each block and both of its neighbours' edges stay at or below what its peak needs.
    held = np.minimum(needed, np.minimum(np.append(needed[1:], 1.0), np.append(1.0, needed[:-1])))
    recovery = 1.0 - np.exp(-0.005 / 0.06)
    for i in range(1, num_blocks):
        held[i] = min(held[i], held[i - 1] + recovery * (1.0 - held[i - 1]))
    centres = (np.arange(num_blocks) + 0.5) * hop
    return (gain * np.interp(np.arange(len(wave)), centres, held)).astype(np.float32)
