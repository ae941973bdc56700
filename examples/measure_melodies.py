"""Count melodies and chords of procedural songs beside those of 461 real lead sheets.

python examples/measure_melodies.py --num_songs 200
"""

from accompgen_hf.scripts import run_script, script_parser
from accompgen_hf.songs.composition import COMPOSITIONS, compose_score
from accompgen_hf.songs.melody_counts import LEAD_SHEETS, count_scores
from accompgen_hf.songs.theory import HELD_OUT_SEED


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument("--num_songs", type=int, default=200, help="songs to count")
    parser.add_argument("--first_seed", type=int, default=0, help="seed of the first song")
    arguments = parser.parse_args()
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.num_songs)
    first_seeds = {"tunes": HELD_OUT_SEED}  # the others are what models learn from
    counts = {
        name: count_scores(compose_score(first_seeds.get(name, 0) + seed, name) for seed in seeds)
        for name in COMPOSITIONS
    }
    print(f"| {len(seeds)} songs | real lead sheets | {' | '.join(f'`{name}`' for name in COMPOSITIONS)} |")
    print("|---" * (2 + len(COMPOSITIONS)) + "|")
    for name, real in LEAD_SHEETS.items():
        print(f"| {name} | {real:.2f} | {' | '.join(f'{counts[kind][name]:.2f}' for kind in COMPOSITIONS)} |")


if __name__ == "__main__":
    run_script(main)
