"""Time of one decoding step at the paper's base size, random weights, beside decoders of Transformers of equal size.

    OMP_NUM_THREADS=1 python examples/benchmarks/decode.py --contexts 875 1250 --rounds 12

All models take turns in every round, and ratios are taken within a round, so that other work on the machine affects
all of them alike. A step is one position of two rows, as guidance needs them. The time is processor time, which other
processes lengthen only by taking caches and memory bandwidth; on a GPU it is the clock's. The floor is the time to
read weights, keys and values once at the bandwidth that a sum over a large array reaches in the same rounds.

The Llama has the stage's width, depth, heads and inner size, and a head as wide as one codebook's. MusicGen's decoder
has an inner size with as many weights, predicts four codebooks in a step, and is spared its cross-attention.
`--windows` measures instead what a batch of windows gives a fine stage over one window.
"""

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable

import torch
from train_step import median_interval
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, StaticCache
from transformers.models.musicgen.configuration_musicgen import MusicgenDecoderConfig
from transformers.models.musicgen.modeling_musicgen import MusicgenForCausalLM

from accompgen_hf import (
    AccompGenCoarseConfig,
    AccompGenCoarseForCausalLM,
    AccompGenFineConfig,
    AccompGenFineForCausalLM,
)
from accompgen_hf.accompgen.codebooks_accompgen import build_stage_inputs
from accompgen_hf.accompgen.fast_decoding_accompgen import FastStageDecoder
from accompgen_hf.scripts import run_script, script_parser

FORMATS = {"fast": None, "fast float16": "float16", "fast int8": "int8"}
PEERS = ("musicgen", "llama dynamic", "llama static", "llama static compile")
SUBJECTS = ("stock", *FORMATS, "fast bf16", *PEERS)
STEPS = 2  # per round
NUM_ROWS = 2


def parse_arguments() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--contexts", type=int, nargs="+", default=[875, 1250], help="positions before the first step")
    parser.add_argument("--rounds", type=int, default=12, help="how often each is measured")
    parser.add_argument("--subjects", nargs="+", choices=SUBJECTS, default=list(SUBJECTS), help="what is measured")
    parser.add_argument("--reference", choices=SUBJECTS, default=PEERS[-1], help="speeds are compared with this one")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="where it runs")
    parser.add_argument("--hidden_size", type=int, default=1024, help="the paper's by default; less to try it out")
    parser.add_argument("--num_layers", type=int, default=6, help="layers of each stage")
    parser.add_argument("--windows", type=int, metavar="N", help="a fine stage: N windows at once against one")
    return parser.parse_args()


def make_stage(model_class: type, config_class: type, options: argparse.Namespace) -> torch.nn.Module:
    config = config_class(
        hidden_size=options.hidden_size,
        num_hidden_layers=options.num_layers,
        num_attention_heads=options.hidden_size // 64,
        intermediate_size=options.hidden_size * 8 // 3,
        relative_position_axis="time",
    )
    return model_class(config).eval().to(options.device)


