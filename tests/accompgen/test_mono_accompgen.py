"""One channel out of several, where their mean would be silence."""

import warnings

import numpy as np
import pytest
import soundfile

from accompgen_hf.accompgen.audio_accompgen import fold_to_mono
from accompgen_hf.accompgen.mono_accompgen import ChannelPowers
from accompgen_hf.accompgen.recordings_accompgen import Recording
from sound_files import sine

RATE = 16_000
VOICE = sine(1.0, RATE)[0] * np.linspace(0.1, 1, RATE, dtype=np.float32)
NOISE = 0.01 * np.random.default_rng(0).standard_normal(RATE).astype(np.float32)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ([-VOICE], "their mean is silent beside channel 1, which is heard alone"),
        ([-0.9 * VOICE], "their mean is 26 dB quieter than channel 1"),
        ([-VOICE + NOISE], r"their mean is \d\d dB quieter than channel"),
        ([-1.1 * VOICE], "channel 2, which is heard alone"),
        ([-VOICE, 0 * VOICE], "silent beside channel 1"),
    ],
)
def test_channels_that_cancel_each_other_out_give_the_loudest_and_a_warning(others, message):
    with pytest.warns(UserWarning, match=message):
        mono = fold_to_mono(np.stack([VOICE, *others]))
    assert abs(np.corrcoef(mono, VOICE)[0, 1]) > 0.99
    assert mono.std() == pytest.approx(VOICE.std(), rel=0.15)


@pytest.mark.parametrize(
    ("other", "correlation"),
    [
        (VOICE, 1.0),
        (0 * VOICE, 1.0),
        (0.05 * np.sin(np.arange(RATE) * 0.7), 0.95),  # the voice left, a click right
        (0.2 * VOICE[::-1], 0.95),  # middle and side
        (np.roll(VOICE, 8), 0.76),  # one channel 0.5 ms late
        (-np.roll(VOICE, 8), 0.6),  # late, and of the wrong polarity
    ],
)
def test_other_channels_give_their_mean_without_a_word(other, correlation):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mono = fold_to_mono(np.stack([VOICE, other]).astype(np.float32))
    np.testing.assert_allclose(mono, (VOICE + other) / 2, atol=1e-6)
    assert np.corrcoef(mono, VOICE)[0, 1] > correlation - 0.01


def test_silence_has_no_polarity():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not fold_to_mono(np.zeros((2, 100), np.float32)).any()
    assert ChannelPowers(2).lone_channel() is None


def test_a_recording_read_in_blocks_decides_once_over_the_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("accompgen_hf.accompgen.soundfile_reader_accompgen._BLOCK_VALUES", 2048)
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([VOICE, -VOICE]).T, RATE, subtype="FLOAT")
    with pytest.warns(UserWarning, match=r"The channels of `source` '.*a\.wav' cancel each other out"):
        recording = Recording(path)
    np.testing.assert_array_equal(np.concatenate(list(recording.mono_blocks(RATE))), VOICE)
    assert recording.num_channels == 2
