"""Windows of recordings that arrive: the same windows for every way of arriving, nothing held that is done with."""

from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch

from accompgen_hf import AccompGenCoarseConfig, AccompGenFineConfig, AccompGenSemanticConfig
from accompgen_hf.accompgen.windows_accompgen import WindowedRecording, WindowPlan, frames_per_step, run_next_windows
from tiny import random_codes, tiny_stage, tiny_stage_config

CONFIGS = (AccompGenSemanticConfig, AccompGenCoarseConfig, AccompGenFineConfig)


def window_config(window_steps: int, overlap_steps: int) -> SimpleNamespace:
    return SimpleNamespace(clip_duration_s=window_steps / 25, window_overlap_s=overlap_steps / 25)


# Windows of the three stages in 40 ms steps (25 a second): window and overlap as the configs' defaults.
SEMANTIC_WINDOW, COARSE_WINDOW, FINE_WINDOW = (250, 125, True), (125, 60, True), (75, 0, False)


@pytest.mark.parametrize(
    ("num_steps", "window", "expected"),
    [
        (625, SEMANTIC_WINDOW, [(0, 250), (125, 375), (250, 500), (375, 625)]),  # 25 s end on a whole window
        (300, SEMANTIC_WINDOW, [(0, 250), (50, 300)]),  # 12 s: the last window moves left to end with the recording
        (250, SEMANTIC_WINDOW, [(0, 250)]),
        (251, SEMANTIC_WINDOW, [(0, 250), (1, 251)]),
        (3, SEMANTIC_WINDOW, [(0, 3)]),  # shorter than a window: generation stops early
        (300, COARSE_WINDOW, [(0, 125), (65, 190), (130, 255), (175, 300)]),
        (190, FINE_WINDOW, [(0, 75), (75, 150), (150, 190)]),  # no overlap: the last is the remainder
        (150, FINE_WINDOW, [(0, 75), (75, 150)]),
        (1, FINE_WINDOW, [(0, 1)]),
    ],
)
def test_windows_written_by_hand(num_steps, window, expected):
    assert WindowPlan(window_config(*window[:2])).plan_all(num_steps) == expected


@pytest.mark.parametrize("window", [SEMANTIC_WINDOW, COARSE_WINDOW, FINE_WINDOW])
def test_windows_cover_every_length_without_gap_or_empty_window(window):
    window_steps, overlap, moves_last = window
    for num_steps in range(1, 700):
        windows = WindowPlan(window_config(*window[:2])).plan_all(num_steps)
        assert windows[0][0] == 0
        assert windows[-1][1] == num_steps
        for (start, end), (next_start, next_end) in pairwise(windows):
            assert end - start == window_steps
            assert start < next_start <= end - overlap
            assert next_end > end
        if moves_last and num_steps >= window_steps:
            assert windows[-1][1] - windows[-1][0] == window_steps


def test_a_recording_of_no_length_has_no_windows():
    assert WindowPlan(window_config(10, 0)).plan_all(0) == []


def conditioning_of(config, num_steps: int) -> dict[str, torch.Tensor]:
    return {segment.name: random_codes(segment, 1, num_steps / 25) for segment in config.segments[:-1]}


def cut(codes: dict[str, torch.Tensor], start: int, end: int) -> dict[str, torch.Tensor]:
    return {
        name: value[..., start * frames_per_step(name) : end * frames_per_step(name)] for name, value in codes.items()
    }


def collect_windows(config, num_steps: int, piece_steps: int) -> list[tuple[int, int, int]]:
    """Windows of a recording that arrives in pieces, each given back as zeros."""
    recording, conditioning, found = WindowedRecording(config, 0), conditioning_of(config, num_steps), []
    like = random_codes(config.target_segment, 1, 10)

    def run() -> None:
        while windows := recording.pop_windows(1):
            [window] = windows
            found.append((window.start, window.end, window.num_kept))
            for name, rows in window.conditioning.items():
                expected = cut(conditioning, window.start, window.start + recording.plan.window_steps)[name]
                assert torch.equal(rows[..., : expected.shape[-1]], expected)
                assert rows.shape[-1] == recording.plan.window_steps * frames_per_step(name)
            recording.keep(window, like)
            recording.take()

    for start in range(0, num_steps, piece_steps):
        recording.append(cut(conditioning, start, start + piece_steps))
        run()
    recording.finish()
    run()
    return found


