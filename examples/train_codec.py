# /// script
# requires-python = ">=3.10"
# dependencies = [
#     "torch>=2.11",
#     "transformers>=5.17",
#     "safetensors>=0.4.3",
#     "huggingface-hub>=1.0",
#     "tokenizers>=0.22",
#     "numpy>=1.26",
#     "soundfile>=0.13",
#     "soxr>=0.5",
#     "pyloudnorm>=0.1.1",
#     "matplotlib>=3.8",
#     "mido>=1.3",
#     "tqdm>=4.66",
#     "accelerate>=1.10",
#     "datasets>=4.0",
#     "scikit-learn>=1.5",
#     "PyYAML>=6.0",
#     "peft>=0.18",
# ]
# ///
"""Train a codec on a folder of songs and measure it on held-out ones.

    python examples/train_codec.py --output_dir runs/codec --songs_dir songs --num_songs 300
    python examples/train_codec.py --output_dir runs/decoder --songs_dir songs --init_from runs/codec/final \\
        --freeze_encoder

`--num_songs` synthesizes procedural songs into the folder `numpy/` of `--songs_dir`, `--num_sampled_songs` songs by
sampled instruments into `soundfont/`; other folders of songs may stand beside them (see
`accompgen_hf.training.codec.material`). `--model` and the other settings that are no plain numbers are
given as JSON. Started again with the same arguments, it continues from the newest checkpoint.
"""

import argparse
import json
from dataclasses import MISSING, fields
from functools import partial
from pathlib import Path

import numpy as np

from accompgen_hf.scripts import describe_fields, run_script, script_parser
from accompgen_hf.songs.song import HELD_OUT_SEED
from accompgen_hf.training.codec.arguments import CodecTrainingArguments
from accompgen_hf.training.codec.evaluation import evaluate_codec
from accompgen_hf.training.codec.material import synthesize_tracks, write_songs
from accompgen_hf.training.codec.run import train_codec


def parse_arguments() -> tuple[CodecTrainingArguments, dict[str, int], int]:
    parser = script_parser(__doc__)
    parser.add_argument("--output_dir", required=True, help="receives checkpoints, curves and the codec in final/")
    parser.add_argument("--songs_dir", help="folder of folders of songs; default: songs/ in the output folder")
    parser.add_argument("--num_songs", type=int, default=0, help="procedural songs to synthesize into songs_dir/numpy")
    parser.add_argument("--num_sampled_songs", type=int, default=0, help="the same into songs_dir/soundfont")
    parser.add_argument("--num_test_songs", type=int, default=16, help="held-out songs to measure the codec on")
    helps = describe_fields(CodecTrainingArguments)
    for field in fields(CodecTrainingArguments):
        if field.name in ("output_dir", "songs_dir"):
            continue
        default = field.default_factory() if field.default is MISSING else field.default
        if isinstance(default, bool):
            parser.add_argument(
                f"--{field.name}", action=argparse.BooleanOptionalAction, default=default, help=helps[field.name]
            )
        elif isinstance(default, (dict, tuple)) or field.name == "keep_decoder_layers":
            parser.add_argument(
                f"--{field.name}", type=json.loads, default=default, metavar="JSON", help=helps[field.name]
            )
        else:
            kind = type(default) if default is not None else (str if field.name == "init_from" else int)
            parser.add_argument(f"--{field.name}", type=kind, default=default, help=helps[field.name])
    values = vars(parser.parse_args())
    num_songs = {"numpy": values.pop("num_songs"), "soundfont": values.pop("num_sampled_songs")}
    num_test_songs = values.pop("num_test_songs")
    values["songs_dir"] = values["songs_dir"] or str(Path(values["output_dir"]) / "songs")
    return CodecTrainingArguments(**values), num_songs, num_test_songs


def synthesize_band(seed: int) -> np.ndarray:
    """All of a song but the vocals."""
    return sum(track for name, track in synthesize_tracks(seed).items() if name != "vocals")


def main() -> None:
    arguments, num_songs, num_test_songs = parse_arguments()
    for renderer, number in num_songs.items():
        if number:
            source = partial(synthesize_tracks, renderer=renderer)
            write_songs(Path(arguments.songs_dir) / renderer, range(number), source)
    codec = train_codec(arguments)
    if codec is None:
        raise SystemExit("SIGTERM: saved and stopped. The same command goes on.")
    seeds = range(HELD_OUT_SEED, HELD_OUT_SEED + num_test_songs)
    results = evaluate_codec(codec, map(synthesize_band, seeds))
    text = json.dumps(results, indent=2)
    (Path(arguments.output_dir) / "evaluation.json").write_text(text + "\n", "utf-8")
    print(text)


if __name__ == "__main__":
    run_script(main)
