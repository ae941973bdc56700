"""Codes as a model plays them, for a decoder to learn from: true coarse codes, and fine ones by the fine stage.

Fine codes cannot be known from coarse ones; a stage draws likely ones. A decoder that has only met true ones believes
them, and the band is heard through haze. Vocoders of speech synthesis are tuned on the spectra of their acoustic model
for the same reason (HiFi-GAN; Kong et al. 2020).

Letters: P parts, K codebooks, T codec frames, N samples.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from accompgen_hf.accompgen.codec_accompgen import encode_in_blocks
from accompgen_hf.accompgen.progress_accompgen import ProgressBar
from accompgen_hf.accompgen.windows_accompgen import frames_per_step
from accompgen_hf.files import write_array
from accompgen_hf.training.codec.material import CODES_NAME, TRACKS_NAME


def write_generated_codes(model: Any, folder: str | os.PathLike) -> None:
    """Write `codes/<seed>.npy` beside the songs of a folder that lack it.

    Args:
        model (`AccompGenForConditionalGeneration`): Its codec encodes, and its fine stage plays with the song's seed.
        folder (`str`): One folder inside `songs_dir`; its tracks but the vocals are the model's parts.

    Raises:
        ValueError: If the tracks are others, or the fine stage needs more than coarse codes.
    """
    folder, parts = Path(folder), list(model.config.part_names)
    names = json.loads((folder / TRACKS_NAME).read_text("utf-8"))["track_names"]
    rows = [row for row, name in enumerate(names) if name != "vocals"]
    if [names[row] for row in rows] != parts:
        raise ValueError(f"`folder` {folder} must have the tracks {', '.join(parts)}, found {', '.join(names)}.")
    (folder / CODES_NAME).mkdir(exist_ok=True)
    missing = [path for path in folder.glob("*.npy") if not (folder / CODES_NAME / path.name).is_file()]
    for path in ProgressBar(sorted(missing, key=lambda path: int(path.stem)), desc=folder.name, unit="song"):
        samples = np.load(path, mmap_mode="r")[rows].astype(np.float32) / 32767
        codes = generate_codes(model, torch.from_numpy(samples), seed=int(path.stem))
        write_array(folder / CODES_NAME / path.name, codes.numpy().astype(np.int16))


@torch.no_grad()
def generate_codes(model: Any, parts: torch.FloatTensor, seed: int) -> torch.LongTensor:
    """Codes `(P, K, T)` of a model's parts, `(P, N)` at the codec's rate, in whole steps of 40 ms."""
    names, per_step = list(model.config.part_names), frames_per_step("coarse_codes")
    num_frames = parts.shape[1] // (per_step * model.codec.config.hop_length) * per_step
    true = encode_in_blocks(model.codec, parts, model.config.bandwidth)[..., :num_frames]
    coarse = true[:, : model.config.coarse_config.num_codebooks]
    fine = model.fine.generate_codes(coarse_codes=coarse, part=names, seed=[seed] * len(names))
    return torch.cat([coarse, fine], dim=1).cpu()


__all__ = ["generate_codes", "write_generated_codes"]
