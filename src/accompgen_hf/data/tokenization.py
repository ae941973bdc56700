"""From an aligned pair of waveforms to the tokens of its streams, exactly as inference makes them (paper §3.2)."""

import hashlib
from dataclasses import asdict, dataclass

import numpy as np
import torch
from transformers import EncodecFeatureExtractor, EncodecModel

from accompgen_hf.accompgen.codec_accompgen import CODEC_BANDWIDTH, encode_in_blocks
from accompgen_hf.accompgen.fingerprint_accompgen import compute_token_fingerprint
from accompgen_hf.accompgen.modeling_accompgen_semantic_encoder import AccompGenSemanticEncoder
from accompgen_hf.accompgen.parts_accompgen import WHOLE_BAND, check_part_names
from accompgen_hf.accompgen.processing_accompgen import AccompGenProcessor

ACTIVITY_THRESHOLD_DB = -40.0


@dataclass(frozen=True)
class TokenRecipe:
    """Settings of tokenization besides the models; see `AccompGenConfig` for the fields both share.

    Attributes:
        noise_seed (`int`): Seed of the vocals' noise; each track has its own part of the stream.
        part_names (`tuple` of `str`): Parts of the accompaniment that are tokenized one by one.
    """

    vocal_target_lufs: float | None = -20.0
    noise_std: float = 0.01
    noise_seed: int = 0
    bandwidth: float = CODEC_BANDWIDTH
    codec_block_duration_s: float = 10.0
    codec_context_duration_s: float = 2.0
    part_names: tuple[str, ...] = WHOLE_BAND

    def __post_init__(self):
        check_part_names(self.part_names)


class TokenExtractor:
    """Turns a pair of waveforms into tokens, exactly as inference turns vocals into tokens.

    Args:
        semantic_encoder (`AccompGenSemanticEncoder`): The encoder with its centroids.
        codec (`EncodecModel`): The codec, with 24 kHz and 75 frames per second.
        recipe (`TokenRecipe`): Level, noise and blocks.

    Raises:
        ValueError: If the codec does not have the recipe's bandwidth.
    """

    def __init__(
        self, semantic_encoder: AccompGenSemanticEncoder, codec: EncodecModel, recipe: TokenRecipe = TokenRecipe()
    ):
        if recipe.bandwidth not in codec.config.target_bandwidths:
            known = codec.config.target_bandwidths
            raise ValueError(f"`bandwidth` must be one of the codec's {known} kbps, got {recipe.bandwidth}.")
        self.semantic_encoder = semantic_encoder.eval()
        self.codec = codec.eval()
        self.recipe = recipe
        self.processor = AccompGenProcessor(
            codec_feature_extractor=EncodecFeatureExtractor(sampling_rate=codec.config.sampling_rate),
            vocal_target_lufs=recipe.vocal_target_lufs,
            noise_std=recipe.noise_std,
        )
        fields = {name: value for name, value in asdict(recipe).items() if name != "noise_seed"}
        self.token_fingerprint = compute_token_fingerprint(semantic_encoder, codec, **fields)

    def describe(self) -> dict:
        """Settings for the manifest: the recipe, the encoder's blocks and the sizes a stage must have."""
        config = self.semantic_encoder.config
        recipe = asdict(self.recipe)
        part_names = recipe.pop("part_names")
        return {
            **recipe,
            **({"part_names": list(part_names)} if len(part_names) > 1 else {}),
            "layer": config.layer,
            "semantic_block_duration_s": config.block_duration_s,
            "semantic_block_hop_s": config.block_hop_s,
            "num_clusters": config.num_clusters,
            "codebook_size": self.codec.config.codebook_size,
        }

    def extract(
        self, vocals: np.ndarray, instrumental: np.ndarray, sampling_rate: int, track_id: str
    ) -> dict[str, np.ndarray | float]:
        """Tokenize one aligned pair.

        Args:
            vocals (`np.ndarray` of shape `(num_samples,)`): float32 mono.
            instrumental (`np.ndarray` of shape `(num_samples,)`): float32 mono, as long as the vocals; of several
                parts `(num_parts, num_samples)`.
            sampling_rate (`int`): Hz, of both.
            track_id (`str`): Chooses the track's part of the noise.

        Returns:
            `dict` with `vocal_semantic_ids` and `instrumental_semantic_ids` (int16, `(2 n,)`), `codes` (int16,
            `(num_codebooks, 3 n)`) for n 40-ms frames, and `vocal_activity`. Several parts make an axis before the
            others of `instrumental_semantic_ids` and `codes`.

        Raises:
            ValueError: If the pair is not aligned mono audio of finite values.
        """
        vocals, instrumental = np.asarray(vocals, np.float32), np.asarray(instrumental, np.float32)
        num_parts = len(self.recipe.part_names)
        expected = vocals.shape if num_parts == 1 else (num_parts, *vocals.shape)
        if vocals.ndim != 1 or expected != instrumental.shape or vocals.size == 0:
            raise ValueError(
                "`vocals` and `instrumental` must be mono and equally long, "
                f"{f'with {num_parts} parts, ' if num_parts > 1 else ''}"
                f"got shapes {vocals.shape} and {instrumental.shape}."
            )
        if not (np.isfinite(vocals).all() and np.isfinite(instrumental).all()):
            raise ValueError("`vocals` and `instrumental` must be finite, got NaN or infinity.")
        recipe = self.recipe
        item = int.from_bytes(hashlib.sha256(track_id.encode()).digest()[:4], "big")
        noised = self.processor.prepare_vocals(vocals, sampling_rate, recipe.noise_seed, item)
        # One part at a time, as a part of one is: batches would round its sums in another order.
        parts = [self._extract_part(part, sampling_rate) for part in np.atleast_2d(instrumental)]
        semantic_ids, codes = parts[0] if num_parts == 1 else map(np.stack, zip(*parts, strict=True))
        return {
            "vocal_semantic_ids": self._extract_semantic_ids(noised),
            "instrumental_semantic_ids": semantic_ids,
            "codes": codes,
            "vocal_activity": measure_activity(vocals, sampling_rate),
        }

    def _extract_part(self, waveform: np.ndarray, sampling_rate: int) -> tuple[np.ndarray, np.ndarray]:
        """Semantic ids and codes of the instrumental or one of its parts."""
        recipe = self.recipe
        at_16_khz, at_codec_rate = self.processor.prepare_instrumental(waveform, sampling_rate)
        codes = encode_in_blocks(
            self.codec,
            torch.from_numpy(at_codec_rate)[None],
            recipe.bandwidth,
            recipe.codec_block_duration_s,
            recipe.codec_context_duration_s,
        )
        return self._extract_semantic_ids(at_16_khz), codes[0].to("cpu", torch.int16).numpy()

    def _extract_semantic_ids(self, waveform: np.ndarray) -> np.ndarray:
        input_values = torch.from_numpy(waveform)[None].to(self.semantic_encoder.device)
        semantic_ids = self.semantic_encoder(input_values).semantic_ids  # (1, T50)
        return semantic_ids[0].to("cpu", torch.int16).numpy()


def measure_activity(vocals: np.ndarray, sampling_rate: int) -> float:
    """Share of 40-ms frames above -40 dBFS, before level and noise."""
    frame_samples = sampling_rate // 25
    frames = vocals[: len(vocals) // frame_samples * frame_samples].reshape(-1, frame_samples)
    is_active = np.square(frames).mean(axis=1) > 10 ** (ACTIVITY_THRESHOLD_DB / 10)
    return float(is_active.mean()) if len(frames) else 0.0
