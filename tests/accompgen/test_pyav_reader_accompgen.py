"""Sound with a picture, with gaps and with changes on the way stays at the time that the file states."""

import io
import warnings

import numpy as np
import pytest

from accompgen_hf.accompgen.audio_accompgen import load_audio
from sound_files import encode, encode_media, loudest_hz, sine


def onset_s(audio: np.ndarray, rate: int, after_s: float = 0.0) -> float:
    first = round(after_s * rate)
    return (first + int(np.argmax(np.abs(audio[0, first:]) > 0.1))) / rate


def test_a_raw_aac_stream_that_halves_its_rate_keeps_its_pitch():
    first = encode_media(sine(2.0, 44_100), 44_100, "adts", "aac")
    second = encode_media(sine(2.0, 22_050), 22_050, "adts", "aac")
    with pytest.warns(UserWarning, match=r"changes its format at 2\.04 s to 22050 Hz and 1 channel"):
        audio, rate = load_audio(first + second)
    assert rate == 44_100
    assert audio.shape[1] / rate == pytest.approx(4.13, abs=0.02)  # 88 frames, and 45 of twice the duration
    assert loudest_hz(audio[0, -rate:], rate) == pytest.approx(440, abs=1)


@pytest.mark.parametrize("channels", [(1, 2), (2, 1)])
def test_a_raw_aac_stream_that_changes_its_channels_keeps_those_of_its_beginning(channels):
    parts = [encode_media(sine(2.0, 44_100, count), 44_100, "adts", "aac") for count in channels]
    with pytest.warns(UserWarning, match=rf"to 44100 Hz and {channels[1]} channel"):
        audio, rate = load_audio(b"".join(parts))
    assert audio.shape[0] == channels[0]
    assert audio.shape[1] / rate == pytest.approx(4.09, abs=0.02)
    assert audio[:, -rate:].std() == pytest.approx(0.35, abs=0.02)


@pytest.mark.parametrize(("container_format", "codec"), [("mp4", "aac"), ("mov", "aac"), ("matroska", "libopus")])
def test_sound_that_begins_after_the_picture_stays_behind_it(container_format, codec):
    options = {"start_s": 2.0, "picture_s": 4.0}
    audio, rate = load_audio(encode_media(sine(2.0, 48_000), 48_000, container_format, codec, **options))
    assert onset_s(audio, rate) == pytest.approx(2.0, abs=0.01)
    assert audio.shape[1] / rate == pytest.approx(4.0, abs=0.03)


def test_sound_that_begins_late_without_a_picture_begins_at_once():
    audio, rate = load_audio(encode_media(sine(2.0, 48_000), 48_000, "mp4", "aac", start_s=2.0))
    assert audio.shape[1] / rate == pytest.approx(2.0, abs=0.05)


def test_a_picture_that_outlasts_the_sound_is_no_damage():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        audio, rate = load_audio(encode_media(sine(2.0, 48_000), 48_000, "matroska", "libopus", picture_s=4.0))
    assert audio.shape[1] / rate == pytest.approx(2.0, abs=0.03)


@pytest.mark.parametrize(("container_format", "codec"), [("webm", "libopus"), ("mp4", "aac")])
def test_lost_packets_become_silence_of_their_length(container_format, codec):
    sound = sine(6.0, 48_000)
    whole, rate = load_audio(encode_media(sound, rate := 48_000, container_format, codec))
    audio, _ = load_audio(encode_media(sound, 48_000, container_format, codec, lost_s=(2.0, 4.0)))
    assert audio.shape[1] / rate == pytest.approx(6.0, abs=0.03)
    assert np.abs(audio[0, round(2.1 * rate) : round(3.9 * rate)]).max() == 0
    assert onset_s(audio, rate, 2.1) == pytest.approx(4.0, abs=0.03)
    rest = slice(round(4.2 * rate), round(5.8 * rate))
    assert np.corrcoef(audio[0, rest], whole[0, rest])[0, 1] > 0.98


def test_time_stamps_that_jump_by_an_hour_are_refused():
    content = encode_media(sine(0.5, 48_000), 48_000, "matroska", "libopus", start_s=3600.0, picture_s=0.5)
    with pytest.raises(ValueError, match=r"is damaged: its time stamps jump by 3[56]\d\d s at 0\.00 s"):
        load_audio(content)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_the_time_stamps_of_a_whole_webm_tear_nothing(subtype):
    av = pytest.importorskip("av", reason="PyAV (extra `media`) is not installed")
    steps = np.random.default_rng(0).uniform(0, 1, 300)  # transients make blocks of changing size
    sound = np.repeat(steps, 480)[None].astype(np.float32) * sine(3.0, 48_000)
    ogg, buffer = encode(sound, 48_000, "OGG", subtype), io.BytesIO()
    with av.open(io.BytesIO(ogg)) as source, av.open(buffer, "w", format="webm") as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(audio=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    audio, rate = load_audio(buffer.getvalue())
    expected = load_audio(ogg)[0]
    assert audio.shape[1] / rate == pytest.approx(3.0, abs=0.03)
    lag = np.argmax(np.correlate(expected[0, 48_000:96_000], audio[0, 52_000:92_000], "valid")) - 4000
    assert abs(lag) < 1000
    assert np.corrcoef(audio[0, 52_000:92_000], expected[0, 52_000 + lag : 92_000 + lag])[0, 1] > 0.99


def test_a_damaged_packet_is_told():
    content = bytearray(encode_media(sine(2.0, 44_100), 44_100, "ipod", "aac"))
    middle = len(content) // 2
    content[middle : middle + 600] = b"\xff" * 600
    with pytest.warns(UserWarning, match=r"is damaged: \d+ of its packets could not be decoded. Silence stands"):
        audio, rate = load_audio(bytes(content))
    assert audio.shape[1] / rate == pytest.approx(2.0, abs=0.03)


def test_raw_aac_that_loses_more_than_50_ms_of_packets_is_refused_unless_allowed():
    content = bytearray(encode_media(sine(2.0, 44_100), 44_100, "adts", "aac"))
    place, frames = 0, []
    while place + 7 < len(content):
        frames.append(place)
        place += (content[place + 3] & 3) << 11 | content[place + 4] << 3 | content[place + 5] >> 5
    for first in frames[30:40]:
        content[first + 7 : first + 60] = b"\xff" * 53
    with pytest.raises(ValueError, match=r"is damaged: \d+ of its packets could not be decoded"):
        load_audio(bytes(content))
    with pytest.warns(UserWarning, match="could not be decoded. Using what is there"):
        load_audio(bytes(content), allow_truncated=True)
