"""Measure the shipped default on held-out procedural songs, and write its card.

    python examples/report_tiny.py --output_dir REPORT [--model DIR] [--work_dir runs/third] \\
        --composition lead_sheets --singers mixed --renderer mixed

`report.json` holds every number, `README.md` is the model card with them, `songs.png` shows the first songs.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from transformers import AutoConfig, pipeline

import accompgen_hf  # registers the task
from accompgen_hf.accompgen.codec_accompgen import decode_in_blocks, encode_in_blocks
from accompgen_hf.accompgen.progress_accompgen import ProgressBar
from accompgen_hf.app.picture import draw_picture
from accompgen_hf.data.dataset import StageClipDataset
from accompgen_hf.data.preparation import prepare_shards
from accompgen_hf.data.song_source import song_track
from accompgen_hf.data.source_options import add_song_recipe_options, read_song_recipe
from accompgen_hf.data.tokenization import TokenExtractor, TokenRecipe
from accompgen_hf.evaluation.metrics.keys import best_tonic
from accompgen_hf.files import write_json, write_text
from accompgen_hf.hub import band_card_values
from accompgen_hf.scripts import run_script, script_parser
from accompgen_hf.songs.song import HELD_OUT_SEED, Song
from accompgen_hf.training.codec.evaluation import evaluate_codec
from accompgen_hf.training.stages.validation import validate_stage

RATE = 24_000
STAGES = ("semantic", "coarse", "fine")
RECIPE_OPTIONS = ("composition", "singers", "renderer")
MIN_KEY_SHARE = 6 / 16  # below, programs go on calling the model a placeholder
PLACEHOLDER = """It is a placeholder, and programs say so: codec and encoder are trained, the stages barely. What comes
out has the band's loudness and drum onsets, but no clear pitch."""
TEMPLATE = Path(__file__).resolve().parent.parent / "model_cards" / "tiny.md"


def parse_arguments() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--model", default=accompgen_hf.DEFAULT_MODEL, help="folder of the composite")
    parser.add_argument("--output_dir", type=Path, required=True, help="folder of the report")
    parser.add_argument("--work_dir", type=Path, help="of make_tiny.py: what the training cost")
    parser.add_argument("--num_songs", type=int, default=16, help="held-out songs to accompany")
    parser.add_argument("--first_seed", type=int, default=HELD_OUT_SEED, help="seed of the first song")
    parser.add_argument("--guidance_scale", type=float, default=None, help="None takes the model's own")
    add_song_recipe_options(parser)
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    recipe = read_song_recipe(options)
    recipe.require()
    options.output_dir.mkdir(parents=True, exist_ok=True)
    pipe = pipeline("vocal-accompaniment", model=str(options.model), device="cpu")
    seeds = range(options.first_seed, options.first_seed + options.num_songs)
    with_parts = len(pipe.model.config.part_names) > 1
    songs = [
        recipe.generate(seed, sampling_rate=RATE, with_parts=with_parts) for seed in ProgressBar(seeds, desc="songs")
    ]
    report = {
        "num_songs": len(songs),
        "first_seed": options.first_seed,
        "song_recipe": recipe.describe(),
        "codec": evaluate_codec(pipe.model.codec, [song.instrumental for song in songs]),
        "stages": measure_stages(pipe, songs, options.output_dir / "tokens"),
        "music": measure_music(pipe, songs, options),
        "parameters": {
            name: sum(parameter.numel() for parameter in getattr(pipe.model, name).parameters())
            for name in (*STAGES, "semantic_encoder", "codec")
        },
        "size_mb": (Path(options.model) / "model.safetensors").stat().st_size / 1e6,
        "token_fingerprint": pipe.model.config.token_fingerprint,
    }
    report["is_placeholder"] = report["music"]["key_hits"] < MIN_KEY_SHARE * len(songs)
    write_json(options.output_dir / "report.json", report, indent=2, sort_keys=False)
    cost = read_cost(options.work_dir)
    write_text(options.output_dir / "README.md", write_card(report, cost, options))
    print(json.dumps(report, indent=2))


def measure_stages(pipe, songs: list, tokens_dir: Path) -> dict:
    """Loss, perplexity and conditioning gain of each stage on the held-out songs' tokens."""
    config = pipe.model.config
    recipe = TokenRecipe(config.vocal_target_lufs, config.noise_std, part_names=tuple(config.part_names))
    extractor = TokenExtractor(pipe.model.semantic_encoder, pipe.model.codec, recipe)
    tracks = [song_track(song, config.style_names) for song in songs]
    prepare_shards(tracks, extractor, tokens_dir, validation_share=1.0)
    results = {}
    for name in STAGES:
        stage = getattr(pipe.model, name)
        dataset = StageClipDataset(tokens_dir, stage.config, split="validation")
        results[name] = validate_stage(stage, dataset, num_clips=2 * len(songs), batch_size=4)
    return results


