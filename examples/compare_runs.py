"""Compare finished training runs named SETTING-SEED, for ablations.

python examples/compare_runs.py runs/axis/token-0 runs/axis/token-1 runs/axis/time-0 runs/axis/time-1
"""

from accompgen_hf.scripts import run_script, script_parser
from accompgen_hf.training.stages.comparison import compare_runs


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument("folders", nargs="+", help="output folders of train_stage.py")
    print(compare_runs(parser.parse_args().folders))


if __name__ == "__main__":
    run_script(main)
