"""Clips of token shards that are never all in memory, nor on this disk: a stream for each process and worker.

Every reader has shards of its own (or, of few shards, rows of its own), takes them in an order that is drawn anew in
every epoch, and mixes their rows in a buffer. The index of all rows makes the order a function of the seed alone, so
that a reader can begin at any sample; to go on, it fetches the shards whose rows are still to come, nothing before.
"""

import hashlib
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from accompgen_hf.accompgen.configuration_accompgen import AccompGenStageConfig
from accompgen_hf.data.clips import ClipCutter
from accompgen_hf.data.dataset import check_row_count, check_shards
from accompgen_hf.data.remote_shards import RemoteShards
from accompgen_hf.data.row_index import IndexedRow
from accompgen_hf.data.shards import Manifest, TokenRow
from accompgen_hf.data.training_tracks import FITTED_SPLITS, hash_track

Place = tuple[int, IndexedRow]  # number of the data set, and a row of it


class FewRows:
    """The rows of the first shards of a split: enough of them, and no more are fetched; see `RowSource`.

    Args:
        sources (sequence of [`RemoteShards`]): Data sets.
        num_rows (`int`): Number of rows after which no other shard is fetched, if they are of two tracks.
    """

    def __init__(self, sources: Sequence[RemoteShards], num_rows: int):
        self.sources, self.num_rows = sources, num_rows
        self.manifests = [source.manifest for source in sources]
        self.names = [source.name for source in sources]

    def read_split(self, split: str, num_grid_frames: int) -> tuple[list[TokenRow], int]:
        """The rows, and the number of rows of the split that are shorter."""
        places, num_short = find_places(self.sources, split, num_grid_frames)
        rows: list[TokenRow] = []
        by_shard: dict[tuple[int, str], list[int]] = {}
        for number, row in places:
            by_shard.setdefault((number, row.file), []).append(row.number)
        for (number, file), wanted in by_shard.items():
            if len(rows) >= self.num_rows and len({row.track_id for row in rows}) > 1:
                break
            shard = self.sources[number].read(file)
            rows += [shard[index] for index in wanted]
        return rows, num_short