def measure_music(pipe, songs: list, options: argparse.Namespace) -> dict:
    """Whether the accompaniments are in their singers' keys, and how much work of the processor they took."""
    guidance = {} if options.guidance_scale is None else {"guidance_scale": options.guidance_scale}
    rows, work_s = [], 0.0
    for index, song in enumerate(ProgressBar(songs, desc="accompaniments")):
        start = time.process_time()  # the clock also counts what else the machine does
        result = pipe(
            {"array": song.vocals, "sampling_rate": song.sampling_rate}, seed=index, show_progress=False, **guidance
        )
        work_s += time.process_time() - start
        annotation, audio = song.annotation, result["audio"]
        oracle = code_band(pipe, song)
        rows.append(
            {
                "seed": annotation.seed,
                "key": annotation.key_name,
                "is_hit": best_tonic(audio, RATE, annotation.mode) == annotation.tonic,
                "is_hit_of_codec": best_tonic(oracle, RATE, annotation.mode) == annotation.tonic,
                "is_hit_of_truth": best_tonic(song.instrumental, RATE, annotation.mode) == annotation.tonic,
                "rms_db": 20 * float(np.log10(np.sqrt(np.mean(audio**2)) + 1e-9)),
            }
        )
        if index < 3:
            path = options.output_dir / f"song_{annotation.seed}.png"
            draw_picture(path, song.vocals, audio, result["mix"], RATE, title=f"{annotation.key_name}, seed {index}")
    seconds = sum(len(song.vocals) / song.sampling_rate for song in songs)
    return {
        "key_hits": sum(row["is_hit"] for row in rows),
        "key_hits_of_codec": sum(row["is_hit_of_codec"] for row in rows),
        "key_hits_of_truth": sum(row["is_hit_of_truth"] for row in rows),
        "real_time_factor": work_s / seconds,
        "num_threads": torch.get_num_threads(),
        "songs": rows,
    }


def code_band(pipe, song: Song) -> np.ndarray:
    """The true band through the codec, part by part if the model plays parts."""
    bands = [song.instrumental] if song.parts is None else list(song.parts.values())
    decoded = []
    for band in bands:
        waveform = pipe.processor.prepare_instrumental(band, song.sampling_rate)[1]
        codes = encode_in_blocks(pipe.model.codec, torch.from_numpy(waveform)[None], pipe.model.config.bandwidth)
        decoded.append(decode_in_blocks(pipe.model.codec, codes)[0].numpy())
    return sum(decoded)


def read_cost(work_dir: Path | None) -> dict[str, float]:
    if work_dir is None or not (work_dir / "cost.jsonl").exists():
        return {}
    cost: dict[str, float] = {}
    for line in (work_dir / "cost.jsonl").read_text("utf-8").splitlines():
        entry = json.loads(line)
        cost[entry["step"]] = cost.get(entry["step"], 0.0) + entry["minutes"] * entry["processes"]
    return cost


def write_card(report: dict, cost: dict[str, float], options: argparse.Namespace) -> str:
    """Fill model_cards/tiny.md; what is not known is said so."""
    music, codec, count = report["music"], report["codec"], report["parameters"]
    stages = [report["stages"][name] for name in STAGES]
    config = AutoConfig.from_pretrained(options.model)
    gains = [f"{stage['conditioning_gain']:.3f} ± {stage['conditioning_gain_interval']:.3f}" for stage in stages]
    values = {
        **band_card_values(config),
        "num_clusters": config.semantic_encoder_config.num_clusters,
        "num_songs": report["num_songs"],
        "song_options": " ".join(f"--{name} {report['song_recipe'][name]}" for name in RECIPE_OPTIONS),
        "codec_parameters": count["codec"],
        "encoder_parameters": count["semantic_encoder"],
        "stage_parameters": ", ".join(str(count[name]) for name in STAGES),
        "size_mb": f"{report['size_mb']:.1f}",
        "codec_error": f"{codec['log_mel_error']:.3f}",
        "preview_error": f"{codec['preview_log_mel_error']:.3f}",
        "mean_spectrum_error": f"{codec['mean_spectrum_error']:.3f}",
        "codebook_perplexities": ", ".join(f"{value:.0f}" for value in codec["perplexity"]),
        "stage_losses": ", ".join(f"{stage['loss']:.2f}" for stage in stages),
        "conditioning_gains": "; ".join(gains),
        "key_hits": f"{music['key_hits']} of {report['num_songs']}",
        "key_hits_of_truth": f"{music['key_hits_of_truth']} of {report['num_songs']}",
        "key_hits_of_codec": f"{music['key_hits_of_codec']} of {report['num_songs']}",
        "real_time_factor": f"{music['real_time_factor']:.2f}",
        "threads": f"{music['num_threads']} thread" + "s" * (music["num_threads"] > 1),
        "training_cost": ", ".join(f"{name} {minutes:.0f} min" for name, minutes in cost.items()) or "not recorded",
        "placeholder": PLACEHOLDER if report["is_placeholder"] else "",
    }
    card = TEMPLATE.read_text("utf-8")
    for name, value in values.items():
        card = card.replace("{{" + name + "}}", str(value))
    return card


if __name__ == "__main__":
    run_script(main)
