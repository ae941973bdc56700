"""Damaged files of every kind: refused, or as long as PyAV decodes them."""

import io
import random
import time
import warnings

import pytest

from accompgen_hf.accompgen.audio_accompgen import load_audio
from sound_files import encode, encode_media, sine

av = pytest.importorskip("av", reason="PyAV (extra `media`) is not installed")
WHOLE = {
    "WAV": lambda: encode(sine(0.5, 16_000), 16_000),
    "FLAC": lambda: encode(sine(0.5, 16_000), 16_000, "FLAC"),
    "OGG": lambda: encode(sine(0.5, 16_000), 16_000, "OGG"),
    "OPUS": lambda: encode(sine(0.5, 48_000), 48_000, "OGG", "OPUS"),
    "MP3": lambda: encode(sine(0.5, 16_000), 16_000, "MP3"),
    "AIFF": lambda: encode(sine(0.5, 16_000), 16_000, "AIFF"),
    "W64": lambda: encode(sine(0.5, 16_000), 16_000, "W64"),
    "CAF": lambda: encode(sine(0.5, 16_000), 16_000, "CAF"),
    "AAC": lambda: encode_media(sine(0.5, 44_100), 44_100, "adts", "aac"),
    "M4A": lambda: encode_media(sine(0.5, 44_100), 44_100, "ipod", "aac"),
    "WEBM": lambda: encode_media(sine(0.5, 48_000), 48_000, "webm", "libopus"),
    "MP4 with a picture": lambda: encode_media(sine(0.5, 44_100), 44_100, "mp4", "aac", start_s=0.3, picture_s=0.8),
}


def mutate(rng: random.Random, content: bytes) -> bytes:
    """A file as a broken disk, a broken program or an attacker would leave it; the header is hit most."""
    damaged = bytearray(content)
    for _ in range(rng.randint(1, 7)):
        place = rng.randrange(min(len(damaged), 200) if rng.random() < 0.7 else len(damaged))
        action = rng.choice(["byte", "number", "delete", "insert"])
        if action == "byte":
            damaged[place] = rng.randrange(256)
        elif action == "number":
            damaged[place : place + 4] = rng.choice([b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"])
        elif action == "delete":
            del damaged[place : place + rng.randint(1, 500)]
        else:
            damaged[place:place] = rng.randbytes(rng.randint(1, 100))
        if len(damaged) < 10:
            break
    return bytes(damaged)


def decoded_s(content: bytes) -> float | None:
    """Seconds that PyAV decodes, on the file's time axis where it has one; `None` if it decodes nothing."""
    total_s = end_s = 0.0
    starts_s = []
    has_times = False
    try:
        with av.open(io.BytesIO(content)) as container:
            has_times = "mov" in container.format.name or "matroska" in container.format.name
            starts_s += [float(video.start_time * video.time_base) for video in container.streams.video]
            for packet in container.demux(container.streams.audio[0]):
                try:
                    frames = packet.decode()
                except av.FFmpegError:
                    continue
                for frame in frames:
                    total_s += frame.samples / frame.sample_rate
                    starts_s.append(frame.time or 0.0)
                    end_s = max(end_s, starts_s[-1] + frame.samples / frame.sample_rate)
    except (av.FFmpegError, ValueError, OverflowError, IndexError, TypeError):
        pass
    return (end_s - min(starts_s) if has_times and starts_s else total_s) or None


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("num_files", [20, pytest.param(170, marks=pytest.mark.slow)])
def test_a_damaged_file_is_refused_or_as_long_as_pyav_decodes_it(kind, num_files):
    content, rng, slowest_s = WHOLE[kind](), random.Random(7), 0.0
    num_read = num_unknown = 0
    for number in range(num_files):
        damaged = mutate(rng, content)
        start = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                audio, rate = load_audio(damaged, max_duration_s=60)
            except ValueError:
                audio = None
        slowest_s = max(slowest_s, time.process_time() - start)
        if audio is None:
            continue
        num_read += 1
        expected_s = decoded_s(damaged)
        if expected_s is None:
            num_unknown += 1
        else:
            assert abs(audio.shape[1] / rate - expected_s) <= 0.05, number
    assert slowest_s <= 2
    print(f"{kind}: {num_files} files, {num_read} read, {num_unknown} of them not by PyAV; at most {slowest_s:.3f} s")
