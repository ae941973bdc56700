"""What a model of parts plays, part by part, beside the true parts and their copies by its codec.

With true codes of its first stages (`given`) the rest shows what each stage loses: what `true-semantic` plays well was
planned, and what it plays badly was lost in the later stages.

One file of scores per song, so that a killed run goes on where it stopped.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from accompgen_hf.accompgen.codec_accompgen import decode_in_blocks, encode_in_blocks
from accompgen_hf.accompgen.harmony_accompgen import Key, detect_chords, detect_key
from accompgen_hf.accompgen.progress_accompgen import ProgressBar
from accompgen_hf.accompgen.rhythm_accompgen import track_beats
from accompgen_hf.evaluation.metrics.beats import score_beats
from accompgen_hf.evaluation.metrics.chords import chord_tone_energy, score_chords
from accompgen_hf.evaluation.metrics.keys import score_key
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
GIVEN = ("semantic", "coarse")  # stages whose true codes a model can be given
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
    given: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Let a model accompany songs in their own styles, and score its parts, the true ones, and these coded.

    Args:
        pipe: Pipeline of a model whose parts are those of the songs.
        model_dir (`Path`): Its folder; a change there makes everything anew.
        recipe ([`SongRecipe`]), seeds (sequence of `int`), duration_s (`float`): The songs.
        classifier ([`StyleClassifier`]): Names the styles.
        output_dir (`Path`): Keeps the scores of each song.
        given (sequence of `str`): Stages of `GIVEN` up to which the model also plays from the true codes.

    Returns:
        Per song a `dict` of `seed`, `style`, and for each of `BANDS` and `true-<stage>` its scores.

    Raises:
        ValueError: If the model has other parts.
    """
    if tuple(pipe.model.config.part_names) != PARTS:
        raise ValueError(f"`model` must play {', '.join(PARTS)}, got {', '.join(pipe.model.config.part_names)}.")
    weights = hash_file(model_dir / "model.safetensors")
    folder = output_dir / "songs"
    settings = {"weights": weights, "duration_s": duration_s, **describe_recipe(recipe)}
    claim_folder(folder, settings | ({"given": list(given)} if given else {}))
    rows = []
    for seed in ProgressBar(seeds, desc="bands", unit="song"):
        path = folder / f"{seed}.json"
        if not path.is_file():
            song = recipe.generate(seed, duration_s=duration_s, sampling_rate=SAMPLING_RATE, with_parts=True)
            write_json(path, _score_song(pipe, song, seed, classifier, given))
        rows.append(read_json(path))
    return rows


def _score_song(pipe: Any, song: Song, seed: int, classifier: StyleClassifier, given: Sequence[str]) -> dict[str, Any]:
    known = pipe.model.config.style_names
    style = song.annotation.style if song.annotation.style in known else None
    heard = {"array": song.vocals, "sampling_rate": SAMPLING_RATE}
    options = {"seed": seed, "style": style, "output_sampling_rate": SAMPLING_RATE, "show_progress": False}
    codes = _encode_parts(pipe, song.parts)
    bands = {"truth": song.parts, "coded": _decode_parts(pipe.model, codes, len(song.vocals))}
    bands["ours"] = pipe(heard, **options)["stems"]
    plan = _plan_parts(pipe, song.parts) if given else None
    for stage in given:
        true_codes = {"instrumental_semantic_ids": plan}
        if stage == "coarse":
            true_codes["coarse_codes"] = codes[:, : pipe.model.config.coarse_config.num_codebooks]
        bands[f"true-{stage}"] = pipe(heard, known_codes=true_codes, **options)["stems"]
    scores = {name: _score_parts(parts, song, classifier) for name, parts in bands.items()}
    return {"seed": seed, "style": song.annotation.style, **scores}


def _score_parts(parts: dict[str, np.ndarray], song: Song, classifier: StyleClassifier) -> dict[str, float | None]:
    truth = song.annotation
    whole = sum(parts[part] for part in PARTS)
    key = score_key(detect_key(whole, SAMPLING_RATE), Key(truth.tonic, truth.mode))
    return {
        **{name: spectral_flatness_db(whole, *band, SAMPLING_RATE) for name, band in FLATNESS_HZ.items()},
        "key_exact": key["exact"],
        "chord_majmin": score_chords(detect_chords(whole, SAMPLING_RATE), truth.chords),
        "chord_tone_energy": chord_tone_energy(whole, SAMPLING_RATE, truth.chords),
        "beat_f1": score_beats(track_beats(whole, SAMPLING_RATE).times, np.asarray(truth.beat_times)),
        "drum_beat_f1": drum_beat_f1(parts["drums"], SAMPLING_RATE, truth.beat_times),
        "bass_root_rate": bass_root_rate(parts["bass"], SAMPLING_RATE, truth.chords),
        "style_named": float(classifier.name([whole], SAMPLING_RATE)[0] == truth.style),
    }


@torch.no_grad()
def _encode_parts(pipe: Any, parts: dict[str, np.ndarray]) -> torch.LongTensor:
    """Codes `(P, num_codebooks, num_frames)` of the true parts."""
    model, codes = pipe.model, []
    for name in model.config.part_names:
        waveform = pipe.processor.prepare_instrumental(parts[name], SAMPLING_RATE)[1]
        codes.append(encode_in_blocks(model.codec, torch.from_numpy(waveform)[None], model.config.bandwidth))
    return torch.cat(codes)


@torch.no_grad()
def _plan_parts(pipe: Any, parts: dict[str, np.ndarray]) -> torch.LongTensor:
    """Semantic ids `(1, P, num_frames)` of the true parts."""
    ids = []
    for name in pipe.model.config.part_names:
        waveform = pipe.processor.prepare_instrumental(parts[name], SAMPLING_RATE)[0]
        ids.append(pipe.model.semantic_encoder(torch.from_numpy(waveform)[None]).semantic_ids)
    return torch.stack(ids, dim=1)


def _decode_parts(model: Any, codes: torch.LongTensor, num_samples: int) -> dict[str, np.ndarray]:
    decoded = [decode_in_blocks(model.codec, row)[0].numpy()[:num_samples] for row in codes.split(1)]
    return dict(zip(model.config.part_names, decoded, strict=True))


def describe_bands(rows: Sequence[dict[str, Any]]) -> str:
    """A Markdown table of the means with 95 % intervals over songs; a score that a song lacks does not count."""
    names = list(rows[0]["truth"])
    bands = [*BANDS, *(f"true-{stage}" for stage in GIVEN if f"true-{stage}" in rows[0])]
    lines = [f"| {len(rows)} songs | {' | '.join(bands)} |", "|---" * (1 + len(bands)) + "|"]
    draws = draw_songs(len(rows), NUM_RESAMPLES, 0)
    for name in names:
        cells = []
        for band in bands:
            estimate = estimate_mean([[row[band][name]] for row in rows], draws)
            if estimate is None:
                cells.append("")
                continue
            low, high = estimate.interval or (float("nan"), float("nan"))
            cells.append(f"{estimate.value:.2f} [{low:.2f}, {high:.2f}]")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
