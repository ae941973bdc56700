"""Tiny models with random weights, of the classes that ship: what the tests run on."""

import torch
from transformers import EncodecConfig, EncodecModel, HubertConfig

from accompgen_hf import (
    AccompGenCoarseConfig,
    AccompGenCoarseForCausalLM,
    AccompGenCodec,
    AccompGenConfig,
    AccompGenFineConfig,
    AccompGenFineForCausalLM,
    AccompGenForConditionalGeneration,
    AccompGenSemanticConfig,
    AccompGenSemanticEncoderConfig,
    AccompGenSemanticForCausalLM,
)
from accompgen_hf.accompgen.configuration_accompgen_codec import AccompGenCodecConfig
from accompgen_hf.accompgen.listener_accompgen import AccompGenListener

NUM_CLUSTERS = 20
PARTS = ("drums", "bass", "other")
CODEBOOK_SIZE = 16
STAGE_SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "head_dim": 16,
    "intermediate_size": 48,
    "num_clusters": NUM_CLUSTERS,
    "codebook_size": CODEBOOK_SIZE,
}
WINDOWS = {
    AccompGenSemanticConfig: {"clip_duration_s": 1.0, "window_overlap_s": 0.4},
    AccompGenCoarseConfig: {"clip_duration_s": 0.6, "window_overlap_s": 0.2},
    AccompGenFineConfig: {"clip_duration_s": 0.4, "window_overlap_s": 0.0},
}

FOURIER = {
    "decoder_type": "fourier",
    "decoder_dim": 8,
    "decoder_intermediate_dim": 16,
    "num_decoder_layers": 2,
}

STAGE_CLASSES = {
    AccompGenSemanticConfig: AccompGenSemanticForCausalLM,
    AccompGenCoarseConfig: AccompGenCoarseForCausalLM,
    AccompGenFineConfig: AccompGenFineForCausalLM,
}


def tiny_stage_config(config_class, **fields):
    return config_class(**{**STAGE_SIZES, **WINDOWS[config_class], **fields})


def tiny_hubert_config(**fields) -> HubertConfig:
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "conv_dim": (8,) * 7,
        "num_conv_pos_embeddings": 8,
        "num_conv_pos_embedding_groups": 2,
        "do_stable_layer_norm": True,
        "feat_extract_norm": "layer",
    }
    return HubertConfig(**{**sizes, **fields})


def tiny_codec_config(**fields) -> EncodecConfig:
    sizes = {
        "num_filters": 2,
        "hidden_size": 8,
        "codebook_dim": 8,
        "codebook_size": CODEBOOK_SIZE,
        "num_lstm_layers": 1,
    }
    # The bandwidths follow from the codebooks' size: 16 codes are 4 bits, 75 times a second, for each codebook.
    return EncodecConfig(**{**sizes, "target_bandwidths": [1.2, 2.4], **fields})


