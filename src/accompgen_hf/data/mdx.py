"""MDX-Net from an ONNX file (paper §3.6): analysis, network, synthesis, and chunks faded over each other.

Letters: B chunks, F bins (`dim_f`), T frames (`dim_t`), C samples of a chunk.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from accompgen_hf.accompgen.audio_accompgen import resample
from accompgen_hf.accompgen.optional_accompgen import import_optional

MDX_SAMPLING_RATE = 44100
MDX_HOP = 1024
STEMS = ("vocals", "instrumental")


@dataclass(frozen=True)
class MDXPreset:
    """What an ONNX file of MDX-Net does not say about itself.

    Attributes:
        n_fft (`int`): Samples per analysis window.
        gain (`float`): Factor on the network's output ("compensation").
        predicted_stem (`str`): `"vocals"` or `"instrumental"`; the other one is the mix minus this.
    """

    n_fft: int
    gain: float
    predicted_stem: str


# By file name. KUIELab's own code applies no gain; the other numbers are those of UVR's table of models.
MDX_PRESETS = {
    "vocals": MDXPreset(6144, 1.0, "vocals"),  # KUIELab's repository
    "kuielab_a_vocals": MDXPreset(6144, 1.0, "vocals"),
    "kuielab_b_vocals": MDXPreset(6144, 1.0, "vocals"),
    "Kim_Vocal_1": MDXPreset(7680, 1.043, "vocals"),
    "Kim_Vocal_2": MDXPreset(7680, 1.009, "vocals"),
    "UVR-MDX-NET-Voc_FT": MDXPreset(7680, 1.021, "vocals"),
    "UVR_MDXNET_Main": MDXPreset(7680, 1.043, "vocals"),
    "UVR-MDX-NET-Inst_Main": MDXPreset(5120, 1.025, "instrumental"),
    "UVR-MDX-NET-Inst_HQ_3": MDXPreset(6144, 1.022, "instrumental"),
    "UVR-MDX-NET-Inst_HQ_4": MDXPreset(5120, 1.019, "instrumental"),
    "UVR-MDX-NET-Inst_HQ_5": MDXPreset(5120, 1.010, "instrumental"),
}


class MDXNetSeparator:
    """MDX-Net from an ONNX file: input and output (B, 4, dim_f, dim_t), left/right times real/imaginary part.

    Chunks of `dim_t` frames overlap and are faded into each other. Frames whose analysis window reaches beyond a chunk
    are thrown away. Song and stems stay sample-exact in place.

    Args:
        path (`str`): The file; it says `dim_f` and `dim_t`.
        preset (`str`, *optional*): Name in `MDX_PRESETS`. If `None`, the file's own name, if it is in the table.
        n_fft, gain, predicted_stem (*optional*): Values that replace those of the preset; see [`MDXPreset`].
        overlap (`float`): Share of a chunk's usable part that the next chunk computes once more.
        batch_size (`int`): Chunks per run of the network, if the file leaves their number open.
        device (`str`): `"cpu"`, `"cuda"`, or `"auto"`, which takes CUDA if this onnxruntime has it.
        num_threads (`int`, *optional*): Threads of the network; if `None`, the library chooses.

    Raises:
        ValueError: If the file is no such network, an option is out of range, or `n_fft` does not fit `dim_f`.
        ImportError: If onnxruntime is missing.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        *,
        preset: str | None = None,
        n_fft: int | None = None,
        gain: float | None = None,
        predicted_stem: str | None = None,
        overlap: float = 0.25,
        batch_size: int = 4,
        device: str = "auto",
        num_threads: int | None = None,
    ):
        if not 0 <= overlap < 1:
            raise ValueError(f"`overlap` must be in [0, 1), got {overlap}.")
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1, got {batch_size}.")
        self.path = Path(path)
        if not self.path.is_file():
            raise ValueError(f"`separate` {str(path)!r} does not exist. Give the path of an .onnx file.")
        found = _find_preset(self.path, preset, n_fft, predicted_stem)
        self.n_fft = found.n_fft if n_fft is None else n_fft
        self.gain = found.gain if gain is None else gain
        self.predicted_stem = found.predicted_stem if predicted_stem is None else predicted_stem
        if self.predicted_stem not in STEMS:
            raise ValueError(f"`predicted_stem` must be 'vocals' or 'instrumental', got {self.predicted_stem!r}.")
        self.overlap = overlap
        self.session = _open_session(self.path, device, num_threads)
        fixed_batch, self.dim_f, self.dim_t = _read_signature(self.session, self.path)
        self.batch_size = fixed_batch or batch_size
        self.is_batch_fixed = fixed_batch is not None
        self._check_sizes()

    def _check_sizes(self) -> None:
        if self.n_fft % 2 or self.n_fft < 2 * MDX_HOP or self.n_fft // 2 + 1 < self.dim_f:
            least = max(2 * MDX_HOP, 2 * (self.dim_f - 1))
            raise ValueError(
                f"`n_fft` must be even and at least {least} for the {self.dim_f} bins (dim_f) of {self.path.name}, "
                f"got {self.n_fft}. Networks with dim_f 2048 use 4096 to 16384, mostly 6144; those with 3072 mostly "
                "6144 or 7680."
            )
        self.chunk_samples = MDX_HOP * (self.dim_t - 1)
        self.margin = self.n_fft // 2  # a frame this near to the edge has seen the reflected padding
        self.usable_samples = self.chunk_samples - 2 * self.margin
        if self.usable_samples <= 0:
            raise ValueError(
                f"`n_fft` must be below {self.chunk_samples}, the samples of {self.path.name}'s {self.dim_t} frames "
                f"(dim_t), got {self.n_fft}."
            )

    def describe(self) -> dict[str, Any]:
        """The file and its settings, for the manifest."""
        return {
            "separator": "mdx-net",
            "file": self.path.name,
            "sha256": hashlib.sha256(self.path.read_bytes()).hexdigest(),
            "n_fft": self.n_fft,
            "gain": self.gain,
            "predicted_stem": self.predicted_stem,
            "overlap": self.overlap,
        }

    def separate(self, mix: np.ndarray, sampling_rate: int) -> tuple[np.ndarray, np.ndarray, int]:
        """Split a song.

        Args:
            mix (`np.ndarray` of shape `(channels, num_samples)` or `(num_samples,)`):
                float32 audio. Mono is doubled; of more than two channels the first two are taken.
            sampling_rate (`int`): Rate of the mix in Hz.

        Returns:
            Vocals and instrumental, float32 `(2, num_samples)`, whose sum is the mix, and their rate, 44100 Hz.
        """
        mix = as_stereo(resample(np.asarray(mix, np.float32), sampling_rate, MDX_SAMPLING_RATE))
        predicted = self.gain * self._predict(mix)
        other = mix - predicted
        vocals, instrumental = (predicted, other) if self.predicted_stem == "vocals" else (other, predicted)
        return vocals, instrumental, MDX_SAMPLING_RATE

    @torch.no_grad()
    def _predict(self, mix: np.ndarray) -> np.ndarray:
        """(2, num_samples) -> (2, num_samples): the network's stem, chunks faded over each other."""
        num_samples = mix.shape[1]
        hop = max(1, round(self.usable_samples * (1 - self.overlap)))
        num_chunks = 1 + max(0, -(-(num_samples - self.usable_samples) // hop))
        num_covered = (num_chunks - 1) * hop + self.usable_samples
        padded = np.pad(mix, ((0, 0), (self.margin, self.margin + num_covered - num_samples)))
        weight = _fade(self.usable_samples, self.usable_samples - hop)
        stem = np.zeros((2, num_covered), np.float32)
        weights = np.zeros(num_covered, np.float32)
        for first, chunks in self._iter_batches(padded, hop, num_chunks):
            for index, chunk in enumerate(self._run(chunks), first):
                span = slice(index * hop, index * hop + self.usable_samples)
                stem[:, span] += weight * chunk[:, self.margin : self.margin + self.usable_samples]
                weights[span] += weight
        return (stem / weights)[:, :num_samples]

    def _iter_batches(self, padded: np.ndarray, hop: int, num_chunks: int) -> Iterator[tuple[int, np.ndarray]]:
        for first in range(0, num_chunks, self.batch_size):
            starts = [index * hop for index in range(first, min(first + self.batch_size, num_chunks))]
            yield first, np.stack([padded[:, start : start + self.chunk_samples] for start in starts])  # (B, 2, C)

    def _run(self, chunks: np.ndarray) -> np.ndarray:
        """(B, 2, C) -> (B, 2, C) through analysis, network and synthesis."""
        num_chunks, num_bins = len(chunks), self.n_fft // 2 + 1
        window = torch.hann_window(self.n_fft)
        spectrum = torch.stft(
            torch.from_numpy(chunks).flatten(0, 1),
            self.n_fft,
            MDX_HOP,
            window=window,
            center=True,
            return_complex=True,
        )  # (2 B, bins, T)
        parts = torch.view_as_real(spectrum).permute(0, 3, 1, 2)  # (2 B, 2, bins, T)
        network_input = parts.reshape(num_chunks, 4, num_bins, self.dim_t)[:, :, : self.dim_f].numpy()
        if self.is_batch_fixed:
            network_input = np.pad(network_input, ((0, self.batch_size - num_chunks), (0, 0), (0, 0), (0, 0)))
        feed = {self.session.get_inputs()[0].name: np.ascontiguousarray(network_input)}
        output = torch.from_numpy(self.session.run(None, feed)[0][:num_chunks])
        output = torch.nn.functional.pad(output, (0, 0, 0, num_bins - self.dim_f))  # above dim_f: silence
        output = output.reshape(2 * num_chunks, 2, num_bins, self.dim_t).permute(0, 2, 3, 1).contiguous()
        waveform = torch.istft(torch.view_as_complex(output), self.n_fft, MDX_HOP, window=window, center=True)
        return waveform.reshape(num_chunks, 2, self.chunk_samples).numpy()


def _find_preset(path: Path, preset: str | None, n_fft: int | None, predicted_stem: str | None) -> MDXPreset:
    by_name = {name.lower(): value for name, value in MDX_PRESETS.items()}
    if preset is not None:
        if preset.lower() not in by_name:
            raise ValueError(f"`preset` must be one of {', '.join(MDX_PRESETS)}, got {preset!r}.")
        return by_name[preset.lower()]
    if path.stem.lower() in by_name:
        return by_name[path.stem.lower()]
    if n_fft is None or predicted_stem is None:
        raise ValueError(
            f"`n_fft` and `predicted_stem` are not in {path.name} and no preset has its name. Give both, or the "
            f"`preset` of the network that it is, or give the file that name ({', '.join(MDX_PRESETS)})."
        )
    return MDXPreset(n_fft, 1.0, predicted_stem)


def _open_session(path: Path, device: str, num_threads: int | None) -> Any:
    onnxruntime = import_optional("onnxruntime", "Separating with MDX-Net", ".[separate]")
    available = onnxruntime.get_available_providers()
    if device == "cuda" and "CUDAExecutionProvider" not in available:
        raise ValueError(f"`device` 'cuda' needs the package onnxruntime-gpu; this onnxruntime has {available}.")
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"`device` must be 'auto', 'cpu' or 'cuda', got {device!r}.")
    wanted = ["CPUExecutionProvider"] if device == "cpu" else ["CUDAExecutionProvider", "CPUExecutionProvider"]
    session_options = onnxruntime.SessionOptions()
    session_options.log_severity_level = 3
    if num_threads is not None:
        session_options.intra_op_num_threads = num_threads
    try:
        providers = [provider for provider in wanted if provider in available]
        return onnxruntime.InferenceSession(str(path), session_options, providers=providers)
    except Exception as error:  # onnxruntime's own exceptions share no base class
        raise ValueError(f"`separate` {str(path)!r} cannot be read as a network ({error}).") from error


def _read_signature(session: Any, path: Path) -> tuple[int | None, int, int]:
    """Read the fixed batch size (or `None`), dim_f and dim_t."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    shape = list(inputs[0].shape)
    is_mdx = len(inputs) == 1 and len(shape) == 4 and shape[1] == 4 and all(isinstance(n, int) for n in shape[2:])
    if not is_mdx or len(outputs[0].shape) != 4 or outputs[0].shape[1] not in (4, None):
        raise ValueError(
            f"`separate` {path.name} must map (B, 4, dim_f, dim_t) to the same shape, with both dimensions fixed, as "
            f"MDX-Net does; it maps {shape} to {list(outputs[0].shape)}."
        )
    return shape[0] if isinstance(shape[0], int) else None, shape[2], shape[3]


def as_stereo(audio: np.ndarray) -> np.ndarray:
    """Make two channels: mono is doubled; of more than two the first two are taken."""
    audio = np.atleast_2d(audio)
    return np.repeat(audio, 2, axis=0) if len(audio) == 1 else audio[:2]


def _fade(num_samples: int, num_shared: int) -> np.ndarray:
    """Weights of one chunk: with those of its neighbours, `num_shared` samples over each other, they sum to one."""
    weight = np.ones(num_samples, np.float32)
    num_shared = min(num_shared, num_samples // 2)  # beyond half, more than two chunks meet: the sum is divided out
    ramp = ((np.arange(num_shared) + 0.5) / max(1, num_shared)).astype(np.float32)
    weight[:num_shared] = ramp
    weight[num_samples - num_shared :] = ramp[::-1]
    return weight
