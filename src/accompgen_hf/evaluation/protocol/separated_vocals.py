"""Vocals as a source separator leaves them: the second condition of FAD, written beside the isolated ones."""

import os
from typing import Any

import numpy as np
from scipy.signal import butter, sosfiltfilt

from accompgen_hf.accompgen.audio_accompgen import fold_to_mono, resample, write_audio
from accompgen_hf.accompgen.progress_accompgen import ProgressBar
from accompgen_hf.data.separation import Separator
from accompgen_hf.evaluation.protocol.excerpts import INSTRUMENTAL, SEPARATED, VOCALS, WindowFolder
from accompgen_hf.evaluation.systems.system import fit_output
from accompgen_hf.files import read_json, write_json

BLEED_DB = -20.0
BLEED_CUTOFF_HZ = 4000.0


def simulate_separation(vocals: np.ndarray, instrumental: np.ndarray, sampling_rate: int) -> np.ndarray:
    """Isolated vocals with what a separator leaves of the band: 20 dB down and without its highs, `(num_samples,)`."""
    low_pass = butter(2, BLEED_CUTOFF_HZ, fs=sampling_rate, output="sos")
    bleed = sosfiltfilt(low_pass, instrumental) * 10 ** (BLEED_DB / 20)
    mixed = vocals + bleed.astype(np.float32)
    return mixed / max(1.0, float(np.abs(mixed).max()))


def describe_separation(separator: Separator | None, dataset: str) -> dict[str, Any] | None:
    """What the separated vocals are, for the table; `None` if there are none."""
    if separator is not None:
        return separator.describe()
    if dataset != "songs":
        return None
    return {"separator": "simulated", "bleed_db": BLEED_DB, "low_pass_hz": BLEED_CUTOFF_HZ}


def write_separated(test_set: WindowFolder, separator: Separator | None, description: dict[str, Any]) -> None:
    """Write the separated vocals of every window that has none yet.

    Raises:
        ValueError: If there are some of another separator.
    """
    folder = test_set.folder / SEPARATED
    folder.mkdir(exist_ok=True)
    path = folder / "separator.json"
    if path.is_file() and read_json(path) != description:
        raise ValueError(f"`separate`: {folder} holds vocals of another separator. Choose another `--output_dir`.")
    write_json(path, description)
    rate = test_set.sampling_rate
    for window in ProgressBar(test_set.windows, desc="separation", unit="window"):
        target = test_set.path(window, SEPARATED)
        if target.is_file():
            continue
        vocals, instrumental = test_set.load(window, VOCALS), test_set.load(window, INSTRUMENTAL)
        if separator is None:
            separated = simulate_separation(vocals, instrumental, rate)
        else:
            stems = separator.separate((vocals + instrumental)[None], rate)
            separated = resample(fold_to_mono(stems[0]), stems[2], rate)
            separated = fit_output(separated, len(vocals), rate, f"the separated {window.window_id}")
        write_audio(os.fspath(target), separated, rate)
