"""Train SingSong-tiny, the baseline of our shipped default: the same tokens, as many parameters and training steps.

    python examples/make_tiny_singsong.py --work_dir runs/tiny

With the work folder of make_tiny.py it uses that run's codec, encoder and tokens; without, it makes them first. Every
step is a command of its own and goes on where it was killed. The result lies in WORK_DIR/singsong-tiny:

    python examples/evaluate.py --singsong WORK_DIR/singsong-tiny ...
"""

import json
import shutil
from pathlib import Path

from accompgen_hf.baselines.singsong_accompaniment import SingSongForAccompaniment
from accompgen_hf.training.arguments import StageTrainingArguments
from accompgen_hf.training.stages import STAGE_MODELS, count_positions
from make_tiny import EXAMPLES, make_parser, make_tokens, run

STAGES = ("singsong", "singsong_fine")


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--stage_steps", type=int, nargs=2, metavar=("SINGSONG", "FINE"), default=None)
    options = parser.parse_args()
    work = options.work_dir
    codec, encoder, tokens = make_tokens(options)
    for stage, steps in zip(STAGES, options.stage_steps or match_steps(), strict=True):
        config = EXAMPLES / "configs" / "singsong" / "tiny" / f"{stage}.yaml"
        arguments = ("--config", config, "--data", tokens, "--output_dir", work / stage, "--max_steps", steps)
        arguments += ("--init_codes_from", codec, *(("--init_ids_from", encoder) if stage == "singsong" else ()))
        run(work, stage, work / stage / "final", "train_stage.py", *arguments)
    assemble(work, encoder, codec, work / "singsong-tiny")


def match_steps() -> tuple[int, int]:
    """Steps in which S-SA, and its fine model, see as many positions as our stages whose work they do."""
    steps = []
    for stage, stages in zip(STAGES, (("semantic", "coarse"), ("fine",)), strict=True):
        per_step = _positions("singsong", stage) / _read("singsong", stage).max_steps
        steps.append(round(sum(_positions("", ours) for ours in stages) / per_step))
    return steps[0], steps[1]


def _positions(family: str, stage: str) -> int:
    """Positions of all training steps of a small config."""
    arguments = _read(family, stage)
    config = STAGE_MODELS[stage].config_class(**arguments.model)
    return arguments.max_steps * arguments.global_batch_size * count_positions(config)


def _read(family: str, stage: str) -> StageTrainingArguments:
    path = EXAMPLES / "configs" / family / "tiny" / f"{stage}.yaml"
    return StageTrainingArguments.from_yaml(path, data="", output_dir="")


def assemble(work: Path, encoder: Path, codec: Path, folder: Path) -> None:
    """Put the parts into one folder, all at once, and say what the models measured on held-out clips."""
    if not (folder / "config.json").exists():
        parts = {stage: work / stage / "final" for stage in STAGES}
        model = SingSongForAccompaniment.from_sub_models(**parts, semantic_encoder=encoder, codec=codec)
        staging = folder.with_name(f".{folder.name}")
        shutil.rmtree(staging, ignore_errors=True)
        model.save_pretrained(staging)
        shutil.rmtree(folder, ignore_errors=True)
        staging.rename(folder)
    for stage in STAGES:
        summary = json.loads((work / stage / "summary.json").read_text("utf-8"))
        validation = summary["validation"]
        gain, interval = validation["conditioning_gain"], validation["conditioning_gain_interval"]
        print(f"{stage}: step {summary['step']}, loss {validation['loss']:.4f}, gain {gain:.4f} +- {interval:.4f}")
    print(folder)


if __name__ == "__main__":
    main()
