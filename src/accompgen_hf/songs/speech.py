"""A small speech synthesizer (flite, CMU's free licence) and its voice taken apart by WORLD (pyworld, MIT).

`speak` gives the phones of a text and, every 5 ms, what WORLD needs to make the voice again at any pitch and pace.
"""

import importlib
import re
import shutil
import subprocess
import tempfile
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

FRAME_S = 0.005
SPEECH_RATE = 16000
FLITE_VOICES = {"awb": 1.0, "rms": 0.98, "kal16": 1.02, "slt": 1.14}  # formants against those of an adult male
VOWELS = frozenset(
    ("aa", "ae", "ah", "ao", "aw", "ax", "axr", "ay", "eh", "el", "em", "en", "er", "ey", "ih", "ix", "iy", "ow", "oy")
) | {"uh", "uw"}
_PHONE = re.compile(r"([a-z@]+):([\d.]+)")
_HINT = 'or compose with `singers="vowels"`, whose singer needs neither'


@dataclass(frozen=True)
class Speech:
    """A spoken line.

    Attributes:
        phones (`tuple`): Name, start and end in seconds; pauses are left out.
        pitch_hz (`np.ndarray`): Per frame of 5 ms, 0 where there is no voice.
        envelope, aperiodicity (`np.ndarray`): WORLD's, `(num_frames, 513)`.
    """

    phones: tuple[tuple[str, float, float], ...]
    pitch_hz: np.ndarray
    envelope: np.ndarray
    aperiodicity: np.ndarray


def require_speech() -> Any:
    """Return pyworld, if it and flite are there.

    Raises:
        ImportError: If one of them is missing.
    """
    if shutil.which("flite") is None:
        raise ImportError(f"Singers of words need the program flite (Debian: `apt install flite`), {_HINT}.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pkg_resources, which pyworld reads its version with, is deprecated
            return importlib.import_module("pyworld")
    except Exception as error:  # without pkg_resources, or with another numpy
        raise ImportError(
            f'Singers of words need pyworld: `pip install pyworld "setuptools<81"` ({error}), {_HINT}.'
        ) from error


@lru_cache(maxsize=64)
def speak(text: str, voice: str) -> Speech:
    """Speak a text.

    Args:
        text (`str`): English words.
        voice (`str`): A key of `FLITE_VOICES`.

    Raises:
        ImportError: If flite or pyworld is missing.
        ValueError: If `voice` is unknown.
        RuntimeError: If flite does not speak, or with another voice.
    """
    if voice not in FLITE_VOICES:
        raise ValueError(f"`voice` must be one of {', '.join(FLITE_VOICES)}, got {voice!r}.")
    world = require_speech()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "line.wav"
        command = ["flite", "-voice", voice, "-psdur", "-t", text, "-o", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        if done.returncode or not path.is_file():
            raise RuntimeError(f"flite could not speak {text!r} with the voice {voice!r}: {done.stderr.strip()}")
        wave, sampling_rate = soundfile.read(path)
    if sampling_rate != SPEECH_RATE:
        raise RuntimeError(f"flite's voice {voice!r} must speak at {SPEECH_RATE} Hz, got {sampling_rate}.")
    wave = np.ascontiguousarray(wave)
    pitch_hz, times = world.dio(wave, sampling_rate, frame_period=1000 * FRAME_S)
    pitch_hz = world.stonemask(wave, pitch_hz, times, sampling_rate)
    envelope = world.cheaptrick(wave, pitch_hz, times, sampling_rate)
    aperiodicity = world.d4c(wave, pitch_hz, times, sampling_rate)
    phones, start_s = [], 0.0
    for name, end in _PHONE.findall(done.stdout):
        if float(end) > start_s:
            if name != "pau":
                phones.append((name, start_s, float(end)))
            start_s = float(end)
    return Speech(tuple(phones), pitch_hz, envelope, aperiodicity)


def make_voice(pitch_hz: np.ndarray, envelope: np.ndarray, aperiodicity: np.ndarray) -> np.ndarray:
    """WORLD's synthesis from frames of 5 ms: float32 at `SPEECH_RATE`."""
    world = require_speech()
    arrays = (np.ascontiguousarray(array, dtype=np.float64) for array in (pitch_hz, envelope, aperiodicity))
    return world.synthesize(*arrays, SPEECH_RATE, 1000 * FRAME_S).astype(np.float32)
