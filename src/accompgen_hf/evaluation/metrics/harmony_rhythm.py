"""Embeds pairs of vocals and accompaniment by whether their pitches and onsets go together; needs no weights.

Per window of 5 s: agreement of both sides' chroma at each of twelve transpositions (0 is as they sound), how much of
the agreement at 0 comes from moving together, and correlation of onsets at nine lags. Timbre and loudness cancel out.
The settings were fixed before any model was tuned on them; `weights_hash` names them.
"""

import numpy as np

from accompgen_hf.accompgen.fingerprint_accompgen import hash_json
from accompgen_hf.accompgen.harmony_accompgen import PITCH_CLASSES, band_chroma
from accompgen_hf.accompgen.rhythm_accompgen import FRAME_RATE, onset_bands
from accompgen_hf.evaluation.metrics.embedder_interface import Embedder, check_pair

_CHROMA_HZ, _CHROMA_WINDOW_S, _CHROMA_RATE = (100.0, 1050.0), 0.5, 10
_LAGS = tuple(range(-20, 21, 5))  # frames of 10 ms
_SETTINGS = {"name": "harmony-rhythm", "hz": _CHROMA_HZ, "window": _CHROMA_WINDOW_S, "lags": _LAGS, "version": 1}


class HarmonyRhythmEmbedder(Embedder):
    """22 numbers per window of 5 s of a pair; a side alone has no embedding."""

    name, sampling_rate, window_s, dimensions = "harmony-rhythm", 16_000, 5.0, PITCH_CLASSES + 1 + len(_LAGS)

    def __init__(self):
        self.weights_hash = hash_json(_SETTINGS)

    def embed(self, audio: np.ndarray, sampling_rate: int) -> np.ndarray:
        """Not for one recording: raises `ValueError`."""
        raise ValueError("`harmony-rhythm` embeds pairs: use `embed_pair(vocals, accompaniment, sampling_rate)`.")

    def embed_pair(self, vocals: np.ndarray, accompaniment: np.ndarray, sampling_rate: int) -> np.ndarray:
        """(num_samples,) twice -> float32 (num_windows, 22)

        Raises:
            ValueError: As [`check_pair`], or if the pair is shorter than one window.
        """
        vocals, accompaniment = check_pair(vocals, accompaniment)
        return self.join(self.analyse(vocals, sampling_rate), self.analyse(accompaniment, sampling_rate))

    def analyse(self, audio: np.ndarray, sampling_rate: int) -> tuple[np.ndarray, np.ndarray]:
        """What is heard of one side: chroma (num_windows, 50, 12) and onsets (num_windows, 500)."""
        num_windows = int(len(audio) / sampling_rate / self.window_s + 1e-9)
        if num_windows == 0:
            raise ValueError(
                f"too few windows: `{self.name}` needs at least {self.window_s:g} s of audio, got "
                f"{len(audio) / sampling_rate:.2f} s."
            )
        chroma = band_chroma(audio, sampling_rate, _CHROMA_HZ, _CHROMA_WINDOW_S, 1 / _CHROMA_RATE)
        bands = onset_bands(audio, sampling_rate)
        onsets = np.sqrt(bands["low"] + bands["mid"] + bands["high"])
        frames, onset_frames = round(self.window_s * _CHROMA_RATE), round(self.window_s * FRAME_RATE)
        return (
            chroma[: num_windows * frames].reshape(num_windows, frames, PITCH_CLASSES),
            onsets[: num_windows * onset_frames].reshape(num_windows, onset_frames),
        )

    def join(self, vocals: tuple[np.ndarray, np.ndarray], accompaniment: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """Embeddings of two analysed sides, window by window."""
        embeddings = [
            np.concatenate([_agree(voice, band), _correlate(voice_onsets, band_onsets)])
            for voice, band, voice_onsets, band_onsets in zip(
                vocals[0], accompaniment[0], vocals[1], accompaniment[1], strict=True
            )
        ]
        return np.array(embeddings, dtype=np.float32)


def _agree(vocals: np.ndarray, accompaniment: np.ndarray) -> np.ndarray:
    """Correlation of two chroma (frames, 12) at twelve transpositions, and of their movement at 0: (13,)"""
    together = vocals.T @ accompaniment  # (12, 12): how much class i sounds while class j does
    shares = [np.trace(np.roll(together, -shift, axis=1)) for shift in range(PITCH_CLASSES)]
    scale = np.linalg.norm(vocals) * np.linalg.norm(accompaniment)
    moving, band_moving = vocals - vocals.mean(axis=0), accompaniment - accompaniment.mean(axis=0)
    moving_scale = np.linalg.norm(moving) * np.linalg.norm(band_moving)
    return np.append(np.array(shares) / max(scale, 1e-9), (moving * band_moving).sum() / max(moving_scale, 1e-9))


def _correlate(vocals: np.ndarray, accompaniment: np.ndarray) -> np.ndarray:
    """Correlation of two onset curves at every lag: (9,)"""
    vocals, accompaniment = vocals - vocals.mean(), accompaniment - accompaniment.mean()
    scale = max(np.linalg.norm(vocals) * np.linalg.norm(accompaniment), 1e-9)
    edge = max(_LAGS)
    middle = vocals[edge:-edge]
    return np.array([middle @ accompaniment[edge + lag : len(accompaniment) - edge + lag] / scale for lag in _LAGS])
