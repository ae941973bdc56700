"""Fine-tune all three stages of a model on songs of your own, with LoRA adapters, and say what it brought.

    python examples/prepare_dataset.py --source pairs --data MY_SONGS --parts drums bass other \\
        --semantic_encoder accompgen-tiny --codec accompgen-tiny --output_dir SHARDS
    python examples/fine_tune.py --data SHARDS --output_dir RUN
    accompgen assemble --base accompgen-tiny --semantic RUN/semantic/final --coarse RUN/coarse/final \\
        --fine RUN/fine/final -o my-band

Kill it whenever you like and start it again. Each stage is a run of train_stage.py in a folder of its own;
docs/guide/fine_tune.md has the whole way.
"""

import argparse
from pathlib import Path
from typing import Any

from accompgen_hf.model_parts import DEFAULT_NAME
from accompgen_hf.scripts import run_script, script_parser
from accompgen_hf.training.stages.arguments import StageTrainingArguments
from accompgen_hf.training.stages.loop import train_stage

STAGES = ("semantic", "coarse", "fine")


def parse_arguments() -> argparse.Namespace:
    parser = script_parser(__doc__)
    add = parser.add_argument
    add("--data", required=True, nargs="+", help="token shards made with the model's own encoder and codec")
    add("--output_dir", required=True, type=Path, help="folder of the runs, one for each stage")
    add("--model", default=DEFAULT_NAME, help="what is fine-tuned: a whole model's folder or Hub id")
    add("--stages", nargs="+", choices=STAGES, default=list(STAGES), help="which stages learn")
    add("--max_steps", type=int, default=400, help="steps of each stage")
    add("--global_batch_size", type=int, default=8, help="clips in each step")
    add("--learning_rate", type=float, default=1e-3, help="highest learning rate")
    add("--lora_rank", type=int, default=16, help="rank of the adapters")
    add("--validate_every", type=int, default=100, help="steps between validations")
    add("--validation_clips", type=int, default=32, help="clips in each validation")
    add("--seed", type=int, default=0, help="seed of order, crops and adapters")
    return parser.parse_args()


def fine_tune(options: argparse.Namespace, stage: str) -> dict[str, Any]:
    """Train the adapters of one stage; the summary has its validations before and after."""
    arguments = StageTrainingArguments(
        stage=stage,
        data=options.data,
        output_dir=str(options.output_dir / stage),
        init_from=options.model,
        lora_rank=options.lora_rank,
        max_steps=options.max_steps,
        global_batch_size=options.global_batch_size,
        learning_rate=options.learning_rate,
        warmup_steps=min(20, options.max_steps // 4),
        weight_decay=0.0,
        validate_first=True,
        validate_every=options.validate_every,
        validation_clips=options.validation_clips,
        save_every=50,
        keep_checkpoints=2,
        seed=options.seed,
    )
    return train_stage(arguments)


def main() -> None:
    options = parse_arguments()
    lines = []
    for stage in options.stages:
        summary = fine_tune(options, stage)
        if not summary["is_finished"]:
            return
        before, after = (summary[name]["loss"] for name in ("validation_before", "validation"))
        lines.append(f"{stage}: {before:.4f} nats per code before, {after:.4f} after {options.max_steps} steps")
    print("\n".join(lines))


if __name__ == "__main__":
    run_script(main)
