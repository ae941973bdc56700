"""The picture of a take for the page: voice, band, beats and chords on one time axis, in a few kilobytes of HTML.

The picture of the result folder has spectrograms; at the width of a phone nobody can read them.
"""

import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_NO_CHORD = "N"
_COLUMNS_PER_S, _MIN_COLUMNS, _MAX_COLUMNS = 20, 150, 1200
_LANES = ("voice", "band")
_REACH = 20  # of the 25 units on either side of a lane's middle: bands are as loud all the time, and need air


def draw_take(
    vocals: np.ndarray, accompaniment: np.ndarray, sampling_rate: int, lead_sheet: Mapping[str, Any] | None = None
) -> str:
    """Draw the loudest samples of voice and band over time, the beats as lines and the chords by name.

    Args:
        vocals, accompaniment: Waveforms of shape `(num_samples,)` or `(channels, num_samples)`, of one length.
        sampling_rate (`int`): Their rate in Hz.
        lead_sheet (*optional*): The lead sheet of a result of the pipeline.

    Returns:
        One element that fills the width it is given; colours are left to the page's style.
    """
    sheet = lead_sheet or {}
    duration_s = np.shape(vocals)[-1] / sampling_rate
    sides = [_peaks(np.abs(np.atleast_2d(audio)).max(axis=0), sampling_rate) for audio in (vocals, accompaniment)]
    width = len(sides[0]) - 1
    paths = [
        _lines("beats", sheet.get("beat_times", ()), width / duration_s),
        _lines("bars", sheet.get("downbeat_times", ()), width / duration_s),
        *(
            f'<path class="{name}" d="{_outline(peaks, 25 + 50 * lane)}"/>'
            for lane, (name, peaks) in enumerate(zip(_LANES, sides, strict=True))
        ),
    ]
    return (
        f'<div class="drawing"><svg class="waves" viewBox="0 0 {width} 100" preserveAspectRatio="none" role="img" '
        f'aria-label="Loudness of your voice, above, and of the band, below">{"".join(paths)}</svg>'
        f"{_chord_names(sheet.get('chords', ()), duration_s)}</div>"
    )


def _lines(name: str, times_s: Sequence[float], columns_per_s: float) -> str:
    places = "".join(f"M{time * columns_per_s:.1f},0V100" for time in times_s)
    return f'<path class="{name}" d="{places}"/>' if places else ""


def _chord_names(chords: Sequence[Mapping[str, Any]], duration_s: float) -> str:
    """A list of the chords at their places; one that goes on is named once."""
    names, before = [], None
    for chord in chords:
        if chord["name"] not in (before, _NO_CHORD):
            left = 100 * chord["start_s"] / duration_s
            names.append(f'<li style="left: {left:.2f}%">{html.escape(chord["name"])}</li>')
        before = chord["name"]
    return f'<ol class="chords" aria-label="Chords">{"".join(names)}</ol>' if names else ""


def _peaks(levels: np.ndarray, sampling_rate: int) -> np.ndarray:
    """(num_samples,) -> (num_columns,): the loudest sample of each column, as a share of the loudest of all."""
    num_columns = round(_COLUMNS_PER_S * len(levels) / sampling_rate)
    num_columns = min(max(num_columns, _MIN_COLUMNS), _MAX_COLUMNS, len(levels))
    starts = np.linspace(0, len(levels), num_columns, endpoint=False).astype(int)
    peaks = np.maximum.reduceat(levels, starts)
    return peaks / max(float(peaks.max()), 1e-9)


def _outline(peaks: np.ndarray, middle: int) -> str:
    """The closed line around the middle of a lane, for the loudest column `_REACH` to either side."""
    upper = [f"{column},{middle - _REACH * peak:.1f}" for column, peak in enumerate(peaks)]
    lower = [f"{column},{middle + _REACH * peak:.1f}" for column, peak in enumerate(peaks)]
    return f"M{' L'.join(upper + lower[::-1])}Z"
