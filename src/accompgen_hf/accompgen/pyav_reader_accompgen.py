"""Read one part of a file with PyAV: m4a, mp4, mov, webm, mkv and raw AAC, at the times that the file states.

Phones and screen recorders begin the sound after the picture, and lose packets. What is missing becomes silence: every
sound stays at the time at which an editor would show it.
"""

import re
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np

from .audio_checks_accompgen import UnreadableError, check_num_channels, check_sampling_rate
from .containers_accompgen import FilePart
from .optional_accompgen import import_optional
from .soundfile_reader_accompgen import Found

_MIN_GAP_S = 0.015  # time stamps are rounded, to 1 ms in Matroska
_MAX_GAP_S = 600.0  # more is not a pause of the network but a damaged number
_PADDING_S = 0.15  # an encoder's own, by which the decoded length differs from the declared one
_ATTACHED_PICTURE = 0x400


def read_with_pyav(
    file: FilePart, name: str, container_format: str, is_cut: bool, max_duration_s: float | None
) -> Generator[tuple[np.ndarray, int], None, Found]:
    """Decode the first audio stream block by block.

    Args:
        file (`FilePart`): One recording.
        name (`str`): Name of the source, for messages.
        container_format (`str`): FFmpeg's name. Forced, because its own guess would also follow playlists to other
            files and to the network.
        is_cut (`bool`): Whether the file is known to end too early.
        max_duration_s (`float`, *optional*): Stop as soon as the audio is longer.

    Yields:
        float32 arrays of shape `(channels, num_samples)`, each with the sampling rate in Hz; silence where packets are
        missing, and at the beginning if a picture begins earlier.

    Raises:
        UnreadableError: If nothing of it can be decoded.
        ValueError: If PyAV is missing, there is no sound in it, its rate or number of channels is none that audio has,
            or its time stamps jump by more than ten minutes.
    """
    try:
        av = import_optional("av", "Reading m4a, aac and webm", ".[media]")
    except ImportError as error:
        raise ValueError(
            f"{name} is an m4a, mp4, aac or webm file, which needs PyAV: install the extra `media` "
            f'(`pip install ".[media]"` in the folder of the repository), or convert the file to wav. ({error})'
        ) from error
    clock, declared_s, failure = _Clock(name, has_times=container_format != "aac"), None, None
    try:
        with av.open(file, mode="r", format=container_format) as container:
            if not container.streams.audio:
                raise ValueError(f"{name} holds no audio stream. Give a file with sound.")
            stream = container.streams.audio[0]
            pictures = [video for video in container.streams.video if not video.disposition & _ATTACHED_PICTURE]
            clock.picture_start_s = min(
                (float(video.start_time * video.time_base) for video in pictures if video.start_time is not None),
                default=None,
            )
            if container_format != "aac":  # raw AAC has no header for the whole: FFmpeg estimates
                declared_s = _declared_end_s(container, stream, bool(pictures))
            yield from _frames(container, stream, name, clock, max_duration_s, av.FFmpegError)
    except av.FFmpegError as error:
        failure = error
    if not clock.has_begun:
        if failure is None:
            raise UnreadableError(f"{name} is empty: no audio could be decoded. Export it again.")
        raise UnreadableError(f"{name} is damaged or cut off: {failure}. Export it again.") from failure
    if declared_s is not None:
        declared_s = declared_s[0] - clock.start_s if declared_s[1] else declared_s[0] + clock.lead_s
    elif is_cut or failure is not None:
        declared_s = float("inf")
    if declared_s is not None and clock.now_s > declared_s - _PADDING_S:
        declared_s = None
    return Found(clock.now_s, declared_s, clock.num_damaged)


class _Clock:
    """Where on the file's time axis the sound is, and how much of it is missing before the next frame."""

    def __init__(self, name: str, has_times: bool):
        self.name, self.has_times = name, has_times
        self.picture_start_s: float | None = None
        self.has_begun, self.now_s, self.lead_s = False, 0.0, 0.0
        self.start_s = self._last_end_s = 0.0
        self.num_damaged = 0  # packets

    def advance(self, time_s: float | None, duration_s: float) -> float:
        """Seconds of silence before a frame of this time and duration."""
        gap_s = 0.0
        if self.has_times and time_s is not None:
            gap_s = self._gap_before(time_s, duration_s)
            self._last_end_s = time_s + duration_s
        if gap_s > _MAX_GAP_S:
            raise ValueError(
                f"{self.name} is damaged: its time stamps jump by {gap_s:.0f} s at {self.now_s:.2f} s. "
                "Export it again."
            )
        self.now_s += gap_s + duration_s
        self.has_begun = True
        return gap_s

    def _gap_before(self, time_s: float, duration_s: float) -> float:
        if not self.has_begun:
            self.start_s = time_s
            if self.picture_start_s is not None and time_s - self.picture_start_s > 0.001:
                self.start_s, self.lead_s = self.picture_start_s, time_s - self.picture_start_s
            return self.lead_s
        missing_s = time_s - self.start_s - self.now_s
        if missing_s < -_PADDING_S:  # the time stamps begin anew
            self.start_s = time_s - self.now_s
        # Both: neither a jitter of single stamps nor a clock that is a little slow may tear the sound.
        is_gap = min(missing_s, time_s - self._last_end_s) >= max(_MIN_GAP_S, 0.75 * duration_s)
        if not is_gap:
            return 0.0
        whole_s = round(missing_s / duration_s) * duration_s  # Matroska rounds its time stamps to 1 ms
        return whole_s if abs(whole_s - missing_s) < 0.002 else missing_s


def _frames(
    container: Any, stream: Any, name: str, clock: _Clock, max_duration_s: float | None, error_class: type[Exception]
) -> Iterator[tuple[np.ndarray, int]]:
    """What the stream holds, silence where it holds nothing."""
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except error_class:  # the other packets may be whole
            clock.num_damaged += 1
            continue
        for frame in frames:
            rate = check_sampling_rate(frame.sample_rate, f"The sampling rate of {name}")
            block = _as_float(frame)
            check_num_channels(len(block), name)
            time_s = None if frame.pts is None else float(frame.pts * frame.time_base)
            num_missing = round(clock.advance(time_s, block.shape[1] / rate) * rate)
            for start in range(0, num_missing, rate):
                yield np.zeros((len(block), min(rate, num_missing - start)), np.float32), rate
            yield block, rate
        if max_duration_s is not None and clock.now_s > max_duration_s:
            return


def _as_float(frame: Any) -> np.ndarray:
    """float32 `(channels, num_samples)`, full scale at 1.0, of any sample format of FFmpeg's."""
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, len(frame.layout.channels)).T
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128) / 128
    if samples.dtype.kind == "i":
        return (samples / np.float64(2 ** (8 * samples.dtype.itemsize - 1))).astype(np.float32)
    return np.ascontiguousarray(samples, np.float32)


def _declared_end_s(container: Any, stream: Any, has_picture: bool) -> tuple[float, bool] | None:
    """Seconds, and whether they count from the file's beginning and not from that of the sound."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base), False
    if stated := re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", stream.metadata.get("DURATION", "")):  # Matroska's tag
        hours, minutes, seconds = map(float, stated.groups())
        return 3600 * hours + 60 * minutes + seconds, True
    if container.duration is not None and not has_picture:  # which may go on after the sound
        return container.duration / 1e6, True
    return None


__all__ = ["read_with_pyav"]
