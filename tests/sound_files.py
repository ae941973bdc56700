"""Small sound files of every kind, made with soundfile and PyAV: what the tests of the readers begin with."""

import io
from fractions import Fraction

import numpy as np
import pytest
import soundfile


def sine(duration_s: float, sampling_rate: int, num_channels: int = 1, hz: float = 440.0) -> np.ndarray:
    """`(channels, num_samples)`, half of full scale."""
    time_s = np.arange(round(duration_s * sampling_rate)) / sampling_rate
    return np.tile(0.5 * np.sin(2 * np.pi * hz * time_s), (num_channels, 1)).astype(np.float32)


def encode(audio: np.ndarray, sampling_rate: int, file_format: str = "WAV", subtype: str | None = None) -> bytes:
    """The bytes of a file that libsndfile writes."""
    buffer = io.BytesIO()
    soundfile.write(buffer, audio.T, sampling_rate, format=file_format, subtype=subtype)
    return buffer.getvalue()


def encode_media(
    audio: np.ndarray,
    sampling_rate: int,
    container_format: str,
    codec: str,
    start_s: float = 0.0,
    lost_s: tuple[float, float] = (0.0, 0.0),
    picture_s: float = 0.0,
    options: dict[str, str] | None = None,
) -> bytes:
    """The bytes of a file that FFmpeg writes.

    Args:
        start_s (`float`): Where the sound begins.
        lost_s (tuple of two `float`): From where to where its packets are missing, counted from its beginning.
        picture_s (`float`): Seconds of a black picture beside it.
        options: To the container.
    """
    av = pytest.importorskip("av", reason="PyAV (extra `media`) is not installed")
    layout = "mono" if len(audio) == 1 else "stereo"
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container_format, options=options or {}) as container:
        if picture_s:
            video = container.add_stream("mpeg4", rate=10)
            video.width = video.height = 64
            video.pix_fmt = "yuv420p"
        stream = container.add_stream(codec, rate=sampling_rate, layout=layout)
        for number in range(round(10 * picture_s)):
            picture = av.VideoFrame(64, 64, "yuv420p")
            picture.pts, picture.time_base = number, Fraction(1, 10)
            container.mux(video.encode(picture))
        if picture_s:
            container.mux(video.encode(None))
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio), format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = sampling_rate, 0, Fraction(1, sampling_rate)
        size = stream.frame_size or 1024
        resampler = av.AudioResampler(stream.format.name, layout, sampling_rate, frame_size=size)
        packets, num_samples = [], 0
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            part.pts = round(start_s * sampling_rate) + num_samples
            part.time_base = Fraction(1, sampling_rate)
            num_samples += part.samples
            packets += stream.encode(part)
        for packet in packets + stream.encode(None):
            time_s = float(packet.pts * packet.time_base) - start_s
            if not lost_s[0] <= time_s < lost_s[1]:
                container.mux(packet)
    return buffer.getvalue()


def id3_tag(num_bytes: int) -> bytes:
    """An ID3v2 tag with so many bytes of a cover picture."""
    size = bytes(num_bytes >> shift & 127 for shift in (21, 14, 7, 0))
    return b"ID3\4\0\0" + size + b"APIC" + bytes(num_bytes - 4)


def loudest_hz(audio: np.ndarray, sampling_rate: int) -> float:
    """Frequency of the strongest partial."""
    spectrum = np.abs(np.fft.rfft(audio))
    return float(np.argmax(spectrum)) * sampling_rate / len(audio)


def without_number(mp3: bytes) -> bytes:
    """An MP3 file without its first frame, which states the number of frames: as a recorded stream is."""
    from accompgen_hf.accompgen.mpeg_frames_accompgen import _mp3_frames

    frames = list(_mp3_frames(io.BytesIO(mp3), 0, len(mp3)))
    return mp3[frames[0].end :]
