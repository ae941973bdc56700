"""Assemble the shipped default from its trained parts, or put an assembled one into the package with its card.

python examples/assemble_tiny.py --semantic D --coarse D --fine D --semantic_encoder D --codec D --output_dir DIR
python examples/assemble_tiny.py --install DIR --report REPORT
"""

import argparse
import re
import shutil
from pathlib import Path

import accompgen_hf
from accompgen_hf.accompgen.manifest_accompgen import write_manifest
from accompgen_hf.files import folder_written_whole, read_json, write_json, write_text
from accompgen_hf.hub import assemble_pipeline, save_repository
from accompgen_hf.model_parts import load_part
from accompgen_hf.scripts import run_script, script_parser

# The other stages have the authors' 0.9. With this value, chord and beat of 50 songs, as the ids tell them, are a
# little better (docs/measured/second_edition.md), and ids change as often as true ones.
SEMANTIC_TEMPERATURE = 0.7
# Of a stage that has learned to listen without its past (docs/measured/default.md).
EVIDENCE_SCALE = 2.0
# Sound is nearer to that of the true codes so, and half of the rows are saved (docs/measured/default.md).
FINE_GUIDANCE_SCALE, FINE_TEMPERATURE = 1.0, 0.7
# Most of a style is in the sound of this part, which usual guidance loses (docs/measured/default.md).
STYLE_GUIDED_PART = "other"
PARTS = ("semantic", "coarse", "fine", "semantic_encoder", "codec")
COSTS = re.compile(r"^CPU-core minutes: [^.\n]*", re.MULTILINE)  # in model_cards/tiny.md
UNKNOWN_COSTS = "CPU-core minutes: not recorded"


def parse_arguments() -> argparse.Namespace:
    parser = script_parser(__doc__)
    for part in PARTS:
        parser.add_argument(f"--{part}", help="folder, its own or a whole model's")
    parser.add_argument("--output_dir", type=Path, help="folder of the assembled model")
    parser.add_argument("--install", type=Path, help="an assembled folder")
    parser.add_argument("--report", type=Path, help="with --install: folder of report_tiny.py")
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    if options.install is None:
        pipe = assemble_pipeline(**{part: load_part(getattr(options, part), part) for part in PARTS})
        settings = pipe.model.semantic.generation_config
        settings.temperature = SEMANTIC_TEMPERATURE
        if pipe.model.semantic.config.history_dropout > 1:
            settings.evidence_scale = EVIDENCE_SCALE
        if pipe.model.coarse.config.style_names and STYLE_GUIDED_PART in pipe.model.coarse.config.part_names:
            pipe.model.coarse.generation_config.style_guided_parts = [STYLE_GUIDED_PART]
        settings = pipe.model.fine.generation_config
        settings.guidance_scale, settings.temperature = FINE_GUIDANCE_SCALE, FINE_TEMPERATURE
        save_repository(pipe, options.output_dir, half_precision=True)
        print(options.output_dir)
        return
    report = read_json(options.report / "report.json")
    card = keep_costs((options.report / "README.md").read_text("utf-8"), Path(accompgen_hf.DEFAULT_MODEL, "README.md"))
    with folder_written_whole(accompgen_hf.DEFAULT_MODEL) as staged:
        shutil.copytree(options.install, staged, dirs_exist_ok=True)
        config = read_json(staged / "config.json")
        config["is_placeholder"] = report["is_placeholder"]
        write_json(staged / "config.json", config, indent=2)
        write_text(staged / "README.md", card)
        write_manifest(staged)
    print(accompgen_hf.DEFAULT_MODEL)


def keep_costs(card: str, installed: Path) -> str:
    """The card with what the installed one says of the training's costs, where the report knew no `--work_dir`."""
    known = COSTS.search(installed.read_text("utf-8"))
    return card if known is None else card.replace(UNKNOWN_COSTS, known[0])


if __name__ == "__main__":
    run_script(main)
