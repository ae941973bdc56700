"""Put a finished stage on the Hub, with a card that says what it was trained on and how well it does."""

import os
import shutil
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi

from accompgen_hf.accompgen.manifest_accompgen import write_manifest
from accompgen_hf.data.stage_kinds import STAGE_KINDS
from accompgen_hf.files import folder_written_whole, read_json
from accompgen_hf.hub import fill_card, push_folder, save_stage_repository, stage_card_values
from accompgen_hf.model_parts import load_part
from accompgen_hf.training.stages.adapters import is_adapter

LIMITS = "It continues what it was trained on. Listen to the assembled model on music of your own kind first."
DEAF = (
    "**It does not listen**: with another track's conditioning it predicts as well as with its own, within the "
    "interval of the measurement."
)


def describe_training(summary: dict[str, Any]) -> dict[str, Any]:
    """Give a card the values of a run's `summary`, by the names of model_cards/stage.md."""
    arguments, validation = summary["arguments"], summary["validation"]
    values = {name: arguments[name] for name in ("max_steps", "global_batch_size", "learning_rate")}
    values["training_data"] = describe_hours(summary.get("hours_by_licence", {}))
    values["limits"] = LIMITS
    if validation is not None:
        gain, interval = validation["conditioning_gain"], validation["conditioning_gain_interval"]
        values["validation_loss"] = f"{validation['loss']:.3f}"
        values["codebook_perplexities"] = " / ".join(f"{value:.0f}" for value in validation["perplexity"])
        values["conditioning_gain"] = f"{gain:.4f} ± {interval:.4f} over {validation['num_tracks']} tracks"
        if gain <= interval:
            values["limits"] = f"{DEAF} {LIMITS}"
    return values


def describe_hours(hours_by_licence: dict[str, float]) -> str | None:
    """The hours of each licence in words; `None` where nothing is known."""
    if not hours_by_licence:
        return None
    parts = ", ".join(f"{hours:.2f} h {licence}" for licence, hours in hours_by_licence.items())
    return f"{sum(hours_by_licence.values()):.2f} h of music as tokens ({parts})"


def reserve_repository(repo_id: str) -> str:
    """Create the repository, or find it: a missing permission shows before the training, not after it."""
    return HfApi().create_repo(repo_id, exist_ok=True).repo_id


def publish_stage(output_dir: str | os.PathLike, repo_id: str, template: str) -> str:
    """Write `repository/` (stage, vocabulary, card, hashes) in the folder of a finished run, and upload it.

    Args:
        output_dir (`str`): Folder of a run that has its `summary.json`.
        repo_id (`str`): Id of the Hub repository.
        template (`str`): Text of model_cards/stage.md.

    Returns:
        `str`: The commit's address.
    """
    output_dir = Path(output_dir)
    summary = read_json(output_dir / "summary.json")
    if is_adapter(output_dir / "final"):
        return _publish_adapter(output_dir, summary, repo_id, template)
    stage = STAGE_KINDS[summary["arguments"]["stage"]].model_class.from_pretrained(output_dir / "final")
    values = {**stage_card_values(stage), **describe_training(summary), "repository": repo_id}
    folder = save_stage_repository(stage, output_dir / "repository", fill_card(template, values))
    return push_folder(folder, repo_id)


def _publish_adapter(output_dir: Path, summary: dict[str, Any], repo_id: str, template: str) -> str:
    """The same of an adapter: its files with the card of the stage that it changes."""
    stage = load_part(summary["arguments"]["init_from"], summary["arguments"]["stage"])
    values = {**stage_card_values(stage), **describe_training(summary), "repository": repo_id}
    with folder_written_whole(output_dir / "repository") as staged:
        shutil.copytree(output_dir / "final", staged, dirs_exist_ok=True)
        (staged / "README.md").write_text(fill_card(template, values), encoding="utf-8")
        write_manifest(staged)
    return push_folder(output_dir / "repository", repo_id)
