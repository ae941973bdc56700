"""Windows of chunks, measured in blocks, against a plain loop."""

import numpy as np
import pytest

from accompgen_hf.accompgen.frames_accompgen import MeasuredFrames


def sums(frames: np.ndarray) -> np.ndarray:
    return frames.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("chunk", [7, 4000, 10_000])
def test_rows_are_those_of_a_plain_loop(chunk):
    audio = np.arange(10_000, dtype=np.float32) % 17
    measured = MeasuredFrames(4000, 4000, 40, 30, sums)
    for start in range(0, len(audio), chunk):
        measured.push(audio[start : start + chunk])
    padded = np.pad(audio, (20, 40))
    expected = [padded[30 * frame : 30 * frame + 40].sum() for frame in range(334)]
    np.testing.assert_array_equal(measured.finish(lambda num_samples: num_samples // 30 + 1)[:, 0], expected)


def test_only_full_frames_count_and_there_is_one_at_least():
    measured = MeasuredFrames(4000, 4000, 40, 30, sums, is_centred=False)
    measured.push(np.ones(129, np.float32))
    assert measured.finish().tolist() == [[40.0], [40.0], [40.0]]
    short = MeasuredFrames(4000, 4000, 40, 30, sums, is_centred=False)
    short.push(np.ones(7, np.float32))
    assert short.finish().tolist() == [[7.0]]


def test_blocks_of_thirty_seconds_meet_without_a_seam():
    audio = np.random.default_rng(0).normal(size=4000 * 61).astype(np.float32)
    calls = []
    measured = MeasuredFrames(4000, 4000, 400, 400, lambda frames: calls.append(len(frames)) or sums(frames))
    measured.push(audio)
    rows = measured.finish(lambda num_samples: num_samples // 400 + 1)
    assert calls == [300, 300, 11]
    padded = np.pad(audio, (200, 400))
    np.testing.assert_allclose(rows[:, 0], [padded[400 * k : 400 * k + 400].sum() for k in range(611)], atol=1e-3)
