"""Record sha256 of what the package computes and compare with an earlier record, for changes that change nothing.

    python examples/pin_behaviour.py --output before.json --inputs runs/pin_inputs
    python examples/pin_behaviour.py --output after.json --inputs runs/pin_inputs --against before.json

Audio, mix and all codes of the shipped recording are recorded for two seeds, whole, streamed and as a preview, and
for a batch of two. Then the weights after 50 steps of each stage, and after a few steps of the codec and of the
semantic encoder, all of them tiny and trained by the scripts beside this one on procedural songs. `--inputs` keeps
the songs, so that a change of the songs alone is not taken for a change of the training.

The hashes hold on one machine only: another processor, or another build of PyTorch, rounds differently. This is why
this is a script and not a test. It takes many minutes of one core, and ends with exit code 1 on a difference.
"""

import functools
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from accompgen_hf.scripts import run_script, script_parser

os.environ["OMP_NUM_THREADS"] = "1"  # sums of several threads are ordered by chance; read when torch is imported

import numpy as np
import torch
from pyarrow.parquet import read_table
from safetensors.torch import load_file
from transformers import pipeline

import accompgen_hf

sys.modules["numba"] = None  # compiled steps sum in another order: the pins are those of PyTorch's loop

EXAMPLES = Path(__file__).resolve().parent
SHIPPED_VOCALS = Path(accompgen_hf.__file__).parent / "assets" / "vocals" / "vocadito_10.wav"
CODE_NAMES = ("vocal_semantic_ids", "instrumental_semantic_ids", "coarse_codes", "fine_codes")
TOKEN_COLUMNS = ["track_id", "split", "start_s", "vocal_semantic_ids", "instrumental_semantic_ids", "codes"]
PARTS = ("generation", "codec", "semantic_encoder", "stages")
SEEDS = (1, 2)
STAGE_SIZES = ("--model.hidden_size", 64, "--model.num_attention_heads", 4, "--model.head_dim", 16)
STAGE_SIZES += ("--model.intermediate_size", 168)
STAGE_STEPS = ("--max_steps", 50, "--global_batch_size", 4, "--validation_clips", 4, "--save_every", 25)
Hashes = dict[str, str]


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--inputs", type=Path, required=True, help="folder that keeps the songs; may be new")
    parser.add_argument("--against", type=Path, help="JSON file of an earlier call to compare with")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to record (default: all)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    pins = {"codec": pin_codec, "semantic_encoder": pin_semantic_encoder, "stages": pin_stages}
    hashes: Hashes = pin_generation() if "generation" in options.only else {}
    with tempfile.TemporaryDirectory() as work:
        for part in (part for part in options.only if part in pins):
            hashes |= pins[part](Path(work) / part, options.inputs.resolve())
    hashes |= {f"inputs/{path.relative_to(options.inputs)}": hash_file(path) for path in list_files(options.inputs)}
    options.output.write_text(json.dumps(hashes, indent=2) + "\n", "utf-8")
    if options.against is not None:
        sys.exit(compare(hashes, json.loads(options.against.read_text("utf-8"))))


def compare(hashes: Hashes, recorded: Hashes) -> int:
    """Say what differs among the entries that were made now; 1 if anything does."""
    differing = [name for name, value in hashes.items() if recorded.get(name) != value]
    for name in differing:
        print(f"differs: {name}")
    print(f"{len(hashes) - len(differing)} of {len(hashes)} entries are equal")
    return 1 if differing else 0


def hash_array(array: Any) -> str:
    """sha256 of dtype, shape and values."""
    array = np.ascontiguousarray(torch.as_tensor(array).cpu().numpy())
    return hashlib.sha256(f"{array.dtype} {array.shape}".encode() + array.tobytes()).hexdigest()


