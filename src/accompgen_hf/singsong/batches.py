"""SingSong's batches: one stream into T5's encoder, the target's streams one after the other into its decoder.

Letters: B batch, N ids of the target.
"""

import torch

from accompgen_hf.accompgen.codebooks_accompgen import codes_to_ids
from accompgen_hf.accompgen.configuration_accompgen import GRID_RATE
from accompgen_hf.data.clips import ClipCutter
from accompgen_hf.data.collator import StageCollator
from accompgen_hf.data.dataset import StageClipDataset
from accompgen_hf.data.shards import TokenRow
from accompgen_hf.singsong.configuration import SingSongStageConfig


class SingSongClipCutter(ClipCutter):
    """Cuts clips whose `target` is a `dict` of name to codes: S-SA writes two streams."""

    def _crop_target(self, row: TokenRow, start: int) -> dict[str, torch.LongTensor]:
        return {name: self._crop(row, name, start) for name in self.config.target_names}


class SingSongClipDataset(StageClipDataset):
    """Clips of SingSong's stages."""

    cutter_class = SingSongClipCutter


class SingSongCollator(StageCollator):
    """Stacks samples of [`SingSongClipDataset`] into what T5 takes: `input_ids`, `decoder_input_ids`, `labels`."""

    def __call__(self, samples: list[dict]) -> dict[str, torch.LongTensor]:
        conditioning, target = (
            {name: torch.stack([sample[part][name] for sample in samples]) for name in names}
            for part, names in (
                ("conditioning", self.config.conditioning_names),
                ("target", self.config.target_names),
            )
        )
        is_dropped = torch.tensor([sample["is_dropped"] for sample in samples])
        history_dropped = torch.stack([sample["history_dropped"] for sample in samples])
        return build_singsong_inputs(self.config, conditioning, target, is_dropped, history_dropped)


def build_singsong_inputs(
    config: SingSongStageConfig,
    conditioning: dict[str, torch.LongTensor],
    target: dict[str, torch.LongTensor],
    condition_dropped: torch.BoolTensor | None = None,
    history_dropped: torch.BoolTensor | None = None,
) -> dict[str, torch.LongTensor]:
    """Lay out a batch: the conditioning's ids, and [semantic ids | codes frame by frame] behind BOS.

    Args:
        config (`SingSongStageConfig`): Config with the streams and their places in the vocabulary.
        conditioning (`dict` of `str` to `torch.LongTensor`): The encoder's streams, as `codes_to_ids` takes them.
        target (`dict` of `str` to `torch.LongTensor`): The decoder's streams.
        condition_dropped (`torch.BoolTensor` of shape `(batch_size,)`, *optional*): Rows that hear nothing.
        history_dropped (`torch.BoolTensor` of shape `(batch_size, num_frames)`, *optional*): Frames of the last
            stream whose semantic ids later positions do not see; the labels stay.

    Returns:
        `dict` with `input_ids`, and `decoder_input_ids` and `labels` of one shape: position p predicts label p.

    Raises:
        ValueError: If the streams are not the config's, or do not cover one duration.
    """
    for name, streams, segments in (
        ("conditioning", conditioning, config.conditioning_segments),
        ("target", target, config.target_segments),
    ):
        if set(streams) != {segment.name for segment in segments}:
            raise ValueError(
                f"`{name}` must have the keys {[segment.name for segment in segments]}, got {sorted(streams)}."
            )
    durations = {
        segment.name: {**conditioning, **target}[segment.name].shape[-1] / segment.frame_rate
        for segment in config.segments
    }
    if max(durations.values()) - min(durations.values()) > 1e-6:
        raise ValueError(f"`conditioning` and `target` must cover one duration, got {durations} seconds.")
    input_ids = encode_conditioning(config, conditioning, condition_dropped)
    pieces = [codes_to_ids(segment, target[segment.name]) for segment in config.target_segments]
    labels = torch.cat(pieces, dim=1)  # (B, N)
    if history_dropped is not None:
        pieces = [
            ids.masked_fill(_at_rate(history_dropped, config, segment.frame_rate), config.null_token_id)
            if segment.is_semantic
            else ids
            for segment, ids in zip(config.target_segments, pieces, strict=True)
        ]
    bos = torch.full_like(labels[:, :1], config.decoder_start_token_id)
    decoder_input_ids = torch.cat([bos, *pieces], dim=1)[:, :-1]
    return {"input_ids": input_ids, "decoder_input_ids": decoder_input_ids, "labels": labels}


def encode_conditioning(
    config: SingSongStageConfig,
    conditioning: dict[str, torch.LongTensor],
    condition_dropped: torch.BoolTensor | None = None,
) -> torch.LongTensor:
    """The encoder's ids, `(batch_size, num_positions)`; rows of `condition_dropped` are null throughout."""
    segments = config.conditioning_segments
    ids = torch.cat([codes_to_ids(segment, conditioning[segment.name]) for segment in segments], dim=1)
    if condition_dropped is None:
        return ids
    return ids.masked_fill(condition_dropped.to(ids.device)[:, None], config.null_token_id)


def _at_rate(history_dropped: torch.BoolTensor, config: SingSongStageConfig, frame_rate: int) -> torch.BoolTensor:
    """Frames of the last stream to those of another: both are whole on the 40-ms grid."""
    steps = history_dropped[:, :: config.target_segment.frame_rate // GRID_RATE]
    return steps.repeat_interleave(frame_rate // GRID_RATE, dim=1)
