"""Samples of one stage to the batch its model takes."""

import torch

from accompgen_hf.accompgen.codebooks_accompgen import build_stage_inputs
from accompgen_hf.accompgen.configuration_accompgen import AccompGenStageConfig


class StageCollator:
    """Stacks samples of `StageClipDataset` and lays them out as [conditioning | BOS | target].

    Args:
        config (`AccompGenStageConfig`): Config of the stage.
    """

    def __init__(self, config: AccompGenStageConfig):
        self.config = config

    def __call__(self, samples: list[dict]) -> dict[str, torch.LongTensor]:
        """Return `input_ids` and `labels` `(batch_size, num_positions)`, `segment_ids` and `segment_positions`
        `(1, num_positions)`, and `part_ids` and `style_ids` `(batch_size,)` where samples have them."""
        conditioning, target = self.stack(samples)
        is_dropped = torch.tensor([sample["is_dropped"] for sample in samples])
        history_dropped = torch.stack([sample["history_dropped"] for sample in samples])
        row_ids = {
            f"{name}s": torch.tensor([sample[name] for sample in samples])
            for name in ("part_id", "style_id")
            if name in samples[0]
        }
        return build_stage_inputs(self.config, conditioning, target, is_dropped, history_dropped, **row_ids)

    def stack(self, samples: list[dict]) -> tuple[dict[str, torch.LongTensor], torch.LongTensor]:
        """Return conditioning streams and target, batch dimension first."""
        names = self.config.conditioning_names
        conditioning = {name: torch.stack([sample["conditioning"][name] for sample in samples]) for name in names}
        return conditioning, torch.stack([sample["target"] for sample in samples])
