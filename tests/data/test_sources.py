"""Sources of songs: what they find, what they say about it, and that equal recordings stay on one side."""

import numpy as np
import pytest
import soundfile

from accompgen_hf.data.sources import (
    SourceRecording,
    filter_licences,
    folder_recordings,
    make_tracks,
    pair_paths,
    pair_recordings,
    read_track_table,
    write_track_table,
)

RATE = 16000


def write(path, seed: int = 0, num_channels: int = 1, seconds: float = 0.2, rate: int = RATE) -> np.ndarray:
    audio = 0.1 * np.random.default_rng(seed).standard_normal((round(seconds * rate), num_channels))
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, rate, subtype="FLOAT" if path.suffix == ".wav" else None)
    return audio.T.astype(np.float32)


def test_a_folder_of_songs_gives_artist_album_and_the_tables_word(tmp_path):
    audio = write(tmp_path / "Ann" / "First" / "one.wav", num_channels=2)
    write(tmp_path / "Ann" / "two.flac")
    write(tmp_path / "three.wav")
    write(tmp_path / ".hidden" / "four.wav")
    (tmp_path / "tracks.csv").write_text("track_id,licence,split\nthree.wav,CC0-1.0,test\n")
    one, two, three = folder_recordings(tmp_path, "CC-BY-4.0")
    assert (one.track_id, one.artist, one.album, one.licence) == ("Ann/First/one.wav", "Ann", "Ann/First", "CC-BY-4.0")
    assert (two.artist, two.album, two.split) == ("Ann", None, None)
    assert (three.licence, three.split) == ("CC0-1.0", "test")
    mix, rate = one.load_mix()
    assert rate == RATE
    np.testing.assert_allclose(mix, audio)


@pytest.mark.parametrize("layout", ["vocals/a.wav instrumental/a.flac", "a/vocals.wav a/no_vocals.flac"])
def test_pairs_of_both_layouts_load_in_place(tmp_path, layout):
    paths = [tmp_path / name for name in layout.split()]
    vocals, instrumental = write(paths[0], 1), write(paths[1], 2, num_channels=2)
    (recording,) = pair_recordings(tmp_path, "CC0-1.0")
    found = recording.load_stems()
    np.testing.assert_allclose(found[0], vocals)
    np.testing.assert_allclose(found[1], instrumental, atol=1e-4)  # 16 bits
    np.testing.assert_allclose(recording.load_mix()[0], vocals + instrumental, atol=1e-4)
    (track,) = make_tracks([recording])
    assert (track.track_id, track.licence, track.group) == ("a", "CC0-1.0", "a")
    np.testing.assert_allclose(track.load()[1], instrumental.mean(0), atol=1e-4)


def test_pairs_of_two_rates_come_at_the_vocals_rate(tmp_path):
    write(tmp_path / "vocals" / "a.wav", rate=16000)
    write(tmp_path / "instrumental" / "a.wav", rate=8000)
    vocals, instrumental, rate = pair_recordings(tmp_path)[0].load_stems()
    assert (rate, vocals.shape, instrumental.shape) == (16000, (1, 3200), (1, 3200))


@pytest.mark.parametrize("pattern", ["{kind}/a.wav", "a/{kind}.wav"])
@pytest.mark.parametrize("has_instrumental", [False, True])
def test_pairs_may_have_a_file_of_each_part(tmp_path, pattern, has_instrumental):
    parts = {
        name: write(tmp_path / pattern.format(kind=name), seed, num_channels=1 + (name == "other"))
        for seed, name in enumerate(("drums", "bass", "other"))
    }
    vocals = write(tmp_path / pattern.format(kind="vocals"), 3)
    expected = sum(parts.values())
    if has_instrumental:
        expected = write(tmp_path / pattern.format(kind="instrumental"), 4)
    (recording,) = pair_recordings(tmp_path)
    np.testing.assert_allclose(recording.load_stems()[1], expected, atol=1e-6)
    np.testing.assert_allclose(recording.load_mix()[0], vocals + expected, atol=1e-6)
    assert len(recording.files) == 4 + has_instrumental
    (track,) = make_tracks([recording], parts=True)
    loaded, by_name, rate = track.load_parts()
    assert (list(by_name), rate) == (["drums", "bass", "other"], RATE)
    np.testing.assert_allclose(loaded, vocals[0])
    for name, part in parts.items():
        np.testing.assert_allclose(by_name[name], part.mean(0), atol=1e-6)


def test_parts_come_at_the_vocals_rate_and_their_sum_ends_with_the_shortest(tmp_path):
    write(tmp_path / "a" / "vocals.wav")
    for name, rate, seconds in (("drums", 8000, 0.2), ("bass", RATE, 0.25), ("other", RATE, 0.2)):
        write(tmp_path / "a" / f"{name}.wav", rate=rate, seconds=seconds)
    (recording,) = pair_recordings(tmp_path)
    vocals, instrumental, rate = recording.load_stems()
    assert (rate, vocals.shape, instrumental.shape) == (RATE, (1, 3200), (1, 3200))
    (tmp_path / "a" / "drums.wav").unlink()
    with pytest.raises(ValueError, match=r"'a' has .*vocals.* \(1 such tracks\).*Drums, bass and other together"):
        pair_recordings(tmp_path)
    write(tmp_path / "a" / "instrumental.wav")  # what is there of parts is left alone
    (recording,) = pair_recordings(tmp_path)
    assert recording.load_parts is None


