"""What a model of parts plays, part by part, beside the true parts and their copies by its codec.

One file of scores per song, so that a killed run goes on where it stopped.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from accompgen_hf.accompgen.codec_accompgen import decode_in_blocks, encode_in_blocks
from accompgen_hf.accompgen.progress_accompgen import ProgressBar
from accompgen_hf.evaluation.metrics.chords import chord_tone_energy
from accompgen_hf.evaluation.metrics.part_scores import bass_root_rate, drum_beat_f1
from accompgen_hf.evaluation.metrics.style_classifier import StyleClassifier
from accompgen_hf.evaluation.protocol.bootstrap import draw_songs, estimate_mean
from accompgen_hf.evaluation.protocol.excerpts import SAMPLING_RATE, describe_recipe
from accompgen_hf.evaluation.protocol.outputs import claim_folder
from accompgen_hf.files import hash_file, read_json, write_json
from accompgen_hf.songs.band import PARTS
from accompgen_hf.songs.recipe import SongRecipe
from accompgen_hf.songs.song import Song
from accompgen_hf.training.codec.evaluation import spectral_flatness_db

BANDS = ("truth", "coded", "ours")
FLATNESS_HZ = {"flatness_low_db": (100, 1000), "flatness_high_db": (1000, 4000)}
NUM_RESAMPLES = 1000


def learn_styles(recipe: SongRecipe, num_songs: int, duration_s: float) -> StyleClassifier:
    """A classifier of the styles of true bands, which no measured song is among."""
    songs = [
        recipe.generate(seed, duration_s=duration_s, sampling_rate=SAMPLING_RATE)
        for seed in ProgressBar(range(num_songs), desc="bands to tell styles by", unit="song")
    ]
    styles = [song.annotation.style for song in songs]
    return StyleClassifier([song.instrumental for song in songs], SAMPLING_RATE, styles)


def score_bands(
    pipe: Any,
    model_dir: Path,
    recipe: SongRecipe,
    seeds: Sequence[int],
    classifier: StyleClassifier,
    output_dir: Path,
    duration_s: float = 10.0,
) -> list[dict[str, Any]]:
    """Let a model accompany songs in their own styles, and score its parts, the true ones, and these coded.

    Args:
        pipe: Pipeline of a model whose parts are those of the songs.
        model_dir (`Path`): Its folder; a change there makes everything anew.
        recipe ([`SongRecipe`]), seeds (sequence of `int`), duration_s (`float`): The songs.
        classifier ([`StyleClassifier`]): Names the styles.
        output_dir (`Path`): Keeps the scores of each song.

    Returns:
        Per song a `dict` of `seed`, `style`, and for each of `BANDS` its scores.

    Raises:
        ValueError: If the model has other parts.
    """
    if tuple(pipe.model.config.part_names) != PARTS:
        raise ValueError(f"`model` must play {', '.join(PARTS)}, got {', '.join(pipe.model.config.part_names)}.")
    weights = hash_file(model_dir / "model.safetensors")
    folder = output_dir / "songs"
    claim_folder(folder, {"weights": weights, "duration_s": duration_s, **describe_recipe(recipe)})
    rows = []
    for seed in ProgressBar(seeds, desc="bands", unit="song"):
        path = folder / f"{seed}.json"
        if not path.is_file():
            song = recipe.generate(seed, duration_s=duration_s, sampling_rate=SAMPLING_RATE, with_parts=True)
            write_json(path, _score_song(pipe, song, seed, classifier))
        rows.append(read_json(path))
    return rows


def _score_song(pipe: Any, song: Song, seed: int, classifier: StyleClassifier) -> dict[str, Any]:
    known = pipe.model.config.style_names
    style = song.annotation.style if song.annotation.style in known else None
    heard = {"array": song.vocals, "sampling_rate": SAMPLING_RATE}
    result = pipe(heard, seed=seed, style=style, output_sampling_rate=SAMPLING_RATE)
    bands = {"truth": song.parts, "coded": _code(pipe.model, song.parts), "ours": result["stems"]}
    scores = {}
    for name, parts in bands.items():
        whole = sum(parts[part] for part in PARTS)
        named = classifier.name([whole], SAMPLING_RATE)[0]
        scores[name] = {
            **{key: spectral_flatness_db(whole, *band, SAMPLING_RATE) for key, band in FLATNESS_HZ.items()},
            "chord_tone_energy": chord_tone_energy(whole, SAMPLING_RATE, song.annotation.chords),
            "drum_beat_f1": drum_beat_f1(parts["drums"], SAMPLING_RATE, song.annotation.beat_times),
            "bass_root_rate": bass_root_rate(parts["bass"], SAMPLING_RATE, song.annotation.chords),
            "style_named": float(named == song.annotation.style),
        }
    return {"seed": seed, "style": song.annotation.style, **scores}


def _code(model: Any, parts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    coded = {}
    for name, part in parts.items():
        waveform = torch.from_numpy(np.ascontiguousarray(part, np.float32))[None]
        codes = encode_in_blocks(model.codec, waveform, model.config.bandwidth)
        coded[name] = decode_in_blocks(model.codec, codes)[0].numpy()[: len(part)]
    return coded


def describe_bands(rows: Sequence[dict[str, Any]]) -> str:
    """A Markdown table of the means with 95 % intervals over songs; a score that a song lacks does not count."""
    names = list(rows[0]["truth"])
    lines = [f"| {len(rows)} songs | {' | '.join(BANDS)} |", "|---" * (1 + len(BANDS)) + "|"]
    draws = draw_songs(len(rows), NUM_RESAMPLES, 0)
    for name in names:
        cells = []
        for band in BANDS:
            estimate = estimate_mean([[row[band][name]] for row in rows], draws)
            if estimate is None:
                cells.append("")
                continue
            low, high = estimate.interval or (float("nan"), float("nan"))
            cells.append(f"{estimate.value:.2f} [{low:.2f}, {high:.2f}]")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
