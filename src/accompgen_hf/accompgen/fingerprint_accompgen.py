"""The fingerprint of a token space: which parts, with which settings, gave these ids and codes their meaning.

Two sets of centroids of equal size give tokens that no shape check tells apart, and a stage trained on one answers the
other with noise. Token shards, stages and the composite model therefore all carry this value, and every place that
joins them compares it.
"""

import hashlib
import json
from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import nn

from .parts_accompgen import WHOLE_BAND

# State of EnCodec's codebook training: no code and no sample depends on it.
_TRAINING_ONLY_SUFFIXES = ("cluster_size", "embed_avg", "inited")


def compute_token_fingerprint(
    semantic_encoder: nn.Module,
    codec: nn.Module,
    *,
    bandwidth: float = 6.0,
    noise_std: float = 0.01,
    vocal_target_lufs: float | None = -20.0,
    codec_block_duration_s: float = 10.0,
    codec_context_duration_s: float = 2.0,
    covers_decoder: bool = False,
    part_names: Sequence[str] = WHOLE_BAND,
) -> str:
    """Hash everything that decides what a token means: of the codec, encoder and quantizer.

    Weights are compared as float32 values: a model stored in half precision and loaded in float32 keeps its
    fingerprint, one that was rounded after tokenising does not.

    Args:
        semantic_encoder (`AccompGenSemanticEncoder`):
            Its state holds the encoder's weights and the centroids, its config the layer and the block recipe.
        codec (`EncodecModel`):
            The codec.
        bandwidth (`float`):
            Rate of the codes in kbps.
        noise_std (`float`):
            Standard deviation of the noise on the vocals.
        vocal_target_lufs (`float`, *optional*):
            Level of the vocals before the noise; `None` leaves them as they are.
        codec_block_duration_s (`float`):
            Length of the codec's blocks in seconds.
        codec_context_duration_s (`float`):
            Its discarded left context.
        covers_decoder (`bool`):
            Hash the codec's decoder as well, as was done while there was one kind.
        part_names (sequence of `str`):
            Parts of the accompaniment; a single one is not hashed.

    Returns:
        `str`: 64 hexadecimal digits.
    """
    config = semantic_encoder.config
    settings = {
        "layer": int(config.layer),
        "do_normalize": bool(getattr(config, "do_normalize", True)),
        "semantic_block_duration_s": float(config.block_duration_s),
        "semantic_block_hop_s": float(config.block_hop_s),
        "bandwidth": float(bandwidth),
        "noise_std": float(noise_std),
        "vocal_target_lufs": None if vocal_target_lufs is None else float(vocal_target_lufs),
        "codec_block_duration_s": float(codec_block_duration_s),
        "codec_context_duration_s": float(codec_context_duration_s),
    }
    if len(part_names) > 1:
        settings["part_names"] = list(part_names)
    parts = {
        "semantic_encoder": hash_module_state(semantic_encoder),
        "codec": hash_module_state(codec, () if covers_decoder else ("decoder.",)),
        "settings": settings,
    }
    return hash_json(parts)


def hash_module_state(module: nn.Module, without: tuple[str, ...] = ()) -> str:
    """sha256 over names, shapes and float32 (or int64) values of a module's state, in order of the names.

    Args:
        module (`nn.Module`):
            Its training statistics are left out.
        without (`tuple` of `str`):
            Beginnings of names that are left out as well.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if name.endswith(_TRAINING_ONLY_SUFFIXES) or name.startswith(without):
            continue
        dtype = torch.float32 if tensor.is_floating_point() else torch.int64
        values = tensor.detach().to("cpu", dtype).contiguous()
        digest.update(f"{name} {tuple(values.shape)}\n".encode())
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()


def hash_json(value: Any) -> str:
    """sha256 of a JSON-able value, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def check_token_fingerprints(
    first: str | None,
    second: str | None,
    first_name: str,
    second_name: str,
    equivalent: Collection[str] = (),
) -> None:
    """Refuse to join two parts that speak different tokens.

    Args:
        first (`str`, *optional*):
            Fingerprint of the first part; `None` if it carries none, which fits everything.
        second (`str`, *optional*):
            Fingerprint of the second part.
        first_name (`str`):
            Name of the first part in the message, with its path.
        second_name (`str`):
            What to call the second part.
        equivalent (`Collection` of `str`):
            Fingerprints of one token space, see `equivalent_fingerprints`.

    Raises:
        ValueError: If both are given, differ and are not both in `equivalent`.
    """
    if first is None or second is None or {first, second} <= set(equivalent):
        return
    if first != second:
        raise ValueError(
            f"`token_fingerprint` of {first_name} is {first}, that of {second_name} is {second}: they were made with "
            "different encoders, centroids, codecs or settings and would give noise together. Use parts of one run."
        )
