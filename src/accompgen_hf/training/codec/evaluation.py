"""Mel spectra, and what is measured on held-out songs: log-mel error, use of the codebooks, how tonal audio is.

Letters: B batch, M mel bands, F spectrogram frames, K codebooks, T EnCodec frames.
"""

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn
from transformers import EncodecModel
from transformers.audio_utils import mel_filter_bank

# Magnitudes are divided by the window's sum: a full-scale sine is 0.5, and this floor lies 94 dB below it.
MEL_FLOOR = 1e-5


class MelSpectrogram(nn.Module):
    """Mel magnitudes of a waveform, on the scale where a full-scale sine is 0.5 whatever the window."""

    def __init__(self, sampling_rate: int, window_size: int, num_mel_bands: int, hop_size: int | None = None):
        super().__init__()
        self.window_size = window_size
        self.hop_size = window_size // 4 if hop_size is None else hop_size
        window = torch.hann_window(window_size)
        filters = mel_filter_bank(
            num_frequency_bins=window_size // 2 + 1,
            num_mel_filters=num_mel_bands,
            min_frequency=0.0,
            max_frequency=sampling_rate / 2,
            sampling_rate=sampling_rate,
            mel_scale="htk",
        )
        filters = torch.from_numpy(filters).float()  # (num_bins, M)
        # Low bands can be narrower than a bin and stay empty: they would be constant and flatter the error.
        filters = filters[:, filters.sum(0) > 0]
        self.register_buffer("window", window / window.sum(), persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """Return `(batch_size, num_frames, num_mel_bands)` for `waveform` of shape `(batch_size, num_samples)`."""
        spectrum = torch.stft(
            waveform, self.window_size, self.hop_size, window=self.window, center=True, return_complex=True
        )
        # The small constant keeps the gradient of the magnitude finite in digital silence.
        magnitude = (spectrum.real.square() + spectrum.imag.square() + 1e-14).sqrt()
        return magnitude.transpose(1, 2) @ self.filters  # (B, bins, F) -> (B, F, M)


def log_mel(mel: torch.Tensor) -> torch.Tensor:
    """Return log10 of mel magnitudes above `MEL_FLOOR`."""
    return mel.clamp(min=MEL_FLOOR).log10()


@torch.no_grad()
def evaluate_codec(model: EncodecModel, waveforms: Iterable[np.ndarray]) -> dict:
    """Measure the codec as an oracle: what encoding and decoding real waveforms loses.

    Args:
        model (`EncodecModel`): Its highest bandwidth is measured, and the preview from half of its codebooks.
        waveforms (`Iterable[np.ndarray]`): Mono recordings at the model's sampling rate, held out from training.

    Returns:
        `dict` with `log_mel_error` and `preview_log_mel_error` (mean absolute difference of log10-mel magnitudes,
        80 bands, 1024-sample window), `mean_spectrum_error` (the same for a decoder that always answers with these
        recordings' mean spectrum), `perplexity` and `usage` (one per codebook: exp of the entropy of its codes;
        share of its codes that occur).

    Raises:
        ValueError: If there is no waveform.
    """
    was_training = model.training
    model.eval()
    spectrogram = MelSpectrogram(model.config.sampling_rate, 1024, 80, hop_size=256)
    targets, errors, preview_errors, all_codes = [], [], [], []
    for waveform in waveforms:
        waveform = torch.as_tensor(waveform, dtype=torch.float32)[None, None]  # (1, 1, num_samples)
        codes = model.encode(waveform, bandwidth=model.config.target_bandwidths[-1]).audio_codes  # (1, 1, K, T)
        target = log_mel(spectrogram(waveform[:, 0]))
        for kept, collected in ((codes.shape[2], errors), (codes.shape[2] // 2, preview_errors)):
            decoded = model.decode(codes[:, :, :kept], [None]).audio_values[:, 0, : waveform.shape[-1]]
            collected.append((log_mel(spectrogram(decoded)) - target).abs().mean().item())
        targets.append(target[0])
        all_codes.append(codes[0, 0])
    model.train(was_training)
    if not targets:
        raise ValueError("`waveforms` must hold at least one recording, got none.")
    frames = torch.cat(targets)  # (F, M)
    counts = [
        torch.bincount(row, minlength=model.config.codebook_size).double() for row in torch.cat(all_codes, dim=1)
    ]
    return {
        "log_mel_error": float(np.mean(errors)),
        "preview_log_mel_error": float(np.mean(preview_errors)),
        "mean_spectrum_error": (frames - frames.mean(dim=0)).abs().mean().item(),
        "perplexity": [perplexity(row) for row in counts],
        "usage": [(row > 0).double().mean().item() for row in counts],
    }


def perplexity(counts: torch.Tensor) -> float:
    """Return exp of the entropy of a distribution given by counts: the number of codes in effective use."""
    probabilities = counts / counts.sum()
    return torch.special.entr(probabilities).sum().exp().item()


def spectral_flatness_db(
    waveform: np.ndarray, low_hz: float, high_hz: float, sampling_rate: int, without_hz: float | None = None
) -> float:
    """Return the mean spectral flatness of a band in dB: 0 is noise, and the lower, the more tonal.

    Geometric over arithmetic mean of the powers in a band of 4096-sample frames; the quietest fifth is left out. Bins
    at multiples of `without_hz` are left out as well: a hum is tonal, but no music.
    """
    power = _frame_powers(waveform, 4096)
    hertz = np.fft.rfftfreq(4096, 1 / sampling_rate)
    is_kept = (hertz >= low_hz) & (hertz < high_hz)
    if without_hz is not None:
        distance = np.abs(hertz - without_hz * np.round(hertz / without_hz))
        is_kept &= distance > 2 * sampling_rate / 4096  # half of a line's width
    power = power[:, is_kept] + 1e-12
    level = power.sum(axis=1)
    power = power[level > np.percentile(level, 20)]
    if not len(power):
        return 0.0
    return float(np.mean(10 * (np.log10(power).mean(axis=1) - np.log10(power.mean(axis=1)))))


def comb_excess_db(waveform: np.ndarray, comb_hz: float, sampling_rate: int) -> float:
    """Return how far multiples of `comb_hz` between 1 and 6 kHz stand above the gaps between them, in dB.

    A codec that hums at its frame rate is far above 0; music is near 0, since its pitches are elsewhere.
    """
    bins_per_tooth = 20
    window_size = round(bins_per_tooth * sampling_rate / comb_hz)
    level = 10 * np.log10(_frame_powers(waveform, window_size) + 1e-12).mean(axis=0)
    teeth = np.arange(np.ceil(1000 / comb_hz), np.floor(6000 / comb_hz)).astype(int) * bins_per_tooth
    gaps = teeth[:, None] + np.array([-8, -7, -6, -5, 5, 6, 7, 8])
    return float((level[teeth] - level[gaps].mean(axis=1)).mean())


def log_mel_distance(decoded: torch.Tensor, target: torch.Tensor, sampling_rate: int) -> float:
    """Return the mean absolute difference of log10-mel magnitudes of waveforms `(batch_size, num_samples)`."""
    spectrogram = MelSpectrogram(sampling_rate, 1024, 80, hop_size=256)
    return (log_mel(spectrogram(decoded)) - log_mel(spectrogram(target))).abs().mean().item()


def _frame_powers(waveform: np.ndarray, window_size: int) -> np.ndarray:
    """Powers `(num_frames, window_size / 2 + 1)` of Hann windows that overlap by half."""
    frames = np.lib.stride_tricks.sliding_window_view(waveform, window_size)[:: window_size // 2]
    return np.abs(np.fft.rfft(frames * np.hanning(window_size), axis=1)) ** 2
