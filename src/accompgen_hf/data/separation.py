"""Source separation: a whole song -> its vocals and its instrumental, sample by sample in place (paper §3.6, MDX-Net).

Every separator has `separate(mix, sampling_rate) -> (vocals, instrumental, sampling_rate)` and `describe()`. Pairs
that are already separated need none: see the sources of pairs.
"""

import os
from typing import Any, Protocol

import numpy as np
import torch

from accompgen_hf.accompgen.audio_accompgen import resample
from accompgen_hf.accompgen.optional_accompgen import import_optional
from accompgen_hf.data.mdx import MDXNetSeparator, as_stereo

# Options of the command lines, and what `MDXNetSeparator` calls them.
SEPARATOR_OPTIONS = {
    "separate_preset": "preset",
    "separate_n_fft": "n_fft",
    "separate_gain": "gain",
    "separate_stem": "predicted_stem",
}


class Separator(Protocol):
    """The interface of a separator, as preparation and the command line use it."""

    def separate(self, mix: np.ndarray, sampling_rate: int) -> tuple[np.ndarray, np.ndarray, int]:
        """(channels, num_samples) at any rate -> vocals, instrumental (2, num_samples) and their common rate."""

    def describe(self) -> dict[str, Any]:
        """Describe everything that decides about the result, for the manifest."""


def load_separator(model: str | os.PathLike, **options: Any) -> Separator:
    """Open a separator by its file or name.

    Args:
        model (`str`):
            A `.onnx` file of MDX-Net, or the name of a demucs 4 model (`"htdemucs"`, `"htdemucs_ft"`, `"mdx_extra"`).
        options: Arguments of [`MDXNetSeparator`]. demucs takes only `device`, and leaves `num_threads` to torch.

    Raises:
        ValueError: If `model` is neither, or an option is given that it does not have.
    """
    if str(model).lower().endswith(".onnx"):
        return MDXNetSeparator(model, **options)
    if str(model).startswith(("htdemucs", "hdemucs", "mdx")) and not os.path.exists(model):
        # demucs runs on torch's threads, of which preparation leaves one.
        shared = ("device", "num_threads")
        given = sorted(name for name, value in options.items() if value is not None and name not in shared)
        if given:
            raise ValueError(f"`{given[0]}` is an option of ONNX files, demucs models such as {model!r} have none.")
        return DemucsSeparator(str(model), options.get("device") or "auto")
    raise ValueError(
        "`separate` must be an .onnx file of MDX-Net or the name of a demucs model (htdemucs, ...), "
        f"got {os.fspath(model)!r}."
    )


class DemucsSeparator:
    """demucs 4, if it is installed; it brings its own weights.

    Args:
        name (`str`): Name of the model, such as `"htdemucs"`.
        device (`str`): `"auto"`, or a device as torch names it.

    Raises:
        ImportError: If demucs is missing.
        ValueError: If the model has no stem called vocals.
    """

    def __init__(self, name: str, device: str = "auto"):
        pretrained = import_optional("demucs.pretrained", "Separating with demucs", "demucs")
        self._apply_model = import_optional("demucs.apply", "Separating with demucs", "demucs").apply_model
        self.name = name
        self.device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        self.model = pretrained.get_model(name)
        if "vocals" not in self.model.sources:
            raise ValueError(f"`separate` {name!r} gives {', '.join(self.model.sources)}, but vocals are needed.")

    def describe(self) -> dict[str, Any]:
        """The model's name, for the manifest."""
        return {"separator": "demucs", "model": self.name}

    def separate(self, mix: np.ndarray, sampling_rate: int) -> tuple[np.ndarray, np.ndarray, int]:
        """Split a song, as [`MDXNetSeparator.separate`]; the rate is the model's own."""
        mix, stems, rate = self._split(mix, sampling_rate)
        return stems["vocals"], mix - stems["vocals"], rate

    def separate_parts(self, mix: np.ndarray, sampling_rate: int) -> tuple[np.ndarray, dict[str, np.ndarray], int]:
        """Split a song into vocals and the band's parts.

        Returns:
            Vocals; drums, bass and other, each `(2, num_samples)`; the model's rate. `other` is all that is left, so
            that vocals and parts add up to the song.

        Raises:
            ValueError: If the model has no drums or no bass.
        """
        lacking = [name for name in ("drums", "bass") if name not in self.model.sources]
        if lacking:
            raise ValueError(
                f"`separate` {self.name!r} gives {', '.join(self.model.sources)}: for `parts` it lacks "
                f"{', '.join(lacking)}."
            )
        mix, stems, rate = self._split(mix, sampling_rate)
        parts = {"drums": stems["drums"], "bass": stems["bass"]}
        parts["other"] = mix - stems["vocals"] - parts["drums"] - parts["bass"]
        return stems["vocals"], parts, rate

    @torch.no_grad()
    def _split(self, mix: np.ndarray, sampling_rate: int) -> tuple[np.ndarray, dict[str, np.ndarray], int]:
        """The song at the model's rate, its stems by name, and that rate."""
        rate = self.model.samplerate
        mix = as_stereo(resample(np.asarray(mix, np.float32), sampling_rate, rate))
        mean, scale = float(mix.mean()), float(mix.std()) or 1.0
        batch = torch.from_numpy((mix - mean) / scale)[None]
        # No random shifts: the same song has the same stems.
        stems = self._apply_model(self.model, batch, shifts=0, split=True, overlap=0.25, device=self.device)[0]
        by_name = zip(self.model.sources, stems, strict=True)
        return mix, {name: stem.cpu().numpy() * scale for name, stem in by_name}, rate
