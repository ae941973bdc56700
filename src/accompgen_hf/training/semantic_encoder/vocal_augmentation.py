"""Other throats, microphones, rooms and tunings for the voices that the semantic encoder learns from.

A procedural singer is in tune with the band and has one of a few throats. A recording of a real one is tuned to
nothing, often a third of a semitone off, and a recording that was shifted has formants that no throat has. None of it
changes what the band should play, so the classes of the frames stay those of the song as it was sung.
"""

import math
from dataclasses import dataclass

import numpy as np
import soxr
import torch

from accompgen_hf.songs.mastering import filter_wave, room_impulse

CENTS = 50.0
FORMANT_RATIO = 1.35
_WINDOW = 1024
_ENVELOPE_COEFFICIENTS = 20  # cepstral: below the period of any sung note, so that the envelope leaves pitch alone
_LARGEST_GAIN = math.log(10.0)  # 20 dB


@dataclass(frozen=True)
class VocalAugmentation:
    """What is changed about one voice.

    Attributes:
        cents (`float`): Change of tuning in cents. The tempo changes with it, as on a tape, by at most 3 %.
        formant_ratio (`float`): Formant frequencies relative to the singer's own; pitch stays.
        peaks (`tuple`): (Hz, dB) of an equaliser's bells, an octave wide.
        band_hz (`tuple[float, float]`): Lowest and highest frequency that the microphone lets through.
        rt60_s (`float`), room_level (`float`): Decay time and level of the room.
        room_seed (`int`): Seed of the room's reflections.
    """

    cents: float = 0.0
    formant_ratio: float = 1.0
    peaks: tuple[tuple[float, float], ...] = ()
    band_hz: tuple[float, float] = (20.0, 8000.0)
    rt60_s: float = 0.05
    room_level: float = 0.0
    room_seed: int = 0

    @property
    def speed(self) -> float:
        """Input samples per output sample."""
        return 2.0 ** (self.cents / 1200.0)


def draw_augmentation(generator: np.random.Generator) -> VocalAugmentation:
    """Draw every change independently: tuning even over half a semitone to both sides, the rest mostly mild."""
    return VocalAugmentation(
        cents=float(generator.uniform(-CENTS, CENTS)),
        formant_ratio=float(FORMANT_RATIO ** generator.uniform(-1.0, 1.0)),
        peaks=tuple((float(100.0 * 60.0 ** generator.random()), float(generator.normal(0.0, 5.0))) for _ in range(3)),
        band_hz=(float(40.0 * 6.0 ** generator.random()), float(3500.0 * 2.3 ** generator.random())),
        rt60_s=float(generator.uniform(0.1, 0.9)),
        room_level=float(0.4 * generator.random() ** 2),
        room_seed=int(generator.integers(2**31)),
    )


def augment_vocals(waveform: np.ndarray, augmentation: VocalAugmentation, sampling_rate: int) -> np.ndarray:
    """Apply an augmentation; the power stays.

    Args:
        waveform (`np.ndarray` of shape `(num_samples,)`): Vocals.
        augmentation (`VocalAugmentation`): The changes to make.
        sampling_rate (`int`): Hz.

    Returns:
        float32 `(num_samples / augmentation.speed,)`, rounded; output sample n was input sample `speed` n.

    Raises:
        ValueError: If `waveform` is not one-dimensional or shorter than a window of 1024 samples.
    """
    if waveform.ndim != 1 or len(waveform) < _WINDOW:
        raise ValueError(f"`waveform` must be (num_samples,), at least {_WINDOW}, got shape {waveform.shape}.")
    power = np.mean(np.square(waveform, dtype=np.float64))
    augmented = waveform.astype(np.float32)
    if augmentation.cents:
        augmented = soxr.resample(augmented, sampling_rate * augmentation.speed, sampling_rate, quality="MQ")
    if augmentation.formant_ratio != 1.0:
        augmented = _move_formants(augmented, augmentation.formant_ratio)
    impulse = room_impulse(
        np.random.default_rng(augmentation.room_seed), augmentation.rt60_s, augmentation.room_level, sampling_rate
    )
    augmented = filter_wave(augmented, _equaliser(augmentation, sampling_rate), impulse, sampling_rate)
    gain = math.sqrt(power / max(float(np.mean(np.square(augmented, dtype=np.float64))), 1e-12))
    return (gain * augmented).astype(np.float32)


def _equaliser(augmentation: VocalAugmentation, sampling_rate: int) -> np.ndarray:
    frequencies = np.maximum(np.linspace(0.0, sampling_rate / 2, 1024), 1.0)
    low_hz, high_hz = augmentation.band_hz
    response = 1.0 / np.sqrt((1.0 + (low_hz / frequencies) ** 4) * (1.0 + (frequencies / high_hz) ** 8))
    for centre_hz, peak_db in augmentation.peaks:
        response *= 10.0 ** (peak_db / 20.0 * np.exp(-2.0 * np.log2(frequencies / centre_hz) ** 2))
    return response


def _move_formants(waveform: np.ndarray, ratio: float) -> np.ndarray:
    """Stretch the cepstral envelope of every spectrum by `ratio` and leave its fine structure where it is."""
    window = torch.hann_window(_WINDOW)
    options = {"n_fft": _WINDOW, "hop_length": _WINDOW // 4, "window": window}
    spectra = torch.stft(torch.from_numpy(waveform), **options, return_complex=True)  # (bins, frames)
    cepstra = torch.fft.irfft(torch.log(spectra.abs() + 1e-5), dim=0)
    cepstra[_ENVELOPE_COEFFICIENTS + 1 : -_ENVELOPE_COEFFICIENTS] = 0.0
    envelopes = torch.fft.rfft(cepstra, dim=0).real  # (bins, frames), logarithmic
    places = torch.arange(len(envelopes)) / ratio
    lower = places.long().clamp(max=len(envelopes) - 2)
    share = (places - lower).clamp(0.0, 1.0)[:, None]
    moved = (1.0 - share) * envelopes[lower] + share * envelopes[lower + 1]
    gains = torch.exp((moved - envelopes).clamp(-_LARGEST_GAIN, _LARGEST_GAIN))
    return torch.istft(spectra * gains, **options, length=len(waveform)).numpy()
