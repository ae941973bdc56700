"""The micro-batches of every step of a run, from rows that are all there or from a stream of shards."""

from collections.abc import Iterator
from itertools import islice

import torch
from torch.utils.data import DataLoader

from accompgen_hf.data.collator import StageCollator
from accompgen_hf.data.dataset import StageClipDataset, StepPositions
from accompgen_hf.data.streaming import StepWindows, StreamedClips
from accompgen_hf.training.stages.arguments import StageTrainingArguments

Batch = dict[str, torch.Tensor]


def iterate_windows(
    dataset: StageClipDataset | StreamedClips,
    collator: StageCollator,
    arguments: StageTrainingArguments,
    first_step: int,
    micro_batch_size: int,
    process: tuple[int, int] = (0, 1),
) -> Iterator[list[Batch]]:
    """Give what one process computes at each step, as the micro-batches of that step.

    Args:
        dataset ([`StageClipDataset`] or [`StreamedClips`]): Clips.
        collator (`StageCollator`): Makes batches of them.
        arguments (`StageTrainingArguments`): Arguments of the run.
        first_step (`int`): Step to start at.
        micro_batch_size (`int`): Clips per micro-batch.
        process (tuple of two `int`): Index of this process, and number of processes.
    """
    last, size = arguments.max_steps, arguments.global_batch_size
    shared = {"num_workers": arguments.num_workers, "generator": torch.Generator()}  # else the global one is asked
    if isinstance(dataset, StreamedClips):
        share = size // process[1]
        windows = StepWindows(dataset, first_step, last, share, micro_batch_size, *process)
        yield from DataLoader(windows, batch_size=None, collate_fn=_CollateWindow(collator), **shared)
        return
    positions = StepPositions(first_step, last, size, micro_batch_size, *process)
    batches = iter(DataLoader(dataset, batch_sampler=positions, collate_fn=collator, **shared))
    num_micro_batches = len(positions) // max(1, last - first_step)
    for _ in range(first_step, last):
        yield list(islice(batches, num_micro_batches))


class _CollateWindow:
    """Makes a batch of every micro-batch of a step."""

    def __init__(self, collator: StageCollator):
        self.collator = collator

    def __call__(self, window: list[list[dict]]) -> list[Batch]:
        return [self.collator(samples) for samples in window]