def hash_tensors(path: Path) -> str:
    """sha256 over all tensors of a safetensors file, whatever their order in it."""
    tensors = load_file(path)
    lines = [f"{name} {tensors[name].dtype} {hash_array(tensors[name].float())}" for name in sorted(tensors)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


# ---- generation ----------------------------------------------------------------------------------------------------


def pin_generation() -> Hashes:
    """Hashes of what the pipeline, its stream and the model give for the shipped recording."""
    pipe = pipeline("vocal-accompaniment", model=accompgen_hf.DEFAULT_MODEL, device="cpu")
    call = functools.partial(pipe, str(SHIPPED_VOCALS), return_codes=True, show_progress=False)
    hashes: Hashes = {}
    for seed in SEEDS:
        whole, preview = call(seed=seed), call(seed=seed, preview=True)
        hashes |= hash_result(f"whole/seed_{seed}", whole) | hash_result(f"preview/seed_{seed}", preview)
        hashes |= pin_stream(pipe, seed)
    both = pipe(
        [str(SHIPPED_VOCALS)] * 2, seed=7, return_codes=True, show_progress=False, output_sampling_rate="input"
    )
    for row, result in enumerate(both):
        hashes |= hash_result(f"batch_of_two/row_{row}", result)
    # Codes that are known already, one window at a time, and settings for one stage and for all.
    hashes |= hash_result("known_codes", call(known_codes=preview))
    hashes |= hash_result("one_window_at_a_time", call(seed=1, preview=True, window_batch_size=1))
    settings = {"guidance_scale": 2.0, "top_k": 50, "coarse_kwargs": {"temperature": 0.8}, "num_variations": 2}
    for row, result in enumerate(call(seed=5, preview=True, vocals_lufs=-18.0, **settings)):
        hashes |= hash_result(f"settings/variation_{row}", result)
    return hashes | pin_model(pipe)


def hash_result(name: str, result: dict[str, Any]) -> Hashes:
    arrays = ("audio", "mix", *CODE_NAMES)
    hashes = {f"generation/{name}/{key}": hash_array(result[key]) for key in arrays if key in result}
    stems = {f"generation/{name}/stems/{part}": hash_array(stem) for part, stem in result.get("stems", {}).items()}
    return hashes | stems


def pin_stream(pipe: Any, seed: int) -> Hashes:
    """A file that is read in blocks, with what `on_codes` reports."""
    codes: dict[str, list[torch.Tensor]] = {}
    stream = pipe.stream(
        str(SHIPPED_VOCALS), seed=seed, on_codes=lambda name, piece: codes.setdefault(name, []).append(piece)
    )
    starts, pieces = zip(*stream, strict=True)
    joined = {name: torch.cat(parts, dim=-1) for name, parts in codes.items()}
    starts_hash = {f"generation/stream/seed_{seed}/starts": hash_array(np.array(starts))}
    return hash_result(f"stream/seed_{seed}", {"audio": np.concatenate(pieces), **joined}) | starts_hash


def pin_model(pipe: Any) -> Hashes:
    """The model's own `generate`, and that of each stage from codes by name."""
    audio = torch.sin(torch.arange(32_000) / 16_000 * 2 * torch.pi * 220)
    values = torch.from_numpy(pipe.processor.prepare_vocals(audio.numpy(), 16_000, seed=3))
    output = pipe.model.generate(torch.stack([values, values]), seed=[3, 9])
    hashes = {f"generation/model/{name}": hash_array(value) for name, value in output.items()}
    part_names = list(pipe.model.config.part_names)
    for stage, target in zip(("semantic", "coarse", "fine"), CODE_NAMES[1:], strict=True):
        model = getattr(pipe.model, stage)
        conditioning = {name: output[name][:1] for name in model.config.conditioning_names}  # of the first row
        parts = {}
        if stage != "semantic":  # a row is one part
            for name, codes in conditioning.items():
                conditioning[name] = codes.expand(len(part_names), -1) if name == CODE_NAMES[0] else codes[0]
            parts = {"part": part_names}
        hashes[f"generation/{stage}/{target}"] = hash_array(model.generate_codes(seed=11, **parts, **conditioning))
    return hashes


# ---- training ------------------------------------------------------------------------------------------------------


def pin_stages(work: Path, inputs: Path) -> Hashes:
    """Tokens of a few songs in parts, by the shipped codec and encoder, and the weights of stages trained on them."""
    shipped = accompgen_hf.DEFAULT_MODEL
    parts = ("--semantic_encoder", shipped, "--codec", shipped, "--parts", "drums", "bass", "other", "--styles")
    songs = ("--num_songs", 12, "--songs_dir", inputs / "stage_songs", "--validation_share", 0.4)
    run("prepare_dataset.py", *songs, *parts, "--output_dir", work / "tokens")
    hashes: Hashes = {}
    for path in sorted((work / "tokens").glob("*.parquet")):
        tokens = read_table(path, columns=TOKEN_COLUMNS).to_pydict()
        hashes[f"training/tokens/{path.name}"] = hashlib.sha256(json.dumps(tokens).encode()).hexdigest()
    ids, codes = ("--init_ids_from", shipped), ("--init_codes_from", shipped)
    for stage, starts in {"semantic": ids, "coarse": ids + codes, "fine": codes}.items():
        config = EXAMPLES / "configs" / "tiny" / f"{stage}.yaml"
        places = ("--config", config, "--data", work / "tokens", "--output_dir", work / stage)
        run("train_stage.py", *places, *starts, *(STAGE_SIZES if stage != "fine" else ()), *STAGE_STEPS)
        hashes[f"training/{stage}/weights"] = hash_tensors(work / stage / "final" / "model.safetensors")
    return hashes


def pin_codec(work: Path, inputs: Path) -> Hashes:
    """Weights of a codec after a few updates in each of its two phases."""
    sizes = ("--num_songs", 4, "--num_test_songs", 1, "--batch_size", 2, "--songs_dir", inputs / "codec_songs")
    steps = (name_of_option("train_codec.py", "num_steps", "max_steps"), 12, "--num_continuous_steps", 6)
    steps += ("--num_codebook_fit_batches", 40, "--warmup_steps", 2)
    run("train_codec.py", "--output_dir", work, *sizes, *steps)
    return {"training/codec/weights": hash_tensors(work / "final" / "model.safetensors")}


def pin_semantic_encoder(work: Path, inputs: Path) -> Hashes:
    """Weights and centroids of an encoder after a few updates of masked prediction and of tuning."""
    work.mkdir(parents=True)
    (inputs / "pool").mkdir(parents=True, exist_ok=True)
    (work / "pool").symlink_to(inputs / "pool", target_is_directory=True)
    sizes = ("--num_clips", 50, "--num_held_out_clips", 50, "--num_clusters", 20, "--batch_clips", 2)
    steps = ("--max_steps", 8, "--tuning_steps", 4, "--warmup_steps", 2, "--evaluate_every", 4, "--save_every", 4)
    run("train_semantic_encoder.py", "--output_dir", work, *sizes, *steps)
    return {"training/semantic_encoder/weights": hash_tensors(work / "final" / "model.safetensors")}


def name_of_option(script: str, *names: str) -> str:
    """The first of some option names that a script knows, where a name has changed."""
    known = subprocess.run([sys.executable, EXAMPLES / script, "--help"], capture_output=True, text=True, check=True)
    return next(f"--{name}" for name in names if f"--{name} " in known.stdout)


def run(script: str, *arguments: object) -> None:
    """Run a script beside this one; what it says is shown if it fails."""
    words = [sys.executable, str(EXAMPLES / script), *map(str, arguments)]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"{script} failed:\n{done.stdout[-4000:]}")


def list_files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def hash_file(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    run_script(main)
