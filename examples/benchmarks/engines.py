"""Compiled decoding beside PyTorch's loop: a song of the shipped default, and steps of stages of several sizes.

    OMP_NUM_THREADS=1 python examples/benchmarks/engines.py song sizes

Both engines take turns in every round, in an order that turns around, and ratios are taken within a round, so that
whatever else the machine does meets both. Time is the processor's: other processes do not lengthen it by taking turns,
but they do by emptying caches.

`song` accompanies the shipped recording. `sizes` times steps of coarse stages with random weights, in the middle of a
window: six rows, which is what three parts with guidance take, at 300 steps for a second of music. The floor is the
time to read weights, keys and values once at the bandwidth that a sum over a large array reaches in the same rounds.
Compiled steps read the weights in float32, float16 and int8, PyTorch's loop in float32. `--dry_run` takes tiny numbers
everywhere.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from decode import floor_bytes
from train_step import median_interval
from transformers.generation.logits_process import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper

from accompgen_hf import AccompGenCoarseConfig, AccompGenCoarseForCausalLM
from accompgen_hf.accompgen.audio_accompgen import load_audio
from accompgen_hf.accompgen.codebooks_accompgen import build_stage_inputs
from accompgen_hf.accompgen.fast_decoding_accompgen import FastStageDecoder
from accompgen_hf.accompgen.logits_accompgen import (
    AccompGenGuidanceLogitsProcessor,
    AccompGenKeyedChoiceLogitsProcessor,
    inverse_cdf_choice,
)
from accompgen_hf.accompgen.numba_engine_accompgen import ENGINES, CompiledStageDecoder
from accompgen_hf.app.open_pipeline import SHIPPED_VOCALS, load_pipeline, set_threads
from accompgen_hf.scripts import run_script, script_parser

WINDOW_S, STEPS_PER_SECOND = 2.0, 300
STEPS = 32  # a round, of each engine
WEIGHT_BYTES = {"float32": 4, "float16": 2, "int8": 1}  # of a weight, as compiled steps read it


def parse_arguments() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("what", nargs="+", choices=("song", "sizes"), help="a whole song, or stages of several sizes")
    parser.add_argument("--rounds", type=int, default=10, help="how often the engines take turns")
    parser.add_argument("--duration", type=float, default=10.0, help="of the song, in seconds")
    parser.add_argument(
        "--sizes",
        nargs="+",
        default=["4x128", "5x160", "6x192", "6x256"],
        metavar="LAYERSxWIDTH",
        help="sizes of the stages",
    )
    parser.add_argument("--rows", type=int, default=6, help="half of them for guidance")
    parser.add_argument("--threads", type=int, default=1, help="threads of the CPU")
    parser.add_argument("--dry_run", action="store_true", help="run everything once, briefly")
    return parser.parse_args()


def take_turns(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of the processor that each call takes in every round, after one round to warm up."""
    times_s: dict[str, list[float]] = {name: [] for name in calls}
    for index in range(rounds + 1):
        for name in sorted(calls, reverse=index % 2 == 1):
            start = time.process_time()
            calls[name]()
            if index:
                times_s[name].append(time.process_time() - start)
    return times_s


def ratio(times_s: dict[str, list[float]], slow: str, fast: str) -> list[float]:
    """How many times as long the slow one takes: median and 95 % interval."""
    pairs = zip(times_s[slow], times_s[fast], strict=True)
    return [round(value, 2) for value in median_interval([longer / shorter for longer, shorter in pairs])]


def measure_song(options: argparse.Namespace) -> dict[str, Any]:
    """Real-time factors of the shipped default by both engines."""
    pipe = load_pipeline(None, "cpu")
    set_threads(options.threads)
    vocals, rate = load_audio(SHIPPED_VOCALS)
    vocals = vocals[:, : round(options.duration * rate)]
    duration_s = vocals.shape[-1] / rate
    recording = {"array": vocals, "sampling_rate": rate}
    calls = {name: lambda name=name: pipe(recording, seed=0, engine=name, show_progress=False) for name in ENGINES}
    times_s = take_turns(calls, options.rounds)
    factors = {
        name: [round(value / duration_s, 3) for value in median_interval(values)] for name, values in times_s.items()
    }
    return {
        "duration_s": round(duration_s, 2),
        "real_time_factor": factors,
        "torch / numba": ratio(times_s, "torch", "numba"),
    }


