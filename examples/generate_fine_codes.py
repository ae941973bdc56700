"""Write codes of songs whose fine ones a model's fine stage made, for a decoder that learns to play them.

    python examples/generate_fine_codes.py --model accompgen-tiny --songs_dir songs
    python examples/train_codec.py --output_dir runs/decoder --songs_dir songs --init_from accompgen-tiny \\
        --freeze_encoder --generated_share 0.6

`--songs_dir` is a folder of folders of songs in the model's parts, as examples/train_codec.py writes them; each gets a
folder `codes/`. Started again, it goes on.
"""

import argparse
from pathlib import Path

import torch

from accompgen_hf.accompgen.modeling_accompgen import AccompGenForConditionalGeneration
from accompgen_hf.model_parts import resolve_model
from accompgen_hf.scripts import run_script, script_parser
from accompgen_hf.training.codec.generated_codes import write_generated_codes
from accompgen_hf.training.codec.material import TRACKS_NAME


def parse_arguments() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--model", default="accompgen-tiny", help="folder or Hub id of the model (accompgen-tiny)")
    parser.add_argument("--songs_dir", type=Path, required=True, help="folder of folders of songs")
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    folders = [path.parent for path in sorted(options.songs_dir.glob(f"*/{TRACKS_NAME}"))]
    if not folders:
        raise ValueError(f"`songs_dir` {options.songs_dir} must hold folders with {TRACKS_NAME}, found none.")
    model = AccompGenForConditionalGeneration.from_pretrained(resolve_model(options.model), dtype=torch.float32).eval()
    for folder in folders:
        write_generated_codes(model, folder)


if __name__ == "__main__":
    run_script(main)
