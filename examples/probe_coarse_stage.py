"""Does a coarse stage strike where its semantic ids say? On held-out clips, without the stages before and behind it.

    python examples/probe_coarse_stage.py --data runs/third/tokens --coarse runs/third/coarse/final

Codes are drawn in two ways and decoded: each after the true codes before it, which shows what the stage knows, and all
after its own, which shows what it plays; under the clip's own ids, under another clip's, and under none. The table
gives the correlation of the onset curves with those of the true codes. A stage that does not hear its ids strikes no
better with them than without.
"""

import argparse

import numpy as np
import torch

import accompgen_hf
from accompgen_hf.accompgen.codec_accompgen import decode_in_blocks
from accompgen_hf.accompgen.modeling_accompgen import AccompGenForConditionalGeneration
from accompgen_hf.accompgen.modeling_accompgen_codec import AccompGenCodec
from accompgen_hf.accompgen.modeling_accompgen_stages import AccompGenCoarseForCausalLM
from accompgen_hf.accompgen.progress_accompgen import ProgressBar
from accompgen_hf.accompgen.rhythm_accompgen import onset_bands
from accompgen_hf.data.collator import StageCollator
from accompgen_hf.data.dataset import StageClipDataset
from accompgen_hf.model_parts import load_part
from accompgen_hf.scripts import run_script, script_parser

BANDS = ("low", "mid", "high")
BATCH_CLIPS = 8
TEMPERATURE = 0.9


def parse_arguments() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--data", required=True, help="token shards; clips of their validation split")
    parser.add_argument("--model", default=accompgen_hf.DEFAULT_MODEL, help="composite, for its codec")
    parser.add_argument("--coarse", help="coarse stage, if not the composite's")
    parser.add_argument("--num_clips", type=int, default=32, help="clips to generate")
    parser.add_argument("--seed", type=int, default=0, help="seed of the clips")
    return parser.parse_args()


@torch.no_grad()
def main() -> None:
    options = parse_arguments()
    model = AccompGenForConditionalGeneration.from_pretrained(options.model, dtype=torch.float32).eval()
    stage = model.coarse
    if options.coarse is not None:
        stage = load_part(options.coarse, "coarse", dtype=torch.float32).eval()
    dataset = StageClipDataset(options.data, stage.config, "validation", seed=options.seed)
    own = [dataset[position] for position in range(options.num_clips)]
    other = [{**clip, "conditioning": own[index - 1]["conditioning"]} for index, clip in enumerate(own)]
    none = [{**clip, "is_dropped": True} for clip in own]
    true_onsets = measure_onsets(model.codec, torch.stack([clip["target"] for clip in own]))
    torch.manual_seed(options.seed)
    print("| codes drawn after | under ids of | low | mid | high |\n|---|---|---|---|---|")
    for history, draw, settings in (
        ("the true codes", draw_after_truth, {"the clip": own, "another clip": other, "nothing": none}),
        ("its own", draw_freely, {"the clip": own, "another clip": other}),
    ):
        for name, clips in settings.items():
            batches = [clips[start : start + BATCH_CLIPS] for start in range(0, len(clips), BATCH_CLIPS)]
            codes = torch.cat(
                [draw(stage, batch) for batch in ProgressBar(batches, desc=name, leave=False, disable=None)]
            )
            onsets = measure_onsets(model.codec, codes)
            found = [correlate(onsets[band], true_onsets[band]) for band in BANDS]
            print(f"| {history} | {name} | {' | '.join(f'{value:.2f}' for value in found)} |", flush=True)


def draw_after_truth(stage: AccompGenCoarseForCausalLM, clips: list[dict]) -> torch.LongTensor:
    """Draw every code from its distribution after the true codes before it; (B, K, T)."""
    inputs = StageCollator(stage.config)(clips)
    inputs.pop("labels")
    target = stage.config.target_segment
    is_target = inputs["segment_ids"][0] == len(stage.config.segments) - 1
    columns = is_target.nonzero()[:-1, 0]  # a position's logits are those of the code behind it
    logits = stage(**inputs, use_cache=False, logits_to_keep=columns).logits
    ids = torch.distributions.Categorical(logits=logits / TEMPERATURE).sample()  # (B, T K)
    codes = (ids - target.offset).unflatten(1, (-1, target.num_codebooks)) % target.codebook_size
    return codes.transpose(1, 2)


def draw_freely(stage: AccompGenCoarseForCausalLM, clips: list[dict]) -> torch.LongTensor:
    """Generate the clips with the stage's own settings; (B, K, T)."""
    conditioning, _ = StageCollator(stage.config).stack(clips)
    asked: dict[str, list[str | None]] = {}
    if "part_id" in clips[0]:
        asked["part"] = [stage.config.part_names[clip["part_id"]] for clip in clips]
    if "style_id" in clips[0]:
        styles = (None, *stage.config.style_names)
        asked["style"] = [styles[clip["style_id"]] for clip in clips]
    return stage.generate_codes(**conditioning, **asked, seed=0)


def measure_onsets(codec: AccompGenCodec, codes: torch.LongTensor) -> dict[str, np.ndarray]:
    """Onset curves of every band, (clips, frames), of coarse codes (clips, K, T)."""
    audio = decode_in_blocks(codec, codes).reshape(len(codes), -1).numpy()
    curves = [onset_bands(clip, codec.config.sampling_rate) for clip in audio]
    return {band: np.stack([curve[band] for curve in curves]) for band in BANDS}


def correlate(curves: np.ndarray, true_curves: np.ndarray) -> float:
    """Mean over the clips whose true curve moves; a curve that does not move counts as 0."""
    moving = true_curves.std(axis=1) > 0.1
    centred, true_centred = (each[moving] - each[moving].mean(axis=1, keepdims=True) for each in (curves, true_curves))
    norms = np.linalg.norm(centred, axis=1) * np.linalg.norm(true_centred, axis=1)
    return float(((centred * true_centred).sum(axis=1) / np.maximum(norms, 1e-9)).mean())


if __name__ == "__main__":
    run_script(main)
