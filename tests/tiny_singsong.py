"""Tiny SingSong models with random weights: what their tests run on."""

import torch

from accompgen_hf.singsong.accompaniment import SingSongForAccompaniment
from accompgen_hf.singsong.configuration import SingSongConfig, SingSongFineConfig
from accompgen_hf.singsong.modeling import SingSongFineForConditionalGeneration, SingSongForConditionalGeneration
from tiny import CODEBOOK_SIZE, NUM_CLUSTERS, random_codes, sharpen, tiny_model

SIZES = {
    "d_model": 32,
    "d_kv": 16,
    "d_ff": 48,
    "num_layers": 2,
    "num_heads": 2,
    "num_clusters": NUM_CLUSTERS,
    "codebook_size": CODEBOOK_SIZE,
}
CLASSES = {
    SingSongConfig: (SingSongForConditionalGeneration, {"clip_duration_s": 0.2, "window_overlap_s": 0.08}),
    SingSongFineConfig: (SingSongFineForConditionalGeneration, {"clip_duration_s": 0.12, "window_overlap_s": 0.0}),
}


def tiny_singsong(config_class=SingSongConfig, seed: int = 0, **fields):
    """One model whose logits differ enough that a wrong mask or order shows in the codes."""
    model_class, windows = CLASSES[config_class]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return sharpen(model_class(config_class(**{**SIZES, **windows, **fields})), 2.0).eval()


def tiny_accompaniment(**fields) -> SingSongForAccompaniment:
    parts = tiny_model()
    return SingSongForAccompaniment.from_sub_models(
        tiny_singsong(SingSongConfig),
        tiny_singsong(SingSongFineConfig),
        parts.semantic_encoder,
        parts.codec,
        **{"bandwidth": 2.4, "preview_bandwidth": 1.2, **fields},
    )


def random_streams(config, batch_size: int = 2, num_steps: int = 10, seed: int = 0) -> tuple[dict, dict]:
    """Conditioning and target of `num_steps` of 40 ms, by name."""
    streams = {
        segment.name: random_codes(segment, batch_size, num_steps / 25, 10 * seed + index)
        for index, segment in enumerate(config.segments)
    }
    return (
        {name: streams[name] for name in config.conditioning_names},
        {name: streams[name] for name in config.target_names},
    )
