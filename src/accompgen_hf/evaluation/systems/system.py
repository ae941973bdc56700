"""The one interface of everything that accompanies, ours or another's, and the systems that need no search.

A system sees vocals and a seed, and answers with an accompaniment of the same length at the same rate. The window says
where the vocals come from: retrieval needs the song's id to stay away from it, the oracle its true accompaniment.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from accompgen_hf.accompgen.audio_accompgen import fit_length, fold_to_mono, integrated_loudness, load_audio, resample
from accompgen_hf.accompgen.fingerprint_accompgen import hash_json
from accompgen_hf.files import hash_file
from accompgen_hf.model_parts import resolve_model

ACCOMPANIMENT_LUFS_OFFSET = -3.0  # as in `mix`
MAX_GAIN_DB = 30.0
LENGTH_TOLERANCE_S = 0.1


@dataclass(frozen=True)
class Window:
    """A stretch of a song that a system accompanies.

    Attributes:
        window_id (`str`): Unique in its test set, and a file name.
        song_id (`str`): Id of the song; retrieval never answers with the song itself.
        start_s (`float`): Start in the song, in seconds.
        duration_s (`float`): Length in seconds.
        load_instrumental (`callable`): Function from a rate in Hz to the true accompaniment, `(num_samples,)`.
    """

    window_id: str
    song_id: str
    start_s: float
    duration_s: float
    load_instrumental: Callable[[int], np.ndarray] = field(repr=False, compare=False)


class System(Protocol):
    """What the protocol needs of a system.

    Attributes:
        name (`str`): Name in the table and of the folder.
    """

    name: str

    def describe(self) -> dict[str, Any]:
        """Return, as JSON, all that determines the outputs; under another description they are made again."""

    def generate(self, vocals: np.ndarray, sampling_rate: int, seed: int, window: Window) -> np.ndarray:
        """float32 `(num_samples,)` -> an accompaniment of the same shape at the same rate.

        A system that plays to several voices at less cost also has `generate_batch(vocals, sampling_rate, seeds,
        windows)`, which takes lists of equally long ones and gives a list.
        """


class FolderSystem:
    """Any system's outputs, as sound files named after their windows.

    Args:
        name (`str`): Name of the system.
        folder (`str` or `os.PathLike`): Folder of `<window_id>.wav` (or .flac, .mp3, ...), any rate and channels; or
            two such folders, `isolated` and `separated`, after the vocals that were given.

    Raises:
        ValueError: If `folder` is no folder.
    """

    suffixes = (".wav", ".flac", ".ogg", ".opus", ".mp3")

    def __init__(self, name: str, folder: str | os.PathLike):
        self.name = name
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise ValueError(f"`system` {name}: {self.folder} is not a folder. Check the path.")

    def describe(self) -> dict[str, Any]:
        """Number of the files, and a hash over theirs."""
        paths = sorted(path for path in self.folder.rglob("*") if path.suffix in self.suffixes)
        hashes = {path.relative_to(self.folder).as_posix(): hash_file(path) for path in paths}
        return {"system": "files", "num_files": len(paths), "sha256": hash_json(hashes)}

    def of_condition(self, condition: str) -> "FolderSystem | None":
        """The outputs to `"isolated"` or `"separated"` vocals; a plain folder holds the former."""
        if (self.folder / condition).is_dir():
            return FolderSystem(self.name, self.folder / condition)
        return self if condition == "isolated" else None

    def path(self, window_id: str) -> Path:
        """The file of a window.

        Raises:
            ValueError: If there is none, or more than one.
        """
        paths = [self.folder / f"{window_id}{suffix}" for suffix in self.suffixes]
        found = [path for path in paths if path.is_file()]
        if len(found) != 1:
            there = ", ".join(path.name for path in found) or "nothing"
            raise ValueError(
                f"`system` {self.name}: {self.folder} must hold one file for window {window_id!r} ({window_id}.wav), "
                f"got {there}. `--export_inputs` lists the windows."
            )
        return found[0]

    def generate(self, vocals: np.ndarray, sampling_rate: int, seed: int, window: Window) -> np.ndarray:
        """Read the window's file."""
        path = self.path(window.window_id)
        try:
            audio, rate = load_audio(path)
        except ValueError as error:
            raise ValueError(f"`system` {self.name}: {path} is refused: {error}") from error
        return fit_output(resample(fold_to_mono(audio), rate, sampling_rate), len(vocals), sampling_rate, path)


class ModelSystem:
    """A trained model in a folder, which plays to several voices together; it is loaded when it is first needed.

    Args:
        folder (`str` or `os.PathLike`): Folder of the whole system.
        name (`str`): Name in the table.
        device (`str`): What torch calls it.
        generate_kwargs: Options of a call: `guidance_scale`, `temperature`, ...
    """

    kind: str

    def __init__(self, folder: str | os.PathLike, name: str, device: str = "cpu", **generate_kwargs: Any):
        self.folder, self.name, self.device, self.generate_kwargs = (
            Path(resolve_model(folder)),
            name,
            device,
            generate_kwargs,
        )

    def describe(self) -> dict[str, Any]:
        """Hashes of the model's files, and the options."""
        return {"system": self.kind, "files": hash_model_folder(self.folder), "options": self.generate_kwargs}

    def generate(self, vocals: np.ndarray, sampling_rate: int, seed: int, window: Window) -> np.ndarray:
        """Accompany one window."""
        return self.generate_batch([vocals], sampling_rate, [seed], [window])[0]


