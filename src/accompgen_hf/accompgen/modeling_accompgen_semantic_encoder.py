"""Semantic tokens: HuBERT features of one inner layer and their nearest k-means centroid (paper §3.2).

16 kHz mono audio becomes 50 ids per second. Vocals and instrumentals share the encoder and the centroids.

HuBERT attends over everything it is given, so another way of cutting long audio gives other tokens. There is
therefore ONE block recipe, here: blocks of `block_duration_s`, one every `block_hop_s`, of which the middle is kept;
each block is normalised alone and runs alone through HuBERT. `list_semantic_blocks` states it without a model, for
streams too. The numbers are ours, since the paper states none.

Letters: B batch, T50 semantic frames (50 per second), H hidden size, C clusters.
"""

import copy
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import AutoFeatureExtractor, HubertConfig, HubertModel, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_utils import load_state_dict
from transformers.utils import ModelOutput

from .configuration_accompgen import AccompGenSemanticEncoderConfig
from .model_checks_accompgen import CheckedLoadingMixin
from .pickling_accompgen import PickledByTensorsMixin

SEMANTIC_SAMPLING_RATE = 16_000
SAMPLES_PER_FRAME = 320
# 40 ms: two semantic frames, and the 25 Hz grid that 50 Hz and 75 Hz share.
SAMPLES_PER_GRID_STEP = 640


class SemanticBlock(NamedTuple):
    """One block, in samples: HuBERT hears `[start, end)`, the frames of `[keep_start, keep_end)` are kept."""

    start: int
    end: int
    keep_start: int
    keep_end: int


def list_semantic_blocks(
    num_samples: int, block_samples: int, hop_samples: int, is_final: bool = True
) -> list[SemanticBlock]:
    """List the blocks that turn `num_samples` of audio into frames, each sample kept by exactly one block.

    Half of what neighbours share is dropped on either side; the first block also keeps its outer left part and the
    last block its outer right part. A last block may be shorter than the others.

    Args:
        num_samples (`int`):
            Audio at hand, in samples at 16 kHz; a multiple of 640.
        block_samples (`int`):
            Length of a block; a multiple of 640.
        hop_samples (`int`):
            Distance between the starts of two blocks; a multiple of 640, in `(0, block_samples]`, so that the margin
            `(block_samples - hop_samples) / 2` is a multiple of 320.
        is_final (`bool`):
            Whether the audio ends here. A stream that goes on (`False`) gets the blocks that are complete, and none of
            them keeps its outer right part; once it ends, `True` gives the same blocks and what was still open.

    Returns:
        `list[SemanticBlock]` in order of time.

    Raises:
        ValueError: If a length is not on the 640-sample grid, or `hop_samples` is not in `(0, block_samples]`.
    """
    if num_samples < 0 or num_samples % SAMPLES_PER_GRID_STEP:
        raise ValueError(
            f"`num_samples` must be a multiple of {SAMPLES_PER_GRID_STEP} (40 ms at 16 kHz), got {num_samples}. "
            "Pad the end with zeros."
        )
    for name, value in (("block_samples", block_samples), ("hop_samples", hop_samples)):
        if value <= 0 or value % SAMPLES_PER_GRID_STEP:
            raise ValueError(f"`{name}` must be a positive multiple of {SAMPLES_PER_GRID_STEP}, got {value}.")
    if hop_samples > block_samples:
        raise ValueError(f"`hop_samples` must be at most `block_samples` ({block_samples}), got {hop_samples}.")
    margin = (block_samples - hop_samples) // 2
    blocks: list[SemanticBlock] = []
    start = 0
    while start + block_samples <= num_samples:
        keep_start = 0 if start == 0 else start + margin
        blocks.append(SemanticBlock(start, start + block_samples, keep_start, start + margin + hop_samples))
        start += hop_samples
    if not is_final or num_samples == 0:
        return blocks
    if blocks and blocks[-1].end == num_samples:
        blocks[-1] = blocks[-1]._replace(keep_end=num_samples)
    else:
        blocks.append(SemanticBlock(start, num_samples, blocks[-1].keep_end if blocks else 0, num_samples))
    return blocks


def check_input_values(input_values: torch.Tensor) -> None:
    """Refuse what is not `(batch_size, num_samples)` with a positive multiple of 640 samples.

    Raises:
        ValueError: If the shape is another one.
    """
    if input_values.ndim != 2:
        raise ValueError(f"`input_values` must be (batch_size, num_samples), got {tuple(input_values.shape)}.")
    num_samples = input_values.shape[1]
    if num_samples == 0 or num_samples % SAMPLES_PER_GRID_STEP:
        raise ValueError(
            f"`input_values` must have a positive multiple of {SAMPLES_PER_GRID_STEP} samples (40 ms at 16 kHz), "
            f"got {num_samples}. Pad the end with zeros."
        )


