"""What no recording may be, wherever it comes from: rates, lengths and samples that are refused."""

from typing import Any

import numpy as np

MIN_SAMPLING_RATE, MAX_SAMPLING_RATE = 4_000, 768_000
MAX_CHANNELS = 64
SILENT_PEAK = 1e-3  # -60 dB of full scale: a recording below it is of nobody
_BLOCK_SAMPLES = 1 << 18  # checked at once: hours must not need gigabytes


class UnreadableError(ValueError):
    """These bytes are no audio, or none of it can be decoded."""


def check_sampling_rate(sampling_rate: Any, name: str = "`sampling_rate`") -> int:
    """Return the rate, a number or an array or tensor of no dimension, as an int.

    Raises:
        TypeError: If it is not a number.
        ValueError: If it is not a whole number of Hz between 4000 and 768000.
    """
    if hasattr(sampling_rate, "item") and getattr(sampling_rate, "ndim", None) == 0:
        sampling_rate = sampling_rate.item()
    if isinstance(sampling_rate, bool) or not isinstance(sampling_rate, (int, float)):
        raise TypeError(f"{name} must be a whole number of Hz, got {type(sampling_rate).__name__}.")
    if not MIN_SAMPLING_RATE <= sampling_rate <= MAX_SAMPLING_RATE or sampling_rate != int(sampling_rate):
        raise ValueError(
            f"{name} must be a whole number between {MIN_SAMPLING_RATE} and {MAX_SAMPLING_RATE} Hz, "
            f"got {sampling_rate}. Is the file's header damaged, or the number not in Hz?"
        )
    return int(sampling_rate)


def check_stated_rate(sampling_rate: int | None, file_rate: int) -> None:
    """Refuse another rate than that of the file.

    Raises:
        ValueError: If one is stated, and it differs.
    """
    if sampling_rate is not None and sampling_rate != file_rate:
        raise ValueError(
            f"`sampling_rate` is {sampling_rate}, but the file states {file_rate} Hz. Leave it out for files; "
            "`resample` changes the rate."
        )


def check_num_channels(num_channels: int, name: str) -> None:
    """Refuse more channels than any recording has.

    Raises:
        ValueError: If there are more than 64.
    """
    if num_channels > MAX_CHANNELS:
        raise ValueError(
            f"{name} has {num_channels} channels, at most {MAX_CHANNELS} are read. Is its header damaged?"
        )


def check_duration(num_samples: int, sampling_rate: int, name: str, max_duration_s: float | None = None) -> None:
    """Refuse less than 0.1 s, and more than `max_duration_s`.

    Raises:
        ValueError: If the audio is empty, too short or too long.
    """
    if num_samples == 0:
        raise ValueError(f"{name} is empty: it holds no audio. Record or export it again.")
    if num_samples < sampling_rate // 10:
        raise ValueError(
            f"{name} lasts {num_samples / sampling_rate:.3f} s ({num_samples} samples at {sampling_rate} Hz); "
            "at least 0.1 s is needed. Give a longer recording."
        )
    check_limit(num_samples / sampling_rate, name, max_duration_s)


def check_limit(duration_s: float, name: str, max_duration_s: float | None) -> None:
    """Refuse more than `max_duration_s`.

    Raises:
        ValueError: If the audio is longer.
    """
    if max_duration_s is not None and duration_s > max_duration_s:
        raise ValueError(
            f"{name} lasts more than {max_duration_s:g} s, which is the limit here (`max_duration_s`). "
            "Give a shorter part, or raise the limit."
        )


def check_samples(audio: np.ndarray, first_sample: int = 0) -> None:
    """Refuse what no recording holds.

    Args:
        audio: `(channels, num_samples)`.
        first_sample (`int`): Where it begins, if it is a part of a recording.

    Raises:
        ValueError: If it holds NaN, infinity or samples far beyond full scale.
    """
    peak = 0.0
    for start in range(0, audio.shape[1], _BLOCK_SAMPLES):
        block = audio[:, start : start + _BLOCK_SAMPLES]
        is_bad = ~np.isfinite(block)
        if is_bad.any():
            first = first_sample + start + int(np.argmax(is_bad.any(axis=0)))
            raise ValueError(
                f"`source` holds NaN or infinity, first at sample {first}. Repair or export it again: the program "
                "that wrote it has failed there."
            )
        peak = max(peak, float(np.abs(block).max()))
    if peak > 100:
        raise ValueError(
            f"`source` peaks at {peak:.4g}, but floating-point samples have full scale at 1.0. Divide by the full "
            "scale they were made with (32768 for 16 bits)."
        )


__all__ = [
    "MAX_CHANNELS",
    "SILENT_PEAK",
    "UnreadableError",
    "check_duration",
    "check_limit",
    "check_num_channels",
    "check_sampling_rate",
    "check_samples",
    "check_stated_rate",
]