class OursSystem(ModelSystem):
    """A composite model folder through the task's own pipeline.

    Args:
        folder (`str` or `os.PathLike`): Folder of the composite, as `AccompGenForConditionalGeneration` saves it.
        weight_format (`str`, *optional*): Argument of the model's `set_weight_format`.
        name, device, generate_kwargs: As [`ModelSystem`] takes them; the last are further arguments of the pipeline.
    """

    kind = "accompgen"

    def __init__(
        self,
        folder: str | os.PathLike,
        name: str = "ours",
        device: str = "cpu",
        weight_format: str | None = None,
        **generate_kwargs: Any,
    ):
        super().__init__(folder, name, device, **generate_kwargs)
        self.weight_format = weight_format

    def describe(self) -> dict[str, Any]:
        """Hashes of the model's files, and the options."""
        own_format = {} if self.weight_format is None else {"weight_format": self.weight_format}
        return {**super().describe(), "options": {**self.generate_kwargs, **own_format}}

    @cached_property
    def pipeline(self) -> Any:
        """The pipeline, loaded when it is first needed: a resumed run that has all outputs needs no model."""
        from transformers import pipeline

        import accompgen_hf  # registers the task

        loaded = pipeline(accompgen_hf.TASK, model=str(self.folder), device=self.device)
        loaded.model.set_weight_format(self.weight_format)
        return loaded

    def generate_batch(
        self, vocals: list[np.ndarray], sampling_rate: int, seeds: list[int], windows: list[Window]
    ) -> list[np.ndarray]:
        """Accompany equally long windows together."""
        return self.accompany(vocals, sampling_rate, seeds)

    def accompany(
        self, vocals: list[np.ndarray], sampling_rate: int, seeds: list[int], **kwargs: Any
    ) -> list[np.ndarray]:
        """Accompany several vocals, float32 `(num_samples,)` each, at once; `kwargs` apply to this call only."""
        recordings = [{"array": voice, "sampling_rate": sampling_rate} for voice in vocals]
        options = {"output_sampling_rate": "input", "show_progress": False, **self.generate_kwargs, **kwargs}
        results = self.pipeline(recordings, seed=seeds, batch_size=len(vocals), **options)
        return [result["audio"] for result in results]


def hash_model_folder(folder: str | os.PathLike) -> dict[str, str]:
    """sha256 of weights and configs, by file name.

    Raises:
        ValueError: If there are no weights.
    """
    folder = Path(folder)
    paths = [*sorted(folder.glob("*.safetensors")), *sorted(folder.glob("*.json"))]
    if not any(path.suffix == ".safetensors" for path in paths):
        raise ValueError(f"`model` {folder} holds no weights (*.safetensors). Give the folder of a saved model.")
    return {path.name: hash_file(path) for path in paths}


def fit_output(audio: np.ndarray, num_samples: int, sampling_rate: int, what: object) -> np.ndarray:
    """Cut or pad the last samples of an output; more than 0.1 s of difference is another window's output.

    Raises:
        ValueError: If the lengths differ by more.
    """
    difference_s = abs(len(audio) - num_samples) / sampling_rate
    if difference_s > LENGTH_TOLERANCE_S:
        raise ValueError(
            f"{what} lasts {len(audio) / sampling_rate:.2f} s, but its window {num_samples / sampling_rate:.2f} s: "
            f"at most {LENGTH_TOLERANCE_S} s may differ. Cut or pad it to the vocals' length."
        )
    return fit_length(np.asarray(audio, np.float32), num_samples)


def match_loudness(audio: np.ndarray, vocals: np.ndarray, sampling_rate: int) -> np.ndarray:
    """One gain that sets `audio` 3 LU under the vocals, or none where either has no loudness; peaks stay below 1."""
    vocals_lufs, audio_lufs = integrated_loudness(vocals, sampling_rate), integrated_loudness(audio, sampling_rate)
    gain_db = 0.0
    if np.isfinite(vocals_lufs) and np.isfinite(audio_lufs):
        gain_db = min(vocals_lufs + ACCOMPANIMENT_LUFS_OFFSET - audio_lufs, MAX_GAIN_DB)
    audio = np.asarray(audio, np.float32) * np.float32(10 ** (gain_db / 20))
    return audio / max(1.0, float(np.abs(audio).max(initial=0.0)))


class TruthSystem:
    """The true accompaniment: what every metric should call good."""

    name = "truth"

    def describe(self) -> dict[str, Any]:
        """Nothing decides the truth."""
        return {"system": "truth"}

    def generate(self, vocals: np.ndarray, sampling_rate: int, seed: int, window: Window) -> np.ndarray:
        """Read the window's own accompaniment."""
        audio = window.load_instrumental(sampling_rate)
        return fit_output(audio, len(vocals), sampling_rate, f"the accompaniment of {window.window_id}")
