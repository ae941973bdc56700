"""Score accompaniment systems, ours and others, on held-out songs: one table with intervals and what made it.

    python examples/evaluate.py --num_songs 32 --output_dir runs/evaluation
    python examples/evaluate.py --quick --system mine=MY_WAVS --output_dir runs/first
    python examples/evaluate.py --export_inputs TO_SING_TO --output_dir runs/evaluation
    python examples/evaluate.py --system mine=MY_WAVS --output_dir runs/evaluation
    python examples/evaluate.py --dataset musdb18 --data MUSDB18 --num_songs 50 --windows_per_song 3 \\
        --embedders vggish=VGGISH.pth harmony-rhythm --separate vocals.onnx --output_dir runs/musdb18

The output folder gets results.json, table.md, results.png and a model card's `model_index_<system>.yaml`. Outputs and
scores are kept there per window: kill it and start it again. docs/guide/metrics.md says what the numbers mean.
"""

import argparse
from pathlib import Path
from typing import Any

from accompgen_hf.data.source_options import open_separator
from accompgen_hf.evaluation.protocol.evaluate_options import (
    BUILT_IN,
    add_protocol_options,
    build_embedders,
    build_systems,
    build_windows,
    export_inputs,
    list_models,
    read_fingerprint,
)
from accompgen_hf.evaluation.protocol.listening import write_listening_test
from accompgen_hf.evaluation.protocol.plan import check_plan, choose_scope
from accompgen_hf.evaluation.protocol.report import insert_results
from accompgen_hf.evaluation.protocol.run import run_protocol
from accompgen_hf.evaluation.protocol.seen_songs import check_seen_songs
from accompgen_hf.evaluation.protocol.separated_vocals import describe_separation, write_separated
from accompgen_hf.evaluation.protocol.table_over_seeds import compare_seeds, seed_folder
from accompgen_hf.files import write_text
from accompgen_hf.scripts import run_script, script_parser


def parse_arguments() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--output_dir", required=True, help="keeps everything between runs")
    add_protocol_options(parser)
    described = "run once for each, on songs from each on, and compare: seeds.md (for ablations)"
    parser.add_argument("--seeds", type=int, nargs="+", metavar="SEED", help=described)
    return parser.parse_args()


def evaluate(options: argparse.Namespace) -> dict[str, Any] | None:
    choose_scope(options, BUILT_IN)
    check_plan(options)
    embedders, models = build_embedders(options.embedders), list_models(options)  # what is wrong there shows now
    test_set, reference, corpus = build_windows(options)
    seen_songs = check_seen_songs(test_set.song_ids, options.training_data, models, options.allow_seen)
    separator = open_separator(options)
    separation = None if options.isolated_only else describe_separation(separator, options.dataset)
    if separation is not None:
        write_separated(test_set, separator, separation)
    if options.export_inputs is not None:
        print(export_inputs(test_set, options.export_inputs, separation is not None))
        return None
    systems = build_systems(options, corpus)
    results = run_protocol(
        systems,
        test_set,
        reference,
        embedders,
        options.output_dir,
        dataset=options.dataset,
        target=options.target,
        seed=options.seed,
        num_resamples=options.num_resamples,
        separation=separation,
        seen_songs=seen_songs,
        fingerprint=read_fingerprint(options.model),
    )
    if options.page is not None:
        output_dir = Path(options.output_dir)
        insert_results(options.page, (output_dir / "table.md").read_text("utf-8"), output_dir / "results.png")
    if options.listening_test is not None:
        outputs = {system.name: Path(options.output_dir) / "systems" / system.name / "isolated" for system in systems}
        print(write_listening_test(test_set, outputs, options.listening_test, options.seed))
    print(f"{options.output_dir}/table.md")
    return results


def evaluate_seeds(options: argparse.Namespace) -> None:
    """Evaluate once for every seed, each on songs of its own, and compare."""
    for name in ("page", "export_inputs"):
        if getattr(options, name) is not None:
            raise ValueError(f"`{name}` is of one run, `seeds` makes {len(options.seeds)}: leave one of them out.")
    output_dir, listening_test, runs = options.output_dir, options.listening_test, []
    for seed in options.seeds:
        options.seed, options.output_dir = seed, str(seed_folder(output_dir, seed))
        if listening_test is not None:
            options.listening_test = seed_folder(listening_test, seed)
        runs.append(evaluate(options))
    table = compare_seeds(runs)
    write_text(Path(output_dir) / "seeds.md", table)
    print(table)


def main() -> None:
    options = parse_arguments()
    if options.seeds is None:
        evaluate(options)
    else:
        evaluate_seeds(options)


if __name__ == "__main__":
    run_script(main)
