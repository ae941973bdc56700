"""Embeddings of audio for Fréchet distances: one interface, three networks with weights and two that need none.

| name | hears | windows | dimensions | weights |
|---|---|---|---|---|
| `vggish` | timbre of sound events, 16 kHz | 0.96 s | 128 | file or Hub id |
| `clap` | text-like description, 48 kHz | 5 s | 512 | Hub id or folder of a `ClapModel` |
| `encodec` | latents before quantization, 24 kHz | 1 frame | 128 | Hub id or folder of an `EncodecModel` |
| `logmel` | spectrum and its spread, 16 kHz | 0.96 s | 64 | none |
| `harmony-rhythm` | pairs: do chroma and onsets fit | 5 s | 22 | none |

`encodec` is reported, but never a target: our own output comes out of the same decoder.
"""

import os
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import ClapFeatureExtractor, ClapModel, EncodecModel
from transformers.audio_utils import mel_filter_bank
from transformers.utils.hub import cached_file

from accompgen_hf.accompgen.fingerprint_accompgen import hash_json, hash_module_state
from accompgen_hf.evaluation.metrics.embedder_interface import Embedder, check_mono, check_pair
from accompgen_hf.evaluation.metrics.harmony_rhythm import HarmonyRhythmEmbedder
from accompgen_hf.evaluation.metrics.vggish import (
    VGGISH_DIMENSIONS,
    VGGISH_RATE,
    VGGISH_WINDOW_S,
    VGGish,
    vggish_log_mel,
)

__all__ = ["EMBEDDERS", "Embedder", "check_mono", "check_pair", "load_embedder"]

_BATCH_SIZE = 16
_VGGISH_FILES = ("model.safetensors", "vggish.safetensors", "vggish.pt", "vggish.pth", "pytorch_model.bin")
_SUGGESTIONS = {
    "vggish": "a .safetensors or .pt file of the common PyTorch port (vggish-10086976.pth), or the Hub id of one",
    "clap": 'the Hub id of a CLAP model, for example "laion/larger_clap_music", or its folder',
    "encodec": 'the Hub id of a codec, for example "facebook/encodec_24khz", or its folder',
}


class LogMelEmbedder(Embedder):
    """Mean and standard deviation of 32 log-mel bands: timbre and dynamics, without any training."""

    name, sampling_rate, window_s, dimensions = "logmel", 16_000, 0.96, 64

    def __init__(self):
        self._filters = mel_filter_bank(513, 32, 50.0, 8000.0, self.sampling_rate, mel_scale="htk")  # (bins, 32)
        self.weights_hash = hash_json({"name": self.name, "mels": 32, "fft": 1024, "hop": 160, "version": 1})

    def _embed_windows(self, windows: np.ndarray) -> np.ndarray:
        embeddings = []
        for window in windows:
            frames = np.lib.stride_tricks.sliding_window_view(window, 1024)[::160]
            power = np.square(np.abs(np.fft.rfft(frames * np.hanning(1024), axis=1)))
            log_mel = np.log(power @ self._filters + 1e-4)  # a floor near -90 dBFS
            embeddings.append(np.concatenate([log_mel.mean(axis=0), log_mel.std(axis=0)]))
        return np.array(embeddings, dtype=np.float32)


class _NetworkEmbedder(Embedder):
    """Runs a network over batches of windows."""

    def __init__(self, model: nn.Module):
        self.model = model.eval().requires_grad_(False)
        self.weights_hash = hash_module_state(model)

    def _embed_windows(self, windows: np.ndarray) -> np.ndarray:
        device = next(self.model.parameters()).device
        with torch.no_grad():
            embeddings = [
                self._forward(windows[start : start + _BATCH_SIZE], device).float().cpu().numpy()
                for start in range(0, len(windows), _BATCH_SIZE)
            ]
        return np.concatenate(embeddings)

    def _forward(self, windows: np.ndarray, device: torch.device) -> torch.Tensor:
        raise NotImplementedError


class VGGishEmbedder(_NetworkEmbedder):
    """VGGish as FAD uses it: no final activation, no PCA."""

    name, sampling_rate, window_s, dimensions = "vggish", VGGISH_RATE, VGGISH_WINDOW_S, VGGISH_DIMENSIONS

    def _cut(self, audio: np.ndarray) -> np.ndarray:
        return vggish_log_mel(audio)  # its frames overlap, so the waveform cannot be cut into windows

    def _forward(self, windows: np.ndarray, device: torch.device) -> torch.Tensor:
        return self.model(torch.from_numpy(windows).to(device))


