"""From vocals to accompaniment and mix: time per part, real-time factor, memory, and how they grow with the song.

    OMP_NUM_THREADS=1 python examples/benchmarks/end_to_end.py --durations 10 60 600

The voice is the shipped recording, repeated. Every duration runs in a process of its own, so that its peak of memory
is its own. Starting the process and loading the model are not counted, and a second of music warms up. Times are the
processor's and, beside them, the clock's, which other work on the machine lengthens.
"""

import argparse
import json
import multiprocessing
import resource
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from accompgen_hf.accompgen.audio_accompgen import load_audio
from accompgen_hf.app.open_pipeline import SHIPPED_VOCALS, load_pipeline, set_threads

# Part of the model and the method that holds its work.
PARTS = {
    "semantic_encoder": "extract_block_features",
    "semantic": "generate",
    "coarse": "generate",
    "fine": "generate",
    "codec": "decode",
}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--durations", type=float, nargs="+", default=[10, 60, 600], help="seconds")
    parser.add_argument("--model", help="a folder or Hub repository; without it the small default")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="of the CPU (small models: 1, others: one a core)")
    parser.add_argument("--weight_format", help="what the model's set_weight_format takes")
    return parser.parse_args()


class PartTimes:
    """Adds up the seconds that each part's method takes, `(processor, clock)`."""

    def __init__(self, model: Any, is_gpu: bool):
        self.seconds: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self.is_gpu = is_gpu
        for part, method in PARTS.items():
            module = getattr(model, part)
            setattr(module, method, self.timed(part, getattr(module, method)))

    def timed(self, part: str, call: Callable) -> Callable:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            processor, clock = self.now()
            result = call(*args, **kwargs)
            ended = self.now()
            self.seconds[part][0] += ended[0] - processor
            self.seconds[part][1] += ended[1] - clock
            return result

        return wrapper

    def now(self) -> tuple[float, float]:
        if self.is_gpu:
            torch.cuda.synchronize()
        return time.process_time(), time.perf_counter()


def measure(duration_s: float, options: argparse.Namespace) -> dict[str, Any]:
    """Accompany one song; runs in a process of its own."""
    pipe = load_pipeline(options.model, options.device)
    set_threads(options.threads)
    pipe.model.set_weight_format(options.weight_format)
    vocals, rate = load_audio(SHIPPED_VOCALS)
    num_samples = round(duration_s * rate)
    vocals = np.tile(vocals, (1, -(-num_samples // vocals.shape[-1])))[:, :num_samples]
    pipe({"array": vocals[:, :rate], "sampling_rate": rate}, seed=0)
    loaded_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = PartTimes(pipe.model, options.device.startswith("cuda"))
    start = times.now()
    result = pipe({"array": vocals, "sampling_rate": rate}, seed=0)
    end = times.now()
    total = [after - before for after, before in zip(end, start, strict=True)]
    times.seconds["rest (level, resampling, mix)"] = [
        whole - sum(column) for whole, column in zip(total, zip(*times.seconds.values(), strict=True), strict=True)
    ]
    report = {
        "duration_s": duration_s,
        "num_threads": torch.get_num_threads(),
        "real_time_factor": round(total[0] / duration_s, 3),
        "clock_real_time_factor": round(total[1] / duration_s, 3),
        "seconds": {part: [round(value, 2) for value in pair] for part, pair in times.seconds.items()},
        "loaded_mib": loaded_kib // 1024,  # after the second that warms up
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "output_s": round(np.asarray(result["audio"]).shape[-1] / result["sampling_rate"], 3),
    }
    if options.device.startswith("cuda"):
        report["peak_gpu_mib"] = torch.cuda.max_memory_allocated() // 2**20
    return report


def main() -> None:
    options = parse_arguments()
    context = multiprocessing.get_context("spawn")
    reports = []
    for duration_s in options.durations:
        with context.Pool(1) as pool:
            report = pool.apply(measure, (duration_s, options))
        first = (reports or [report])[0]
        report["growth"] = {
            "seconds_per_second": round(report["real_time_factor"] / first["real_time_factor"], 2),
            "mib": report["peak_mib"] - first["peak_mib"],
        }
        reports.append(report)
        print(json.dumps(report, indent=1), flush=True)


if __name__ == "__main__":
    main()
