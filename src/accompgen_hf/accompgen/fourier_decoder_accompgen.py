"""The Fourier decoder: ConvNeXt blocks at the codec's frame rate, then an inverse STFT (Siuzdak 2023, Vocos).

Every layer runs at 75 Hz, none at 24 kHz, and a partial is a line in the spectrum that the last layer writes.

Letters: B batch, D width of the code vectors, C channels, T frames (75 per second), F = n_fft / 2 + 1 bins, R rows of
the layer norms (one per bandwidth, or one).
"""

import torch
from torch import nn
from torch.nn.functional import gelu, layer_norm, pad

NORM_EPS = 1e-6


class FourierDecoder(nn.Module):
    """Sum of the codebooks' vectors in, waveform out.

    Args:
        config (`AccompGenCodecConfig`): Sizes, padding, and whether convolutions see later frames.
    """

    def __init__(self, config):
        super().__init__()
        num_channels, num_layers = config.decoder_dim, config.num_decoder_layers
        num_rows = 1 if config.norm_bandwidths is None else len(config.norm_bandwidths)
        self.n_fft, self.hop_length = config.n_fft, config.hop_length
        self.istft_padding, self.max_log_magnitude = config.istft_padding, config.max_log_magnitude
        self.input_conv = FrameConv(config.codebook_dim, num_channels, config.decoder_kernel_size, config.is_causal)
        self.input_norm = RowLayerNorm(num_channels, num_rows)
        self.blocks = nn.ModuleList(ConvNeXtBlock(config, num_rows) for _ in range(num_layers))
        self.output_norm = RowLayerNorm(num_channels, 1)
        self.output = nn.Linear(num_channels, config.n_fft + 2)
        self._start_weights()

    def _start_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Conv1d)):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        # Quiet at first: music has e^-1 in few bins.
        nn.init.constant_(self.output.bias[: self.n_fft // 2 + 1], -1.0)

    def forward(self, embeddings: torch.Tensor, norm_row: int = 0) -> torch.Tensor:
        """Decode.

        Args:
            embeddings (`torch.FloatTensor` of shape `(batch_size, codebook_dim, num_frames)`): Sums of code vectors.
            norm_row (`int`): Row of the layer norms; see `AccompGenCodecConfig.norm_row`.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, 1, num_frames * hop_length)`.
        """
        hidden_states = self.input_norm(self.input_conv(embeddings), norm_row)  # (B, D, T) -> (B, T, C)
        for block in self.blocks:
            hidden_states = block(hidden_states, norm_row)
        # The spectrum is float32 also where the blocks run in half precision: a phase has no digits to spare.
        with torch.autocast(hidden_states.device.type, enabled=False):
            numbers = self.output(self.output_norm(hidden_states.to(self.output.weight.dtype), 0)).float()
            log_magnitude, phase = numbers.transpose(1, 2).chunk(2, dim=1)  # (B, T, 2 F) -> 2 x (B, F, T)
            magnitude = log_magnitude.clamp(max=self.max_log_magnitude).exp()
            spectrum = torch.complex(magnitude * phase.cos(), magnitude * phase.sin())
            waveform = inverse_stft(spectrum, self.n_fft, self.hop_length, self.istft_padding)
        return waveform.to(embeddings.dtype)[:, None]


class FrameConv(nn.Conv1d):
    """Convolution over frames that keeps their number; frames outside are zero. `(B, C, T)` to `(B, T, C)`."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, is_causal: bool, groups: int = 1):
        super().__init__(in_channels, out_channels, kernel_size, groups=groups)
        self.paddings = (kernel_size - 1, 0) if is_causal else (kernel_size // 2, kernel_size // 2)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Convolve `(B, C, T)` to `(B, T, C)`."""
        return super().forward(pad(hidden_states, self.paddings)).transpose(1, 2)


class RowLayerNorm(nn.Module):
    """Layer norm whose gain and bias are looked up by row."""

    def __init__(self, num_channels: int, num_rows: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_rows, num_channels))
        self.bias = nn.Parameter(torch.zeros(num_rows, num_channels))

    def forward(self, hidden_states: torch.Tensor, row: int) -> torch.Tensor:
        """Normalise the last axis with the gain and bias of this row."""
        return layer_norm(hidden_states, self.weight.shape[1:], self.weight[row], self.bias[row], NORM_EPS)


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution, layer norm, feed-forward with GELU, learned scale, residual; `(B, T, C)` both ways."""

    def __init__(self, config, num_rows: int):
        super().__init__()
        num_channels, num_inner = config.decoder_dim, config.decoder_intermediate_dim
        self.depthwise = FrameConv(
            num_channels, num_channels, config.decoder_kernel_size, config.is_causal, groups=num_channels
        )
        self.norm = RowLayerNorm(num_channels, num_rows)
        self.expand = nn.Linear(num_channels, num_inner)
        self.contract = nn.Linear(num_inner, num_channels)
        self.layer_scale = nn.Parameter(torch.full((num_channels,), 1 / config.num_decoder_layers))

    def forward(self, hidden_states: torch.Tensor, norm_row: int) -> torch.Tensor:
        """Apply the block to `(B, T, C)`; the shape stays."""
        inner = self.norm(self.depthwise(hidden_states.transpose(1, 2)), norm_row)
        return hidden_states + self.layer_scale * self.contract(gelu(self.expand(inner)))


def inverse_stft(spectrum: torch.Tensor, n_fft: int, hop_length: int, padding: str) -> torch.Tensor:
    """Windowed inverse transforms, overlapped, added and divided by the windows' squared sum.

    Args:
        spectrum (`torch.ComplexFloatTensor` of shape `(batch_size, n_fft / 2 + 1, num_frames)`): One frame per hop.
        n_fft (`int`): Samples of a window.
        hop_length (`int`): Samples between frames.
        padding (`str`): `"center"` or `"same"`; see `AccompGenCodecConfig`.

    Returns:
        `torch.FloatTensor` of shape `(batch_size, num_frames * hop_length)`.
    """
    num_frames = spectrum.shape[-1]
    if padding == "center":
        num_repeated = -(-(n_fft // 2) // hop_length)
        spectrum = torch.cat([spectrum, spectrum[..., -1:].expand(-1, -1, num_repeated)], dim=-1)
        trimmed = n_fft // 2
    else:
        trimmed = (n_fft - hop_length) // 2
    window = torch.hann_window(n_fft, device=spectrum.device)
    frames = torch.fft.irfft(spectrum.transpose(1, 2), n_fft) * window  # (B, T, n_fft)
    squares = window.square().expand(1, frames.shape[1], -1)
    waveform, envelope = (_overlap_add(part, hop_length) for part in (frames, squares))
    kept = slice(trimmed, trimmed + num_frames * hop_length)
    return waveform[:, kept] / envelope[:, kept]


def _overlap_add(frames: torch.Tensor, hop_length: int) -> torch.Tensor:
    """Add `(B, T, n_fft)` at distances of one hop: first hops in a row, second hops one later, and so on."""
    batch_size, num_frames, n_fft = frames.shape
    num_hops = -(-n_fft // hop_length)
    frames = pad(frames, (0, num_hops * hop_length - n_fft)).unflatten(-1, (num_hops, hop_length))
    total = frames.new_zeros(batch_size, num_frames + num_hops - 1, hop_length)
    for place in range(num_hops):
        total[:, place : place + num_frames] += frames[:, :, place]
    return total.flatten(1)[:, : (num_frames - 1) * hop_length + n_fft]


__all__ = ["FourierDecoder", "inverse_stft"]
