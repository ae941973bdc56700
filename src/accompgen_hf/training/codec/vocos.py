"""The published decoder Vocos (Siuzdak 2023, MIT) for EnCodec's tokens, as an `AccompGenCodec`.

It has our Fourier decoder's layers with convolutions that see later frames, layer norms per bandwidth and another
padding; all of these are fields of the config, and what remains is the names of the weights.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from transformers import EncodecModel

from accompgen_hf.accompgen.configuration_accompgen_codec import AccompGenCodecConfig
from accompgen_hf.accompgen.modeling_accompgen_codec import AccompGenCodec

VOCOS_BANDWIDTHS = (1.5, 3.0, 6.0, 12.0)
MAX_MAGNITUDE = 100.0
CODEBOOKS_NAME = "feature_extractor.codebook_weights"
# Beginnings of Vocos's names and of ours; a block's number follows its name in both.
_NAMES = {
    "backbone.embed.": "input_conv.",
    "backbone.norm.": "input_norm.",
    "backbone.convnext.": "blocks.",
    "backbone.final_layer_norm.": "output_norm.",
    "head.out.": "output.",
}
_BLOCK_NAMES = {
    ".dwconv.": ".depthwise.",
    ".pwconv1.": ".expand.",
    ".pwconv2.": ".contract.",
    ".gamma": ".layer_scale",
}
_ROW_NAMES = {"norm.scale.weight": "norm.weight", "norm.shift.weight": "norm.bias"}


def convert_vocos(
    state: Mapping[str, torch.Tensor], encodec: EncodecModel, bandwidths: Sequence[float] = VOCOS_BANDWIDTHS
) -> AccompGenCodec:
    """Join EnCodec's encoder and quantizer with the decoder of a Vocos checkpoint.

    Args:
        state (`Mapping` of `str` to `torch.Tensor`): State of a `vocos.Vocos` with `EncodecFeatures`.
        encodec (`EncodecModel`): The codec whose tokens it decodes, e.g. facebook/encodec_24khz.
        bandwidths (`Sequence[float]`): In kbps, one per row of its layer norms.

    Returns:
        `AccompGenCodec`: In its `"fourier"` form. Its codes are EnCodec's.

    Raises:
        ValueError: If the checkpoint is of another kind, or belongs to other codebooks or bandwidths.
    """
    missing = [name for name in (CODEBOOKS_NAME, "backbone.norm.scale.weight") if name not in state]
    if missing:
        raise ValueError(f"`state` must be of a Vocos for EnCodec tokens, it lacks {', '.join(missing)}.")
    _check_codebooks(state[CODEBOOKS_NAME], encodec)
    num_rows = len(state["backbone.norm.scale.weight"])
    if num_rows != len(bandwidths):
        raise ValueError(
            f"`bandwidths` must name the {num_rows} bandwidths of the checkpoint, got {list(bandwidths)}."
        )
    embed, expand = state["backbone.embed.weight"], state["backbone.convnext.0.pwconv1.weight"]
    fields = {
        "decoder_type": "fourier",
        "decoder_dim": embed.shape[0],
        "decoder_intermediate_dim": expand.shape[0],
        "decoder_kernel_size": embed.shape[2],
        "num_decoder_layers": len({name.split(".")[2] for name in state if name.startswith("backbone.convnext.")}),
        "n_fft": len(state["head.out.weight"]) - 2,
        "is_causal": False,
        "istft_padding": "same",
        "norm_bandwidths": list(bandwidths),
        "max_log_magnitude": math.log(MAX_MAGNITUDE),
    }
    codec = AccompGenCodec(AccompGenCodecConfig(**{**encodec.config.to_dict(), **fields, "model_type": None}))
    codec.encoder.load_state_dict(encodec.encoder.state_dict())
    codec.quantizer.load_state_dict(encodec.quantizer.state_dict())
    decoder = {_rename(name): tensor for name, tensor in state.items() if name.startswith(tuple(_NAMES))}
    # The last norm has one row.
    for name in ("output_norm.weight", "output_norm.bias"):
        decoder[name] = decoder[name][None]
    codec.decoder.load_state_dict(decoder)
    return codec.eval()


def _rename(name: str) -> str:
    for table in (_NAMES, _BLOCK_NAMES, _ROW_NAMES):
        for theirs, ours in table.items():
            name = name.replace(theirs, ours)
    return name


def _check_codebooks(weights: torch.Tensor, encodec: EncodecModel) -> None:
    """Refuse a checkpoint that learned from other codebooks: it would decode noise, and nothing else would show it."""
    ours = torch.cat([layer.codebook.embed for layer in encodec.quantizer.layers])[: len(weights)]
    if ours.shape != weights.shape or not torch.allclose(ours, weights.to(ours.dtype), atol=1e-4):
        raise ValueError(
            f"`state` must have been trained on the codebooks of `encodec`, but its {tuple(weights.shape)} code "
            "vectors are others. Give the EnCodec that it was made for."
        )


__all__ = ["VOCOS_BANDWIDTHS", "convert_vocos"]
