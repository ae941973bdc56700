"""Measure whether the best of several takes, as the ranking chooses it, is better than one take.

    OMP_NUM_THREADS=1 python examples/measure_best_take.py --output_dir runs/best_take [--num_songs 64] [--preview]

The ranking hears voice and band alone; the scores compare each take with the song's true chords, key and beats. The
takes of a song are a file below `--output_dir`, so an interrupted run goes on. `best_take.json` holds every number.
"""

import argparse
from typing import Any

import numpy as np

from accompgen_hf.accompgen.harmony_accompgen import Key, detect_chords, detect_key
from accompgen_hf.accompgen.ranking_accompgen import WEIGHTS, rank_takes
from accompgen_hf.accompgen.rhythm_accompgen import track_beats
from accompgen_hf.app.open_pipeline import load_pipeline
from accompgen_hf.data.source_options import add_held_out_song_options
from accompgen_hf.evaluation.metrics.beats import score_beats
from accompgen_hf.evaluation.metrics.chords import score_chords
from accompgen_hf.evaluation.metrics.keys import score_key
from accompgen_hf.evaluation.protocol.bootstrap import difference, draw_songs, estimate_mean
from accompgen_hf.files import write_arrays, write_json
from accompgen_hf.scripts import run_script, script_parser
from accompgen_hf.songs.song import HELD_OUT_SEED, Song, generate_song

FIRST_SEED = HELD_OUT_SEED + 200_000
SCORES = {"chord_majmin": "chords", "beat_f1": "beats (F1)", "key_exact": "key"}
NUM_RESAMPLES = 2000


def parse_arguments() -> argparse.Namespace:
    parser = script_parser(__doc__)
    add_held_out_song_options(parser, num_songs=64, duration_s=8.0)
    parser.add_argument("--num_takes", type=int, default=8, help="takes to choose from")
    parser.add_argument("--preview", action="store_true", help="leave the fine stage out, which is half of the work")
    parser.add_argument("--first_seed", type=int, default=FIRST_SEED, help="seed of the first song")
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    options.output_dir.mkdir(parents=True, exist_ok=True)
    pipe = None
    songs = []
    for seed in range(options.first_seed, options.first_seed + options.num_songs):
        song, path = generate_song(seed, duration_s=options.duration_s), options.output_dir / f"{seed}.npz"
        if not path.exists():
            pipe = pipe or load_pipeline(options.model, options.device)
            takes = pipe(
                {"array": song.vocals, "sampling_rate": song.sampling_rate},
                seed=0,
                num_variations=options.num_takes,
                preview=options.preview,
                show_progress=False,
            )
            write_arrays(path, audio=np.stack([take["audio"] for take in takes]).astype(np.float16))
        with np.load(path) as content:
            songs.append({"seed": seed, "takes": score_takes(song, content["audio"].astype(np.float32))})
        print(f"{len(songs)} of {options.num_songs} songs", flush=True)
    write_json(options.output_dir / "best_take.json", songs)
    print(compare(songs))


def score_takes(song: Song, takes: np.ndarray) -> list[dict[str, Any]]:
    """Ranking and scores of every take, the best-ranked first."""
    rate, truth = song.sampling_rate, song.annotation
    results = [{"audio": audio, "sampling_rate": rate, "seed": seed} for seed, audio in enumerate(takes)]
    scored = []
    for take in rank_takes(song.vocals[None], rate, results):
        key = score_key(detect_key(take["audio"], rate), Key(truth.tonic, truth.mode))
        scores = {
            "chord_majmin": score_chords(detect_chords(take["audio"], rate), truth.chords),
            "beat_f1": score_beats(track_beats(take["audio"], rate).times, np.asarray(truth.beat_times)),
            "key_exact": key["exact"],
        }
        scored.append({"seed": take["seed"], "ranking": take["ranking"], **scores})
    return scored


def compare(songs: list[dict[str, Any]]) -> str:
    """A table as Markdown: one take (the mean of all), the best-ranked one, the difference, the truth's own choice."""
    draws = draw_songs(len(songs), NUM_RESAMPLES, seed=0)
    lines = [
        "| score | one take | best-ranked take | difference (95 %) | best possible choice |",
        "|---|---|---|---|---|",
    ]
    for name, label in SCORES.items():
        values = [[take[name] for take in song["takes"]] for song in songs]
        one, best, highest = (
            estimate_mean([[choose(of_song)] for of_song in values], draws)
            for choose in (np.mean, lambda of_song: of_song[0], np.max)
        )
        gain = difference(best, one)
        low, high = gain.interval
        lines.append(
            f"| {label} | {one.value:.3f} | {best.value:.3f} | {gain.value:+.3f} ({low:+.3f} to {high:+.3f}) | "
            f"{highest.value:.3f} |"
        )
    return "\n".join([*lines, "", describe_terms(songs)])


def describe_terms(songs: list[dict[str, Any]]) -> str:
    """How each term of the ranking goes with each score among the takes of one song (mean correlation)."""
    lines = [f"| term | {' | '.join(SCORES.values())} |", "|---|" + "---|" * len(SCORES)]
    for term in (*WEIGHTS, "score"):
        cells = []
        for score in SCORES:
            pairs = [np.array([[t["ranking"][term], t[score]] for t in song["takes"]], float).T for song in songs]
            found = [np.corrcoef(pair)[0, 1] for pair in pairs if (pair.std(axis=1) > 1e-9).all()]
            cells.append(f"{np.mean(found):+.2f}" if found else "n/a")
        lines.append(f"| `{term}` | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_script(main)