class StreamedClips:
    """Clips of the training split, for any number of readers.

    Args:
        sources (sequence of [`RemoteShards`]): Data sets.
        config (`AccompGenStageConfig`): The stage's config, which must fit them.
        cutter ([`ClipCutter`]): Cuts the stage's clips.
        seed (`int`): Seed of the order, the crops and the dropout.
        buffer_rows (`int`): Rows among which the next one is drawn.

    Raises:
        ValueError: If the shards do not fit the config, or no row is long enough.
    """

    def __init__(
        self,
        sources: Sequence[RemoteShards],
        config: AccompGenStageConfig,
        cutter: ClipCutter,
        seed: int = 0,
        buffer_rows: int = 1000,
    ):
        self.sources, self.config, self.cutter = sources, config, cutter
        self.seed, self.buffer_rows = seed, buffer_rows
        self.manifests: list[Manifest] = [source.manifest for source in sources]
        self.token_fingerprint = check_shards(self.manifests, [source.name for source in sources], config)
        self.places, num_short = find_places(sources, "train", cutter.clip_grid_frames)
        check_row_count(len(self.places), num_short, "train", config)
        by_shard: dict[tuple[int, str], list[int]] = {}
        for index, (number, row) in enumerate(self.places):
            by_shard.setdefault((number, row.file), []).append(index)
        self.shards = [np.array(rows) for rows in by_shard.values()]

    def __len__(self) -> int:
        return len(self.places)

    def list_tracks(self) -> frozenset[str]:
        """Hashes of the tracks of training and validation, as `read_shard_tracks` gives them."""
        rows = (row for source in self.sources for row in source.index)
        return frozenset(map(hash_track, {row.track_id for row in rows if row.split in FITTED_SPLITS}))

    def describe(self, num_readers: int) -> dict[str, Any]:
        """What decides about the order: a run goes on only under the same."""
        hashes = "".join(shard["sha256"] for manifest in self.manifests for shard in manifest.shards)
        digest = hashlib.sha256(hashes.encode()).hexdigest()
        return {"num_readers": num_readers, "shuffle_buffer": self.buffer_rows, "shards": digest}

    def check_readers(self, num_readers: int) -> None:
        """Refuse readers that would have nothing to read.

        Raises:
            ValueError: If there are more readers than rows.
        """
        if num_readers > len(self.places):
            raise ValueError(
                f"`data` has {len(self.places)} rows in split 'train', fewer than the {num_readers} readers "
                "(processes times `num_workers`). Use fewer of them, or no `streaming`."
            )

    def read(self, reader: int, num_readers: int, num_skipped: int = 0) -> Iterator[dict[str, Any]]:
        """Clips of one of several readers, without end.

        Args:
            reader (`int`): Which one.
            num_readers (`int`): How many there are.
            num_skipped (`int`): Clips that it has given before.
        """
        epoch = 0
        while num_skipped >= (num_rows := len(self._rows_of_epoch(epoch, reader, num_readers))):
            num_skipped -= num_rows
            epoch += 1
        while True:
            yield from self._read_epoch(epoch, self.order(epoch, reader, num_readers)[num_skipped:])
            epoch, num_skipped = epoch + 1, 0

    def order(self, epoch: int, reader: int, num_readers: int) -> list[int]:
        """The rows that a reader gives in an epoch, by their places among the long enough rows of the split."""
        rows = self._rows_of_epoch(epoch, reader, num_readers)
        generator = np.random.default_rng([self.seed, epoch, reader, num_readers])
        waiting, order = rows[: self.buffer_rows].tolist(), []
        for row in rows[self.buffer_rows :].tolist():
            place = int(generator.integers(len(waiting)))
            order.append(waiting[place])
            waiting[place] = row
        return order + [waiting[place] for place in generator.permutation(len(waiting))]

    def _rows_of_epoch(self, epoch: int, reader: int, num_readers: int) -> np.ndarray:
        """Rows of a reader's shards, shard by shard."""
        shards = np.random.default_rng([self.seed, epoch]).permutation(len(self.shards))
        if len(shards) >= num_readers:
            return np.concatenate([self.shards[shard] for shard in shards[reader::num_readers]])
        return np.concatenate([self.shards[shard] for shard in shards])[reader::num_readers]

    def _read_epoch(self, epoch: int, order: list[int]) -> Iterator[dict[str, Any]]:
        """Clips of rows in this order; a shard is fetched with its first row, and its rows wait for their turn."""
        to_come: dict[tuple[int, str], list[int]] = {}
        for index in order:
            number, row = self.places[index]
            to_come.setdefault((number, row.file), []).append(index)
        waiting: dict[int, TokenRow] = {}
        for index in order:
            if index not in waiting:
                number, row = self.places[index]
                shard = self.sources[number].read(row.file)
                waiting.update({each: shard[self.places[each][1].number] for each in to_come[number, row.file]})
            generator = np.random.default_rng([self.seed, epoch, index])
            yield self.cutter.cut(waiting.pop(index), generator)


class StepWindows(IterableDataset):
    """The clips that one process trains on, step by step, each as a list of micro-batches; workers take turns.

    Args:
        clips ([`StreamedClips`]): Where clips come from.
        first_step (`int`): Step to start at; a resumed run gives the number of steps it has done.
        max_steps (`int`): Step to end at.
        share (`int`): Clips of a step in this process.
        micro_batch_size (`int`): Clips in each micro-batch; the last one of a step may be smaller.
        process_index (`int`): Which process this is.
        num_processes (`int`): Number of processes.
    """

    def __init__(
        self,
        clips: StreamedClips,
        first_step: int,
        max_steps: int,
        share: int,
        micro_batch_size: int,
        process_index: int = 0,
        num_processes: int = 1,
    ):
        self.clips, self.first_step, self.max_steps = clips, first_step, max_steps
        self.share, self.micro_batch_size = share, micro_batch_size
        self.process_index, self.num_processes = process_index, num_processes

    def __iter__(self) -> Iterator[list[list[dict[str, Any]]]]:
        worker = get_worker_info()
        index, num_workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        # Step s is always made from the clips of reader s mod W, whichever worker has the turn after a resume.
        lane = (self.first_step + index) % num_workers
        num_done = len(range(lane, self.first_step, num_workers))
        samples = self.clips.read(
            self.process_index * num_workers + lane, self.num_processes * num_workers, num_done * self.share
        )
        for _ in range(self.first_step + index, self.max_steps, num_workers):
            window = list(islice(samples, self.share))
            yield [
                window[start : start + self.micro_batch_size] for start in range(0, self.share, self.micro_batch_size)
            ]


def find_places(sources: Sequence[RemoteShards], split: str, num_grid_frames: int) -> tuple[list[Place], int]:
    """The rows of a split with so many 40-ms frames, in the order of the shards, and the number of shorter ones."""
    of_split = [(number, row) for number, source in enumerate(sources) for row in source.index if row.split == split]
    places = [(number, row) for number, row in of_split if row.num_frames // 2 >= num_grid_frames]
    return places, len(of_split) - len(places)
