"""Songs on disk and the clips drawn from them."""

import json

import numpy as np
import pytest
import torch

from accompgen_hf.songs.song import HELD_OUT_SEED
from accompgen_hf.training.codec.material import draw_clips, read_songs, synthesize_tracks, write_songs
from tiny_codec_training import tiny_arguments, tone


def band(seed: int) -> dict[str, np.ndarray]:
    """Constant tracks, so that a clip tells which of them it sums."""
    return {
        name: np.full(24_000, value, np.float32) for name, value in (("drums", 0.1), ("bass", 0.2), ("other", 0.4))
    }


def test_songs_are_synthesized_once_and_come_back(tmp_path):
    calls = []

    def counted(seed):
        calls.append(seed)
        return tone(seed)

    write_songs(tmp_path / "tones", range(2), counted)
    write_songs(tmp_path / "tones", range(3), counted)
    assert calls == [0, 1, 2]
    songs = read_songs(tmp_path)
    assert [song.names for song in songs] == [("vocals", "instrumental")] * 3
    np.testing.assert_allclose(songs[1].samples[1] / 32767, tone(1)["instrumental"], atol=1 / 32767)


def test_folders_of_different_tracks_stand_side_by_side(tmp_path):
    write_songs(tmp_path / "b", [10, 9], tone)
    write_songs(tmp_path / "a", [0], band)
    assert [song.names for song in read_songs(tmp_path)] == [("drums", "bass", "other")] + [
        ("vocals", "instrumental")
    ] * 2


def test_what_a_kind_of_clip_sums(tmp_path):
    write_songs(tmp_path / "a", [0], band)
    write_songs(tmp_path / "b", [0], tone)
    parts, pair = read_songs(tmp_path)
    assert [parts.rows(kind) for kind in ("instrumental", "mix", "bass", "vocals")] == [[0, 1, 2], [], [1], []]
    assert [pair.rows(kind) for kind in ("instrumental", "mix", "bass", "vocals")] == [[1], [0, 1], [], [0]]


def test_held_out_songs_are_refused(tmp_path):
    with pytest.raises(ValueError, match=rf"`seeds` must be below {HELD_OUT_SEED}"):
        write_songs(tmp_path, [HELD_OUT_SEED], tone)


def test_a_folder_of_other_tracks_is_refused(tmp_path):
    write_songs(tmp_path, [0], tone)
    with pytest.raises(ValueError, match=r"`folder` .* must have the tracks .*drums.*found .*vocals"):
        write_songs(tmp_path, [1], band)


def test_a_folder_without_songs_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"`songs_dir` .* must hold folders with tracks.json and songs, found none"):
        read_songs(tmp_path)


def test_clips_depend_on_seed_and_step_alone(tmp_path):
    arguments = tiny_arguments(tmp_path)
    songs = read_songs(arguments.songs_dir)
    first, again = (draw_clips(songs, arguments, 5, 320) for _ in range(2))
    assert first.shape == (2, 1, 12 * 320)
    assert torch.equal(first, again)
    assert not torch.equal(first, draw_clips(songs, arguments, 6, 320))
    assert not torch.equal(first, draw_clips(songs, tiny_arguments(tmp_path, seed=1), 5, 320))


def test_clips_have_the_shares_that_were_asked_for(tmp_path):
    write_songs(tmp_path / "bands" / "a", [0], band)
    shares = {"instrumental": 3.0, "drums": 1.0, "vocals": 5.0}
    arguments = tiny_arguments(tmp_path, batch_size=400, clip_shares=shares, gain_range_db=(0.0, 0.0))
    levels = draw_clips(read_songs(tmp_path / "bands"), arguments, 0, 320)[:, 0, 0]
    assert torch.isclose(levels, torch.tensor(0.7), atol=1e-3).double().mean().item() == pytest.approx(0.75, abs=0.08)
    assert torch.isclose(levels, torch.tensor(0.1), atol=1e-3).double().mean().item() == pytest.approx(0.25, abs=0.08)


def test_silence_is_passed_over_where_there_is_sound(tmp_path):
    def half(seed):
        return {"drums": np.concatenate([np.zeros(24_000, np.float32), np.full(24_000, 0.5, np.float32)])}

    write_songs(tmp_path / "half" / "a", [0], half)
    arguments = tiny_arguments(tmp_path, batch_size=200)
    clips = draw_clips(read_songs(tmp_path / "half"), arguments, 0, 320)
    assert (clips.abs().amax(dim=(1, 2)) > 0).double().mean() > 0.75


def test_shares_that_no_song_has_are_refused(tmp_path):
    arguments = tiny_arguments(tmp_path, clip_shares={"bass": 1.0})
    with pytest.raises(ValueError, match="`clip_shares` must name something that every song has"):
        draw_clips(read_songs(arguments.songs_dir), arguments, 0, 320)


def test_the_song_source_gives_all_tracks_at_the_codecs_rate():
    tracks = synthesize_tracks(3)
    assert set(tracks) == {"vocals", "drums", "bass", "other"}
    assert {track.shape for track in tracks.values()} == {(240_000,)}


def test_the_tracks_file_says_names_and_rate(tmp_path):
    write_songs(tmp_path, [0], tone)
    described = json.loads((tmp_path / "tracks.json").read_text())
    assert described == {"track_names": ["vocals", "instrumental"], "sampling_rate": 24_000}
