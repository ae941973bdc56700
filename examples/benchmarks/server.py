"""What a server of one pipeline meets: the first audio of a stream, eight requests at once, the steps of the page.

    python examples/benchmarks/server.py stream page
    python examples/benchmarks/server.py requests --rounds 5

`stream` says after how many seconds the first piece of the shipped recording's accompaniment comes: in this new
process, and from streams that follow. The model is loaded before. `page` says when a take of the page comes to its
steps, for the recording and for twice of it in a row. `requests` lets eight threads, each without helpers, call one
pipeline on one core and on two, in turns, and takes ratios within a round. `--dry_run` takes a second of it.
"""

import argparse
import itertools
import json
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from train_step import median_interval

from accompgen_hf.accompgen.audio_accompgen import load_audio, write_audio
from accompgen_hf.app.open_pipeline import SHIPPED_VOCALS, load_pipeline, set_threads
from accompgen_hf.scripts import run_script, script_parser
from accompgen_hf.web.choices import Settings
from accompgen_hf.web.pace import STEPS, Pace
from accompgen_hf.web.studio import Studio

NUM_REQUESTS = 8


def parse_arguments() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("what", nargs="+", choices=("stream", "page", "requests"), help="what is measured")
    parser.add_argument("--threads", type=int, help="of the CPU, but for `requests` (1 or 2 for small models)")
    parser.add_argument("--rounds", type=int, default=5, help="how often one core and two take turns")
    parser.add_argument("--duration", type=float, default=4.0, help="of each request, in seconds")
    parser.add_argument("--dry_run", action="store_true", help="run everything once, briefly")
    return parser.parse_args()


def now() -> np.ndarray:
    """Seconds of the processor and of the clock."""
    return np.array([time.process_time(), time.perf_counter()])


def measure_streams(pipe: Any, recording: dict[str, Any], num_streams: int = 4) -> list[dict[str, float]]:
    """When the first piece of each stream comes, and how long it is."""
    streams = []
    for seed in range(num_streams):
        start = now()
        stream = pipe.stream(recording["array"], sampling_rate=recording["sampling_rate"], seed=seed)
        _, audio = next(stream)
        processor_s, clock_s = (now() - start).round(2).tolist()
        streams.append({"processor_s": processor_s, "clock_s": clock_s, "audio_s": len(audio) / stream.sampling_rate})
    return streams


def measure_page(pipe: Any, recording: dict[str, Any]) -> list[dict[str, float]]:
    """Seconds of the clock at which takes of the page come to their steps; the takes before warm up."""
    heard: list[dict[str, float]] = []
    learn = Pace.learn

    def note(pace: Pace, seconds_of_steps: dict[str, float], duration_s: float) -> None:
        heard.append(seconds_of_steps)
        learn(pace, seconds_of_steps, duration_s)

    Pace.learn = note
    with tempfile.TemporaryDirectory() as folder:
        studio = Studio(pipe, Path(folder) / "jobs")
        for times in (1, 1, 2):
            path = Path(folder) / "voice.wav"
            write_audio(path, np.tile(recording["array"], (1, times)), recording["sampling_rate"])
            list(studio.accompany("visitor", str(path), Settings(seed=1)))
    timelines = []
    for seconds in heard[1:]:
        ends = itertools.accumulate([0.0, *(seconds[step] for step in STEPS)])
        timelines.append({step: round(end, 2) for step, end in zip([*STEPS, "end"], ends, strict=True)})
    return timelines


def measure_requests(pipe: Any, recording: dict[str, Any], rounds: int) -> dict[str, Any]:
    """Eight requests at once on one core and on two, after one round to warm up."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise ValueError(f"`requests` needs two cores, got {len(cores)}: leave it out on this machine.")
    torch.set_num_threads(1)
    seconds: dict[int, list[np.ndarray]] = {1: [], 2: []}
    for index in range(rounds + 1):
        for num_cores in sorted(seconds, reverse=index % 2 == 1):
            os.sched_setaffinity(0, cores[:num_cores])  # of this thread, and of those that it starts
            start = now()
            with ThreadPoolExecutor(NUM_REQUESTS) as threads:
                list(threads.map(lambda seed: pipe(recording, seed=seed, show_progress=False), range(NUM_REQUESTS)))
            if index:
                seconds[num_cores].append(now() - start)
    os.sched_setaffinity(0, cores)
    ratios = {}
    for column, name in enumerate(("processor", "clock")):
        pairs = zip(seconds[1], seconds[2], strict=True)
        ratios[name] = [
            round(value, 2) for value in median_interval([one[column] / two[column] for one, two in pairs])
        ]
    medians = {f"{number}_s": np.median(seconds[number], axis=0).round(2).tolist() for number in seconds}
    return {"rounds": rounds, "processor and clock": medians, "one core / two": ratios}


def main() -> None:
    options = parse_arguments()
    pipe = load_pipeline(None, "cpu")
    set_threads(options.threads)
    vocals, rate = load_audio(SHIPPED_VOCALS)
    if options.dry_run:
        vocals, options.rounds, options.duration = vocals[:, :rate], 1, 0.5
    recording = {"array": vocals, "sampling_rate": rate}
    report: dict[str, Any] = {"num_threads": torch.get_num_threads(), "load": [os.getloadavg()[0]]}
    if "stream" in options.what:
        report["stream"] = measure_streams(pipe, recording)
    if "page" in options.what:
        report["page"] = measure_page(pipe, recording)
    if "requests" in options.what:
        request = {**recording, "array": vocals[:, : round(options.duration * rate)]}
        report["requests"] = measure_requests(pipe, request, options.rounds)
    report["load"].append(os.getloadavg()[0])
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    run_script(main)
