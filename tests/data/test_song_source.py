"""Procedural songs as a source of tracks."""

import argparse

import numpy as np
import pytest

from accompgen_hf.data.song_source import song_tracks
from accompgen_hf.data.source_options import (
    add_separator_options,
    add_source_options,
    list_recordings,
)


def test_kept_songs_are_the_songs_in_16_bits(tmp_path):
    direct, kept = (song_tracks(5, 1, 0.5, songs_dir)[0].load() for songs_dir in (None, tmp_path))
    for ours, theirs in zip(direct[:2], kept[:2], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=0.6 / 32767)
    assert [path.name for path in tmp_path.iterdir()] == ["5.npy"]
    stamp = (tmp_path / "5.npy").stat().st_mtime_ns
    again = song_tracks(5, 1, 0.5, tmp_path)[0].load()
    assert np.array_equal(again[1], kept[1])
    assert (tmp_path / "5.npy").stat().st_mtime_ns == stamp
    with pytest.raises(ValueError, match=r"`songs_dir` has .*5.npy of shape \(2, 12000\), but songs of 1.0 s"):
        song_tracks(5, 1, 1.0, tmp_path)[0].load()


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--source")
    add_source_options(parser)
    add_separator_options(parser)
    return parser.parse_args(arguments)


def test_procedural_songs_are_a_source_of_whole_songs_and_of_stems():
    first, second = list_recordings(parse("--source", "songs", "--num_songs", "2", "--song_duration_s", "0.5"))
    assert (first.track_id, second.track_id, first.licence) == ("song-000000", "song-000001", "CC0-1.0")
    vocals, instrumental, sampling_rate = first.load_stems()
    mix, mix_rate = first.load_mix()
    assert vocals.shape == (1, 12_000)
    assert (sampling_rate, mix_rate) == (24_000, 24_000)
    np.testing.assert_array_equal(mix, vocals + instrumental)
    with pytest.raises(ValueError, match=r"`num_songs` must be at least 1, got 0\. Or name another `source` of music"):
        list_recordings(parse("--source", "songs"))
    with pytest.raises(ValueError, match=r"`first_seed` and `num_songs` must stay in \[0, 800000\)"):
        list_recordings(parse("--source", "songs", "--num_songs", "1", "--first_seed", "800000"))
    with pytest.raises(ValueError, match=r"`duration_s` of a song must be in \(0, 120\] seconds, got -4.0"):
        list_recordings(parse("--source", "songs", "--num_songs", "1", "--song_duration_s", "-4"))
