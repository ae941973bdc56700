"""The codec: EnCodec's encoder and quantizer with EnCodec's decoder (the paper) or a Fourier decoder (ours).

waveform (B, 1, N) 24 kHz -> encoder -> quantizer -> codes (B, K, T75) -> decoder -> waveform (B, 1, T75 * 320)

Both forms make the same codes from the same encoder and quantizer.
"""

import os
from typing import Any

import torch
from transformers import EncodecModel

from .configuration_accompgen_codec import AccompGenCodecConfig
from .fourier_decoder_accompgen import FourierDecoder
from .model_checks_accompgen import check_finite
from .pickling_accompgen import PickledByTensorsMixin

# Running sums of the codebooks' training: no code and no sample depends on them, and files may leave them out.
TRAINING_ONLY_SUFFIXES = ("cluster_size", "embed_avg", "inited")


class AccompGenCodec(PickledByTensorsMixin, EncodecModel):
    """`EncodecModel` whose decoder `config.decoder_type` chooses.

    Folders and Hub repositories of a plain `EncodecModel` load unchanged and give its codes and audio to the bit.

    Example:

    ```python
    >>> from accompgen_hf import AccompGenCodec

    >>> codec = AccompGenCodec.from_pretrained("facebook/encodec_24khz")
    >>> codec.config.decoder_type
    'encodec'
    ```
    """

    config_class = AccompGenCodecConfig
    config: AccompGenCodecConfig
    _keys_to_ignore_on_load_missing = [rf"quantizer\..*\.{suffix}$" for suffix in TRAINING_ONLY_SUFFIXES]

    def __init__(self, config: AccompGenCodecConfig):
        super().__init__(config)
        if config.decoder_type == "fourier":
            self.decoder = FourierDecoder(config)

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike | None, *args: Any, **kwargs: Any
    ) -> Any:
        """Load as Transformers does, but refuse missing weights instead of drawing them at random.

        Raises:
            ValueError: If a weight is missing, NaN or infinite.
        """
        with_info = kwargs.pop("output_loading_info", False)
        model, info = super().from_pretrained(pretrained_model_name_or_path, *args, output_loading_info=True, **kwargs)
        missing = sorted(name for name in info["missing_keys"] if not name.endswith(TRAINING_ONLY_SUFFIXES))
        if missing:
            kind = "" if model.config.decoder_type == "encodec" else " with a Fourier decoder"
            raise ValueError(
                f"`codec` must hold all weights of an EnCodec{kind}, {pretrained_model_name_or_path} lacks "
                f"{', '.join(missing[:3])}. Does config.json belong to these weights?"
            )
        check_finite(model, pretrained_model_name_or_path)
        return (model, info) if with_info else model

    def decode_embeddings(self, embeddings: torch.Tensor, num_codebooks: int) -> torch.Tensor:
        """Decode sums of code vectors.

        Args:
            embeddings (`torch.FloatTensor` of shape `(batch_size, codebook_dim, num_frames)`): From the quantizer.
            num_codebooks (`int`): How many codebooks were summed.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, 1, num_samples)`.
        """
        if self.config.decoder_type == "encodec":
            return self.decoder(embeddings)
        return self.decoder(embeddings, self.config.norm_row(num_codebooks))

    def _decode_frame(self, codes: torch.Tensor, scale: torch.Tensor | None = None) -> torch.Tensor:
        if self.config.decoder_type == "encodec":
            return super()._decode_frame(codes, scale)
        codes = codes.transpose(0, 1)  # (B, K, T) -> (K, B, T)
        outputs = self.decode_embeddings(self.quantizer.decode(codes), len(codes))
        return outputs if scale is None else outputs * scale.view(-1, 1, 1)


__all__ = ["AccompGenCodec"]