class Steps:
    """Steps of one stage by both engines from the middle of a window on, over and over."""

    def __init__(self, num_layers: int, hidden_size: int, options: argparse.Namespace):
        torch.manual_seed(0)
        self.config = AccompGenCoarseConfig(
            hidden_size=hidden_size,
            num_hidden_layers=num_layers,
            num_attention_heads=hidden_size // 32,
            head_dim=32,
            intermediate_size=hidden_size * 8 // 3,
            relative_position_axis="time",
            clip_duration_s=WINDOW_S,
            window_overlap_s=WINDOW_S / 2,
        )
        self.stage = AccompGenCoarseForCausalLM(self.config).eval()
        num_codes, target = options.rows // 2, self.config.target_segment
        conditioning = {
            segment.name: torch.randint(segment.codebook_size, (1, round(WINDOW_S * segment.frame_rate)))
            for segment in self.config.segments[:-1]
        }
        known = torch.randint(target.codebook_size, (1, target.num_codebooks, round(WINDOW_S / 2 * target.frame_rate)))
        inputs = build_stage_inputs(self.config, conditioning, known)
        ids = inputs["input_ids"].expand(options.rows, -1)
        prompt = (ids, inputs["segment_ids"], inputs["segment_positions"])
        self.context = ids.shape[1]
        uniforms = torch.rand(num_codes, STEPS + 1)
        self.guidance = AccompGenGuidanceLogitsProcessor(3.0)
        self.warpers = [self.guidance, TemperatureLogitsWarper(0.9), TopKLogitsWarper(250)]
        self.choice = AccompGenKeyedChoiceLogitsProcessor(uniforms, 0)
        processors = LogitsProcessorList([*self.warpers, self.choice])
        num_positions = self.context + STEPS + 1
        self.compiled = {}
        for name in WEIGHT_BYTES:
            self.stage.set_weight_format(None if name == "float32" else name)
            decoder = CompiledStageDecoder(self.stage, prompt[2], num_positions, processors, ids[:num_codes])
            decoder.prefill(*prompt)
            self.compiled[name] = decoder
        self.stage.set_weight_format(None)
        self.loop = FastStageDecoder(self.stage, prompt[2], num_positions)
        self.scores = self.loop.prefill(*prompt)
        self.start = (self.loop.slot, self.loop.index)

    def calls(self) -> dict[str, Callable[[], Any]]:
        """Choose and step, the same slots every time: compiled with every format, and by PyTorch's loop."""
        compiled = {name: partial(decoder.decode, 0, STEPS) for name, decoder in self.compiled.items()}
        return {**compiled, "torch": self.torch}

    def torch(self) -> None:
        """The loop of `_sample_fast`."""
        self.loop.slot, self.loop.index = self.start
        scores = self.scores
        for index in range(STEPS):
            for warper in self.warpers:
                scores = warper(None, scores)
            codes = inverse_cdf_choice(scores, self.choice.uniforms[:, index])
            scores = self.loop.step(codes + self.loop.first_code_id)


def measure_size(size: str, options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of a step of one size, and what they mean for a song."""
    steps = Steps(*map(int, size.split("x")), options)
    array = torch.ones(2**20 if options.dry_run else 2**26)
    times_s = take_turns({**steps.calls(), "read": array.sum}, options.rounds)
    bandwidth = 4 * len(array) / statistics.median(times_s.pop("read"))
    floor_s = {
        name: floor_bytes(steps.stage, steps.context, options.rows, num_bytes, 4) / bandwidth
        for name, num_bytes in WEIGHT_BYTES.items()
    }
    step_s = {name: [value / STEPS for value in median_interval(values)] for name, values in times_s.items()}
    return {
        "size": size,
        "parameters": sum(parameter.numel() for parameter in steps.stage.parameters()),
        "positions": steps.context,
        "ms": {name: [round(1e3 * value, 3) for value in values] for name, values in step_s.items()},
        "coarse real-time factor": {name: round(STEPS_PER_SECOND * step_s[name][0], 3) for name in WEIGHT_BYTES},
        **{f"torch / {name}": ratio(times_s, "torch", name) for name in WEIGHT_BYTES},
        **{f"float32 / {name}": ratio(times_s, "float32", name) for name in ("float16", "int8")},
        "read_gb_per_s": round(bandwidth / 1e9, 1),
        "times the floor": {name: round(step_s[name][0] / floor_s[name], 2) for name in WEIGHT_BYTES},
    }


@torch.inference_mode()
def main() -> None:
    options = parse_arguments()
    if options.dry_run:
        options.rounds, options.duration, options.sizes = 1, 1.0, ["1x32"]
    torch.set_num_threads(options.threads)
    report: dict[str, Any] = {"num_threads": options.threads, "rounds": options.rounds, "torch": torch.__version__}
    if "sizes" in options.what:
        report["rows"], report["sizes"] = options.rows, []
        for size in options.sizes:
            report["sizes"].append(measure_size(size, options))
            print(json.dumps(report["sizes"][-1]), flush=True)
    if "song" in options.what:
        report["song"] = measure_song(options)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    run_script(main)
