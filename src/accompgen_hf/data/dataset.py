"""Random, aligned clips from token shards (paper §4.1): the same instants of both frame rates.

Nothing here has hidden state. A position in the endless stream of epochs decides which row it is, where the crop
begins and whether its conditioning is dropped; training that knows its step can start anywhere.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from torch.utils.data import Dataset, Sampler

from accompgen_hf.accompgen.configuration_accompgen import AccompGenStageConfig
from accompgen_hf.accompgen.fingerprint_accompgen import check_token_fingerprints
from accompgen_hf.data.clips import ClipCutter, count_grid_frames
from accompgen_hf.data.shard_cache import map_rows
from accompgen_hf.data.shards import Manifest, TokenRow


class RowSource(Protocol):
    """Where a data set's rows come from: folders, or the first shards of a data set on the Hub.

    Attributes:
        manifests (`list` of `Manifest`): What the folders say about themselves.
        names (`list` of `str`): What messages call them.
    """

    manifests: list[Manifest]
    names: list[str]

    def read_split(self, split: str, num_grid_frames: int) -> tuple[list[TokenRow], int]:
        """The rows of a split with so many 40-ms frames, and the number of those that are shorter."""


class ShardFolders:
    """All rows of folders of shards, mapped; see [`RowSource`]."""

    def __init__(self, data: str | os.PathLike | Sequence[str | os.PathLike]):
        folders = [data] if isinstance(data, str | os.PathLike) else data
        self.names = [str(folder) for folder in folders]
        self.manifests = [Manifest.load(Path(folder)) for folder in folders]

    def read_split(self, split: str, num_grid_frames: int) -> tuple[list[TokenRow], int]:
        """See [`RowSource`]."""
        rows, num_short = [], 0
        for name, manifest in zip(self.names, self.manifests, strict=True):
            of_split = [row for row in map_rows(name, manifest) if row.split == split]
            rows += [row for row in of_split if count_grid_frames(row) >= num_grid_frames]
            num_short += sum(count_grid_frames(row) < num_grid_frames for row in of_split)
        return rows, num_short


class StageClipDataset(Dataset):
    """Clips of `config.clip_duration_s` seconds with the streams that one stage reads.

    Indexing takes a position: position p is entry p mod N of the shuffled epoch p div N, N being the length. The
    sample is what [`ClipCutter.cut`] gives.

    Args:
        data (`str` or sequence of `str`, or `RowSource`): Folders of token shards, or another source of rows.
        config (`AccompGenStageConfig`):
            The stage's config, which names the streams. Its sizes and its `token_fingerprint`, if it has one, must be
            those of the shards.
        split (`str`): `"train"` or `"validation"`.
        seed (`int`): Seed of the order, the crops and the dropout.
        condition_dropout (`float`): Probability that a sample hides its conditioning.
        history_dropout (`float`): Largest share of a sample's target that is hidden from its later codes.
        style_dropout (`float`): Probability that a sample hides its style.
        shuffle_pairs (`bool`): Whether conditioning comes from another row than the target. This is a control
            experiment: nothing can be learned from such conditioning.

    Raises:
        ValueError: If shards are damaged or do not fit the config, or no row of the split is long enough.
    """

    cutter_class = ClipCutter

    def __init__(
        self,
        data: str | os.PathLike | Sequence[str | os.PathLike] | RowSource,
        config: AccompGenStageConfig,
        split: str = "train",
        seed: int = 0,
        condition_dropout: float = 0.0,
        history_dropout: float = 0.0,
        shuffle_pairs: bool = False,
        style_dropout: float = 0.0,
    ):
        if split not in ("train", "validation"):
            raise ValueError(f"`split` must be 'train' or 'validation', got {split!r}.")
        self.config = config
        self.seed = seed
        self.shuffle_pairs = shuffle_pairs
        self.cutter = self.cutter_class(config, condition_dropout, history_dropout, style_dropout)
        source = data if hasattr(data, "read_split") else ShardFolders(data)
        self.manifests = source.manifests
        self.token_fingerprint = check_shards(source.manifests, source.names, config)
        self.rows, self.num_short_rows = source.read_split(split, self.cutter.clip_grid_frames)
        check_row_count(len(self.rows), self.num_short_rows, split, config, at_least=2 if shuffle_pairs else 1)
        self._order: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> dict:
        epoch, entry = divmod(position, len(self.rows))
        index = int(self._epoch_order(epoch)[entry])

        def draw_other(generator: np.random.Generator) -> TokenRow:
            return self.rows[(index + int(generator.integers(1, len(self.rows)))) % len(self.rows)]

        generator = np.random.default_rng([self.seed, epoch, index])
        return self.cutter.cut(self.rows[index], generator, draw_other if self.shuffle_pairs else None)

    def _epoch_order(self, epoch: int) -> np.ndarray:
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng([self.seed, epoch]).permutation(len(self.rows)))
        return self._order[1]


class StepPositions(Sampler):
    """The positions that one process reads, as micro-batches: step s has [s G, (s + 1) G), cut evenly among processes.

    Args:
        first_step (`int`): Step to start at; a resumed run gives the number of steps it has done.
        max_steps (`int`): Step to end at.
        global_batch_size (`int`): G, a multiple of `num_processes`.
        micro_batch_size (`int`): Positions per batch; the last one of a step may be smaller.
        process_index (`int`): Process whose positions are given.
        num_processes (`int`): Number of processes.
    """

    def __init__(
        self,
        first_step: int,
        max_steps: int,
        global_batch_size: int,
        micro_batch_size: int,
        process_index: int = 0,
        num_processes: int = 1,
    ):
        self.steps = range(first_step, max_steps)
        self.global_batch_size = global_batch_size
        self.micro_batch_size = micro_batch_size
        self.share = global_batch_size // num_processes
        self.process_index = process_index

    def __iter__(self) -> Iterator[list[int]]:
        for step in self.steps:
            first = step * self.global_batch_size + self.process_index * self.share
            for offset in range(0, self.share, self.micro_batch_size):
                yield list(range(first + offset, first + min(offset + self.micro_batch_size, self.share)))

    def __len__(self) -> int:
        return len(self.steps) * -(-self.share // self.micro_batch_size)


def check_row_count(
    num_rows: int, num_short: int, split: str, config: AccompGenStageConfig, at_least: int = 1
) -> None:
    """Refuse data with too few rows.

    Raises:
        ValueError: If there are fewer than `at_least`.
    """
    if num_rows < at_least:
        raise ValueError(
            f"`data` has {num_rows} rows in split {split!r} of at least {config.clip_duration_s} s "
            f"({num_short} are shorter). Prepare more tracks, or raise `validation_share`."
        )


def check_shards(manifests: Sequence[Manifest], folders: Sequence[str], config: AccompGenStageConfig) -> str:
    """Return the one fingerprint of several folders of shards, which must be the config's if it has one.

    Raises:
        ValueError: If a fingerprint, the parts, `num_clusters` or `codebook_size` differ, or the config has styles but
            not those of the shards; both sides are named.
    """
    first = manifests[0].token_fingerprint
    for manifest, folder in zip(manifests, folders, strict=False):
        check_token_fingerprints(first, manifest.token_fingerprint, f"shards {folders[0]}", f"shards {folder}")
        check_token_fingerprints(
            config.token_fingerprint, manifest.token_fingerprint, f"the {config.model_type} config", f"shards {folder}"
        )
        _check_names(manifest, folder, config)
        for name in ("num_clusters", "codebook_size"):
            if manifest.settings[name] != getattr(config, name):
                raise ValueError(
                    f"`{name}` of the {config.model_type} config is {getattr(config, name)}, but the tokens in "
                    f"{folder} have {manifest.settings[name]}."
                )
    return first


def _check_names(manifest: Manifest, folder: str, config: AccompGenStageConfig) -> None:
    """Refuse shards of other parts, or of styles that the config does not know."""
    if manifest.part_names != tuple(config.part_names):
        raise ValueError(
            f"`part_names` of the {config.model_type} config are {', '.join(config.part_names)}, but the rows in "
            f"{folder} are of {', '.join(manifest.part_names)}."
        )
    unknown = [name for name in manifest.style_names if name not in config.style_names]
    if config.style_names and unknown:
        raise ValueError(
            f"`style_names` of the {config.model_type} config are {', '.join(config.style_names)}, but the rows in "
            f"{folder} have {', '.join(unknown)} as well."
        )
