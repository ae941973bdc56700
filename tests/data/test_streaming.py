"""Streams of shards: every row once an epoch, each shard by one reader, and on from any sample."""

from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from accompgen_hf import AccompGenSemanticConfig
from accompgen_hf.data.clips import ClipCutter
from accompgen_hf.data.dataset import StageClipDataset
from accompgen_hf.data.remote_shards import RemoteShards
from accompgen_hf.data.streaming import FewRows, StepWindows, StreamedClips
from accompgen_hf.data.training_tracks import read_shard_tracks
from tiny_shards import MODEL, write_shards

CONFIG = AccompGenSemanticConfig(**MODEL)
DROPOUTS = {"condition_dropout": 0.3, "history_dropout": 0.5}


class CountedShards(RemoteShards):
    """Counts how often each shard is fetched."""

    def __init__(self, source: Path):
        super().__init__(source)
        self.fetched: Counter[str] = Counter()

    def read(self, file):
        self.fetched[file] += 1
        return super().read(file)


@pytest.fixture
def shards(tmp_path) -> Path:
    """Eight shards of five rows, of which four are for training."""
    return write_shards(tmp_path / "shards", num_shards=8)


def open_stream(folder: Path, buffer_rows: int = 6, seed: int = 0) -> StreamedClips:
    return StreamedClips([CountedShards(folder)], CONFIG, ClipCutter(CONFIG, **DROPOUTS), seed, buffer_rows)


def names(clips) -> list[str]:
    return [clip["track_id"] for clip in clips]


def equal(first: dict, second: dict) -> bool:
    return all(
        torch.equal(first[name], second[name]) if torch.is_tensor(first[name]) else first[name] == second[name]
        for name in ("track_id", "start_s", "is_dropped", "history_dropped", "target")
    )


def test_an_epoch_has_the_clips_of_the_opened_shards_in_another_order(shards):
    stream = open_stream(shards)
    streamed = list(islice(stream.read(0, 1), len(stream)))
    opened = StageClipDataset(shards, CONFIG, **DROPOUTS)
    by_track = {opened[position]["track_id"]: opened[position] for position in range(len(opened))}
    assert len(stream) == len(opened) == 32
    assert sorted(names(streamed)) == sorted(by_track)
    assert all(equal(clip, by_track[clip["track_id"]]) for clip in streamed)
    assert any(clip["is_dropped"] for clip in streamed)
    assert names(streamed) != sorted(by_track)
    second = list(islice(stream.read(0, 1, len(stream)), len(stream)))
    assert sorted(names(second)) == sorted(by_track)
    assert names(second) != names(streamed)


def test_every_shard_has_one_reader_and_is_fetched_once_an_epoch(shards):
    stream = open_stream(shards)
    clips = [list(islice(stream.read(reader, 2), 16)) for reader in range(2)]
    assert not set(names(clips[0])) & set(names(clips[1]))
    assert len({*names(clips[0]), *names(clips[1])}) == 32
    assert set(stream.sources[0].fetched.values()) == {1}


def test_few_shards_are_divided_row_by_row(tmp_path):
    stream = open_stream(write_shards(tmp_path / "shards", num_rows=10, num_shards=2))
    lists = [names(islice(stream.read(reader, 4), 2)) for reader in range(4)]
    assert len({name for each in lists for name in each}) == 8
    with pytest.raises(ValueError, match=r"`data` has 8 rows in split 'train', fewer than the 9 readers"):
        stream.check_readers(9)


@pytest.mark.parametrize("num_skipped", [1, 5, 15, 16, 40])
def test_a_reader_goes_on_at_any_sample_and_fetches_nothing_before_it(shards, num_skipped):
    whole = list(islice(open_stream(shards).read(1, 2), 60))
    stream = open_stream(shards)
    rest = list(islice(stream.read(1, 2, num_skipped), 60 - num_skipped))
    assert all(equal(*pair) for pair in zip(rest, whole[num_skipped:], strict=True))
    again = open_stream(shards)
    next(again.read(1, 2, num_skipped))
    assert sum(again.sources[0].fetched.values()) == 1


def test_the_buffer_mixes_the_rows_of_shards(shards):
    def shards_of_the_first_eight(buffer_rows: int) -> int:
        stream = open_stream(shards, buffer_rows)
        return len({stream.places[index][1].file for index in stream.order(0, 0, 1)[:8]})

    assert shards_of_the_first_eight(1) == 2  # shard by shard
    assert shards_of_the_first_eight(100) > 4


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_steps_that_go_on_are_the_steps_of_an_unbroken_run(shards, num_workers):
    def list_steps(first_step: int, micro_batch_size: int) -> list[list[str]]:
        windows = StepWindows(open_stream(shards), first_step, 7, 3, micro_batch_size, 1, 2)
        loader = DataLoader(windows, batch_size=None, num_workers=num_workers, collate_fn=list)
        return [[clip["track_id"] for batch in window for clip in batch] for window in loader]

    whole = list_steps(0, 3)
    assert [len(step) for step in whole] == [3] * 7
    assert list_steps(3, 2) == whole[3:]
    assert list_steps(4, 1) == whole[4:]


def test_validation_fetches_as_few_shards_as_it_needs(shards):
    source = CountedShards(shards)
    held_out = StageClipDataset(FewRows([source], 3), CONFIG, "validation")
    assert [row.track_id for row in held_out.rows] == ["t000", "t005", "t010"]
    assert sum(source.fetched.values()) == 3
    one = StageClipDataset(FewRows([CountedShards(shards)], 1), CONFIG, "validation")
    assert len(one.rows) == 2  # of two tracks, which a validation needs


def test_a_stream_knows_its_tracks_and_what_decides_its_order(shards, tmp_path):
    stream = open_stream(shards)
    assert stream.list_tracks() == read_shard_tracks(shards)
    other = open_stream(write_shards(tmp_path / "other", num_shards=4))
    assert stream.describe(2) == open_stream(shards).describe(2)
    assert stream.describe(2) != stream.describe(3)
    assert stream.describe(2)["shards"] != other.describe(2)["shards"]


def test_what_cannot_be_streamed_is_refused(shards, tmp_path):
    with pytest.raises(ValueError, match="`data` must be folders of token shards, or ids of datasets on the Hub"):
        RemoteShards("no/such/folder")
    with pytest.raises(
        ValueError, match=r"`data` me/shards is no folder, and no dataset on the Hub that can be reach"
    ):
        RemoteShards("me/shards")  # tests are offline
    long = AccompGenSemanticConfig(**{**MODEL, "clip_duration_s": 10.0})
    with pytest.raises(ValueError, match=r"`data` has 0 rows in split 'train' of at least 10.0 s \(32 are shorter\)"):
        StreamedClips([RemoteShards(shards)], long, ClipCutter(long))
    path = shards / "shard-00003.parquet"
    path.write_bytes((shards / "shard-00004.parquet").read_bytes())
    with pytest.raises(ValueError, match=r"Shard .*shard-00003.parquet is damaged: its sha256 is not the manifest's"):
        list(islice(open_stream(shards).read(0, 1), 32))
