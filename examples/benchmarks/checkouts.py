"""One song by the code of several checkouts in turns: what a change did to speed.

    git worktree add ../before COMMIT
    OMP_NUM_THREADS=1 python examples/benchmarks/checkouts.py ../before . .:torch --rounds 5

A subject is the folder of a checkout; `:torch` or `:numba` behind it names the engine, which checkouts from before
there were two do not know. Every subject has a process of its own, which imports the package from there, loads the
model, and accompanies the shipped recording once to warm up. All take turns in every round, in an order that turns
around. Time is the processor's, and ratios are of the first subject to each other, within a round.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from train_step import median_interval

from accompgen_hf.scripts import run_script, script_parser

SONG_TURNS = Path(__file__).with_name("song_turns.py")


def parse_arguments() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument(
        "subjects", nargs="+", metavar="FOLDER[:ENGINE]", help="checkouts; the others are compared to the first"
    )
    parser.add_argument("--model", help="a folder; without it the default that each checkout ships")
    parser.add_argument("--rounds", type=int, default=5, help="how often the subjects take turns")
    parser.add_argument("--duration", type=float, default=10.0, help="of the song, in seconds")
    parser.add_argument("--threads", type=int, default=1, help="threads of the CPU")
    return parser.parse_args()


class Song:
    """The song by one subject, in a process that waits for its turns.

    Raises:
        ValueError: If the folder holds no checkout.
    """

    def __init__(self, subject: str, options: argparse.Namespace):
        folder, _, engine = subject.partition(":")
        source = Path(folder).resolve() / "src"
        if not (source / "accompgen_hf").is_dir():
            raise ValueError(f"`subjects` must be folders that hold `src/accompgen_hf`, got {folder!r}.")
        settings = {
            "model": options.model and str(Path(options.model).resolve()),
            "threads": options.threads,
            "duration_s": options.duration,
            "how": {"engine": engine} if engine else {},
        }
        self.process = subprocess.Popen(
            [sys.executable, SONG_TURNS, json.dumps(settings)],
            env={**os.environ, "PYTHONPATH": str(source)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def seconds(self) -> float:
        """Seconds of the processor for one song.

        Raises:
            RuntimeError: If the process has ended; it has said why.
        """
        try:
            print(file=self.process.stdin, flush=True)
            return float(self.process.stdout.readline())
        except (OSError, ValueError):
            raise RuntimeError(f"The process of {self.process.args[-1]} has ended.") from None


def main() -> None:
    options = parse_arguments()
    songs = {subject: Song(subject, options) for subject in options.subjects}
    rounds = []
    for index in range(options.rounds + 1):
        of_round = {subject: songs[subject].seconds() for subject in sorted(songs, reverse=index % 2 == 1)}
        if index:  # the first warms up
            rounds.append(of_round)
    for song in songs.values():
        song.process.communicate()
    first = options.subjects[0]
    for subject in options.subjects:
        seconds = median_interval([of_round[subject] for of_round in rounds])
        ratios = median_interval([of_round[first] / of_round[subject] for of_round in rounds])
        said = {"seconds": seconds, f"{first} / this": ratios}
        rounded = {name: [round(value, 2) for value in values] for name, values in said.items()}
        print(json.dumps({"subject": subject, **rounded}))


if __name__ == "__main__":
    run_script(main)
