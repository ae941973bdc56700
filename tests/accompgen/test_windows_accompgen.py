"""Windows of songs that arrive: the same windows for every way of arriving, nothing held that is done with."""

import pytest
import torch

from accompgen_hf import AccompGenCoarseConfig, AccompGenFineConfig, AccompGenSemanticConfig
from accompgen_hf.accompgen.codebooks_accompgen import list_windows
from accompgen_hf.accompgen.windows_accompgen import WindowedSong, frames_per_step, run_next_windows
from tiny import random_codes, tiny_stage, tiny_stage_config

CONFIGS = (AccompGenSemanticConfig, AccompGenCoarseConfig, AccompGenFineConfig)


def conditioning_of(config, num_steps: int) -> dict[str, torch.Tensor]:
    return {segment.name: random_codes(segment, 1, num_steps / 25) for segment in config.segments[:-1]}


def cut(codes: dict[str, torch.Tensor], start: int, end: int) -> dict[str, torch.Tensor]:
    return {
        name: value[..., start * frames_per_step(name) : end * frames_per_step(name)] for name, value in codes.items()
    }


def collect_windows(config, num_steps: int, piece_steps: int) -> list[tuple[int, int, int]]:
    """Windows of a song that arrives in pieces, each given back as zeros."""
    song, conditioning, found = WindowedSong(config, 0), conditioning_of(config, num_steps), []
    like = random_codes(config.target_segment, 1, 10)

    def run() -> None:
        while windows := song.pop_windows(1):
            [window] = windows
            found.append((window.start, window.end, window.num_kept))
            for name, rows in window.conditioning.items():
                expected = cut(conditioning, window.start, window.start + song.window_steps)[name]
                assert torch.equal(rows[..., : expected.shape[-1]], expected)
                assert rows.shape[-1] == song.window_steps * frames_per_step(name)
            song.keep(window, like)
            song.take()

    for start in range(0, num_steps, piece_steps):
        song.append(cut(conditioning, start, start + piece_steps))
        run()
    song.finish()
    run()
    return found


@pytest.mark.parametrize("piece_steps", [1, 7, 1000])
@pytest.mark.parametrize("num_steps", [1, 14, 15, 16, 24, 25, 26, 40, 99, 100])
@pytest.mark.parametrize("config_class", CONFIGS)
def test_a_song_in_pieces_has_the_windows_of_the_whole_song(config_class, num_steps, piece_steps):
    config = tiny_stage_config(config_class)
    window_steps, overlap_steps = round(config.clip_duration_s * 25), round(config.window_overlap_s * 25)
    expected = list_windows(num_steps, window_steps, overlap_steps, overlap_steps > 0)
    found = collect_windows(config, num_steps, piece_steps)
    assert [window[:2] for window in found] == expected
    ends = [0, *(end for _, end in expected)]
    assert [num_kept for _, _, num_kept in found] == [
        max(0, done - start) for done, (start, _) in zip(ends, expected, strict=False)
    ]


@pytest.mark.parametrize("config_class", CONFIGS)
def test_a_window_runs_as_soon_as_its_own_time_is_known(config_class):
    config = tiny_stage_config(config_class)
    song = WindowedSong(config, 0)
    conditioning = conditioning_of(config, song.window_steps + 1)
    song.append(cut(conditioning, 0, song.window_steps - 1))
    assert not song.has_ready(1)
    assert song.pop_windows(1) == []
    song.append(cut(conditioning, song.window_steps - 1, song.window_steps))
    assert song.has_ready(1)
    assert len(song.pop_windows(1)) == 1


@pytest.mark.parametrize("config_class", CONFIGS)
def test_a_song_holds_two_windows_however_long_it_is(config_class):
    model = tiny_stage(config_class)
    song = WindowedSong(model.config, 0, known=random_codes(model.config.target_segment, 1, 40.0))
    conditioning = conditioning_of(model.config, 1000)
    for start in range(0, 1000, 5):
        song.append(cut(conditioning, start, start + 5))
        while run_next_windows(model, [song]):
            pass
        song.take()
        for name, held in song._held.items():
            assert held.shape[-1] <= 2 * song.window_steps * frames_per_step(name)


def test_windows_of_songs_of_any_length_share_batches(monkeypatch):
    model = tiny_stage(AccompGenFineConfig)
    lengths, batches = (3, 25, 11), []
    generate = model.generate

    def note(**kwargs):
        batches.append(len(kwargs["input_ids"]))
        return generate(**kwargs)

    def run(songs, window_batch_size):
        while run_next_windows(model, songs, window_batch_size):
            pass
        return [song.take()["fine_codes"] for song in songs]

    def open_songs():
        songs = [WindowedSong(model.config, seed) for seed in range(3)]
        for song, length in zip(songs, lengths, strict=True):
            song.append(conditioning_of(model.config, length))
            song.finish()
        return songs

    alone = [run([song], 1)[0] for song in open_songs()]
    monkeypatch.setattr(model, "generate", note)
    together = run(open_songs(), 6)
    assert batches == [6]  # 1 + 3 + 2 windows of 10 steps
    for codes, expected in zip(together, alone, strict=True):
        assert torch.equal(codes, expected)


@pytest.mark.parametrize("config_class", CONFIGS)
def test_known_codes_are_not_generated_again(config_class):
    model = tiny_stage(config_class)
    conditioning = conditioning_of(model.config, 30)
    whole = model.generate(**conditioning, seed=3)
    calls = []
    for num_known in (0, 25, whole.shape[-1]):
        song = WindowedSong(model.config, 3, known=whole[..., :num_known])
        song.append(conditioning)
        song.finish()
        while run_next_windows(model, [song], callback=calls.append):
            pass
        assert torch.equal(song.take()[model.config.target_name], whole)
        calls.append(-1)
    assert calls[-2] == calls[-1] == -1  # with all codes known nothing ran


def test_codes_of_a_longer_recording_are_refused():
    config = tiny_stage_config(AccompGenFineConfig)
    song = WindowedSong(config, 0, known=random_codes(config.target_segment, 1, 1.0))
    song.append(conditioning_of(config, 20))
    with pytest.raises(
        ValueError, match="`known_codes` must belong to this recording, got 75 frames of `fine_codes` for 60"
    ):
        song.finish()


def test_no_window_at_a_time_is_refused():
    with pytest.raises(ValueError, match="`window_batch_size` must be at least 1, got 0"):
        run_next_windows(None, [], 0)
