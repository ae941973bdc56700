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
"""Fit the centroids of semantic ids on features of your own vocals and instrumentals (paper §3.2, K = 500).

    python examples/fit_kmeans.py --encoder facebook/hubert-large-ll60k --layer 9 \\
        --vocals data/vocals --instrumental data/instrumental --output_dir runs/centroids

Vocals get their level and noise, instrumentals neither; both count equally. A killed run goes on. The results
`centroids.safetensors` and `report.json` lie in `--output_dir`.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from transformers import HubertConfig

from accompgen_hf.accompgen.audio_accompgen import fold_to_mono, load_audio, resample
from accompgen_hf.accompgen.modeling_accompgen_semantic_encoder import (
    SAMPLES_PER_GRID_STEP,
    SEMANTIC_SAMPLING_RATE,
    AccompGenSemanticEncoder,
)
from accompgen_hf.accompgen.processing_accompgen import level_vocals, vocal_noise
from accompgen_hf.data.kmeans import extract_feature_shards, fit_centroids, report_centroids, save_centroids
from accompgen_hf.files import write_json
from accompgen_hf.scripts import run_script, script_parser

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aiff")


def parse_arguments() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--encoder", required=True, help="Hub id or folder of a HuBERT model")
    parser.add_argument("--layer", type=int, default=9, help="layer of the HuBERT whose features are clustered")
    parser.add_argument("--vocals", required=True, help="folder of vocals, searched in depth")
    parser.add_argument("--instrumental", required=True, help="folder of instrumentals, searched in depth")
    parser.add_argument("--output_dir", required=True, help="folder of the centroids")
    parser.add_argument("--num_clusters", type=int, default=500, help="number of centroids")
    parser.add_argument("--num_passes", type=int, default=5, help="passes over the features")
    parser.add_argument("--vocal_target_lufs", type=float, default=-20.0, help="level of the vocals in LUFS")
    parser.add_argument("--noise_std", type=float, default=0.01, help="noise on the vocals")
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="where the HuBERT runs"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the clustering")
    return parser.parse_args()


def list_recordings(folder: str) -> list[Path]:
    paths = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
    if not paths:
        raise SystemExit(f"No audio ({', '.join(AUDIO_SUFFIXES)}) under {folder}.")
    return paths


def read_recording(path: Path, item: int, is_vocal: bool, options: argparse.Namespace) -> np.ndarray:
    """Read one recording as the encoder hears it: 16 kHz mono, padded to 40 ms; vocals leveled, with their noise."""
    audio, sampling_rate = load_audio(path)
    waveform = resample(fold_to_mono(audio), sampling_rate, SEMANTIC_SAMPLING_RATE)
    if is_vocal:
        waveform = level_vocals(waveform, SEMANTIC_SAMPLING_RATE, options.vocal_target_lufs)
    waveform = np.pad(waveform, (0, -len(waveform) % SAMPLES_PER_GRID_STEP))
    if is_vocal:
        waveform = waveform + vocal_noise(options.seed, item, 0, len(waveform), options.noise_std)
    return waveform


def main() -> None:
    options = parse_arguments()
    output_dir = Path(options.output_dir)
    hidden_size = HubertConfig.from_pretrained(options.encoder).hidden_size
    blank = np.zeros((1, hidden_size), np.float32)  # features do not look at centroids
    encoder = AccompGenSemanticEncoder.from_hubert(options.encoder, blank, layer=options.layer).to(options.device)
    shards = {}
    for kind, folder in (("vocals", options.vocals), ("instrumental", options.instrumental)):
        readers = [
            (
                f"{item:06d}",
                lambda path=path, item=item, kind=kind: read_recording(path, item, kind == "vocals", options),
            )
            for item, path in enumerate(list_recordings(folder))
        ]
        shards[kind] = extract_feature_shards(encoder, readers, output_dir / "features" / kind)
    try:
        centroids = fit_centroids(
            shards["vocals"],
            shards["instrumental"],
            num_clusters=options.num_clusters,
            seed=options.seed,
            num_passes=options.num_passes,
            state_path=output_dir / "kmeans.npz",
        )
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error
    report = report_centroids(centroids, shards["vocals"], shards["instrumental"], seed=options.seed)
    save_centroids(output_dir / "centroids.safetensors", centroids, report)
    write_json(output_dir / "report.json", asdict(report), indent=2, sort_keys=False)
    print(json.dumps(asdict(report), indent=2))


if __name__ == "__main__":
    run_script(main)
