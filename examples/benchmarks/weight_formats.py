"""What decoding with weights in fewer bits costs the stages: perplexity and token agreement on held-out songs.

    OMP_NUM_THREADS=1 python examples/benchmarks/weight_formats.py --num_songs 8 --output_dir runs/weight_formats

Every stage is fed the true codes of one window per song, slot by slot, by the decoding loop itself: with its weights
as they are, in float16 and in int8. Perplexity is that of the conditional rows. Two numbers tell agreement with the
weights as they are, over all slots: the share where the likeliest code is the same, and the share where the model's
own settings (guidance, temperature, top-k) choose the same code with the same uniform number.
"""

import argparse
import json
import math
from pathlib import Path

import torch
from transformers import pipeline
from transformers.generation.logits_process import TemperatureLogitsWarper, TopKLogitsWarper

import accompgen_hf  # registers the task
from accompgen_hf.accompgen.fast_decoding_accompgen import FastStageDecoder
from accompgen_hf.accompgen.logits_accompgen import AccompGenGuidanceLogitsProcessor, inverse_cdf_choice
from accompgen_hf.accompgen.stage_chain_accompgen import STAGES
from accompgen_hf.accompgen.weight_formats_accompgen import WEIGHT_FORMATS
from accompgen_hf.data.collator import StageCollator
from accompgen_hf.data.dataset import StageClipDataset
from accompgen_hf.data.preparation import prepare_shards
from accompgen_hf.data.song_source import song_track
from accompgen_hf.data.tokenization import TokenExtractor, TokenRecipe
from accompgen_hf.scripts import run_script, script_parser
from accompgen_hf.songs.song import HELD_OUT_SEED, generate_song


def parse_arguments() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--model", default=accompgen_hf.DEFAULT_MODEL, help="folder of the composite")
    parser.add_argument("--num_songs", type=int, default=8, help="songs to compare")
    parser.add_argument("--first_seed", type=int, default=HELD_OUT_SEED, help="seed of the first song")
    parser.add_argument("--song_s", type=float, default=10.0, help="length of a song")
    parser.add_argument("--output_dir", type=Path, required=True, help="for the songs' tokens")
    return parser.parse_args()


@torch.inference_mode()
def follow(stage: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Run the loop over known codes.

    Returns:
        Per slot and row: cross-entropy of the true code (nats), the likeliest code, and the chosen code.
    """
    config, settings = stage.config, stage.generation_config
    names = ("input_ids", "segment_ids", "segment_positions")
    rows = {name: inputs[name] for name in ("part_ids", "style_ids") if name in inputs}
    num_rows, num_positions = inputs["input_ids"].shape
    first = int((inputs["segment_ids"][0] < len(config.segments) - 1).sum()) + 1
    prompt = stage.prepare_inputs_for_generation(
        **{name: inputs[name][:, :first] for name in names}, **rows, guided_rows="both"
    )
    decoder = FastStageDecoder(stage, prompt["segment_positions"], num_positions)
    both = decoder.prefill(**{name: prompt[name] for name in (*names, *rows)})
    warpers = [
        AccompGenGuidanceLogitsProcessor(settings.guidance_scale),
        TemperatureLogitsWarper(settings.temperature),
    ]
    warpers.append(TopKLogitsWarper(settings.top_k))
    uniforms = torch.rand(num_positions, num_rows, generator=torch.Generator().manual_seed(0))
    losses, likeliest, chosen = [], [], []
    for index in range(first, num_positions):
        codes = inputs["input_ids"][:, index] - decoder.first_code_id
        conditional = both[:num_rows]
        losses.append(torch.nn.functional.cross_entropy(conditional, codes, reduction="none"))
        likeliest.append(conditional.argmax(-1))
        scores = both
        for warper in warpers:
            scores = warper(None, scores)
        chosen.append(inverse_cdf_choice(scores, uniforms[index]))
        if index + 1 < num_positions:
            both = decoder.step(inputs["input_ids"][:, index])
    return {"loss": torch.stack(losses), "likeliest": torch.stack(likeliest), "chosen": torch.stack(chosen)}


def compare_formats(stage: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> dict[str, dict[str, float]]:
    plain = follow(stage.set_weight_format(None), inputs)
    rows = {"as they are": {"perplexity": round(math.exp(plain["loss"].mean()), 3)}}
    for weight_format in WEIGHT_FORMATS:
        found = follow(stage.set_weight_format(weight_format), inputs)
        rows[weight_format] = {
            "perplexity": round(math.exp(found["loss"].mean()), 3),
            "loss_difference_nats": round(float((found["loss"] - plain["loss"]).mean()), 5),
            "same_likeliest": round(float((found["likeliest"] == plain["likeliest"]).float().mean()), 4),
            "same_choice": round(float((found["chosen"] == plain["chosen"]).float().mean()), 4),
        }
    return rows


def main() -> None:
    options = parse_arguments()
    model = pipeline(accompgen_hf.TASK, model=str(options.model), device="cpu").model
    part_names = tuple(model.config.part_names)
    recipe = TokenRecipe(model.config.vocal_target_lufs, model.config.noise_std, part_names=part_names)
    extractor = TokenExtractor(model.semantic_encoder, model.codec, recipe)
    seeds = range(options.first_seed, options.first_seed + options.num_songs)
    asked = {"duration_s": options.song_s, "with_parts": len(part_names) > 1}
    tracks = [song_track(generate_song(seed, **asked)) for seed in seeds]
    prepare_shards(tracks, extractor, options.output_dir / "tokens", validation_share=1.0)
    report = {}
    for name in STAGES:
        stage = getattr(model, name)
        dataset = StageClipDataset(options.output_dir / "tokens", stage.config, split="validation")
        inputs = StageCollator(stage.config)([dataset[index] for index in range(len(dataset))])
        report[name] = {"windows": len(dataset), **compare_formats(stage, inputs)}
        print(json.dumps({name: report[name]}, indent=1), flush=True)


if __name__ == "__main__":
    run_script(main)