@pytest.mark.parametrize("piece_steps", [1, 7, 1000])
@pytest.mark.parametrize("num_steps", [1, 14, 15, 16, 24, 25, 26, 40, 99, 100])
@pytest.mark.parametrize("config_class", CONFIGS)
def test_a_recording_in_pieces_has_the_windows_of_the_whole_recording(config_class, num_steps, piece_steps):
    config = tiny_stage_config(config_class)
    expected = WindowPlan(config).plan_all(num_steps)
    found = collect_windows(config, num_steps, piece_steps)
    assert [window[:2] for window in found] == expected
    ends = [0, *(end for _, end in expected)]
    assert [num_kept for _, _, num_kept in found] == [
        max(0, done - start) for done, (start, _) in zip(ends, expected, strict=False)
    ]


@pytest.mark.parametrize("config_class", CONFIGS)
def test_a_window_runs_as_soon_as_its_own_time_is_known(config_class):
    config = tiny_stage_config(config_class)
    recording = WindowedRecording(config, 0)
    conditioning = conditioning_of(config, recording.plan.window_steps + 1)
    recording.append(cut(conditioning, 0, recording.plan.window_steps - 1))
    assert not recording.has_ready(1)
    assert recording.pop_windows(1) == []
    recording.append(cut(conditioning, recording.plan.window_steps - 1, recording.plan.window_steps))
    assert recording.has_ready(1)
    assert len(recording.pop_windows(1)) == 1


@pytest.mark.parametrize("config_class", CONFIGS)
def test_a_recording_holds_two_windows_however_long_it_is(config_class):
    model = tiny_stage(config_class)
    recording = WindowedRecording(model.config, 0, known=random_codes(model.config.target_segment, 1, 40.0))
    conditioning = conditioning_of(model.config, 1000)
    for start in range(0, 1000, 5):
        recording.append(cut(conditioning, start, start + 5))
        while run_next_windows(model, [recording]):
            pass
        recording.take()
        for name, held in recording._held.items():
            assert held.shape[-1] <= 2 * recording.plan.window_steps * frames_per_step(name)


def test_windows_of_recordings_of_any_length_share_batches(monkeypatch):
    model = tiny_stage(AccompGenFineConfig)
    lengths, batches = (3, 25, 11), []
    generate = model.generate

    def note(**kwargs):
        batches.append(len(kwargs["input_ids"]))
        return generate(**kwargs)

    def run(recordings, window_batch_size):
        while run_next_windows(model, recordings, window_batch_size):
            pass
        return [recording.take()["fine_codes"] for recording in recordings]

    def open_recordings():
        recordings = [WindowedRecording(model.config, seed) for seed in range(3)]
        for recording, length in zip(recordings, lengths, strict=True):
            recording.append(conditioning_of(model.config, length))
            recording.finish()
        return recordings

    alone = [run([recording], 1)[0] for recording in open_recordings()]
    monkeypatch.setattr(model, "generate", note)
    together = run(open_recordings(), 6)
    assert batches == [6]  # 1 + 3 + 2 windows of 10 steps
    for codes, expected in zip(together, alone, strict=True):
        assert torch.equal(codes, expected)


@pytest.mark.parametrize("config_class", CONFIGS)
def test_known_codes_are_not_generated_again(config_class):
    model = tiny_stage(config_class)
    conditioning = conditioning_of(model.config, 30)
    whole = model.generate_codes(**conditioning, seed=3)
    calls = []
    for num_known in (0, 25, whole.shape[-1]):
        recording = WindowedRecording(model.config, 3, known=whole[..., :num_known])
        recording.append(conditioning)
        recording.finish()
        while run_next_windows(model, [recording], callback=calls.append):
            pass
        assert torch.equal(recording.take()[model.config.target_name], whole)
        calls.append(-1)
    assert calls[-2] == calls[-1] == -1  # with all codes known nothing ran


def test_codes_of_a_longer_recording_are_refused():
    config = tiny_stage_config(AccompGenFineConfig)
    recording = WindowedRecording(config, 0, known=random_codes(config.target_segment, 1, 1.0))
    recording.append(conditioning_of(config, 20))
    with pytest.raises(
        ValueError, match="`known_codes` must belong to this recording, got 75 frames of `fine_codes` for 60"
    ):
        recording.finish()


def test_no_window_at_a_time_is_refused():
    with pytest.raises(ValueError, match="`window_batch_size` must be at least 1, got 0"):
        run_next_windows(None, [], 0)
