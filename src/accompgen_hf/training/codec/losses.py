"""Losses of the codec's training: spectra on a mel and on a linear frequency axis, and discriminators.

A mel band above 1 kHz is wider than the distance of two partials, so a mel loss alone takes noise for a chord. The
linear-frequency loss sees each partial: its longest window, 4096 samples, resolves 6 Hz.

Letters: B batch, N samples, F frequency bins, T spectrogram frames.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import leaky_relu, relu
from torch.nn.utils.parametrizations import weight_norm

from accompgen_hf.training.codec.evaluation import MEL_FLOOR, MelSpectrogram

MAGNITUDE_EPS = 1e-14  # inside the root: keeps the gradient finite in digital silence
TREBLE_HZ = 4000  # partials that the ear follows lie below
NUM_TEETH = 12  # lines of a comb that are judged together
SPECTRUM_POWER = 0.3  # discriminators see magnitudes with this exponent, so that quiet partials count


class SpectralLoss(nn.Module):
    """Distances of two waveforms' spectra; each window's transform is computed once.

    `mel` is the L1 distance of log10-mel magnitudes plus `linear_weight` times their relative distance, averaged over
    `mel_scales`. `spectrum` is the L1 distance of log10 magnitudes, in which bins above `TREBLE_HZ` count
    `treble_weight` times as much as those below, plus `convergence_weight` times the relative Euclidean distance. It
    is the mean over `spectrum_scales`, pairs of window size and weight.
    """

    def __init__(
        self,
        sampling_rate: int,
        mel_scales: Sequence[tuple[int, int]] = ((2048, 128), (1024, 80), (256, 32)),
        spectrum_scales: Sequence[tuple[int, float]] = ((4096, 2), (2048, 1), (1024, 1), (512, 1), (256, 1)),
        linear_weight: float = 0.5,
        convergence_weight: float = 0.5,
        treble_weight: float = 0.4,
    ):
        super().__init__()
        self.linear_weight, self.convergence_weight = linear_weight, convergence_weight
        self.spectrum_weights = dict(spectrum_scales)
        self.mels = nn.ModuleDict(
            {str(size): MelSpectrogram(sampling_rate, size, bands) for size, bands in mel_scales}
        )
        self.window_sizes = sorted({*self.spectrum_weights, *(size for size, _ in mel_scales)}, reverse=True)
        for size in self.spectrum_weights:
            hertz = torch.linspace(0, sampling_rate / 2, size // 2 + 1)[:, None]  # (F, 1)
            weights = torch.where(hertz < TREBLE_HZ, 1.0, treble_weight)
            self.register_buffer(f"bin_weights_{size}", weights / weights.mean(), persistent=False)

    def forward(self, decoded: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return `mel` and `spectrum`, scalars, of two waveforms of shape `(batch_size, num_samples)`."""
        losses = {"mel": decoded.new_zeros(()), "spectrum": decoded.new_zeros(())}
        for size in self.window_sizes:
            ours = magnitudes(decoded, size)  # (B, F, T)
            with torch.no_grad():
                theirs = magnitudes(target, size)
            if weight := self.spectrum_weights.get(size):
                relative = (ours - theirs).norm() / (theirs.norm() + 1e-3)
                distances = _log_distances(ours, theirs) * getattr(self, f"bin_weights_{size}")
                distance = distances.mean() + self.convergence_weight * relative
                share = weight / sum(self.spectrum_weights.values())
                losses["spectrum"] = losses["spectrum"] + share * distance
            if str(size) in self.mels:
                filters = self.mels[str(size)].filters
                ours, theirs = (part.transpose(1, 2) @ filters for part in (ours, theirs))
                relative = (ours - theirs).abs().mean() / (theirs.mean() + 1e-3)
                distance = _log_distances(ours, theirs).mean() + self.linear_weight * relative
                losses["mel"] = losses["mel"] + distance / len(self.mels)
        return losses


def magnitudes(waveform: torch.Tensor, window_size: int) -> torch.Tensor:
    """STFT magnitudes `(B, F, T)` on the scale where a full-scale sine is 0.5, hop a quarter of the window."""
    spectrum = short_time_spectrum(waveform, window_size)
    return (spectrum.real.square() + spectrum.imag.square() + MAGNITUDE_EPS).sqrt()


def short_time_spectrum(waveform: torch.Tensor, window_size: int) -> torch.Tensor:
    """STFT `(B, F, T)` on the scale where a full-scale sine is 0.5, hop a quarter of the window."""
    window = torch.hann_window(window_size, device=waveform.device)
    return torch.stft(
        waveform, window_size, window_size // 4, window=window / window.sum(), center=True, return_complex=True
    )


