"""The small HuBERT in training: its sizes, its first filters, the heads and masks of masked prediction.

Letters: B batch, T50 semantic frames (50 per second).
"""

import os

import numpy as np
import torch
from torch import nn
from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

from accompgen_hf.model_parts import load_part

CODE_DIM = 64  # HuBERT compares a projection of the hidden state with one learned code per class
LOGIT_SCALE = 10.0  # HuBERT's temperature of 0.1 on cosines
# Three convolutions instead of seven, the first one long enough (64 ms) to tell semitones apart: it begins as a bank
# of filters (`initialise_filter_bank`), because learning pitch from raw samples costs thousands of steps.
SMALL_HUBERT = {
    "hidden_size": 192,
    "num_hidden_layers": 6,
    "num_attention_heads": 6,
    "intermediate_size": 512,
    "conv_dim": [240, 128, 128],
    "conv_kernel": [1024, 4, 4],
    "conv_stride": [80, 2, 2],
    "conv_bias": True,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": False,
    "num_conv_pos_embeddings": 64,
    "num_conv_pos_embedding_groups": 16,
}
PHASES_PER_BAND = 3


class HubertForMaskedPrediction(nn.Module):
    """HuBERT and, for every target family, a projection and one code per class."""

    def __init__(self, config: HubertConfig, num_classes: dict[str, int]):
        super().__init__()
        self.hubert = HubertModel(config)
        self.projections = nn.ModuleDict({name: nn.Linear(config.hidden_size, CODE_DIM) for name in num_classes})
        self.codes = nn.ParameterDict({name: torch.randn(size, CODE_DIM) for name, size in num_classes.items()})

    def forward(self, input_values: torch.Tensor, is_masked: torch.Tensor) -> dict[str, torch.Tensor]:
        """Give logits (B, T50, classes) per family; `is_masked` (B, T50) frames are hidden from the encoder."""
        return self.read_targets(self.hubert(input_values, mask_time_indices=is_masked).last_hidden_state)

    def read_targets(self, hidden_states: torch.Tensor) -> dict[str, torch.Tensor]:
        """Logits of every family from features (B, T50, hidden)."""
        logits = {}
        for name, projection in self.projections.items():
            vectors = nn.functional.normalize(projection(hidden_states), dim=-1)
            logits[name] = LOGIT_SCALE * vectors @ nn.functional.normalize(self.codes[name], dim=-1).T
        return logits


def make_hubert_config(fields: dict) -> HubertConfig:
    """Build the config of the encoder in training: no dropout, and spans hidden by the loop alone."""
    is_off = dict.fromkeys(("hidden_dropout", "activation_dropout", "attention_dropout", "feat_proj_dropout"), 0.0)
    # `mask_time_prob` above 0 makes the model own the vector that stands for a hidden frame.
    return HubertConfig(**is_off, final_dropout=0.0, layerdrop=0.0, mask_time_prob=0.5, **fields)


