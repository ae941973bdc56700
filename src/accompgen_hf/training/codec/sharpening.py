"""Sharpen a trained Fourier decoder: lift partials out of the noise between them, at no cost.

Losses on log spectra are least at the median of what may have been, so a decoder that cannot know smooths: noise fills
the gaps between partials, and power is lost. Statistical speech synthesis knows this as over-smoothing and answers it
by a postfilter (Toda and Tokuda 2007). This one raises every log magnitude above the mean of its neighbours in
frequency, and lowers it below. A gain for each bin then gives music its mean power back. Both are linear, so they go
into the weights of the decoder's last layer.

Letters: P parts, N samples, T frames, F bins.
"""

from collections.abc import Sequence

import numpy as np
import torch

from accompgen_hf.accompgen.codec_accompgen import decode_in_blocks, encode_in_blocks
from accompgen_hf.accompgen.modeling_accompgen_codec import AccompGenCodec

LOWEST_HZ, FULL_HZ = 500.0, 1000.0  # below, partials stand out as they are
NEIGHBOURS_HZ = 112.5  # standard deviation of the weights of a bin's neighbours
GAIN_SMOOTHING_HZ = 150.0
MOST_GAIN_DB = 6.0


@torch.no_grad()
def sharpen_decoder(codec: AccompGenCodec, songs: Sequence[np.ndarray], amount: float = 0.4) -> np.ndarray:
    """Change the last layer of a codec's decoder in place.

    Args:
        codec (`AccompGenCodec`): With a Fourier decoder.
        songs (sequence of `np.ndarray` of shape `(P, N)`): Parts of music at the codec's rate. They are coded one by
            one, and their sum gets its mean power back in every bin.
        amount (`float`): By how much of a log magnitude's distance from its neighbours' mean that distance grows; from
            500 Hz on, in full from 1 kHz on. 0 sets the gains alone.

    Returns:
        `np.ndarray` of shape `(F,)`: the gains in dB.

    Raises:
        ValueError: If the decoder is EnCodec's, the amount is not from 0 to 1, or there is no song.
    """
    if codec.config.decoder_type != "fourier":
        raise ValueError(f"`codec` must have a Fourier decoder, got decoder_type {codec.config.decoder_type!r}.")
    if not 0 <= amount <= 1:
        raise ValueError(f"`amount` must be from 0 to 1, got {amount!r}.")
    if not len(songs):
        raise ValueError("`songs` must hold at least one song, got none.")
    layer, n_fft = codec.decoder.output, codec.decoder.n_fft
    num_bins = n_fft // 2 + 1
    hertz = torch.arange(num_bins) * (codec.config.sampling_rate / n_fft)
    amounts = amount * ((hertz - LOWEST_HZ) / (FULL_HZ - LOWEST_HZ)).clamp(0, 1)
    sharpen = torch.diag(1 + amounts) - amounts[:, None] * _smoothing(hertz, NEIGHBOURS_HZ)  # (F, F)
    # The first half of the layer's outputs are log magnitudes, the others phases.
    layer.weight[:num_bins] = sharpen @ layer.weight[:num_bins]
    layer.bias[:num_bins] = sharpen @ layer.bias[:num_bins]
    codec.eval()
    lost = [_log_power(song.sum(0), n_fft) - _log_power(_code(codec, song).sum(0), n_fft) for song in songs]
    most = MOST_GAIN_DB / 20 * np.log(10)
    gains = (_smoothing(hertz, GAIN_SMOOTHING_HZ) @ torch.stack(lost).mean(0) / 2).clamp(-most, most)
    layer.bias[:num_bins] += gains
    return (gains * 20 / np.log(10)).numpy()


def _smoothing(hertz: torch.Tensor, deviation_hz: float) -> torch.Tensor:
    """Gaussian weights of all bins around each, `(F, F)`; rows sum to one."""
    weights = torch.exp(-0.5 * ((hertz[:, None] - hertz) / deviation_hz) ** 2)
    return weights / weights.sum(1, keepdim=True)


def _code(codec: AccompGenCodec, parts: np.ndarray) -> np.ndarray:
    """Encode and decode parts, `(P, N)` both ways."""
    waveforms = torch.from_numpy(parts.astype(np.float32))
    codes = encode_in_blocks(codec, waveforms, codec.config.target_bandwidths[-1])
    return decode_in_blocks(codec, codes)[:, : parts.shape[1]].numpy()


def _log_power(waveform: np.ndarray, n_fft: int) -> torch.Tensor:
    """log of the mean power of every bin, `(F,)`."""
    samples = torch.from_numpy(waveform.astype(np.float32))
    spectrum = torch.stft(samples, n_fft, n_fft // 4, window=torch.hann_window(n_fft), return_complex=True)
    return (spectrum.abs().square().mean(1) + 1e-9).log()


__all__ = ["sharpen_decoder"]
