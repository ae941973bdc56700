"""Random, aligned clips from token shards (paper §4.1): the same instants of both frame rates.

Nothing here has hidden state. A position in the endless stream of epochs decides which row it is, where the crop
begins and whether its conditioning is dropped; training that knows its step can start anywhere.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from accompgen_hf.accompgen.configuration_accompgen import GRID_RATE, AccompGenStageConfig
from accompgen_hf.accompgen.fingerprint_accompgen import check_token_fingerprints
from accompgen_hf.accompgen.parts_accompgen import style_id
from accompgen_hf.data.shard_cache import map_rows
from accompgen_hf.data.shards import Manifest, TokenRow

HIDDEN_BLOCK_STEPS = 10  # of 40 ms


class StageClipDataset(Dataset):
    """Clips of `config.clip_duration_s` seconds with the streams that one stage reads.

    Indexing takes a position: position p is entry p mod N of the shuffled epoch p div N, N being the length. The
    sample is a `dict` with `conditioning` (name to `torch.LongTensor`, frames last), `target`, `is_dropped` (whether
    the conditioning is to be hidden), `track_id` and `start_s`; of a stage whose rows are one part also `part_id`,
    which is drawn, and of a stage with styles `style_id`, 0 where the style is unknown or hidden.

    Args:
        data (`str` or sequence of `str`): Folders of token shards.
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

    def __init__(
        self,
        data: str | os.PathLike | Sequence[str | os.PathLike],
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
        shares = {
            "condition_dropout": condition_dropout,
            "history_dropout": history_dropout,
            "style_dropout": style_dropout,
        }
        for name, share in shares.items():
            if not 0 <= share <= 1:
                raise ValueError(f"`{name}` must be in [0, 1], got {share}.")
        folders = [Path(data)] if isinstance(data, str | os.PathLike) else [Path(folder) for folder in data]
        self.config = config
        self.seed = seed
        self.condition_dropout = condition_dropout
        self.history_dropout = history_dropout
        self.style_dropout = style_dropout
        self.shuffle_pairs = shuffle_pairs
        self.clip_grid_frames = round(config.clip_duration_s * GRID_RATE)
        self.manifests = [Manifest.load(folder) for folder in folders]
        self.token_fingerprint = check_shards(self.manifests, folders, config)
        self.rows: list[TokenRow] = []
        self.num_short_rows = 0
        for folder, manifest in zip(folders, self.manifests, strict=False):
            for row in map_rows(folder, manifest):
                if row.split == split and _grid_frames(row) >= self.clip_grid_frames:
                    self.rows.append(row)
                else:
                    self.num_short_rows += row.split == split
        if len(self.rows) < (2 if shuffle_pairs else 1):
            raise ValueError(
                f"`data` has {len(self.rows)} rows in split {split!r} of at least {config.clip_duration_s} s "
                f"({self.num_short_rows} are shorter). Prepare more tracks, or raise `validation_share`."
            )
        self._order: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> dict:
        epoch, entry = divmod(position, len(self.rows))
        index = int(self._epoch_order(epoch)[entry])
        generator = np.random.default_rng([self.seed, epoch, index])
        target_row = self.rows[index]
        target_start = int(generator.integers(_grid_frames(target_row) - self.clip_grid_frames + 1))
        is_dropped = bool(generator.random() < self.condition_dropout)
        row, start = target_row, target_start
        if self.shuffle_pairs:
            row = self.rows[(index + int(generator.integers(1, len(self.rows)))) % len(self.rows)]
            start = int(generator.integers(_grid_frames(row) - self.clip_grid_frames + 1))
        history_dropped = self._draw_hidden_frames(generator)
        row_ids = self._draw_row_ids(generator, target_row)  # last: without parts and styles nothing more is drawn
        row, part_row = (_of_part(each, row_ids.get("part_id")) for each in (row, target_row))
        return {
            "conditioning": {name: self._crop(row, name, start) for name in self.config.conditioning_names},
            "target": self._crop_target(part_row, target_start),
            "is_dropped": is_dropped,
            "history_dropped": history_dropped,
            **row_ids,
            "track_id": target_row.track_id,
            "start_s": target_row.start_s + target_start / GRID_RATE,
        }

    def _draw_row_ids(self, generator: np.random.Generator, row: TokenRow) -> dict[str, int]:
        """Part and style of a sample, where the stage has embeddings of them."""
        row_ids = {}
        if self.config.num_part_rows:
            row_ids["part_id"] = int(generator.integers(self.config.num_part_rows))
        if self.config.num_style_rows:
            is_hidden = bool(generator.random() < self.style_dropout)
            row_ids["style_id"] = 0 if is_hidden else style_id(self.config, row.style)
        return row_ids

    def _draw_hidden_frames(self, generator: np.random.Generator) -> torch.BoolTensor:
        """Frames of the target that later codes do not see, in blocks of 0.4 s."""
        share = self.history_dropout * generator.random()
        num_blocks = -(-self.clip_grid_frames // HIDDEN_BLOCK_STEPS)
        is_hidden = np.repeat(generator.random(num_blocks) < share, HIDDEN_BLOCK_STEPS)[: self.clip_grid_frames]
        return torch.from_numpy(is_hidden).repeat_interleave(self.config.target_segment.frame_rate // GRID_RATE)

    def _epoch_order(self, epoch: int) -> np.ndarray:
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng([self.seed, epoch]).permutation(len(self.rows)))
        return self._order[1]

    def _crop_target(self, row: TokenRow, start: int) -> torch.LongTensor:
        return self._crop(row, self.config.target_name, start)

    def _crop(self, row: TokenRow, name: str, start: int) -> torch.LongTensor:
        """Cut `clip_grid_frames` frames of 40 ms out of one stream."""
        num_codebooks = self.config.num_codebooks
        if name == "coarse_codes":
            stream, rate = row.codes[:num_codebooks], 3
        elif name == "fine_codes":
            stream, rate = row.codes[num_codebooks : 2 * num_codebooks], 3
        else:
            stream, rate = getattr(row, name), 2
        crop = stream[..., rate * start : rate * (start + self.clip_grid_frames)]
        return torch.from_numpy(crop.astype(np.int64))


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


def check_shards(manifests: list[Manifest], folders: list[Path], config: AccompGenStageConfig) -> str:
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


def _check_names(manifest: Manifest, folder: Path, config: AccompGenStageConfig) -> None:
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


def _of_part(row: TokenRow, part_id: int | None) -> TokenRow:
    """A row of all parts as a row of one of them."""
    if part_id is None:
        return row
    return replace(row, instrumental_semantic_ids=row.instrumental_semantic_ids[part_id], codes=row.codes[part_id])


def _grid_frames(row: TokenRow) -> int:
    """Whole 40-ms frames of a row."""
    return len(row.vocal_semantic_ids) // 2
