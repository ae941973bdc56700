"""Sharpen a trained codec's Fourier decoder: less noise between partials, and the mean power of music back.

    python examples/sharpen_codec.py --codec runs/codec/final --songs_dir runs/codec/songs --output_dir runs/sharp

Codes stay as they are, so tokens and stages of the codec stay valid. `--songs_dir` is a folder of folders of songs, as
examples/train_codec.py writes them; the gains are set on some songs of each.
"""

import argparse
from itertools import groupby
from pathlib import Path

import numpy as np

from accompgen_hf.files import folder_written_whole
from accompgen_hf.model_parts import load_part
from accompgen_hf.scripts import run_script, script_parser
from accompgen_hf.training.codec.material import read_songs
from accompgen_hf.training.codec.sharpening import sharpen_decoder


def parse_arguments() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--codec", required=True, help="folder or Hub id of the codec, or of a whole model")
    parser.add_argument("--songs_dir", required=True, help="folder of folders of songs")
    parser.add_argument("--output_dir", type=Path, required=True, help="receives the codec")
    parser.add_argument("--amount", type=float, default=0.4, help="0 sets the gains alone; at most 1 (0.4)")
    parser.add_argument("--num_songs", type=int, default=12, help="songs of each folder that set the gains (12)")
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    if options.num_songs < 1:  # a negative one would leave the last songs out
        raise ValueError(f"`num_songs` must be at least 1, got {options.num_songs}.")
    codec = load_part(options.codec, "codec")
    parts = []
    for _, songs in groupby(read_songs(options.songs_dir), key=lambda song: Path(song.samples.filename).parent):
        for song in list(songs)[: options.num_songs]:
            parts.append(song.samples[song.rows("instrumental")].astype(np.float32) / 32767)
    gains = sharpen_decoder(codec, parts, options.amount)
    with folder_written_whole(options.output_dir) as staged:
        codec.save_pretrained(staged)
    print(f"{options.output_dir}: gains from {gains.min():.1f} to {gains.max():.1f} dB, set on {len(parts)} songs")


if __name__ == "__main__":
    run_script(main)