def random_cache(config, num_rows: int, context: int, like: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Fill keys and values of every layer with random numbers: their content does not change the time."""
    shape = (num_rows, config.num_attention_heads, context, config.hidden_size // config.num_attention_heads)
    return [
        (like.new_empty(shape).normal_(), like.new_empty(shape).normal_()) for _ in range(config.num_hidden_layers)
    ]


def prompt_positions(config, num_slots: int) -> torch.LongTensor:
    """Places of one whole window's conditioning and of so many target positions."""
    conditioning = {}
    for segment in config.segments[:-1]:
        num_frames = round(config.clip_duration_s * segment.frame_rate)
        shape = (1, segment.num_codebooks, num_frames) if segment.has_codebook_axis else (1, num_frames)
        conditioning[segment.name] = torch.zeros(shape, dtype=torch.long)
    inputs = build_stage_inputs(config, conditioning)
    return torch.cat([inputs["segment_positions"], torch.arange(1, num_slots)[None]], dim=1)


def fast_step(stage: torch.nn.Module, num_rows: int, context: int, num_positions: int) -> Callable[[], object]:
    """One step of our loop behind `context` positions."""
    positions = prompt_positions(stage.config, 1)
    positions = prompt_positions(stage.config, context - positions.shape[1] + 1)
    decoder = FastStageDecoder(stage, positions, num_positions)
    decoder.begin(random_cache(stage.config, num_rows, context, decoder.weights.embedding))
    ids = torch.full((num_rows,), stage.config.target_segment.offset, device=stage.device)
    return lambda: decoder.step(ids)


def stock_step(stage: torch.nn.Module, context: int, num_positions: int) -> Callable[[], object]:
    """One forward with a cache, as `generate` calls it."""
    positions = prompt_positions(stage.config, num_positions).to(stage.device)
    first_target = positions.shape[1] - num_positions
    segments = torch.zeros_like(positions)
    segments[:, first_target:] = len(stage.config.segments) - 1
    cache = DynamicCache()
    fill(cache, random_cache(stage.config, NUM_ROWS, context, stage.model.embed_tokens.weight))
    ids = torch.full((NUM_ROWS, 1), stage.config.target_segment.offset, device=stage.device)

    def step() -> object:
        known = cache.get_seq_length() + 1
        return stage(ids, segments[:, :known], positions[:, :known], past_key_values=cache, logits_to_keep=1).logits

    return step


def fill(cache, keys_and_values: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    for index, (keys, values) in enumerate(keys_and_values):
        cache.update(keys, values, index)


def peer_step(model: torch.nn.Module, name: str, context: int, num_positions: int) -> Callable[[], object]:
    """One forward of a decoder of Transformers with the cache that its name says."""
    cache = DynamicCache()
    if "static" in name:
        cache = StaticCache(config=model.config, max_cache_len=num_positions)
    fill(cache, random_cache(model.config, NUM_ROWS, context, next(model.parameters())))
    ids = torch.zeros(NUM_ROWS * getattr(model, "num_codebooks", 1), 1, dtype=torch.long, device=model.device)
    forward = torch.compile(model.forward, dynamic=False) if name.endswith("compile") else model.forward
    position = torch.tensor([[context]], device=model.device)

    def step() -> object:
        places = {"position_ids": position.clone()} if name.startswith("llama") else {}
        logits = forward(input_ids=ids, past_key_values=cache, use_cache=True, **places).logits
        position.add_(1)
        return logits

    return step


def make_peers(config, options: argparse.Namespace) -> dict[str, torch.nn.Module]:
    shared = {"hidden_size": config.hidden_size, "num_hidden_layers": config.num_hidden_layers}
    heads = config.num_attention_heads
    llama = LlamaConfig(
        vocab_size=config.codebook_size,
        intermediate_size=config.intermediate_size,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        bos_token_id=None,
        eos_token_id=None,
        **shared,
    )
    musicgen = MusicgenDecoderConfig(
        vocab_size=config.codebook_size,
        ffn_dim=config.intermediate_size * 3 // 2,  # two matrices instead of three
        num_attention_heads=heads,
        num_codebooks=config.num_codebooks,
        **shared,
    )
    models = {"llama": LlamaForCausalLM(llama), "musicgen": MusicgenForCausalLM(musicgen)}
    return {name: model.eval().to(options.device) for name, model in models.items()}


def make_steps(stage, peers: dict, context: int, options: argparse.Namespace) -> dict[str, Callable[[], object]]:
    num_positions = context + STEPS * (options.rounds + 2) + 1
    steps: dict[str, Callable[[], object]] = {}
    for name in options.subjects:
        if name == "stock":
            steps[name] = stock_step(stage, context, num_positions)
        elif name in FORMATS:
            steps[name] = fast_step(stage.set_weight_format(FORMATS[name]), NUM_ROWS, context, num_positions)
        elif name == "fast bf16":
            steps[name] = fast_step(
                copy.deepcopy(stage.set_weight_format(None)).bfloat16(), NUM_ROWS, context, num_positions
            )
        else:
            steps[name] = peer_step(peers[name.split()[0]], name, context, num_positions)
    return steps


class Clock:
    """Seconds of processor and clock that a call takes; on a GPU the clock's alone."""

    def __init__(self, device: str):
        self.is_gpu = device.startswith("cuda")

    def measure(self, call: Callable[[], object]) -> tuple[float, float]:
        if self.is_gpu:
            torch.cuda.synchronize()
        processor, clock = time.process_time(), time.perf_counter()
        call()
        if self.is_gpu:
            torch.cuda.synchronize()
        elapsed = time.perf_counter() - clock
        return (elapsed if self.is_gpu else time.process_time() - processor), elapsed


def run_rounds(
    steps: dict[str, Callable[[], object]], rounds: int, device: str
) -> dict[str, list[tuple[float, float]]]:
    """Seconds per step of each, and of reading 256 MiB, in turns whose order turns around."""
    array = torch.ones(2**26, device=device)
    calls = {**{name: (step, STEPS) for name, step in steps.items()}, "read": (array.sum, 1)}
    clock = Clock(device)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for index in range(rounds + 1):  # the first warms up, and compiles
        for name in sorted(calls, reverse=index % 2 == 1):
            call, repeats = calls[name]
            taken = [clock.measure(call) for _ in range(repeats)]
            if index:
                times[name].append(tuple(statistics.fmean(one) for one in zip(*taken, strict=True)))
    return times


def floor_bytes(stage, context: int, num_rows: int, weight_bytes: int, cache_bytes: int) -> int:
    """Count the bytes that a step must read: the layers, one head, and all keys and values."""
    config = stage.config
    num_weights = sum(p.numel() for p in stage.model.layers.parameters()) + stage.heads[0].weight.numel()
    num_cached = 2 * config.num_hidden_layers * num_rows * config.num_attention_heads * config.head_dim * context
    return num_weights * weight_bytes + num_cached * cache_bytes


def report_context(stage, context: int, times: dict[str, list[tuple[float, float]]], reference: str) -> dict:
    read_s = [processor for processor, _ in times.pop("read")]
    bandwidth = 2**28 / statistics.median(read_s)
    weight_bytes = {"fast": 4, "fast float16": 2, "fast int8": 1}
    rows = {}
    for name, pairs in times.items():
        row = {"ms": [round(1e3 * value, 2) for value in median_interval([pair[0] for pair in pairs])]}
        row["clock_ms"] = round(1e3 * statistics.median(pair[1] for pair in pairs), 2)
        if reference in times:
            ratios = [peer[0] / own[0] for peer, own in zip(times[reference], pairs, strict=True)]
            row[f"speed against {reference}"] = [round(value, 2) for value in median_interval(ratios)]
        if name in weight_bytes:
            floor_s = floor_bytes(stage, context, NUM_ROWS, weight_bytes[name], 4) / bandwidth
            row["floor_ms"], row["times the floor"] = round(1e3 * floor_s, 2), round(row["ms"][0] / 1e3 / floor_s, 2)
        rows[name] = row
    return {"context": context, "read_gb_per_s": round(bandwidth / 1e9, 1), "steps": rows}


def compare_windows(options: argparse.Namespace) -> dict:
    """Tokens per second of N fine windows at once against one, each with guidance's two rows, halfway through."""
    stage = make_stage(AccompGenFineForCausalLM, AccompGenFineConfig, options)
    context = prompt_positions(stage.config, 1).shape[1] + 450
    num_positions = context + STEPS * (options.rounds + 2) + 1
    reports = {}
    for name, weight_format in FORMATS.items():
        stage.set_weight_format(weight_format)
        sizes = {"one": 1, "many": options.windows}
        steps = {key: fast_step(stage, 2 * size, context, num_positions) for key, size in sizes.items()}
        times = run_rounds(steps, options.rounds, options.device)
        pairs = zip(times["one"], times["many"], strict=True)
        gains = median_interval([options.windows * one[0] / many[0] for one, many in pairs])
        reports[name] = {
            **{f"ms {key}": round(1e3 * statistics.median(pair[0] for pair in times[key]), 2) for key in sizes},
            "gain": [round(value, 2) for value in gains],
        }
    return {"windows": options.windows, "context": context, "tokens per second against one window": reports}


@torch.inference_mode()
def main() -> None:
    options = parse_arguments()
    torch.manual_seed(0)
    report = {"device": options.device, "num_threads": torch.get_num_threads(), "torch": torch.__version__}
    report["rounds"] = options.rounds
    if options.windows:
        report["batched"] = compare_windows(options)
    else:
        stage = make_stage(AccompGenCoarseForCausalLM, AccompGenCoarseConfig, options)
        peers = make_peers(stage.config, options)
        report["contexts"] = []
        for context in options.contexts:
            torch.compiler.reset()
            times = run_rounds(make_steps(stage, peers, context, options), options.rounds, options.device)
            report["contexts"].append(report_context(stage, context, times, options.reference))
            print(json.dumps(report["contexts"][-1], indent=1), flush=True)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    run_script(main)
