"""Train SingSong-tiny, the baseline of our second edition: the same tokens, as many parameters and training steps.

    python examples/make_tiny_singsong.py --work_dir runs/second

With the work folder of `make_tiny.py --edition second` it uses that run's codec, encoder and tokens; without, it makes
them first. Every step is a command of its own and goes on where it was killed. The result lies in
WORK_DIR/singsong-tiny:

    python examples/evaluate.py --singsong WORK_DIR/singsong-tiny ...
"""

from pathlib import Path

from accompgen_hf.files import folder_written_whole, read_json
from accompgen_hf.scripts import run_script
from accompgen_hf.singsong.accompaniment import SingSongForAccompaniment
from accompgen_hf.training.stages.arguments import StageTrainingArguments
from make_tiny import EXAMPLES, make_parser, make_tokens, run

STAGES = ("singsong", "singsong_fine")


def main() -> None:
    parser = make_parser(__doc__)
    described = "steps of both stages, if not the recipe's"
    parser.add_argument("--stage_steps", type=int, nargs=2, metavar=("SINGSONG", "FINE"), default=None, help=described)
    parser.set_defaults(edition="second")  # SingSong plays one part
    options = parser.parse_args()
    work, codec, encoder, tokens = make_tokens(options)
    for stage, steps in zip(STAGES, options.stage_steps or match_steps(), strict=True):
        config = EXAMPLES / "configs" / "singsong" / "tiny" / f"{stage}.yaml"
        arguments = ("--config", config, "--data", tokens, "--output_dir", work / stage, "--max_steps", steps)
        arguments += ("--init_codes_from", codec, *(("--init_ids_from", encoder) if stage == "singsong" else ()))
        run(work, stage, work / stage / "final", "train_stage.py", *arguments)
    assemble(work, encoder, codec, work / "singsong-tiny")


def match_steps() -> tuple[int, int]:
    """Steps of the stages whose work they do; S-SA, which does that of two, takes the longer training's."""
    steps = {stage: _read_max_steps(stage) for stage in ("semantic", "coarse", "fine")}
    return max(steps["semantic"], steps["coarse"]), steps["fine"]


def _read_max_steps(stage: str) -> int:
    path = EXAMPLES / "configs" / "tiny_second_edition" / f"{stage}.yaml"
    return StageTrainingArguments.from_yaml(path, data="", output_dir="").max_steps


def assemble(work: Path, encoder: Path, codec: Path, folder: Path) -> None:
    """Put the parts into one folder, all at once, and say what the models measured on held-out clips."""
    if not (folder / "config.json").exists():
        parts = {stage: work / stage / "final" for stage in STAGES}
        model = SingSongForAccompaniment.from_sub_models(**parts, semantic_encoder=encoder, codec=codec)
        with folder_written_whole(folder) as staging:
            model.save_pretrained(staging)
    for stage in STAGES:
        summary = read_json(work / stage / "summary.json")
        validation = summary["validation"]
        gain, interval = validation["conditioning_gain"], validation["conditioning_gain_interval"]
        print(f"{stage}: step {summary['step']}, loss {validation['loss']:.4f}, gain {gain:.4f} +- {interval:.4f}")
    print(folder)


if __name__ == "__main__":
    run_script(main)