class CombLoss(nn.Module):
    """How far a waveform hums at multiples of the frame rate, beyond what its target has there.

    A decoder that does not know a frame's phases repeats them from frame to frame, which is a comb of lines. The loss
    compares the level of each line with the gaps beside it, in bands of `NUM_TEETH` lines from 1 kHz up, and counts
    what exceeds the target's own, in decades.
    """

    def __init__(self, sampling_rate: int, hop_length: int):
        super().__init__()
        self.window_size = 10 * hop_length  # a line every ten bins
        num_teeth = self.window_size // 20 - 1
        first = 1000 * hop_length // sampling_rate
        self.teeth = 10 * torch.arange(first, first + (num_teeth - first) // NUM_TEETH * NUM_TEETH)
        self.gaps = self.teeth[:, None] + torch.tensor([-5, -4, 4, 5])

    def forward(self, decoded: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the scalar loss of two waveforms of shape `(batch_size, num_samples)`."""
        with torch.no_grad():
            theirs = self._excess(target)
        return relu(self._excess(decoded) - theirs).mean()

    def _excess(self, waveform: torch.Tensor) -> torch.Tensor:
        """Lines above gaps in decades, `(batch_size, num_bands)`."""
        level = magnitudes(waveform, self.window_size).clamp(min=MEL_FLOOR).log10().mean(dim=2)  # (B, F)
        excess = level[:, self.teeth] - level[:, self.gaps].mean(dim=2)
        return excess.unflatten(1, (-1, NUM_TEETH)).mean(dim=2)


def _log_distances(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    return (ours.clamp(min=MEL_FLOOR).log10() - theirs.clamp(min=MEL_FLOOR).log10()).abs()


class SpectrumDiscriminator(nn.Module):
    """Tells real from decoded audio by its complex spectrum at one window size (after Defossez et al., 2022)."""

    def __init__(self, window_size: int, num_channels: int):
        super().__init__()
        self.window_size = window_size

        def conv(in_channels: int, out_channels: int, size: tuple[int, int], stride: int = 1, dilation: int = 1):
            padding = ((size[0] - 1) // 2 * dilation, (size[1] - 1) // 2)
            module = nn.Conv2d(in_channels, out_channels, size, (1, stride), padding=padding, dilation=(dilation, 1))
            return weight_norm(module)

        self.layers = nn.ModuleList(
            [
                conv(2, num_channels, (3, 7), stride=2),
                conv(num_channels, num_channels, (3, 7), stride=2),
                conv(num_channels, num_channels, (3, 7), stride=2, dilation=2),
                conv(num_channels, num_channels, (3, 3)),
            ]
        )
        self.output = conv(num_channels, 1, (3, 3))

    def forward(self, waveform: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return scores and the layers' outputs for `waveform` of shape `(batch_size, num_samples)`."""
        spectrum = short_time_spectrum(waveform, self.window_size)
        parts = torch.stack([spectrum.real, spectrum.imag], dim=1).transpose(2, 3)  # (B, 2, T, F)
        power = parts.detach().square().sum(dim=1, keepdim=True) + 1e-6
        features, outputs = parts * power ** ((SPECTRUM_POWER - 1) / 2), []
        for layer in self.layers:
            features = leaky_relu(layer(features), 0.2)
            outputs.append(features)
        return self.output(features), outputs


class Discriminators(nn.ModuleList):
    """One `SpectrumDiscriminator` per window size, with the losses of both sides (hinge, feature matching).

    The methods' `turn` names the one that judges: all of them in every update would take most of its time.
    """

    def __init__(self, window_sizes: Sequence[int], num_channels: int):
        super().__init__(SpectrumDiscriminator(size, num_channels) for size in window_sizes)

    def own_loss(self, decoded: torch.Tensor, target: torch.Tensor, turn: int) -> torch.Tensor:
        """Hinge loss that teaches one of them to tell `decoded` from `target`."""
        real, fake = self[turn](target)[0].float(), self[turn](decoded.detach())[0].float()
        return relu(1 - real).mean() + relu(1 + fake).mean()

    def codec_losses(self, decoded: torch.Tensor, target: torch.Tensor, turn: int) -> dict[str, torch.Tensor]:
        """`adversarial` (hinge) and `feature` (relative L1 distance of the layers' outputs) for the codec."""
        score, ours = self[turn](decoded)
        with torch.no_grad():
            theirs = self[turn](target)[1]
        feature = decoded.new_zeros(())
        for own, real in zip(ours, theirs, strict=True):
            own, real = own.float(), real.float()
            feature = feature + (own - real).abs().mean() / real.abs().mean().clamp(min=1e-4) / len(ours)
        return {"adversarial": relu(1 - score.float()).mean(), "feature": feature}
