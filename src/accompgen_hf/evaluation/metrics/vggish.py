"""VGGish (Hershey et al. 2017) and its log-mel front-end, for the Fréchet audio distance of Kilgour et al. 2019.

The module's state has the names of the common PyTorch port (`features.0.weight`, ..., `embeddings.4.bias`), so that
its file loads as it is. As FAD wants it, there is neither a final activation nor the PCA and quantization of the
released AudioSet features.

Letters: N windows of 0.96 s, F frames of 10 ms, M mel bands.
"""

import numpy as np
import torch
from torch import nn

VGGISH_RATE = 16_000
VGGISH_WINDOW_S = 0.96
VGGISH_DIMENSIONS = 128
_FRAMES, _MELS = 96, 64
_WINDOW_SAMPLES, _HOP_SAMPLES, _FFT_SIZE = 400, 160, 512  # 25 ms every 10 ms
_LOWEST_HZ, _HIGHEST_HZ = 125.0, 7500.0
_LOG_OFFSET = 0.01
_CHANNELS = (64, "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool")


def vggish_mel_matrix() -> np.ndarray:
    """Triangles on the HTK mel scale, straight in mel: (257 bins, 64 bands); the bin at 0 Hz is not used."""

    def to_mel(frequencies: np.ndarray) -> np.ndarray:
        return 1127.0 * np.log1p(np.asarray(frequencies) / 700.0)

    bins = to_mel(np.linspace(0.0, VGGISH_RATE / 2, _FFT_SIZE // 2 + 1))[:, None]  # (bins, 1)
    edges = np.linspace(to_mel(_LOWEST_HZ), to_mel(_HIGHEST_HZ), _MELS + 2)
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    matrix = np.maximum(0.0, np.minimum((bins - lower) / (centre - lower), (upper - bins) / (upper - centre)))
    matrix[0] = 0.0
    return matrix


def vggish_log_mel(audio: np.ndarray) -> np.ndarray:
    """Log-mel windows as VGGish hears them.

    Args:
        audio (`np.ndarray` of shape `(num_samples,)`): Mono at 16 kHz, full scale at 1.0.

    Returns:
        float32 array of shape `(N, 96, 64)`; a rest shorter than a window is left out.

    Raises:
        ValueError: If `audio` is shorter than one window (15600 samples).
    """
    audio = np.asarray(audio, dtype=np.float64)
    if len(audio) < (_FRAMES - 1) * _HOP_SAMPLES + _WINDOW_SAMPLES:
        raise ValueError(f"too few windows: VGGish needs at least 0.975 s of audio, got {len(audio)} samples.")
    frames = np.lib.stride_tricks.sliding_window_view(audio, _WINDOW_SAMPLES)[::_HOP_SAMPLES]  # (F, 400)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW_SAMPLES) / _WINDOW_SAMPLES)  # periodic Hann
    magnitudes = np.abs(np.fft.rfft(frames * window, _FFT_SIZE, axis=1))  # (F, 257)
    log_mel = np.log(magnitudes @ vggish_mel_matrix() + _LOG_OFFSET)  # (F, M)
    num_windows = len(log_mel) // _FRAMES
    return log_mel[: num_windows * _FRAMES].reshape(num_windows, _FRAMES, _MELS).astype(np.float32)


class VGGish(nn.Module):
    """Six convolutions, four poolings, three linear layers: 72.1 million parameters."""

    def __init__(self):
        super().__init__()
        layers, channels = [], 1
        for width in _CHANNELS:
            if width == "pool":
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
        self.features = nn.Sequential(*layers)
        flat = channels * (_FRAMES // 16) * (_MELS // 16)
        self.embeddings = nn.Sequential(
            nn.Linear(flat, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, VGGISH_DIMENSIONS)
        )

    def forward(self, log_mel: torch.FloatTensor) -> torch.FloatTensor:
        """(N, 96, 64) -> (N, 128)"""
        maps = self.features(log_mel.unsqueeze(1))  # (N, 512, 6, 4)
        # The published weights were trained with channels last.
        return self.embeddings(maps.permute(0, 2, 3, 1).flatten(1))
