"""Oracles: the true accompaniment's codes instead of those of the first stages, or of all.

The codec's oracle encodes and decodes; no system that speaks these codes can do better. A stage's oracle gives a
model the true codes up to one stage and lets it generate the rest: what is lost between two of them, the stage between
them loses.
"""

import os
from functools import cached_property
from typing import Any

import numpy as np
import torch

from accompgen_hf.accompgen.audio_accompgen import resample
from accompgen_hf.accompgen.codec_accompgen import decode_in_blocks, encode_in_blocks
from accompgen_hf.accompgen.configuration_accompgen import AccompGenConfig
from accompgen_hf.accompgen.modeling_accompgen import AccompGenForConditionalGeneration
from accompgen_hf.evaluation.systems.system import OursSystem, Window, fit_output, hash_model_folder

GIVEN_STAGES = ("semantic", "coarse")


class OracleSystem:
    """The true accompaniment through the codec of a composite model.

    Args:
        folder (`str` or `os.PathLike`): Folder of the composite.
        name (`str`): Name in the table.
    """

    def __init__(self, folder: str | os.PathLike, name: str = "oracle"):
        self.folder, self.name = folder, name

    def describe(self) -> dict[str, Any]:
        """Hashes of the model's files."""
        return {"system": "codec oracle", "files": hash_model_folder(self.folder)}

    @cached_property
    def codec(self) -> torch.nn.Module:
        """The codec in float32, loaded when it is first needed."""
        model = AccompGenForConditionalGeneration.from_pretrained(self.folder, dtype=torch.float32)
        self._config = model.config
        return model.codec.eval()

    def generate(self, vocals: np.ndarray, sampling_rate: int, seed: int, window: Window) -> np.ndarray:
        """Encode and decode the window's own accompaniment."""
        codec = self.codec
        config: AccompGenConfig = self._config
        blocks = {
            "block_duration_s": config.codec_block_duration_s,
            "context_duration_s": config.codec_context_duration_s,
        }
        codec_rate = codec.config.sampling_rate
        waveform = torch.from_numpy(window.load_instrumental(codec_rate))[None]
        codes = encode_in_blocks(codec, waveform, config.bandwidth, **blocks)
        decoded = decode_in_blocks(codec, codes, **blocks)[0, : waveform.shape[1]].float().numpy()
        decoded = resample(np.clip(decoded, -1, 1), codec_rate, sampling_rate)
        return fit_output(decoded, len(vocals), sampling_rate, f"the accompaniment of {window.window_id}")


class StageOracleSystem(OursSystem):
    """A composite model that is given the true codes of its first stages.

    Args:
        folder (`str` or `os.PathLike`): Folder of the composite.
        given (`str`): The last stage whose codes are the true ones, `"semantic"` or `"coarse"`.
        name (`str`, *optional*): Name in the table. `None` means `true-<given>`.
        device, generate_kwargs: The same as for [`OursSystem`].

    Raises:
        ValueError: If `given` is neither; at the first window, if the model plays several parts.
    """

    def __init__(self, folder: str | os.PathLike, given: str, name: str | None = None, **kwargs: Any):
        if given not in GIVEN_STAGES:
            raise ValueError(f"`given` must be one of {GIVEN_STAGES}, got {given!r}.")
        super().__init__(folder, name or f"true-{given}", **kwargs)
        self.given = given

    def describe(self) -> dict[str, Any]:
        """Hashes of the model's files, the options, and what is given."""
        return {**super().describe(), "given": self.given}

    def generate_batch(
        self, vocals: list[np.ndarray], sampling_rate: int, seeds: list[int], windows: list[Window]
    ) -> list[np.ndarray]:
        """Accompany equally long windows together, each with its true codes."""
        known = [self._true_codes(window) for window in windows]
        return self.accompany(vocals, sampling_rate, seeds, known_codes=known)

    @torch.no_grad()
    def _true_codes(self, window: Window) -> dict[str, torch.LongTensor]:
        model, processor = self.pipeline.model, self.pipeline.processor
        if len(model.config.part_names) > 1:
            raise ValueError(
                f"`given` needs a model that plays one part, got one of {', '.join(model.config.part_names)}: windows "
                "have the whole band alone. Use examples/measure_band.py --given, whose songs have parts."
            )
        rate = model.config.codec_config.sampling_rate
        at_16_khz, at_codec_rate = processor.prepare_instrumental(window.load_instrumental(rate), rate)
        known = {"instrumental_semantic_ids": model.semantic_encoder(torch.from_numpy(at_16_khz)[None]).semantic_ids}
        if self.given == "coarse":
            config = model.config
            blocks = (config.codec_block_duration_s, config.codec_context_duration_s)
            codes = encode_in_blocks(model.codec, torch.from_numpy(at_codec_rate)[None], config.bandwidth, *blocks)
            known["coarse_codes"] = codes[:, : config.coarse_config.num_codebooks]
        return known
