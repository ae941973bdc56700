"""Speed of one training step of a stage, beside a Llama of Transformers of equal width, depth, inner size, vocabulary.

    OMP_NUM_THREADS=1 python examples/benchmarks/train_step.py --stage semantic --rounds 5
    OMP_NUM_THREADS=1 python examples/benchmarks/train_step.py --mixed_precision bf16 --beside float32

A step is forward, backward and AdamW. The two models take turns, so that other work on the machine affects both alike.
On a CPU the time is that of the processor, which other processes do not lengthen; on a GPU it is the clock's. The
Llama predicts every position with one head over the whole vocabulary. A stage predicts its target positions, each with
the head of its codebook. That is the work that training either of them takes. `--beside float32` takes turns with the
stage itself without mixed precision.
"""

import argparse
import copy
import json
import os
import platform
import statistics
import time

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from transformers import LlamaConfig, LlamaForCausalLM

import accompgen_hf.singsong  # noqa: F401  (its models can be measured, too)
from accompgen_hf.accompgen.codebooks_accompgen import build_stage_inputs
from accompgen_hf.data.stage_kinds import STAGE_KINDS
from accompgen_hf.scripts import run_script, script_parser
from accompgen_hf.training.stages.setup import count_positions
from accompgen_hf.training.stages.throughput import count_clip_flops, find_peak_tflops

CLIP_DURATIONS_S = {"semantic": 10.0, "coarse": 5.0, "fine": 3.0}  # Table 1 of the paper


def parse_arguments() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--stage", choices=tuple(CLIP_DURATIONS_S), default="semantic", help="stage to train")
    parser.add_argument("--rounds", type=int, default=5, help="measured steps of each model, after one to warm up")
    parser.add_argument("--batch_size", type=int, default=1, help="clips per step")
    parser.add_argument(
        "--relative_position_axis", choices=("token", "time"), default="token", help="what relative positions count"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="where it runs")
    parser.add_argument(
        "--mixed_precision", choices=("no", "bf16", "fp16"), default="no", help="precision of the step"
    )
    parser.add_argument("--beside", choices=("llama", "float32"), default="llama", help="what it takes turns with")
    parser.add_argument("--fsdp2", action="store_true", help="the stage sharded by FSDP2 over this one device")
    parser.add_argument(
        "--gradient_checkpointing", action="store_true", help="compute activations again to save memory"
    )
    parser.add_argument("--peak_tflops", type=float, help="of the device, for the MFU; known for some GPUs")
    parser.add_argument("--hidden_size", type=int, default=1024, help="the paper's by default; less to try it out")
    parser.add_argument("--num_layers", type=int, default=6, help="layers of the stage")
    return parser.parse_args()


def make_stage(options: argparse.Namespace) -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    """A stage of the size asked for, and a batch of random codes."""
    model_class = STAGE_KINDS[options.stage].model_class
    config = model_class.config_class(
        hidden_size=options.hidden_size,
        num_hidden_layers=options.num_layers,
        num_attention_heads=options.hidden_size // 64,
        head_dim=64,
        intermediate_size=options.hidden_size * 8 // 3,
        relative_position_axis=options.relative_position_axis,
        clip_duration_s=CLIP_DURATIONS_S[options.stage],
    )
    generator = torch.Generator().manual_seed(0)
    codes = {}
    for segment in config.segments:
        num_frames = round(config.clip_duration_s * segment.frame_rate)
        shape = (options.batch_size, segment.num_codebooks, num_frames)
        codes[segment.name] = torch.randint(segment.codebook_size, shape, generator=generator)
        if not segment.has_codebook_axis:
            codes[segment.name] = codes[segment.name][:, 0]
    target = codes.pop(config.target_name)
    return model_class(config), build_stage_inputs(config, codes, target)


def make_llama(config, batch: dict[str, torch.Tensor]) -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    """A Llama of the stage's sizes, and the same ids for it."""
    llama = LlamaConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.num_hidden_layers,
        num_attention_heads=config.num_attention_heads,
        num_key_value_heads=config.num_attention_heads,
        head_dim=config.head_dim,
        use_cache=False,
        bos_token_id=None,
        eos_token_id=None,
    )
    ids = batch["input_ids"]
    return LlamaForCausalLM(llama), {"input_ids": ids, "labels": ids}


