"""A batch of rows by compiled steps: so many rows at a time that what a step reads stays in the processor's cache.

Windows of the fine stage share a batch of 60 rows and more. Their keys and values are read once a step, and would come
from memory every time; a few rows after the other find theirs where the last step has left them.

Letters: B batch, S positions, N new slots.
"""

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import nn
from transformers.generation.logits_process import LogitsProcessorList

from .numba_engine_accompgen import CompiledStageDecoder, pack_weights

_CACHE_BYTES = 2**23  # that a core may keep for itself


class CompiledBatch:
    """Decodes rows that share one layout without padding, in groups; threads take groups side by side.

    Args:
        model, segment_positions, num_positions, processors, input_ids, forced_ids: As in `CompiledStageDecoder`.
    """

    def __init__(
        self,
        model: nn.Module,
        segment_positions: torch.LongTensor,
        num_positions: int,
        processors: LogitsProcessorList,
        input_ids: torch.LongTensor,
        forced_ids: torch.LongTensor | None = None,
    ):
        self.num_rows = len(input_ids)
        size = rows_together(model, num_positions, self.num_rows)
        self.groups = [slice(first, first + size) for first in range(0, self.num_rows, size)]
        asked = (model, segment_positions, num_positions, processors, input_ids, forced_ids)
        self.decoders = [CompiledStageDecoder(*asked, rows=group) for group in self.groups]
        self.num_threads = min(torch.get_num_threads(), len(self.groups))
        if self.num_threads > 1:
            for decoder in self.decoders:
                decoder.num_threads = 1

    def prefill(
        self,
        input_ids: torch.LongTensor,
        segment_ids: torch.LongTensor,
        segment_positions: torch.LongTensor,
        **row_ids: torch.LongTensor,
    ) -> None:
        """Run the prompt of `B` rows, or of twice as many with guidance; `row_ids` has one id for each of these."""
        for group, decoder in zip(self.groups, self.decoders, strict=True):
            ids = {name: self._own(group, values) for name, values in row_ids.items()}
            decoder.prefill(self._own(group, input_ids), segment_ids, segment_positions, **ids)

    def _own(self, group: slice, values: torch.Tensor) -> torch.Tensor:
        """A group's rows of both halves, or of the only one."""
        return values.unflatten(0, (-1, self.num_rows))[:, group].flatten(0, 1)

    def decode(self, first: int, last: int) -> torch.LongTensor:
        """Choose the new slots from `first` to `last`, in order; returns their ids `(B, last - first)`."""
        if self.num_threads == 1:
            return torch.cat([decoder.decode(first, last) for decoder in self.decoders])
        with ThreadPoolExecutor(self.num_threads) as pool:
            return torch.cat(list(pool.map(lambda decoder: decoder.decode(first, last), self.decoders)))


def rows_together(model: nn.Module, num_positions: int, num_rows: int) -> int:
    """Rows of a batch whose keys and values fit into the cache beside the weights; all if not even one does."""
    config = model.config
    per_position = 2 * config.num_hidden_layers * config.num_attention_heads * config.head_dim  # keys and values
    row_bytes = 2 * 4 * per_position * num_positions  # with guidance
    size = (_CACHE_BYTES - pack_weights(model).num_bytes) // row_bytes
    return min(size, num_rows) if size > 0 else num_rows


__all__ = ["CompiledBatch", "rows_together"]