def load_centroids(centroids: torch.Tensor | np.ndarray | str | os.PathLike) -> torch.Tensor:
    """Read centroids from a tensor, an array, a `.safetensors` file (tensor `centroids`) or a `.npy` file.

    Returns:
        `torch.FloatTensor` of shape `(num_clusters, hidden_size)`, a copy on the CPU.

    Raises:
        ValueError: If a file has no tensor `centroids`, the table is not two-dimensional, or a value is not finite.
    """
    if isinstance(centroids, (str, os.PathLike)):
        path = os.fspath(centroids)
        if path.endswith(".npy"):
            centroids = np.load(path, allow_pickle=False)
        else:
            tensors = load_state_dict(path)
            if "centroids" not in tensors:
                raise ValueError(
                    f"`centroids` must be a file with a tensor `centroids`, got {path} with {sorted(tensors)}."
                )
            centroids = tensors["centroids"]
    table = torch.as_tensor(centroids).detach().to(device="cpu", dtype=torch.float32, copy=True)
    if table.ndim != 2:
        raise ValueError(f"`centroids` must be (num_clusters, hidden_size), got {tuple(table.shape)}.")
    if not torch.isfinite(table).all():
        raise ValueError("`centroids` must be finite, got NaN or infinity. Fit them again.")
    return table


def count_receptive_field(hubert_config: HubertConfig) -> int:
    """Count the samples that one frame of the convolutional front end sees: 400 for the published HuBERT models."""
    samples, stride = 1, 1
    for kernel_size, step in zip(hubert_config.conv_kernel, hubert_config.conv_stride, strict=True):
        samples += (kernel_size - 1) * stride
        stride *= step
    return samples


def cut_hubert_config(hubert_config: HubertConfig, layer: int) -> HubertConfig:
    """Copy a HuBERT config for feature extraction: `layer` layers, and the same computation in train and eval mode.

    Raises:
        ValueError: If the model has fewer than `layer` layers or does not give one frame per 320 samples.
    """
    if not 0 < layer <= hubert_config.num_hidden_layers:
        raise ValueError(
            f"`layer` must be between 1 and the model's {hubert_config.num_hidden_layers} layers, got {layer}."
        )
    if hubert_config.inputs_to_logits_ratio != SAMPLES_PER_FRAME:
        raise ValueError(
            f"`hubert_config.conv_stride` must have the product {SAMPLES_PER_FRAME} (50 frames per second), "
            f"got {hubert_config.inputs_to_logits_ratio}."
        )
    config = copy.deepcopy(hubert_config)
    config.num_hidden_layers = layer
    config.apply_spec_augment = False
    # Without masking HubertModel makes no `masked_spec_embed`: no unused tensor in files and fingerprints.
    config.mask_time_prob = config.mask_feature_prob = 0.0
    config.hidden_dropout = config.activation_dropout = config.attention_dropout = 0.0
    config.feat_proj_dropout = config.final_dropout = config.layerdrop = 0.0
    return config


class _CutHubertModel(HubertModel):
    """HubertModel that takes its first layers from a whole checkpoint without reporting the others."""

    _keys_to_ignore_on_load_unexpected = [r"encoder\.layers\.\d+\.", r"masked_spec_embed"]


@dataclass
class AccompGenSemanticEncoderOutput(ModelOutput):
    """Output of [`AccompGenSemanticEncoder`].

    Args:
        semantic_ids (`torch.LongTensor` of shape `(batch_size, num_frames)`):
            Nearest centroid of every frame, in `[0, num_clusters)`, 50 per second.
        features (`torch.FloatTensor` of shape `(batch_size, num_frames, hidden_size)`):
            The HuBERT features behind them.
    """

    semantic_ids: torch.LongTensor | None = None
    features: torch.FloatTensor | None = None


