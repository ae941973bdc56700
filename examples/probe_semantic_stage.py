"""What a semantic stage's ids say about chord and beat, before anything is heard: to choose its settings cheaply.

    python examples/probe_semantic_stage.py --pool_dir runs/tiny/semantic_encoder/pool --settings 3@0.9 3@0.7 1@0.7

A table, learned on true ids of training songs, names chord and quarter of the beat of every frame. It is read on true
and on generated ids of other songs (seeds from 790000 on, which are not under test). Settings: GUIDANCE@TEMPERATURE.
"""

import argparse

import numpy as np
import torch

import accompgen_hf
from accompgen_hf.accompgen.modeling_accompgen import AccompGenForConditionalGeneration
from accompgen_hf.scripts import run_script, script_parser
from accompgen_hf.training.semantic_encoder.finish import read_heard_waveform
from accompgen_hf.training.semantic_encoder.pool import SongPool
from accompgen_hf.training.semantic_encoder.probe import derive_labels, probe_label

PROBED = ("chord", "beat_phase")


def parse_arguments() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--pool_dir", required=True, help="songs of train_semantic_encoder.py")
    parser.add_argument("--model", default=accompgen_hf.DEFAULT_MODEL, help="folder of the composite")
    parser.add_argument(
        "--settings", nargs="+", default=["3@0.9"], metavar="GUIDANCE@TEMPERATURE", help="settings to compare"
    )
    parser.add_argument("--num_table_songs", type=int, default=100, help="a multiple of 50")
    parser.add_argument("--num_songs", type=int, default=50, help="a multiple of 50")
    parser.add_argument("--seed", type=int, default=0, help="seed of the clips")
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    model = AccompGenForConditionalGeneration.from_pretrained(options.model, dtype=torch.float32).eval()
    training = SongPool(options.pool_dir, options.num_table_songs)
    held_out = SongPool(options.pool_dir, options.num_songs, 790_000)
    table_ids = {kind: extract_ids(model, training, kind) for kind in ("vocals", "instrumental")}
    true_ids = {kind: extract_ids(model, held_out, kind) for kind in ("vocals", "instrumental")}
    labels = [derive_labels("vocals", pool.read_labels(range(pool.num_clips))) for pool in (training, held_out)]

    def show(name: str, kind: str, ids: np.ndarray) -> None:
        found = [probe_label(table_ids[kind].ravel(), labels[0][key].ravel(), ids.ravel(), labels[1][key].ravel())
                 for key in PROBED]  # fmt: skip
        changes = (ids[:, 1:] != ids[:, :-1]).mean() * 50
        print(f"| {name} | {found[0].accuracy:.3f} | {found[1].accuracy:.3f} | {changes:.1f} |", flush=True)

    print("| ids | chord | quarter of the beat | changes per second |\n|---|---|---|---|")
    show("of the voice", "vocals", true_ids["vocals"])
    show("of the true band", "instrumental", true_ids["instrumental"])
    for setting in options.settings:
        guidance_scale, temperature = map(float, setting.split("@"))
        generated = model.semantic.generate_codes(
            vocal_semantic_ids=torch.from_numpy(true_ids["vocals"]),
            seed=options.seed,
            guidance_scale=guidance_scale,
            temperature=temperature,
            window_batch_size=options.num_songs,
        )
        show(f"generated, guidance {guidance_scale:g}, temperature {temperature:g}", "instrumental", generated.numpy())


@torch.no_grad()
def extract_ids(model: AccompGenForConditionalGeneration, pool: SongPool, kind: str) -> np.ndarray:
    """Semantic ids (num_clips, T50) of one side of every song."""
    waveforms = [torch.from_numpy(read_heard_waveform(pool, kind, clip))[None] for clip in range(pool.num_clips)]
    return np.concatenate([model.semantic_encoder(waveform).semantic_ids.numpy() for waveform in waveforms])


if __name__ == "__main__":
    run_script(main)
