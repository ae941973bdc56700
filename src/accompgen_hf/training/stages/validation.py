"""Measure how well a stage predicts held-out clips, and whether it listens to its conditioning."""

import math
from typing import TYPE_CHECKING, Any

import torch

from accompgen_hf.accompgen.modeling_accompgen_stages import AccompGenStageForCausalLM
from accompgen_hf.accompgen.optional_accompgen import import_optional
from accompgen_hf.data.dataset import StageClipDataset
from accompgen_hf.data.stage_kinds import kind_of

if TYPE_CHECKING:
    from accelerate import Accelerator


@torch.no_grad()
def validate_stage(
    model: AccompGenStageForCausalLM,
    dataset: StageClipDataset,
    num_clips: int,
    batch_size: int,
    accelerator: "Accelerator | None" = None,
) -> dict[str, Any]:
    """Measure a stage on the first clips of a split; processes share the work.

    `conditioning_gain` is the cross-entropy with another track's conditioning minus that with the clip's own, in nats
    per code; `null_gain` the same with hidden conditioning. 0 means that the model ignores the singer. A stage with
    several streams gets `conditioning_gain_<name>` too, where that stream alone is another track's. A stage with
    `history_dropout` gets `conditioning_gain_hidden_past`, where no code before is seen: how well it can listen.

    Args:
        model (`AccompGenStageForCausalLM`): The stage, unwrapped.
        dataset (`StageClipDataset`): Clips, usually of the validation split.
        num_clips (`int`): Number of clips. Beyond the rows of the split, rows come again with another crop.
        batch_size (`int`): Clips per forward.
        accelerator (`Accelerator`, *optional*): Accelerator of the run, for its processes, device and precision.

    Returns:
        `dict` with `loss` (Eq. 6), `perplexity` and `accuracy` (one value per codebook), and for every gain its mean
        and `..._interval`, the half width of its 95 % interval over tracks. A stage whose clips are of one part each
        also gives `loss_<part>`, `perplexity_<part>` and `conditioning_gain_<part>`; of a plan of several parts the
        codebooks are the parts.

    Raises:
        ValueError: If the split holds clips of only one track.
    """
    samples = [dataset[position] for position in range(num_clips)]
    partners = [_find_partner(samples, index) for index in range(len(samples))]
    process_index, num_processes = (0, 1)
    if accelerator is not None:
        process_index, num_processes = accelerator.process_index, accelerator.num_processes
    # As many forwards in every process, which sharded weights need: beyond the end it measures the last clip again.
    own = range(process_index, -(-len(samples) // num_processes) * num_processes, num_processes)
    own = [min(index, len(samples) - 1) for index in own]
    num_own = len(range(process_index, len(samples), num_processes))
    was_training = model.training
    model.eval()
    measured = []
    for start in range(0, len(own), batch_size):
        indices = own[start : start + batch_size]
        measured += _measure([samples[index] for index in indices], [partners[index] for index in indices], model)
    model.train(was_training)
    measured = measured[:num_own]
    if num_processes > 1:
        measured = import_optional("accelerate.utils", "Training", ".[train]").gather_object(measured)
    return _summarise(measured)


def _find_partner(samples: list[dict], index: int) -> dict:
    """The next clip of another track."""
    for offset in range(1, len(samples)):
        partner = samples[(index + offset) % len(samples)]
        if partner["track_id"] != samples[index]["track_id"]:
            return partner
    raise ValueError(
        f"`validation_clips` must cover at least two tracks, got {len(samples)} clips of one. Raise "
        "`validation_share` when preparing the data."
    )


def _measure(samples: list[dict], partners: list[dict], model: AccompGenStageForCausalLM) -> list[dict[str, Any]]:
    """Losses of each clip under its own and under wrong conditioning."""
    collator = kind_of(model.config).collator_class(model.config)
    names = model.config.conditioning_names

    def losses(conditioned: list[dict], **changes: Any) -> tuple[torch.Tensor, torch.Tensor]:
        inputs = collator([{**sample, "is_dropped": False, **changes} for sample in conditioned])
        losses, hits = model.target_losses(**{name: tensor.to(model.device) for name, tensor in inputs.items()})
        return losses.float().mean(-1).cpu(), hits.float().mean(-1).cpu()  # (B, K, T) -> (B, K)

    def swap(swapped: tuple[str, ...]) -> list[dict]:
        return [
            {**sample, "conditioning": {**sample["conditioning"], **{n: partner["conditioning"][n] for n in swapped}}}
            for sample, partner in zip(samples, partners, strict=False)
        ]

    own, hits = losses(samples)
    wrong = {"conditioning_gain": losses(swap(names))[0], "null_gain": losses(samples, is_dropped=True)[0]}
    if len(names) > 1:
        wrong.update({f"conditioning_gain_{name}": losses(swap((name,)))[0] for name in names})
    gains = {name: (other - own).mean(-1) for name, other in wrong.items()}
    if model.config.history_dropout:
        hidden = {"history_dropped": torch.ones_like(samples[0]["history_dropped"])}
        other, same = losses(swap(names), **hidden)[0], losses(samples, **hidden)[0]
        gains["conditioning_gain_hidden_past"] = (other - same).mean(-1)
    return [
        {
            "track_id": samples[index]["track_id"],
            "part": None if "part_id" not in samples[index] else model.config.part_names[samples[index]["part_id"]],
            "losses": own[index].tolist(),
            "hits": hits[index].tolist(),
            "gains": {name: gain[index].item() for name, gain in gains.items()},
        }
        for index in range(len(samples))
    ]


def _summarise(measured: list[dict[str, Any]]) -> dict[str, Any]:
    losses = torch.tensor([clip["losses"] for clip in measured], dtype=torch.float64)  # (clips, K)
    hits = torch.tensor([clip["hits"] for clip in measured], dtype=torch.float64)
    summary: dict[str, Any] = {
        "num_clips": len(measured),
        "num_tracks": len({clip["track_id"] for clip in measured}),
        "loss": losses.mean().item(),
        "perplexity": losses.mean(0).exp().tolist(),
        "accuracy": hits.mean(0).tolist(),
    }
    for name in measured[0]["gains"]:
        by_track: dict[str, list[float]] = {}
        for clip in measured:
            by_track.setdefault(clip["track_id"], []).append(clip["gains"][name])
        gains = torch.tensor([sum(values) / len(values) for values in by_track.values()], dtype=torch.float64)
        summary[name] = gains.mean().item()
        summary[f"{name}_interval"] = 1.96 * gains.std().item() / math.sqrt(len(gains))
    for part in sorted({clip["part"] for clip in measured} - {None}):
        is_own = torch.tensor([clip["part"] == part for clip in measured])
        summary[f"loss_{part}"] = losses[is_own].mean().item()
        summary[f"perplexity_{part}"] = losses[is_own].mean(0).exp().tolist()
        gains = [clip["gains"]["conditioning_gain"] for clip in measured if clip["part"] == part]
        summary[f"conditioning_gain_{part}"] = sum(gains) / len(gains)
    return summary
