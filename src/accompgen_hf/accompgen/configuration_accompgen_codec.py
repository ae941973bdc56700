"""Settings of the codec: those of EnCodec, and those of the Fourier decoder that may stand in its decoder's place."""

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers.models.encodec.configuration_encodec import EncodecConfig

from .model_checks_accompgen import CheckedConfigMixin

DECODER_TYPES = ("encodec", "fourier")
ISTFT_PADDINGS = ("center", "same")


@strict
class AccompGenCodecConfig(CheckedConfigMixin, EncodecConfig):
    """EnCodec's settings and the decoder's.

    A config.json of a plain EnCodec, such as facebook/encodec_24khz, loads as it is: `decoder_type` is then
    `"encodec"` and nothing below counts.

    Args:
        decoder_type (`str`): `"encodec"`, the decoder of the paper's codec, or `"fourier"`, which predicts the
            spectrum of each frame and turns it into audio by an inverse STFT.
        decoder_dim (`int`): Channels of the Fourier decoder's blocks.
        decoder_intermediate_dim (`int`): Inner width of their feed-forward part.
        num_decoder_layers (`int`): Number of blocks.
        decoder_kernel_size (`int`): Frames that each convolution sees, odd.
        n_fft (`int`): Samples of the inverse STFT's window; its hop is the codec's.
        is_causal (`bool`): Convolutions see no later frame. False in Vocos.
        istft_padding (`str`): `"center"`: frame t stands at its first sample, and the last frame is repeated for the
            right edge. `"same"`, as in Vocos: frame t stands at its middle, and the edges are cut off.
        norm_bandwidths (`list` of `float`, *optional*): The layer norms have gain and bias for each of these kbps, as
            in Vocos. `None` is one for all.
        max_log_magnitude (`float`): Largest natural logarithm of a magnitude.
    """

    model_type = "accompgen_codec"

    decoder_type: str = "encodec"
    decoder_dim: int = 256
    decoder_intermediate_dim: int = 768
    num_decoder_layers: int = 8
    decoder_kernel_size: int = 7
    n_fft: int = 1280
    is_causal: bool = True
    istft_padding: str = "center"
    norm_bandwidths: list[float] | tuple[float, ...] | None = None
    max_log_magnitude: float = 6.0

    @classmethod
    def get_config_dict(cls, pretrained_model_name_or_path: Any, **kwargs: Any) -> tuple[dict, dict]:
        """Read the fields of a folder; those of an EnCodec will do, too."""
        settings, kwargs = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        if settings.get("model_type") == EncodecConfig.model_type:
            settings = {**settings, "model_type": cls.model_type}
        return settings, kwargs

    def validate_decoder(self) -> None:
        """Refuse a decoder that cannot be built (called by `@strict`)."""
        for name, allowed in (("decoder_type", DECODER_TYPES), ("istft_padding", ISTFT_PADDINGS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"`{name}` must be one of {allowed}, got {getattr(self, name)!r}.")
        if self.decoder_type == "encodec":
            return
        for name in ("decoder_dim", "decoder_intermediate_dim", "num_decoder_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        if self.decoder_kernel_size < 1 or self.decoder_kernel_size % 2 == 0:
            raise ValueError(f"`decoder_kernel_size` must be odd and positive, got {self.decoder_kernel_size}.")
        if self.n_fft % 2 or self.n_fft <= self.hop_length or (self.n_fft - self.hop_length) % 2:
            raise ValueError(
                f"`n_fft` must be even, longer than the hop of {self.hop_length} samples, and differ from it by an "
                f"even number, got {self.n_fft}."
            )
        if self.norm_bandwidths is not None and not self.norm_bandwidths:
            raise ValueError("`norm_bandwidths` must be None or name at least one bandwidth in kbps, got none.")

    @property
    def decoder_context_frames(self) -> tuple[int | None, int]:
        """Frames before and after a frame on which its samples depend; `None` is all frames before it.

        A convolution of width 7 sees 6 frames before (or 3 on each side), and there are as many as blocks and one
        more. A sample lies in the windows of several frames.
        """
        if self.decoder_type == "encodec":
            return None, 0
        seen = (self.decoder_kernel_size - 1) * (self.num_decoder_layers + 1)
        left, right = (seen, 0) if self.is_causal else (seen // 2, seen // 2)
        trimmed = self.n_fft // 2 if self.istft_padding == "center" else (self.n_fft - self.hop_length) // 2
        # Frame t covers samples [t hop - trimmed, t hop - trimmed + n_fft).
        earlier = (self.n_fft - trimmed - 1) // self.hop_length
        later = (trimmed + self.hop_length - 1) // self.hop_length
        return left + earlier, right + later

    def norm_row(self, num_codebooks: int) -> int:
        """Row of the layer norms for a number of codebooks.

        Raises:
            ValueError: If `norm_bandwidths` has no bandwidth of so many codebooks.
        """
        if self.norm_bandwidths is None:
            return 0
        bits_per_second = self.frame_rate * self.codebook_nbits
        sizes = [int(1000 * bandwidth // bits_per_second) for bandwidth in self.norm_bandwidths]
        if num_codebooks not in sizes:
            raise ValueError(
                f"`codes` must have one of {sizes} codebooks, those of the decoder's "
                f"{list(self.norm_bandwidths)} kbps, got {num_codebooks}."
            )
        return sizes.index(num_codebooks)


__all__ = ["AccompGenCodecConfig"]
