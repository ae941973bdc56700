"""Files that begin with something else, or are several recordings one behind the other: all of it comes out."""

import io
import warnings

import numpy as np
import pytest

from accompgen_hf.accompgen.audio_accompgen import load_audio
from accompgen_hf.accompgen.containers_accompgen import FilePart, list_parts
from accompgen_hf.accompgen.mpeg_frames_accompgen import list_mp3_parts
from sound_files import encode, encode_media, id3_tag, loudest_hz, sine, without_number

RATE = 16_000
SOUND = sine(2.0, RATE)
FORMATS = ["WAV", "RF64", "W64", "AIFF", "FLAC", "OGG", "MP3", "AU", "CAF"]


def duration_s(content: bytes) -> float:
    audio, rate = load_audio(content)
    assert loudest_hz(audio[0][-rate:], rate) == pytest.approx(440, abs=2)
    return audio.shape[1] / rate


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("num_bytes", [100_000, 5_000_000])
def test_a_tag_with_a_cover_picture_before_the_sound_changes_no_sample(file_format, num_bytes):
    content = encode(SOUND, RATE, file_format)
    expected, rate = load_audio(content)
    assert expected.shape[1] / rate == 2.0
    for padding in (0, 3000):  # zeros that some programs leave behind a tag
        np.testing.assert_array_equal(load_audio(id3_tag(num_bytes) + bytes(padding) + content)[0], expected)


@pytest.mark.parametrize("stray", [b"abcd", np.random.default_rng(0).bytes(600), bytes(5000)])
def test_stray_bytes_before_the_sound_change_no_sample(stray):
    mp3 = encode(sine(2.0, 44_100), 44_100, "MP3")
    aac = encode_media(sine(2.0, 44_100), 44_100, "adts", "aac")
    m4a = encode_media(sine(2.0, 44_100), 44_100, "ipod", "aac")
    for content in (mp3, aac, encode(SOUND, RATE), encode(SOUND, RATE, "AIFF")):
        np.testing.assert_array_equal(load_audio(stray + content)[0], load_audio(content)[0])
    assert duration_s(mp3) == 2.0
    assert duration_s(id3_tag(1000) + aac) == pytest.approx(2.0, abs=0.05)
    assert duration_s(id3_tag(1000) + m4a) == pytest.approx(2.0, abs=0.05)
    assert duration_s(aac + b"TAG" + bytes(125)) == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize("file_format", FORMATS)
def test_recordings_one_behind_the_other_are_all_read(file_format):
    content = encode(SOUND, RATE, file_format)
    single = load_audio(content)[0]
    for tag in (b"", id3_tag(1000) if file_format == "MP3" else b""):
        audio, _ = load_audio(content + tag + content)
        np.testing.assert_array_equal(audio, np.concatenate([single, single], axis=1))


@pytest.mark.parametrize(("container_format", "codec"), [("ipod", "aac"), ("webm", "libopus"), ("adts", "aac")])
def test_media_files_one_behind_the_other_are_all_read(container_format, codec):
    content = encode_media(sine(2.0, 48_000), 48_000, container_format, codec)
    single = load_audio(content)[0].shape[1]
    assert load_audio(content + content)[0].shape[1] == pytest.approx(2 * single, abs=2)


@pytest.mark.parametrize("file_format", ["OGG", "MP3"])
def test_a_mono_and_a_stereo_recording_of_other_rates_become_one(file_format):
    first = encode(sine(2.0, 44_100), 44_100, file_format)
    second = encode(sine(2.0, 48_000, num_channels=2, hz=880), 48_000, file_format)
    with pytest.warns(UserWarning, match=r"changes its format at 2\.00 s to 48000 Hz and 2 channels"):
        audio, rate = load_audio(first + second)
    assert (audio.shape, rate) == ((1, 4 * 44_100), 44_100)
    assert loudest_hz(audio[0, : 2 * rate], rate) == pytest.approx(440, abs=1)
    assert loudest_hz(audio[0, 2 * rate :], rate) == pytest.approx(880, abs=1)
    with pytest.warns(UserWarning, match="to 44100 Hz and 1 channel"):
        audio, rate = load_audio(second + first)
    assert (audio.shape, rate) == ((2, 4 * 48_000), 48_000)