def test_styles_of_a_table_become_names_and_a_source_without_any_is_refused(tmp_path):
    for name in ("one", "two", "three"):
        write(tmp_path / f"{name}.wav")
    lines = ("track_id,style", "one.wav,Hip-Hop", "two.wav,  Bossa Nova ", "three.wav,")
    (tmp_path / "tracks.csv").write_text("\n".join(lines))
    recordings = folder_recordings(tmp_path)
    separator = object()
    styles = {track.track_id: track.style for track in make_tracks(recordings, separator, styles=True)}
    assert styles == {"one.wav": "hip_hop", "two.wav": "bossa_nova", "three.wav": None}
    assert {track.style for track in make_tracks(recordings, separator)} == {None}
    (tmp_path / "tracks.csv").unlink()
    with pytest.raises(ValueError, match=r"FMA's column `genre_top` and by .*; none of these 3 recordings states one"):
        make_tracks(folder_recordings(tmp_path), separator, styles=True)


def test_what_is_no_folder_of_songs_or_pairs_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"`data` .*nowhere is not a folder"):
        folder_recordings(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"`data` .* holds no audio \(.wav"):
        folder_recordings(tmp_path)
    write(tmp_path / "song.wav")
    with pytest.raises(
        ValueError, match=r"must hold vocals/ and instrumental/ with equal names, or one folder per track"
    ):
        pair_recordings(tmp_path)
    write(tmp_path / "vocals" / "a.wav")
    write(tmp_path / "instrumental" / "b.wav")
    with pytest.raises(ValueError, match=r"one vocals and one instrumental file per track; 'a' has vocals \(2 such"):
        pair_recordings(tmp_path)
    write(tmp_path / "vocals" / "b.wav")
    write(tmp_path / "vocals" / "b.flac")
    write(tmp_path / "instrumental" / "a.wav")
    with pytest.raises(ValueError, match=r"'b' has vocals, two vocals, instrumental|'b' has .*two vocals"):
        pair_recordings(tmp_path)


def test_a_wrong_table_is_refused(tmp_path):
    (tmp_path / "tracks.csv").write_text("name,licence\na,CC0\n")
    with pytest.raises(ValueError, match=r"tracks.csv must have a column `track_id`, got name, licence"):
        read_track_table(tmp_path)
    (tmp_path / "tracks.csv").write_text("track_id,split\na,dev\n")
    with pytest.raises(ValueError, match=r"`split` must be train, validation or test, got 'dev' \(a\)"):
        read_track_table(tmp_path)


def silent(track_id: str, **fields) -> SourceRecording:
    return SourceRecording(track_id, lambda: (np.zeros((2, RATE), np.float32), RATE), **fields)


def test_a_written_table_is_read_back(tmp_path):
    write_track_table(tmp_path, [silent("a, b", licence="CC0", split="test"), silent("c", artist="Ann")])
    assert read_track_table(tmp_path) == {
        "a, b": {"licence": "CC0", "split": "test"},
        "c": {"licence": "unknown", "artist": "Ann"},
    }
    write_track_table(tmp_path, [silent("d", licence="MIT"), silent("c", licence="CC0")])  # a second source
    assert {name: fields["licence"] for name, fields in read_track_table(tmp_path).items()} == {
        "a, b": "CC0",
        "c": "CC0",
        "d": "MIT",
    }


def test_licences_are_chosen_by_pattern():
    recordings = [silent(name, licence=name) for name in ("CC0-1.0", "CC-BY-4.0", "CC-BY-NC-4.0")]
    assert [r.licence for r in filter_licences(recordings, ["cc0*", "CC-BY-?.0"])] == ["CC0-1.0", "CC-BY-4.0"]
    assert filter_licences(recordings, None) == recordings
    with pytest.raises(
        ValueError, match=r"`allow_licenses` MIT leaves nothing; there are: CC-BY-4.0, CC-BY-NC-4.0, CC0"
    ):
        filter_licences(recordings, ["MIT"])


def test_tracks_go_through_the_separator_and_keep_their_group():
    class Halving:
        def separate(self, mix, sampling_rate):
            return mix + 0.5, mix + 0.25, 2 * sampling_rate

    recordings = [silent("a", artist="Ann", split="test"), silent("b")]
    first, second = make_tracks(recordings, Halving(), "artist")
    assert (first.group, second.group, first.split) == ("artist Ann", "b", "test")
    vocals, instrumental, rate = first.load()
    assert (vocals.shape, rate) == ((RATE,), 2 * RATE)
    assert (vocals[0], instrumental[0]) == (0.5, 0.25)
    with pytest.raises(ValueError, match=r"`separate` is needed: 2 of 2 recordings are whole songs, the first is 'a'"):
        make_tracks(recordings)
    with pytest.raises(ValueError, match=r"`split_group` must be 'track', 'artist' or 'album', got 'genre'"):
        make_tracks(recordings, Halving(), "genre")


def test_pairs_stay_inside_their_folder(tmp_path):
    assert pair_paths(tmp_path, "Ann/one.mp3")[0] == tmp_path / "vocals" / "Ann" / "one.mp3.flac"
    for track_id in ("../one", "/one", ""):
        with pytest.raises(ValueError, match="`track_id` must be a name or a path below the folder"):
            pair_paths(tmp_path, track_id)
