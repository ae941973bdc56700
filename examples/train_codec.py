"""Train the small EnCodec on procedural songs and measure it on held-out ones.

    python examples/train_codec.py --output_dir runs/codec

Started again with the same arguments, it continues from the newest checkpoint.
"""

import argparse
import json
from dataclasses import MISSING, fields
from pathlib import Path

from accompgen_hf.songs.song import HELD_OUT_SEED
from accompgen_hf.training.codec.evaluation import evaluate_codec
from accompgen_hf.training.codec.run import CodecTrainingArguments, synthesize_song, train_codec


def parse_arguments() -> tuple[CodecTrainingArguments, int]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", required=True, help="receives checkpoints, curves and the codec in final/")
    parser.add_argument("--songs_dir", help="keeps the synthesized songs; default: songs/ in the output folder")
    parser.add_argument("--num_test_songs", type=int, default=16, help="held-out songs to measure the codec on")
    for field in fields(CodecTrainingArguments):
        if field.default is not MISSING and isinstance(field.default, (int, float)):
            parser.add_argument(f"--{field.name}", type=type(field.default), default=field.default)
    values = vars(parser.parse_args())
    num_test_songs = values.pop("num_test_songs")
    values["songs_dir"] = values["songs_dir"] or str(Path(values["output_dir"]) / "songs")
    return CodecTrainingArguments(**values), num_test_songs


def main() -> None:
    arguments, num_test_songs = parse_arguments()
    codec = train_codec(arguments)
    seeds = range(HELD_OUT_SEED, HELD_OUT_SEED + num_test_songs)
    results = evaluate_codec(codec, (synthesize_song(seed)[1] for seed in seeds))
    text = json.dumps(results, indent=2)
    (Path(arguments.output_dir) / "evaluation.json").write_text(text + "\n", "utf-8")
    print(text)


if __name__ == "__main__":
    main()