class AccompGenSemanticEncoder(PickledByTensorsMixin, CheckedLoadingMixin, PreTrainedModel):
    """HuBERT cut to `config.layer` layers, and `config.num_clusters` centroids (paper §3.2: Large, layer 9, K = 500).

    Features are `hidden_states[layer]` of the whole HuBERT, before its encoder's final layer norm. It is a frozen
    tokenizer: dropout and masking are off in train mode too, and nothing here has a gradient.
    """

    config_class = AccompGenSemanticEncoderConfig
    base_model_prefix = "semantic_encoder"
    main_input_name = "input_values"
    input_modalities = "audio"
    _no_split_modules = ["HubertEncoderLayer", "HubertEncoderLayerStableLayerNorm", "ParametrizedConv1d"]
    _keep_in_fp32_modules_strict = ["centroids"]
    _supports_sdpa = True
    centroids: torch.Tensor

    def __init__(self, config: AccompGenSemanticEncoderConfig):
        super().__init__(config)
        self.hubert = HubertModel(cut_hubert_config(config.hubert_config, config.layer))
        if config.hubert_config.do_stable_layer_norm:
            # Pre-norm HuBERT (Large) normalises after its last layer, which would not be `hidden_states[layer]`.
            self.hubert.encoder.layer_norm = torch.nn.Identity()
        self.register_buffer(
            "centroids", torch.zeros(config.num_clusters, config.hubert_config.hidden_size, dtype=torch.float32)
        )
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: torch.nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, AccompGenSemanticEncoder):
            init.normal_(module.centroids)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> "AccompGenSemanticEncoder":
        # `.half()` and `.to(dtype)` of this model, or of one that holds it, must not round the centroids.
        centroids = self.centroids
        super()._apply(fn, recurse)
        if self.centroids.dtype != torch.float32:
            device = self.centroids.device
            self.centroids = self.centroids.float() if centroids.is_meta else centroids.to(device)
        return self

    @classmethod
    def from_hubert(
        cls,
        hubert_id_or_path: str | os.PathLike,
        centroids: torch.Tensor | np.ndarray | str | os.PathLike,
        layer: int = 9,
        do_normalize: bool | None = None,
        block_duration_s: float = 10.0,
        block_hop_s: float = 8.0,
        **hubert_kwargs: Any,
    ) -> "AccompGenSemanticEncoder":
        """Join a HuBERT checkpoint and a centroid table.

        Args:
            hubert_id_or_path (`str`):
                Hub id or folder of a HuBERT model, such as `facebook/hubert-large-ll60k`.
            centroids (`torch.Tensor`, `np.ndarray` or path):
                Table of shape `(num_clusters, hidden_size)`, see [`load_centroids`].
            layer (`int`):
                Index into `hidden_states`; 0 would be the input of the first layer.
            do_normalize (`bool`, *optional*):
                Whether blocks get zero mean and unit variance. `None` reads the checkpoint's feature extractor.
            hubert_kwargs:
                Passed to `HubertModel.from_pretrained` (`dtype`, `revision`, `local_files_only`, ...).

        Raises:
            ValueError: If the table's width is not HuBERT's hidden size, weights are missing, or `do_normalize` cannot
                be read.
        """
        table = load_centroids(centroids)
        hub_kwargs = {
            k: v for k, v in hubert_kwargs.items() if k in ("revision", "token", "cache_dir", "local_files_only")
        }
        hubert_config = HubertConfig.from_pretrained(hubert_id_or_path, **hub_kwargs)
        if table.shape[1] != hubert_config.hidden_size:
            raise ValueError(
                f"`centroids` must have HuBERT's hidden size {hubert_config.hidden_size} as width, "
                f"got {table.shape[1]}. Were they fitted on another encoder?"
            )
        if do_normalize is None:
            do_normalize = _read_do_normalize(hubert_id_or_path, hub_kwargs)
        # The config that is saved is the cut one: a folder says what is in it.
        hubert_config = cut_hubert_config(hubert_config, layer)
        hubert, loading_info = _CutHubertModel.from_pretrained(
            hubert_id_or_path, config=hubert_config, output_loading_info=True, **hubert_kwargs
        )
        if loading_info["missing_keys"]:
            raise ValueError(
                f"`hubert_id_or_path` must hold all weights of its first {layer} layers, {hubert_id_or_path} lacks "
                f"{sorted(loading_info['missing_keys'])}. Is it a HuBERT checkpoint?"
            )
        config = AccompGenSemanticEncoderConfig(
            hubert_config=hubert_config.to_dict(),
            layer=layer,
            num_clusters=table.shape[0],
            do_normalize=do_normalize,
            block_duration_s=block_duration_s,
            block_hop_s=block_hop_s,
        )
        model = cls(config).to(hubert.dtype)
        weights = {name: value for name, value in hubert.state_dict().items() if name in model.hubert.state_dict()}
        model.hubert.load_state_dict(weights)
        model.centroids.copy_(table)
        return model.eval()

    @property
    def block_samples(self) -> int:
        """Length of a block in samples at 16 kHz."""
        return round(self.config.block_duration_s * SEMANTIC_SAMPLING_RATE)

    @property
    def hop_samples(self) -> int:
        """Distance between the starts of two blocks in samples at 16 kHz."""
        return round(self.config.block_hop_s * SEMANTIC_SAMPLING_RATE)

    @torch.no_grad()
    def extract_block_features(self, block: torch.Tensor) -> torch.Tensor:
        """Run HuBERT once over one block, normalised alone.

        Args:
            block (`torch.FloatTensor` of shape `(num_samples,)`):
                16 kHz mono audio, a multiple of 640 samples.

        Returns:
            `torch.FloatTensor` of shape `(num_samples // 320, hidden_size)`.

        Raises:
            ValueError: If `block` is not one-dimensional or not a positive multiple of 640 samples long.
        """
        if block.ndim != 1 or block.shape[0] == 0 or block.shape[0] % SAMPLES_PER_GRID_STEP:
            raise ValueError(
                f"`block` must be (num_samples,), a positive multiple of {SAMPLES_PER_GRID_STEP}, "
                f"got {tuple(block.shape)}."
            )
        values = block.to(device=self.device, dtype=torch.float32)
        if self.config.do_normalize:
            values = (values - values.mean()) / torch.sqrt(values.var(correction=0) + 1e-7)
        # The convolutions see 80 samples more than they advance (HuBERT: 400 and 320), hence 50 n - 1 frames without
        # padding; zeros after normalisation are the mean.
        padding = count_receptive_field(self.hubert.config) - SAMPLES_PER_FRAME
        values = torch.nn.functional.pad(values, (padding // 2, padding - padding // 2))
        # Older Transformers draw a number per layer for LayerDrop even where nothing is dropped.
        with torch.random.fork_rng(devices=[]):
            return self.hubert(values[None].to(self.hubert.dtype)).last_hidden_state[0]  # (T50, H)

    @torch.no_grad()
    def extract_features(self, input_values: torch.Tensor) -> torch.Tensor:
        """Compute features by the block recipe; rows and blocks do not influence each other.

        Args:
            input_values (`torch.FloatTensor` of shape `(batch_size, num_samples)`):
                16 kHz mono audio, not normalised, a positive multiple of 640 samples; vocals with their noise.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, num_samples // 320, hidden_size)`.

        Raises:
            ValueError: If the shape is another one.
        """
        check_input_values(input_values)
        blocks = list_semantic_blocks(input_values.shape[1], self.block_samples, self.hop_samples)
        rows = []
        for row in input_values:
            parts = []
            for start, end, keep_start, keep_end in blocks:
                features = self.extract_block_features(row[start:end])
                first = (keep_start - start) // SAMPLES_PER_FRAME
                parts.append(features[first : first + (keep_end - keep_start) // SAMPLES_PER_FRAME])
            rows.append(torch.cat(parts))
        return torch.stack(rows)  # (B, T50, H)

    @torch.no_grad()
    def quantize(self, features: torch.Tensor) -> torch.Tensor:
        """Find the nearest centroid of every frame, in float32 whatever the dtype of the model.

        Args:
            features (`torch.FloatTensor` of shape `(..., hidden_size)`):
                Output of [`~AccompGenSemanticEncoder.extract_features`].

        Returns:
            `torch.LongTensor` of shape `(...)` with ids in `[0, num_clusters)`; the lowest id among equals.

        Raises:
            ValueError: If the last dimension is not the hidden size.
        """
        if features.shape[-1] != self.centroids.shape[1]:
            raise ValueError(
                f"`features` must have the hidden size {self.centroids.shape[1]} as last dimension, "
                f"got {tuple(features.shape)}."
            )
        centroids = self.centroids.float()
        # |x - c|^2 without |x|^2, which is the same for all centroids of a frame.
        distances = centroids.square().sum(-1) - 2 * (features.float() @ centroids.T)  # (..., C)
        return distances.argmin(-1)

    def forward(self, input_values: torch.Tensor, **kwargs: Any) -> AccompGenSemanticEncoderOutput:
        """Turn 16 kHz audio into semantic ids; arguments and errors as in `extract_features`."""
        features = self.extract_features(input_values)
        return AccompGenSemanticEncoderOutput(semantic_ids=self.quantize(features), features=features)


def _read_do_normalize(hubert_id_or_path: str | os.PathLike, hub_kwargs: dict) -> bool:
    try:
        return bool(AutoFeatureExtractor.from_pretrained(hubert_id_or_path, **hub_kwargs).do_normalize)
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(
            f"`do_normalize` is not stated by {hubert_id_or_path} (no readable preprocessor_config.json). "
            "Pass True or False."
        ) from error


__all__ = [
    "AccompGenSemanticEncoder",
    "AccompGenSemanticEncoderOutput",
    "SemanticBlock",
    "check_input_values",
    "count_receptive_field",
    "list_semantic_blocks",
    "load_centroids",
]
