"""One picture of a result: mel spectrograms of vocals, accompaniment and mix, and their onsets, on one time axis.

Letters: N waveform samples, M mel bands, C picture columns.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, groupby
from typing import Any, NamedTuple

import numpy as np
from transformers.audio_utils import mel_filter_bank

from accompgen_hf.accompgen.audio_accompgen import (
    fit_length,
    fold_to_mono,
    resample,
    resampled_length,
)
from accompgen_hf.accompgen.optional_accompgen import import_optional
from accompgen_hf.accompgen.recordings_accompgen import Recording
from accompgen_hf.files import save_figure

PICTURE_RATE = 16_000  # Hz; the visible part of a voice and a band lies below 8 kHz
NUM_MELS = 80
_FFT_SIZE, _HOP_SIZE = 1024, 160  # 64 ms windows every 10 ms
_MAX_COLUMNS = 2000  # a song is pooled in time to this width
_BLOCK_FRAMES = 3000
_MAX_KEPT_FRAMES = 60_000  # ten minutes, 19 MB
_RISE_FRAMES = 3
_RANGE_DB = 70.0
_MAX_LINES = 200
_LETTERS_PER_LINE = 130  # of chord names, over the width of the picture
_INK, _PAPER, _MUTED = "#1d2330", "#ffffff", "#6b7280"
_LANES = (("vocals", "#e4572e"), ("accompaniment", "#2e86ab"), ("mix", "#6a4c93"))


def log_mel(audio: np.ndarray, sampling_rate: int) -> np.ndarray:
    """Mel power spectrogram in dB at 100 frames per second.

    Args:
        audio: Waveform of shape `(num_samples,)` or `(channels, num_samples)`.

    Returns:
        float32 array of shape `(num_mels, num_frames)`, at least -120 dB. A full-scale sine has 0 dB in its band.
    """
    return np.concatenate(list(iter_log_mel([resample(fold_to_mono(audio), sampling_rate, PICTURE_RATE)])), axis=1)


def iter_log_mel(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Compute `log_mel` of mono audio at `PICTURE_RATE` that comes in blocks; yields pieces `(num_mels, n)`."""
    window = np.hanning(_FFT_SIZE).astype(np.float32)
    filters = mel_filter_bank(_FFT_SIZE // 2 + 1, NUM_MELS, 50.0, PICTURE_RATE / 2, PICTURE_RATE, mel_scale="htk")
    filters = filters.T.astype(np.float32) / (window.sum() / 2) ** 2  # (M, bins)
    held = np.zeros(_FFT_SIZE // 2, np.float32)  # frames are centred on their instant
    num_samples = num_done = 0
    for block in chain(blocks, [None]):
        if block is not None:
            num_samples += len(block)
            held = np.concatenate([held, block])
            num_frames = 1 + (len(held) - _FFT_SIZE) // _HOP_SIZE
        else:
            num_frames = max(1, -(-num_samples // _HOP_SIZE)) - num_done
            held = fit_length(held, max(0, num_frames - 1) * _HOP_SIZE + _FFT_SIZE)
        for start in range(0, num_frames, _BLOCK_FRAMES):
            end = min(start + _BLOCK_FRAMES, num_frames)
            piece = held[start * _HOP_SIZE : (end - 1) * _HOP_SIZE + _FFT_SIZE]
            frames = np.lib.stride_tricks.sliding_window_view(piece, _FFT_SIZE)[::_HOP_SIZE]
            spectrum = np.fft.rfft(frames * window, axis=1)
            power = (np.square(spectrum.real) + np.square(spectrum.imag)).astype(np.float32)
            yield 10 * np.log10(np.maximum(filters @ power.T, 1e-12))
        num_done += max(0, num_frames)
        held = held[max(0, num_frames) * _HOP_SIZE :]


def onset_strength(mel: np.ndarray, loudest: float | None = None) -> np.ndarray:
    """Measure how much the mel bands rise within 30 ms, on average in dB: (M, num_frames) -> (num_frames,).

    Args:
        loudest (`float`, *optional*): Highest level of the recording in dB, if `mel` is only a part of it.
    """
    loudest = float(mel.max()) if loudest is None else loudest
    floored = np.maximum(mel, max(loudest - _RANGE_DB, -90.0))  # a rise far below the loudest is not heard
    strength = np.zeros(mel.shape[1], dtype=np.float32)
    if mel.shape[1] > _RISE_FRAMES:
        strength[_RISE_FRAMES:] = np.maximum(floored[:, _RISE_FRAMES:] - floored[:, :-_RISE_FRAMES], 0).mean(axis=0)
    return strength


def find_onsets(strength: np.ndarray, frame_rate: float = 100.0) -> np.ndarray:
    """Find the instants in seconds where the strength has a clear local maximum, at least 60 ms apart."""
    reach = max(1, round(0.06 * frame_rate))
    if len(strength) < 2 * reach + 1 or strength.max() < 1.0:  # under 1 dB of rise nothing begins
        return np.zeros(0)
    around = np.pad(strength, reach, mode="constant")
    highest = np.lib.stride_tricks.sliding_window_view(around, 2 * reach + 1).max(axis=1)
    width = max(3, round(0.5 * frame_rate))
    # mode="same" would give as many values as the longer of the two, which below 0.5 s is the window.
    mean = np.convolve(strength, np.ones(width) / width)[(width - 1) // 2 :][: len(strength)]
    is_onset = (strength == highest) & (strength > 1.6 * mean + max(1.0, 0.08 * strength.max()))
    is_onset[-reach:] = False  # the cut at the end of a recording splashes over all bands
    return np.flatnonzero(is_onset) / frame_rate


def draw_picture(
    path: str | os.PathLike,
    vocals: np.ndarray | Recording,
    accompaniment: np.ndarray | Recording,
    mix: np.ndarray | Recording,
    sampling_rate: int | Sequence[int],
    title: str = "",
    lead_sheet: Mapping[str, Any] | None = None,
) -> None:
    """Draw the three recordings over one time axis into a PNG, written whole or not at all.

    Each lane shows a mel spectrogram (dark = silent), below it the onset strength with a tick at every onset. The
    accompaniment's ticks therefore stand under the vocals' own, and one sees whether the band meets the singer.

    Args:
        path: Where to write; the format is PNG.
        vocals, accompaniment, mix: Waveforms of shape `(num_samples,)` or `(channels, num_samples)`. A `Recording` is
            read in blocks.
        sampling_rate (`int` or `list` of three): Rate in Hz, one for all or one for each waveform.
        title (`str`): Title above the picture. Any characters are allowed; there is no mathematics.
        lead_sheet (`dict`, *optional*): `lead_sheet` of a result: its beats and bars become lines in the
            accompaniment, and its chords stand above it.

    Raises:
        ValueError: If there are not one or three rates.
        ImportError: If matplotlib is missing.
    """
    rates = [sampling_rate] * 3 if np.ndim(sampling_rate) == 0 else list(sampling_rate)
    if len(rates) != 3:
        raise ValueError(f"`sampling_rate` must be one rate or three, got {len(rates)}.")
    lanes = [_measure_lane(audio, rate) for audio, rate in zip((vocals, accompaniment, mix), rates, strict=True)]
    figure = _draw_lanes(lanes, title, lead_sheet)
    # The usual level 6 takes twice as long, for a file that is a tenth smaller.
    save_figure(figure, path, dpi=150, facecolor=_PAPER, pil_kwargs={"compress_level": 1})


class _Lane(NamedTuple):
    """One recording: the highest mel levels of each column, `(M, C)`, and its onset strength, `(num_frames,)`."""

    columns: np.ndarray
    strength: np.ndarray
    duration_s: float


def _measure_lane(audio: np.ndarray | Recording, sampling_rate: int) -> _Lane:
    """Measure levels, then onsets, for which the loudest level is known.

    The spectrogram is held in between, but not that of an hour, which is made twice.
    """
    if isinstance(audio, Recording):
        sampling_rate, num_samples = audio.sampling_rate, audio.num_samples
    else:
        num_samples = np.shape(audio)[-1]
        waveform = resample(fold_to_mono(audio), sampling_rate, PICTURE_RATE)

    def open_mel() -> Iterator[np.ndarray]:
        return iter_log_mel(audio.mono_blocks(PICTURE_RATE) if isinstance(audio, Recording) else [waveform])

    num_frames = max(1, -(-resampled_length(num_samples, sampling_rate, PICTURE_RATE) // _HOP_SIZE))
    if num_frames <= _MAX_KEPT_FRAMES:
        pieces = list(open_mel())
        open_mel = pieces.__iter__
    group = _frames_per_column(num_frames)
    columns, start = np.full((NUM_MELS, -(-num_frames // group)), -np.inf, np.float32), 0
    for mel in open_mel():
        starts = np.arange(start // group * group, start + mel.shape[1], group)
        own = np.maximum.reduceat(mel, (starts - start).clip(min=0), axis=1)
        places = slice(start // group, start // group + len(starts))
        columns[:, places] = np.maximum(columns[:, places], own)
        start += mel.shape[1]
    loudest, strengths, before = float(columns.max()), [], None
    for mel in open_mel():
        joined = mel if before is None else np.concatenate([before, mel], axis=1)
        strengths.append(onset_strength(joined, loudest)[joined.shape[1] - mel.shape[1] :])
        before = joined[:, -_RISE_FRAMES:]
    return _Lane(columns, np.concatenate(strengths), num_samples / sampling_rate)


def _draw_lanes(lanes: list[_Lane], title: str, lead_sheet: Mapping[str, Any] | None) -> Any:
    # The figure is made by hand: pyplot would keep it alive and touch the caller's backend and settings.
    figure_class = import_optional("matplotlib.figure", "Drawing the picture", "matplotlib").Figure
    ticker = import_optional("matplotlib.ticker", "Drawing the picture", "matplotlib")
    figure = figure_class(figsize=(12, 8.4))
    grid = figure.add_gridspec(
        8,
        2,
        height_ratios=[1, 0.3, 0.1 if lead_sheet is None else 0.2, 1, 0.3, 0.1, 1, 0.3],
        width_ratios=[1, 0.012],
        hspace=0.0,
        wspace=0.03,
        left=0.07,
        right=0.93,
        top=0.9,
        bottom=0.07,
    )
    duration_s = max(lane.duration_s for lane in lanes)
    first = None
    for index, ((name, color), lane) in enumerate(zip(_LANES, lanes, strict=True)):
        axes = figure.add_subplot(grid[3 * index, 0], sharex=first)
        first = first or axes
        curve = figure.add_subplot(grid[3 * index + 1, 0], sharex=first)
        image = _draw_mel(axes, lane, name, color)
        _draw_onsets(curve, lane.strength, color)
        if index < 2:
            curve.tick_params(labelbottom=False)
        if lead_sheet is not None and name == "accompaniment":
            _draw_sheet(axes, curve, lead_sheet, duration_s)
    first.set_xlim(0, duration_s)
    if duration_s < 90:
        curve.set_xlabel("seconds", color=_INK)
    else:
        curve.set_xlabel("minutes : seconds", color=_INK)
        curve.xaxis.set_major_locator(ticker.MaxNLocator(10, steps=[1, 1.5, 2, 3, 6, 10]))
        curve.xaxis.set_major_formatter(lambda second, _: f"{int(second) // 60}:{int(second) % 60:02d}")
    bar = figure.colorbar(image, cax=figure.add_subplot(grid[0, 1]))
    bar.set_label("dB below the loudest", color=_MUTED, fontsize=8)
    bar.ax.tick_params(labelsize=8, colors=_MUTED)
    bar.outline.set_visible(False)
    figure.text(0.07, 0.955, title, fontsize=14, fontweight="bold", color=_INK, va="center", parse_math=False)
    caption = "mel spectrograms, and below each its onset strength (ticks: onsets)"
    if lead_sheet is not None:
        caption += "; chords that were heard, beats (dotted) and bars"
    figure.text(0.07, 0.922, caption, fontsize=9, color=_MUTED, va="center")
    return figure


def _draw_mel(axes: Any, lane: _Lane, name: str, color: str) -> Any:
    loudest = max(float(lane.columns.max()), -50.0)  # silence stays dark
    image = axes.imshow(
        lane.columns - loudest,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=-_RANGE_DB,
        vmax=0,
        extent=(0, lane.duration_s, 0, NUM_MELS),
        interpolation="nearest",
    )
    mels = 2595 * np.log10(1 + np.array([50.0, PICTURE_RATE / 2]) / 700)
    marks = np.array([100, 500, 1000, 2000, 4000])
    axes.set_yticks((2595 * np.log10(1 + marks / 700) - mels[0]) / (mels[1] - mels[0]) * NUM_MELS)
    axes.set_yticklabels(["100 Hz", "500", "1 kHz", "2", "4"], fontsize=8, color=_MUTED)
    axes.tick_params(labelbottom=False, bottom=False, colors=_MUTED)
    axes.text(
        0.008,
        0.93,
        name,
        transform=axes.transAxes,
        fontsize=11,
        fontweight="bold",
        color="white",
        va="top",
        bbox={"facecolor": color, "edgecolor": "none", "boxstyle": "round,pad=0.3", "alpha": 0.95},
    )
    axes.set_facecolor("black")
    for spine in axes.spines.values():
        spine.set_visible(False)
    return image


def _draw_sheet(axes: Any, curve: Any, lead_sheet: Mapping[str, Any], duration_s: float) -> None:
    """Lines on beats and bars where they do not lie too close, and the chords' names where they have room."""
    for name, style in (("beat_times", ":"), ("downbeat_times", "-")):
        times = lead_sheet[name]
        if len(times) <= _MAX_LINES:
            axes.vlines(times, 0, NUM_MELS, color="white", linewidth=0.8, linestyle=style, alpha=0.7)
            for time in times:
                curve.axvline(time, color=_MUTED, linewidth=0.8, linestyle=style, alpha=0.7)
    free_s = 0.0
    for chord_name, group in groupby(lead_sheet["chords"], key=lambda chord: chord["name"]):
        start_s = next(group)["start_s"]
        if start_s >= free_s and chord_name != "N":
            place = axes.get_xaxis_transform()
            axes.text(start_s, 1.03, chord_name, transform=place, fontsize=9, fontweight="bold", color=_INK)
            free_s = start_s + (len(chord_name) + 1) * duration_s / _LETTERS_PER_LINE


def _draw_onsets(axes: Any, strength: np.ndarray, color: str) -> None:
    onsets = find_onsets(strength)
    pooled = _pool_columns(strength[None])[0]
    seconds = np.arange(len(pooled)) * (len(strength) / len(pooled) / 100)
    axes.fill_between(seconds, pooled, color=color, alpha=0.35, linewidth=0)
    axes.plot(seconds, pooled, color=color, linewidth=0.9)
    height = max(float(strength.max()), 1.0)
    axes.set_ylim(0, 1.25 * height)
    width = 1.2 if len(onsets) < 200 else 0.4
    axes.vlines(onsets, 1.1 * height, 1.25 * height, color=_INK, linewidth=width)
    axes.set_yticks([])
    axes.set_ylabel("onsets", fontsize=8, color=_MUTED)
    axes.tick_params(colors=_MUTED, labelsize=9)
    axes.grid(axis="x", color="#d1d5db", linewidth=0.6)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color("#d1d5db")


def _pool_columns(values: np.ndarray) -> np.ndarray:
    """(rows, num_frames) -> (rows, C): the highest of each group of frames, so that onsets survive."""
    num_frames = values.shape[1]
    return np.maximum.reduceat(values, np.arange(0, num_frames, _frames_per_column(num_frames)), axis=1)


def _frames_per_column(num_frames: int) -> int:
    return -(-num_frames // _MAX_COLUMNS)