class ClapEmbedder(_NetworkEmbedder):
    """Audio side of a CLAP model, L2-normalised, 5-s windows as the prompt-adherence paper takes them."""

    name, window_s = "clap", 5.0

    def __init__(self, model: ClapModel, feature_extractor: ClapFeatureExtractor):
        super().__init__(model)
        self.feature_extractor = feature_extractor
        self.sampling_rate = feature_extractor.sampling_rate
        self.dimensions = model.config.projection_dim

    def _forward(self, windows: np.ndarray, device: torch.device) -> torch.Tensor:
        inputs = self.feature_extractor(list(windows), sampling_rate=self.sampling_rate, return_tensors="pt")
        return self.model.get_audio_features(**inputs.to(device)).pooler_output


class EncodecEmbedder(_NetworkEmbedder):
    """Latents of EnCodec's encoder before quantization, one per frame, in blocks of at most 10 s."""

    name = "encodec"

    def __init__(self, model: EncodecModel):
        super().__init__(model)
        self.sampling_rate = model.config.sampling_rate
        self.window_s = model.config.hop_length / model.config.sampling_rate
        self.dimensions = model.config.hidden_size

    def _embed_windows(self, windows: np.ndarray) -> np.ndarray:
        audio, block_samples = windows.reshape(-1), 750 * windows.shape[1]
        device = next(self.model.parameters()).device
        blocks = [audio[start : start + block_samples] for start in range(0, len(audio), block_samples)]
        with torch.no_grad():
            latents = [self.model.encoder(torch.from_numpy(block)[None, None].to(device))[0].T for block in blocks]
        return torch.cat(latents).float().cpu().numpy()


def load_embedder(name: str, weights: str | os.PathLike | None = None) -> Embedder:
    """Load an embedder by name.

    Args:
        name (`str`): One of `EMBEDDERS`.
        weights (`str` or path, *optional*): Weights of `vggish`, `clap` or `encodec`: a file, a folder or a Hub id. A
            Hub id of `vggish` may name the file: `"owner/name:file.pth"`. Files are read with `weights_only`.

    Raises:
        ValueError: If `name` is unknown, `weights` is missing, or given where there are none, or of another network.
        OSError: If they cannot be found.
    """
    if name not in EMBEDDERS:
        raise ValueError(f"`name` must be one of {sorted(EMBEDDERS)}, got {name!r}.")
    if name not in _SUGGESTIONS:
        if weights is not None:
            raise ValueError(f"`weights` must be left out for {name!r}, which has none, got {weights!r}.")
        return EMBEDDERS[name]()
    if weights is None:
        raise ValueError(f"`weights` are missing for the embedder {name!r}: give {_SUGGESTIONS[name]}.")
    if name == "vggish":
        return VGGishEmbedder(_load_vggish(str(weights)))
    if name == "clap":
        feature_extractor = ClapFeatureExtractor.from_pretrained(weights)
        return ClapEmbedder(ClapModel.from_pretrained(weights, use_safetensors=None), feature_extractor)
    return EncodecEmbedder(EncodecModel.from_pretrained(weights))


def _load_vggish(weights: str) -> VGGish:
    path = Path(weights)
    if not path.is_file():
        path = _find_vggish(weights)
    if path.suffix == ".safetensors":
        state = load_file(path)
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)
    # The port's file may carry the parameters of AudioSet's post-processing, which FAD does not use.
    state = {key: value for key, value in state.items() if not key.startswith("pproc.")}
    model = VGGish()
    expected = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in state.items()}
    if found != expected:
        wrong = sorted(set(found.items()) ^ set(expected.items()))
        raise ValueError(f"`weights` {weights} are not VGGish's: names or shapes differ, first {wrong[0]}.")
    model.load_state_dict(state)
    return model


def _find_vggish(weights: str) -> Path:
    repository, _, file_name = weights.partition(":")
    for candidate in (file_name,) if file_name else _VGGISH_FILES:
        found = cached_file(
            repository,
            candidate,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_gated_repo=False,
            _raise_exceptions_for_connection_errors=False,
        )
        if found is not None:
            return Path(found)
    raise OSError(f"`weights` {weights} was not found, as a file or on the Hub: give {_SUGGESTIONS['vggish']}.")


EMBEDDERS = {
    "vggish": VGGishEmbedder,
    "clap": ClapEmbedder,
    "encodec": EncodecEmbedder,
    "logmel": LogMelEmbedder,
    "harmony-rhythm": HarmonyRhythmEmbedder,
}