def test_a_second_recording_that_cannot_be_read_is_refused_by_name():
    flac = encode(SOUND, RATE, "FLAC")
    broken = bytearray(flac)
    broken[100:] = bytes(len(flac) - 101) + b"\1"
    with pytest.raises(ValueError, match=r"part 2 of 2 recordings one behind the other, at 2\.00 s, cannot be read"):
        load_audio(flac + bytes(broken))
    with pytest.warns(UserWarning, match="part 2 of 2 .* cannot be read"):
        assert load_audio(flac + bytes(broken), allow_truncated=True)[0].shape[1] == 2 * RATE


def test_a_stream_of_mp3_frames_without_a_number_is_read_to_its_end():
    # Of variable bit rate: libsndfile guesses a length from the first frames, and stops there.
    quiet = 1e-3 * np.random.default_rng(0).standard_normal((1, 6 * 44_100)).astype(np.float32)
    loud = np.concatenate([sine(2.0, 44_100), quiet, sine(2.0, 44_100)], axis=1)
    content = without_number(encode(loud, 44_100, "MP3"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for recorded in (content, content[:-100], content + b"TAG" + bytes(125), id3_tag(1000) + content):
            audio, rate = load_audio(recorded)
            assert audio.shape[1] / rate == pytest.approx(10.0, abs=0.08)
        assert load_audio(content + content)[0].shape[1] == 2 * load_audio(content)[0].shape[1]


def test_an_mp3_whose_number_of_frames_is_too_small_is_read_to_its_end():
    content = encode(sine(2.0, 44_100), 44_100, "MP3")
    recorded = content + without_number(content)
    assert [part.min_duration_s > 0 for part in list_mp3_parts(io.BytesIO(recorded), 0, len(recorded))] == [True] * 2
    assert load_audio(recorded)[0].shape[1] / 44_100 == pytest.approx(4.0, abs=0.06)


def test_mp3_frames_that_are_lost_are_refused_unless_allowed():
    content = bytearray(encode(sine(2.0, 44_100), 44_100, "MP3"))
    middle = len(content) // 2
    content[middle : middle + 900] = bytes(900)
    with pytest.raises(ValueError, match=r"is damaged at \d\.\d\d s: there are bytes that are no sound"):
        load_audio(bytes(content))
    with pytest.warns(UserWarning, match="bytes that are no sound. Using what is there"):
        assert 1.5 < load_audio(bytes(content), allow_truncated=True)[0].shape[1] / 44_100 < 2.0
    content = bytearray(encode(sine(2.0, 44_100), 44_100, "MP3"))
    content[content.index(b"Xing") + 4] = 9
    with pytest.raises(ValueError, match="is damaged: an MP3 without a readable beginning"):
        load_audio(bytes(content))


def test_a_file_part_is_a_file_of_its_own():
    part = FilePart(io.BytesIO(b"0123456789"), 2, 8, prefix=b"ab")
    assert part.read() == b"ab234567"
    assert part.seek(-3, io.SEEK_END) == 5
    assert part.read(10) == b"567"
    assert part.seek(-99) == part.tell() == 8
    assert (part.seek(1), part.read(1), part.read(2)) == (1, b"b", b"23")
    assert part.readable()
    assert part.seekable()


def test_what_is_none_of_the_kinds_is_left_to_libsndfile():
    content = encode(SOUND, RATE, "VOC")
    assert [part.kind for part in list_parts(io.BytesIO(content), len(content))] == ["other"]
    assert duration_s(content) == 2.0
