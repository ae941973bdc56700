# /// script
# requires-python = ">=3.10"
# dependencies = [
#     "torch>=2.11",
#     "transformers>=5.17",
#     "safetensors>=0.4.3",
#     "huggingface-hub>=1.0",
#     "tokenizers>=0.22",
#     "numpy>=1.26",
#     "soundfile>=0.13",
#     "soxr>=0.5",
#     "pyloudnorm>=0.1.1",
#     "matplotlib>=3.8",
#     "mido>=1.3",
#     "tqdm>=4.66",
#     "accelerate>=1.10",
#     "datasets>=4.0",
#     "scikit-learn>=1.5",
#     "PyYAML>=6.0",
#     "peft>=0.18",
# ]
# ///
"""Train one stage.

    python examples/train_stage.py --config examples/configs/semantic.yaml --data SHARDS --output_dir DIR

Every field of the YAML can be given as an option (`--learning_rate 1e-4`, `--model.hidden_size 512`). Start it again
after a kill: it goes on from its newest checkpoint. Several processes: put `accelerate launch` (or torchrun) in front.
"""

import logging
import os
from pathlib import Path
from typing import Any

import torch

import accompgen_hf.singsong  # noqa: F401  (its models can be trained, too)
from accompgen_hf.scripts import run_script
from accompgen_hf.training.stages.arguments import StageTrainingArguments, parse_stage_arguments
from accompgen_hf.training.stages.loop import train_stage
from accompgen_hf.training.stages.publishing import publish_stage, reserve_repository

CARD = Path(__file__).resolve().parents[1] / "model_cards" / "stage.md"


def train(arguments: StageTrainingArguments) -> dict[str, Any]:
    """Train, and upload the result if that was asked for."""
    repository = arguments.push_to_hub if os.environ.get("RANK", "0") == "0" else None
    if repository is not None:
        reserve_repository(repository)
    summary = train_stage(arguments)
    if repository is not None and summary["is_finished"]:
        print(publish_stage(arguments.output_dir, repository, CARD.read_text("utf-8")))
    return summary


def main() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    if "OMP_NUM_THREADS" in os.environ:
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    summary = train(parse_stage_arguments(description=__doc__))
    validation = summary["validation"] or {}
    report = ", ".join(f"{name} {value:.4f}" for name, value in validation.items() if isinstance(value, float))
    print(f"step {summary['step']}, {summary['tokens_per_s']:.0f} tokens/s, {report}")


if __name__ == "__main__":
    run_script(main)