@torch.no_grad()
def initialise_filter_bank(hubert: HubertModel) -> None:
    """Let the first convolution begin as windowed cosines on a pitch scale, and the second as their magnitudes.

    Bands lie a semitone apart from 55 Hz to 2.2 kHz, wider above, three phases each: the sum of three rectified
    cosines 120 degrees apart hardly depends on the phase. Only the start is ours; all of it is trained.

    Raises:
        ValueError: If the first convolution's channels are not three times an even number of at least 40 bands.
    """
    first, second = (layer.conv for layer in hubert.feature_extractor.conv_layers[:2])
    num_bands, surplus = divmod(first.out_channels, PHASES_PER_BAND)
    if surplus or num_bands < 40:
        raise ValueError(f"`hubert['conv_dim'][0]` must be 3 times at least 40 bands, got {first.out_channels}.")
    num_semitones = min(65, num_bands - 15)
    semitones = 55.0 * 2.0 ** (np.arange(num_semitones) / 12)
    wide = np.geomspace(semitones[-1], 7500.0, num_bands - num_semitones + 1)[1:]
    frequencies = np.concatenate([semitones, wide])
    cycles = np.where(np.arange(num_bands) < num_semitones, 25.0, 12.0)
    length = first.kernel_size[0]
    times = (np.arange(length) - (length - 1) / 2) / 16_000
    widths = np.minimum(cycles / frequencies, length / 16_000)
    windows = np.where(np.abs(times) < widths[:, None] / 2, np.cos(np.pi * times / widths[:, None]) ** 2, 0.0)
    # Music falls off by about 6 dB per octave: without this gain the layer norm would leave overtones at nothing.
    gains = (frequencies / 440.0) ** 0.8 / windows.sum(1)
    phases = 2 * np.pi * np.arange(PHASES_PER_BAND) / PHASES_PER_BAND
    carriers = np.cos(2 * np.pi * frequencies[:, None, None] * times + phases[:, None])  # (bands, phases, length)
    filters = torch.from_numpy(
        (gains[:, None, None] * windows[:, None] * carriers).reshape(first.weight.shape)
    ).float()
    # The layer norm makes the scale free; a unit one lets the optimizer change filters slowly.
    first.weight.copy_(filters / filters.abs().mean() * 0.2)
    second.weight.mul_(0.3)
    shared = min(num_bands, second.out_channels)
    for band in range(shared):
        second.weight[band, PHASES_PER_BAND * band : PHASES_PER_BAND * (band + 1)] += 0.25


def load_hubert(hubert: HubertModel, folder: str | os.PathLike) -> None:
    """Load the HuBERT of a semantic encoder; the vector of hidden frames, which it does not keep, stays as it is.

    Raises:
        ValueError: If the encoder in `folder` has other sizes.
    """
    weights = load_part(folder, "semantic_encoder", dtype=torch.float32).hubert.state_dict()
    expected = {name: value.shape for name, value in hubert.state_dict().items() if name != "masked_spec_embed"}
    found = {name: value.shape for name, value in weights.items() if name != "masked_spec_embed"}
    differing = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if differing:
        name = differing[0]
        raise ValueError(
            f"`init_from` {folder} must be an encoder of the sizes in `hubert`: {name} is {found.get(name)}, expected "
            f"{expected.get(name)}, and {len(differing) - 1} more differ. Give its sizes, or start from nothing."
        )
    hubert.load_state_dict(weights, strict=False)


def draw_mask(
    shape: tuple[int, int], start_probability: float, length: int, generator: np.random.Generator
) -> torch.Tensor:
    """Draw spans of `length` frames that begin with `start_probability`, at least one per row. Bool (B, T50)."""
    starts = generator.random(shape) < start_probability
    starts[np.arange(shape[0]), generator.integers(max(1, shape[1] - length), size=shape[0])] = True
    is_masked = np.zeros(shape, dtype=bool)
    for offset in range(min(length, shape[1])):
        is_masked[:, offset:] |= starts[:, : shape[1] - offset]
    return torch.from_numpy(is_masked)


def normalise_crops(crops: np.ndarray, padding: int) -> torch.Tensor:
    """Give every row zero mean and unit variance, and zeros on both sides so that n · 320 samples give n frames."""
    values = torch.from_numpy(crops)
    values = (values - values.mean(1, keepdim=True)) / torch.sqrt(values.var(1, correction=0, keepdim=True) + 1e-7)
    return nn.functional.pad(values, (padding // 2, padding - padding // 2))


def save_rounded_hubert(hubert: HubertModel, folder: str | os.PathLike) -> None:
    """Save the encoder with every weight rounded to half precision, beside its feature extractor.

    Rounding comes before centroids are fitted: the stored half-precision file is then the model that was measured.
    """
    rounded = HubertModel(hubert.config)
    rounded.load_state_dict({name: value.half().float() for name, value in hubert.state_dict().items()})
    rounded.save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=False).save_pretrained(folder)
