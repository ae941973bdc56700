"""What the page's player is told of a finished take: its tracks, how loud each plays, its files and its picture."""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from accompgen_hf.accompgen.mixing_accompgen import balance_gain
from accompgen_hf.web.choices import Settings
from accompgen_hf.web.drawing import draw_take
from accompgen_hf.web.studio import FinishedTake

_PEAK = 10 ** (-1 / 20)  # the ceiling of a mix


def describe_take(made: FinishedTake) -> dict[str, Any]:
    """Describe a take for the player, as JSON. Files are dictionaries that gradio serves and gives an address.

    The tracks are played together with their gains: that is the mix before its limiter, lowered as a whole where its
    peaks would pass the ceiling.
    """
    voice_gain, band_gain = listening_gains(made.vocals, made.accompaniment, made.sampling_rate)
    band = [(part, part.replace("_", " ").capitalize(), made.folder / f"{part}.wav") for part in made.parts]
    whole = made.folder / "accompaniment.wav"
    tracks = [{"name": "voice", "label": "Your voice", "gain": voice_gain, "file": _file(made.voice)}]
    tracks += [
        {"name": name, "label": words, "gain": band_gain, "file": _file(path)}
        for name, words, path in band or [("band", "The band", whole)]
    ]
    files = [("Mix", made.folder / "mix.wav"), ("Band", whole), *((words, path) for _, words, path in band)]
    files.append(("All (zip)", made.archive))
    return {
        "id": secrets.token_hex(8),
        "label": label(made.seed, made.settings, made.made_anew_s),
        "made_anew_s": None if made.made_anew_s is None else list(made.made_anew_s),
        "duration_s": made.vocals.shape[-1] / made.sampling_rate,
        "drawing": draw_take(made.vocals, made.accompaniment, made.sampling_rate, made.lead_sheet),
        "sheet": sum_up(made.lead_sheet),
        "tracks": tracks,
        "parts": [{"name": name, "label": words} for name, words, _ in band],
        "files": [{"label": name, "file": _file(path)} for name, path in files],
    }


def listening_gains(vocals: np.ndarray, accompaniment: np.ndarray, sampling_rate: int) -> tuple[float, float]:
    """Gains of voice and band with which their sum is the mix, as far as its limiter has nothing to do.

    Args:
        vocals: float32 of shape `(channels, num_samples)`.
        accompaniment: float32 of shape `(num_samples,)`.
        sampling_rate (`int`): Rate of both in Hz.
    """
    gain = balance_gain(vocals, accompaniment, sampling_rate)
    peak = float(np.abs(vocals + gain * accompaniment).max())
    headroom = min(1.0, _PEAK / peak) if peak > 0 else 1.0
    return headroom, headroom * gain


def sum_up(lead_sheet: Mapping[str, Any] | None) -> str:
    """Say key, tempo and meter of a lead sheet, as far as they are known."""
    if not lead_sheet:
        return ""
    words = [lead_sheet["key"]] if lead_sheet["key"] else []
    if lead_sheet["tempo_bpm"]:
        words.append(f"{lead_sheet['tempo_bpm']:.0f} beats a minute, {lead_sheet['meter']} to a bar")
    return ", ".join(words)


def label(seed: int, settings: Settings, made_anew_s: tuple[float, float] | None = None) -> str:
    """Say what makes this take another than its neighbours in the list."""
    words = [f"seed {seed}"]
    if made_anew_s is not None:
        words.append("{:.1f} to {:.1f} s made anew".format(*made_anew_s))
    if settings.style is not None:
        words.append(settings.style.replace("_", " "))
    if settings.key is not None:
        words.append(settings.key)
    if settings.tempo_bpm is not None:
        words.append(f"{settings.tempo_bpm:g} beats a minute")
    if settings.chords is not None:
        words.append("your chords")
    if settings.guidance_scale is not None:
        words.append(f"guidance {settings.guidance_scale:g}")
    if settings.preview:
        words.append("quick sketch")
    return ", ".join(words)


def _file(path: Path) -> dict[str, Any]:
    return {"path": str(path), "orig_name": path.name, "meta": {"_type": "gradio.FileData"}}
