"""Train one stage.

    python examples/train_stage.py --config examples/configs/semantic.yaml --data SHARDS --output_dir DIR

Every field of the YAML can be given as an option (`--learning_rate 1e-4`, `--model.hidden_size 512`). Start it again
after a kill: it goes on from its newest checkpoint. Several processes: put `accelerate launch` (or torchrun) in front.
"""

import logging
import os
import sys
import traceback

import torch

from accompgen_hf.training.arguments import parse_stage_arguments
from accompgen_hf.training.loop import train_stage


def main() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    if "OMP_NUM_THREADS" in os.environ:
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    try:
        summary = train_stage(parse_stage_arguments())
    except Exception:
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            raise
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # a clean exit would wait for the other processes for ever
    validation = summary["validation"] or {}
    report = ", ".join(f"{name} {value:.4f}" for name, value in validation.items() if isinstance(value, float))
    print(f"step {summary['step']}, {summary['tokens_per_s']:.0f} tokens/s, {report}")


if __name__ == "__main__":
    main()
