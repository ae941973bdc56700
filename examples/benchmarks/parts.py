"""What three parts cost beside one: whole accompaniments by models with random weights, in one run.

    OMP_NUM_THREADS=1 python examples/benchmarks/parts.py --rounds 5

The models of one part and of three have the same sizes and the semantic encoder of the shipped default. In every round
each accompanies the same recording by both engines, in turns, and ratios are taken within a round: `three / one` says
how many times the time of one part by today's loop (`--engine torch`) the sum of three parts takes. Time is the
processor's. `--dry_run` takes tiny numbers everywhere.
"""

import argparse
import json

import torch
from engines import take_turns
from random_parts_model import build_model
from train_step import median_interval

from accompgen_hf import DEFAULT_MODEL, AccompGenProcessor, VocalAccompanimentPipeline
from accompgen_hf.accompgen.audio_accompgen import load_audio
from accompgen_hf.accompgen.numba_engine_accompgen import ENGINES
from accompgen_hf.app.open_pipeline import SHIPPED_VOCALS

BANDS = {"one": ["instrumental"], "three": ["drums", "bass", "other"]}
SIZES = {"second": ("4x128", "4x128", "4x32"), "third": ("6x192", "5x160", "4x48")}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--duration", type=float, default=5.0, help="of the recording, in seconds")
    parser.add_argument("--size", choices=tuple(SIZES), default="second", help="edition whose stages have these sizes")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dry_run", action="store_true")
    return parser.parse_args()


def make_pipe(band: str, sizes: tuple[str, str, str]) -> VocalAccompanimentPipeline:
    """A pipeline of one part or three."""
    semantic, coarse, fine = sizes
    options = argparse.Namespace(semantic=semantic, coarse=coarse, fine=fine, part_names=BANDS[band])
    processor = AccompGenProcessor.from_pretrained(DEFAULT_MODEL)
    return VocalAccompanimentPipeline(model=build_model(options), processor=processor, device="cpu")


def main() -> None:
    options = parse_arguments()
    sizes = SIZES[options.size]
    if options.dry_run:
        options.rounds, options.duration, sizes = 1, 0.5, ("1x32", "1x32", "1x32")
    torch.set_num_threads(options.threads)
    vocals, rate = load_audio(SHIPPED_VOCALS)
    vocals = vocals[:, : round(options.duration * rate)]
    pipes = {band: make_pipe(band, sizes) for band in BANDS}

    def accompany(band: str, engine: str) -> None:
        pipes[band]({"array": vocals, "sampling_rate": rate}, seed=0, engine=engine, show_progress=False)

    calls = {
        f"{band} {engine}": lambda band=band, engine=engine: accompany(band, engine)
        for band in BANDS
        for engine in ENGINES
    }
    times_s = take_turns(calls, options.rounds)
    duration_s = vocals.shape[-1] / rate

    def ratio(slow: str, fast: str) -> list[float]:
        pairs = zip(times_s[slow], times_s[fast], strict=True)
        return [round(value, 2) for value in median_interval([first / second for first, second in pairs])]

    report = {
        "num_threads": options.threads,
        "rounds": options.rounds,
        "sizes": sizes,
        "duration_s": round(duration_s, 2),
        "real_time_factor": {
            name: [round(value / duration_s, 3) for value in median_interval(values)]
            for name, values in times_s.items()
        },
        "three torch / one torch": ratio("three torch", "one torch"),
        "three numba / one torch": ratio("three numba", "one torch"),
        "three numba / one numba": ratio("three numba", "one numba"),
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