def tiny_codec(**fields) -> AccompGenCodec:
    """EnCodec, or with `FOURIER` a decoder whose random weights are large enough for every frame to be heard."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        config = AccompGenCodecConfig(**{**tiny_codec_config().to_diff_dict(), **fields, "model_type": None})
        codec = AccompGenCodec(config).eval()
        init_codebooks(codec)
        if config.decoder_type == "fourier":
            for parameter in codec.decoder.parameters():
                parameter.add_(0.3 * torch.randn(parameter.shape))
    return codec


def tiny_config(**fields) -> AccompGenConfig:
    encoder = AccompGenSemanticEncoderConfig(
        hubert_config=tiny_hubert_config().to_dict(), layer=2, num_clusters=NUM_CLUSTERS
    )
    parts = {
        "semantic_encoder_config": encoder,
        "semantic_config": tiny_stage_config(AccompGenSemanticConfig),
        "coarse_config": tiny_stage_config(AccompGenCoarseConfig),
        "fine_config": tiny_stage_config(AccompGenFineConfig),
        "codec_config": tiny_codec_config(),
    }
    return AccompGenConfig(**{**parts, "bandwidth": 2.4, "preview_bandwidth": 1.2, **fields})


@torch.no_grad()
def sharpen(model: torch.nn.Module, factor: float = 10.0) -> torch.nn.Module:
    """Random weights large enough for logits that differ, so that a wrong mask or order shows in the tokens."""
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.mul_(factor)
    return model


def tiny_stage(config_class, seed: int = 0, **fields):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = sharpen(STAGE_CLASSES[config_class](tiny_stage_config(config_class, **fields))).eval()
        with torch.no_grad():
            model.model.relative_bias.weight.mul_(10)  # a wrong bucket must show
            for name, parameter in model.named_parameters():
                if name.endswith("norm.weight"):
                    parameter.uniform_(0.5, 1.5)  # a forgotten gain, too
        return model


def random_codes(segment, batch_size: int, duration_s: float, seed: int = 0) -> torch.Tensor:
    num_frames = round(duration_s * segment.frame_rate)
    shape = (batch_size, segment.num_codebooks, num_frames)
    if not segment.has_codebook_axis:
        shape = (batch_size, num_frames)
    return torch.randint(segment.codebook_size, shape, generator=torch.Generator().manual_seed(seed))


def random_listener(num_parts: int = 1) -> AccompGenListener:
    """Tables that say much, at random."""
    listener, generator = AccompGenListener(NUM_CLUSTERS, num_parts), torch.Generator().manual_seed(0)
    for name, table in listener.named_buffers():
        table.copy_(torch.rand(table.shape, generator=generator))
        if name == "beat_of_voice":
            table.copy_(10.0 * (table - 0.5))
        elif name.endswith(("voice", "chord")):
            table.div_(table.sum(-1, keepdim=True))
    return listener


def listening_stage(**fields):
    stage = tiny_stage(AccompGenSemanticConfig, **fields)
    stage.set_listener(random_listener(len(stage.config.part_names)))
    return stage


def listening_model():
    """A composite whose semantic stage has a listener that weighs much."""
    model = tiny_model()
    model.semantic.set_listener(random_listener())
    model.semantic.generation_config.listening_scale = 30.0
    return model


def voice_of(stage, duration_s: float, num_items: int = 1) -> torch.Tensor:
    return random_codes(stage.config.segments[0], num_items, duration_s)


def random_clip(config, batch_size: int = 2, duration_s: float = 0.08, seed: int = 0) -> tuple[dict, torch.Tensor]:
    """Conditioning by name, and the target, of one duration."""
    *conditioning, target = [
        random_codes(segment, batch_size, duration_s, 10 * seed + index)
        for index, segment in enumerate(config.segments)
    ]
    return dict(zip(config.conditioning_names, conditioning, strict=True)), target


def tiny_model(seed: int = 0, **fields) -> AccompGenForConditionalGeneration:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AccompGenForConditionalGeneration(tiny_config(**fields)).eval()
        for stage in (model.semantic, model.coarse, model.fine):
            sharpen(stage)
        init_centroids(model.semantic_encoder)
        init_codebooks(model.codec)
    return model


def tiny_part_model() -> AccompGenForConditionalGeneration:
    """Three parts and two styles."""
    named = {"part_names": ("drums", "bass", "other"), "style_names": ("bossa_nova", "rock")}
    return tiny_model(
        semantic_config=tiny_stage_config(AccompGenSemanticConfig, **named),
        coarse_config=tiny_stage_config(AccompGenCoarseConfig, **named),
        fine_config=tiny_stage_config(AccompGenFineConfig, **named),
    )


def quick_model() -> torch.nn.Module:
    """One codebook and windows that share batches: an hour in minutes."""
    sizes = {"num_hidden_layers": 1}
    return tiny_model(
        semantic_config=tiny_stage_config(AccompGenSemanticConfig, clip_duration_s=4.0, window_overlap_s=0.4, **sizes),
        coarse_config=tiny_stage_config(AccompGenCoarseConfig, clip_duration_s=0.4, window_overlap_s=0.0, **sizes),
        fine_config=tiny_stage_config(AccompGenFineConfig, **sizes),
    )


@torch.no_grad()
def init_centroids(semantic_encoder) -> None:
    """Set centroids from features of many sounds, so that ids depend on the audio."""
    generator = torch.Generator().manual_seed(2)
    time_s = torch.arange(16_000 * 4) / 16_000
    sweep = 0.3 * torch.sin(2 * torch.pi * (100 + 200 * time_s) * time_s)
    noise = 0.1 * torch.randn(len(time_s), generator=generator) * torch.sin(9 * time_s)
    features = semantic_encoder.extract_features(torch.stack([sweep, noise])).flatten(0, 1)
    semantic_encoder.centroids.copy_(features[torch.randperm(len(features), generator=generator)[:NUM_CLUSTERS]])


@torch.no_grad()
def init_codebooks(codec: EncodecModel) -> None:
    """Make a random codec sing: codes follow the audio, and all codebooks are heard in it.

    Its convolutions pass their input on at its own level, and codebooks are residuals of encoder outputs: with
    codebooks far from them every frame would get the same code.
    """
    for name, parameter in codec.named_parameters():
        if name.endswith("original0"):  # the gain of a weight-normalised convolution
            parameter.fill_(1.0)
        elif name.endswith("conv.bias"):
            parameter.zero_()
    generator = torch.Generator().manual_seed(1)
    residual = codec.encoder(torch.randn(1, 1, 24_000 * 4, generator=generator) * 0.1)[0].T  # (T75, hidden)
    for layer in codec.quantizer.layers:
        # Other frames for every codebook: the residual of a frame that was picked before is zero.
        picked = residual[torch.randperm(len(residual), generator=generator)[: layer.codebook.codebook_size]]
        layer.codebook.embed.copy_(picked)
        residual = residual - picked[torch.cdist(residual, picked).argmin(1)]