class TimedModel:
    """A model, its batch and optimizer; `step` trains once and returns the seconds that it took."""

    def __init__(self, model: torch.nn.Module, batch: dict[str, torch.Tensor], options: argparse.Namespace):
        self.device = torch.device(options.device)
        self.model = model.to(self.device).train()
        if options.gradient_checkpointing:
            self.model.gradient_checkpointing_enable()
        self.batch = {name: tensor.to(self.device) for name, tensor in batch.items()}
        self.dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(options.mixed_precision)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=options.mixed_precision == "fp16")
        if options.fsdp2:
            shard(self.model, self.device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True)

    def step(self) -> float:
        is_gpu = self.device.type == "cuda"
        if is_gpu:
            torch.cuda.synchronize()
        clock = time.perf_counter if is_gpu else time.process_time
        start = clock()
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
            loss = self.model(**self.batch).loss
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        if is_gpu:
            torch.cuda.synchronize()
        return clock() - start


def shard(model: torch.nn.Module, device: torch.device) -> None:
    """Share a stage among the processes of a group of one, layer by layer, as accelerate's FSDP2 does."""
    store = dist.HashStore()
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", store=store, rank=0, world_size=1)
    mesh = init_device_mesh(device.type, (1,))
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)


def median_interval(values: list[float]) -> tuple[float, float, float]:
    """Median, and the order statistics that hold it with about 95 % (the extremes where there are few values)."""
    ordered = sorted(values)
    margin = max(0, int(len(ordered) / 2 - 0.98 * len(ordered) ** 0.5))
    return statistics.median(ordered), ordered[margin], ordered[-1 - margin]


def main() -> None:
    options = parse_arguments()
    if "OMP_NUM_THREADS" in os.environ:
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.manual_seed(0)
    stage, batch = make_stage(options)
    other = make_llama(stage.config, batch) if options.beside == "llama" else (copy.deepcopy(stage), batch)
    other_options = argparse.Namespace(**{**vars(options), "fsdp2": False})
    if options.beside == "float32":
        other_options.mixed_precision = "no"
    models = {"stage": TimedModel(stage, batch, options), options.beside: TimedModel(*other, other_options)}
    num_tokens = batch["input_ids"].numel()
    for model in models.values():
        model.step()
    times_s: dict[str, list[float]] = {name: [] for name in models}
    for index in range(options.rounds):
        for name in sorted(models, reverse=index % 2 == 1):  # either is first as often as the other
            times_s[name].append(models[name].step())
            print(f"round {index + 1}, {name}: {times_s[name][-1]:.3f} s", flush=True)
    report = {
        "stage": options.stage,
        "num_positions": count_positions(stage.config),
        "batch_size": options.batch_size,
        "device": torch.cuda.get_device_name() if options.device.startswith("cuda") else platform.processor() or "cpu",
        "num_threads": torch.get_num_threads(),
        "mixed_precision": options.mixed_precision,
        "fsdp2": options.fsdp2,
        "num_parameters": {
            name: sum(parameter.numel() for parameter in model.model.parameters()) for name, model in models.items()
        },
        "tokens_per_s": {
            name: [round(num_tokens / seconds, 1) for seconds in median_interval(times_s[name])] for name in models
        },
        f"ratio_to_{options.beside}": [
            round(value, 3)
            for value in median_interval(
                [other / own for other, own in zip(times_s[options.beside], times_s["stage"], strict=True)]
            )
        ],
        "torch": torch.__version__,
    }
    peak = find_peak_tflops(torch.device(options.device), options.mixed_precision, options.peak_tflops)
    if peak is not None:
        flops = count_clip_flops(stage.config) * options.batch_size
        report["mfu"] = round(flops / statistics.median(times_s["stage"]) / peak / 1e12, 4)
    if options.device.startswith("cuda"):
        report["max_memory_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
    print(json.dumps(report, indent=1))
    if options.fsdp2:
        dist.destroy_process_group()


if __name__ == "__main__":
    run_script(main)
