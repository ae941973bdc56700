"""A blind listening test: mixes of equal loudness in shuffled order, and one file that says who is who.

`trial-01/A.wav`, `B.wav`, ... are one window by all systems; `answers.csv` is for the listener, `key.json` is not.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from accompgen_hf.accompgen.audio_accompgen import integrated_loudness, load_audio, resample, write_audio
from accompgen_hf.accompgen.mixing_accompgen import mix, true_peak
from accompgen_hf.evaluation.protocol.excerpts import VOCALS, WindowFolder
from accompgen_hf.files import write_csv, write_json

LISTENING_LUFS = -23.0
PEAK_CEILING_DB = -1.0
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def write_listening_test(
    test_set: WindowFolder, outputs: Mapping[str, Path], folder: str | os.PathLike, seed: int, num_trials: int = 16
) -> Path:
    """Write the trials.

    Args:
        test_set (`WindowFolder`): The windows.
        outputs (mapping): System to the folder of its outputs to isolated vocals.
        folder (`str`): New, or empty.
        seed (`int`): Chooses windows and shuffles.
        num_trials (`int`): Largest number of windows.

    Returns:
        The key file's path.

    Raises:
        ValueError: If the folder holds something, or there are more systems than letters.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"`listening_test` {folder} must be a new folder: answers to another test may lie in it.")
    if not 2 <= len(outputs) <= len(LETTERS):
        raise ValueError(f"`listening_test` needs 2 to {len(LETTERS)} systems, got {len(outputs)}.")
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(test_set.windows))[:num_trials]
    key, answers = {}, [["trial", "sample", "fits_the_voice_1_to_5", "sound_quality_1_to_5", "remarks"]]
    for number, index in enumerate(order, 1):
        window = test_set.windows[index]
        names = [list(outputs)[place] for place in rng.permutation(len(outputs))]
        trial = f"trial-{number:02d}"
        (folder / trial).mkdir(parents=True)
        vocals = test_set.load(window, VOCALS)
        mixes = [
            _mix_file(vocals, outputs[name] / f"{window.window_id}.wav", test_set.sampling_rate) for name in names
        ]
        for letter, audio in zip(LETTERS, equalise_loudness(mixes, test_set.sampling_rate), strict=False):
            write_audio(folder / trial / f"{letter}.wav", audio, test_set.sampling_rate)
            answers.append([trial, letter, "", "", ""])
        key[trial] = {"window_id": window.window_id, "systems": dict(zip(LETTERS, names, strict=False))}
    write_csv(folder / "answers.csv", answers)
    path = folder / "key.json"
    write_json(path, {"seed": seed, "trials": key}, sort_keys=False)
    return path


def equalise_loudness(mixes: list[np.ndarray], sampling_rate: int) -> list[np.ndarray]:
    """All to one loudness: -23 LUFS, or what the one with the highest peak reaches below -1 dBTP."""
    loudness = [integrated_loudness(audio, sampling_rate) for audio in mixes]
    gains = [10 ** ((LISTENING_LUFS - value) / 20) if np.isfinite(value) else 1.0 for value in loudness]
    highest = max(gain * true_peak(audio) for gain, audio in zip(gains, mixes, strict=True))
    common = min(1.0, 10 ** (PEAK_CEILING_DB / 20) / highest) if highest > 0 else 1.0
    return [audio * np.float32(gain * common) for gain, audio in zip(gains, mixes, strict=True)]


def _mix_file(vocals: np.ndarray, path: Path, sampling_rate: int) -> np.ndarray:
    audio, rate = load_audio(path)
    return mix(vocals, resample(audio[0], rate, sampling_rate), sampling_rate)
