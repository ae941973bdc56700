"""From vocals to accompaniment and mix: time per part, real-time factor, memory, and how they grow with the song.

    OMP_NUM_THREADS=1 python examples/benchmarks/end_to_end.py --durations 10 60 600

The voice is the shipped recording, repeated. Every duration runs in a process of its own, so that its peak of memory
is its own. Starting the process and loading the model are not counted, and a second of music warms up. Times are the
processor's and, beside them, the clock's, which other work on the machine lengthens. For every duration a table says
what each part of the work costs, per second of music: the prompt of a stage's windows ("prefill") and its steps, the
mix, and also the picture and the files that the command writes. As in the command, Python looks for garbage rarely.
"""

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from accompgen_hf.accompgen import generation_accompgen, pipeline_accompgen
from accompgen_hf.accompgen.audio_accompgen import load_audio
from accompgen_hf.accompgen.fast_decoding_accompgen import FastStageDecoder
from accompgen_hf.accompgen.numba_engine_accompgen import ENGINES, CompiledStageDecoder
from accompgen_hf.app import result_folders
from accompgen_hf.app.garbage import collected_rarely
from accompgen_hf.app.open_pipeline import SHIPPED_VOCALS, describe_model, load_pipeline, set_threads
from accompgen_hf.scripts import run_script, script_parser

STAGES = ("semantic", "coarse", "fine")
# Part of the model and the method that holds its work.
PARTS = {
    "semantic_encoder": "extract_block_features",
    "semantic": "generate",
    "coarse": "generate",
    "fine": "generate",
    "codec": "decode",
}
# What stands in other modules, under the name that its caller uses.
FUNCTIONS = {
    "lead sheet": (pipeline_accompgen, "make_lead_sheet"),
    "mix": (pipeline_accompgen, "mix"),
    "picture": (result_folders, "draw_picture"),
}


def parse_arguments() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--durations", type=float, nargs="+", default=[10, 60, 600], help="seconds")
    parser.add_argument("--model", help="a folder or Hub repository; without it the small default")
    parser.add_argument("--device", default="cpu", help="where the model runs")
    parser.add_argument("--threads", type=int, help="of the CPU (1 or 2 for small models, else one a core)")
    parser.add_argument("--engine", choices=ENGINES, help="what computes the steps on the CPU (numba if installed)")
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
        stage_names = {id(getattr(model, name)): name for name in STAGES}
        for decoder in (FastStageDecoder, CompiledStageDecoder):
            name_of = lambda decoder: f"{stage_names[id(decoder.model)]} prefill"  # noqa: E731
            decoder.prefill = self.timed(name_of, decoder.prefill)
        for part, (module, function) in FUNCTIONS.items():
            setattr(module, function, self.timed(part, getattr(module, function)))
        name_of_evidence = lambda stage: f"{stage_names[id(stage)]} evidence"  # noqa: E731
        generation_accompgen.find_evidence = self.timed(name_of_evidence, generation_accompgen.find_evidence)
        if getattr(model.semantic, "listener", None) is not None:
            model.semantic.listener.hear = self.timed("listener", model.semantic.listener.hear)

    def timed(self, part: str | Callable, call: Callable) -> Callable:
        """The call, with its seconds added to a part; a function names the part by the call's first argument."""

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            processor, clock = self.now()
            result = call(*args, **kwargs)
            ended = self.now()
            seconds = self.seconds[part if isinstance(part, str) else part(args[0])]
            seconds[0] += ended[0] - processor
            seconds[1] += ended[1] - clock
            return result

        return wrapper

    def separate(self, whole: str, parts: list[str], rest: str) -> None:
        """Rename what is left of a whole without its parts."""
        columns = zip(self.seconds.pop(whole), *(self.seconds[part] for part in parts), strict=True)
        self.seconds[rest] = [total - sum(of_parts) for total, *of_parts in columns]

    def now(self) -> tuple[float, float]:
        if self.is_gpu:
            torch.cuda.synchronize()
        return time.process_time(), time.perf_counter()


@collected_rarely()
def measure(duration_s: float, options: argparse.Namespace) -> dict[str, Any]:
    """Accompany one song; runs in a process of its own."""
    pipe = load_pipeline(options.model, options.device)
    set_threads(options.threads)
    pipe.model.set_weight_format(options.weight_format)
    vocals, rate = load_audio(SHIPPED_VOCALS)
    num_samples = round(duration_s * rate)
    vocals = np.tile(vocals, (1, -(-num_samples // vocals.shape[-1])))[:, :num_samples]
    how = {} if options.engine is None else {"engine": options.engine}
    pipe({"array": vocals[:, :rate], "sampling_rate": rate}, seed=0, **how)
    loaded_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = PartTimes(pipe.model, options.device.startswith("cuda"))
    start = times.now()
    result = times.timed("song", pipe)({"array": vocals, "sampling_rate": rate}, seed=0, **how)
    total = [after - before for after, before in zip(times.now(), start, strict=True)]
    outside = [part for part in times.seconds if part in (*PARTS, "listener", "lead sheet", "mix")]
    times.separate("song", outside, "level, resampling")
    for stage in STAGES:
        inside = [part for part in (f"{stage} prefill", f"{stage} evidence") if part in times.seconds]
        times.separate(stage, inside, f"{stage} steps")
    with tempfile.TemporaryDirectory() as folder:
        settings = {"vocals": "voice.wav", "seed": 0}
        write = times.timed("write", result_folders.write_result)
        write(folder, settings, vocals, rate, result, describe_model(pipe))
    times.separate("write", ["picture"], "files")
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


def print_table(report: dict[str, Any]) -> None:
    """Seconds of the processor per second of music of every part, the largest first."""
    print(f"| part, {report['duration_s']:g} s of music | s per s |\n|---|---|")
    for part, (processor, _) in sorted(report["seconds"].items(), key=lambda item: -item[1][0]):
        print(f"| {part} | {processor / report['duration_s']:.4f} |")


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
        print_table(report)


if __name__ == "__main__":
    run_script(main)
