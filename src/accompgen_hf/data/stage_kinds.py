"""The kinds of stages that can be trained, by name; a baseline adds its own, so that training knows none of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from accompgen_hf.accompgen.modeling_accompgen_stages import (
    AccompGenCoarseForCausalLM,
    AccompGenFineForCausalLM,
    AccompGenSemanticForCausalLM,
)
from accompgen_hf.data.collator import StageCollator
from accompgen_hf.data.dataset import StageClipDataset


@dataclass(frozen=True)
class StageKind:
    """What training needs to know of one kind of stage.

    Attributes:
        model_class (`type`): Model with a `forward` that gives a loss, `target_losses` and `generate`.
        dataset_class (`type`): Cuts the stage's clips out of token shards.
        collator_class (`type`): Makes batches of clips.
        count_clip_flops (`Callable`, *optional*): Gives the operations of one training clip for a config. If `None`,
            they are those of a decoder-only stage.
    """

    model_class: type
    dataset_class: type[StageClipDataset] = StageClipDataset
    collator_class: type[StageCollator] = StageCollator
    count_clip_flops: Callable[[Any], float] | None = None


STAGE_KINDS = {
    "semantic": StageKind(AccompGenSemanticForCausalLM),
    "coarse": StageKind(AccompGenCoarseForCausalLM),
    "fine": StageKind(AccompGenFineForCausalLM),
}


def register_stage(name: str, kind: StageKind) -> None:
    """Let `--stage NAME` train stages of this kind."""
    STAGE_KINDS[name] = kind


def kind_of(config: Any) -> StageKind:
    """Find the kind of a stage by its config."""
    return next(kind for kind in STAGE_KINDS.values() if kind.model_class.config_class is type(config))
