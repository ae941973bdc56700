"""Songs and a recording in other keys and tempi, what a model plays to them, and how often it follows.

Every output is a file in `<output_dir>/songs` or `<output_dir>/recording`, so a killed run goes on where it stopped.
"""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from accompgen_hf.accompgen.audio_accompgen import fold_to_mono, load_audio, resample, write_audio
from accompgen_hf.accompgen.harmony_accompgen import PITCH_CLASSES, Key, detect_key
from accompgen_hf.accompgen.progress_accompgen import ProgressBar
from accompgen_hf.accompgen.rhythm_accompgen import track_beats
from accompgen_hf.evaluation.metrics.following import TEMPO_TOLERANCE, chroma_rotation, shift_recording, tempo_error
from accompgen_hf.evaluation.metrics.harmony_rhythm import HarmonyRhythmEmbedder
from accompgen_hf.evaluation.metrics.keys import score_key
from accompgen_hf.evaluation.metrics.prompt_adherence import accompaniment_prompt_adherence, derange
from accompgen_hf.evaluation.protocol.bootstrap import draw_songs, estimate_mean, estimate_statistic
from accompgen_hf.evaluation.protocol.excerpts import REFERENCE_SEED, SAMPLING_RATE, describe_recipe
from accompgen_hf.evaluation.protocol.outputs import claim_folder
from accompgen_hf.evaluation.systems.system import OursSystem
from accompgen_hf.songs.recipe import PLAIN_SONGS, SongRecipe
from accompgen_hf.songs.song import HELD_OUT_SEED, SongAnnotation

VERSIONS = {"as-is": (0, 1.0), "up-3": (3, 1.0), "down-4": (-4, 1.0), "faster": (0, 1.1)}  # semitones, speed
DURATION_S = 10.0
NUM_RESAMPLES = 1000


def sing_version(annotation: SongAnnotation, version: str) -> SongAnnotation:
    """The same song in another key or at another tempo."""
    semitones, speed = VERSIONS[version]
    annotation = annotation.transposed(semitones) if semitones else annotation
    return annotation if speed == 1.0 else annotation.at_tempo(speed)


def follow_songs(
    system: OursSystem, output_dir: Path, num_songs: int, recipe: SongRecipe = PLAIN_SONGS
) -> list[dict[str, Any]]:
    """Let a model accompany held-out songs of a recipe in every version, and compare with the true bands in them.

    Returns:
        Per song: `seed`, and for `ours` and `truth` whether `up-3` and `down-4` were followed, and the `tempo_error`
        of `faster`.
    """
    folder = _claim_folder(system, Path(output_dir) / "songs", recipe)
    rows = []
    for seed in ProgressBar(
        range(HELD_OUT_SEED, HELD_OUT_SEED + num_songs), desc="songs in four versions", unit="song"
    ):
        annotation = recipe.compose(seed, duration_s=DURATION_S)
        versions = {name: sing_version(annotation, name) for name in VERSIONS}
        songs = {name: recipe.synthesize(version, sampling_rate=SAMPLING_RATE) for name, version in versions.items()}
        paths = {name: folder / f"{seed}-{name}.wav" for name in VERSIONS}
        _generate(system, [(songs[name].vocals, seed, path) for name, path in paths.items()])
        heard = {name: load_audio(path)[0][0] for name, path in paths.items()}
        asked_bpm = versions["faster"].tempo_bpm
        bands = {name: song.instrumental for name, song in songs.items()}
        measured = {"ours": _measure_versions(heard, asked_bpm), "truth": _measure_versions(bands, asked_bpm)}
        rows.append({"seed": seed, **measured})
    return rows


def _claim_folder(system: OursSystem, folder: Path, recipe: SongRecipe = PLAIN_SONGS) -> Path:
    versions = {name: list(version) for name, version in VERSIONS.items()}
    claim_folder(folder, {"describe": system.describe(), "versions": versions, **describe_recipe(recipe)})
    return folder


def _generate(system: OursSystem, wanted: Sequence[tuple[np.ndarray, int, Path]]) -> None:
    """Accompany vocals with a seed into a file each; what has no file yet is made together."""
    missing = [each for each in wanted if not each[2].is_file()]
    if missing:
        vocals, seeds, paths = zip(*missing, strict=True)
        for path, audio in zip(paths, system.accompany(list(vocals), SAMPLING_RATE, list(seeds)), strict=True):
            write_audio(path, audio, SAMPLING_RATE)


def _measure_versions(heard: dict[str, np.ndarray], asked_bpm: float) -> dict[str, Any]:
    before = heard["as-is"]
    measured: dict[str, Any] = {
        name: chroma_rotation(before, heard[name], SAMPLING_RATE) == VERSIONS[name][0] % PITCH_CLASSES
        for name in ("up-3", "down-4")
    }
    error = tempo_error(track_beats(heard["faster"], SAMPLING_RATE).tempo_bpm, asked_bpm)
    return measured | {"tempo_error": error, "faster": error is not None and error <= TEMPO_TOLERANCE}


def swapped_adherence(
    output_dir: Path, num_songs: int, num_reference: int, recipe: SongRecipe = PLAIN_SONGS
) -> dict[str, Any]:
    """APA (harmony-rhythm) of the outputs of `follow_songs` beside their own vocals, and beside another song's."""
    embedder = HarmonyRhythmEmbedder()
    analyse = partial(embedder.analyse, sampling_rate=SAMPLING_RATE)
    seeds = range(HELD_OUT_SEED, HELD_OUT_SEED + num_songs)
    songs = [recipe.generate(seed, duration_s=DURATION_S, sampling_rate=SAMPLING_RATE) for seed in seeds]
    vocals, bands = ([analyse(getattr(song, side)) for song in songs] for side in ("vocals", "instrumental"))
    outputs = [analyse(load_audio(Path(output_dir) / "songs" / f"{seed}-as-is.wav")[0][0]) for seed in seeds]
    reference = [
        recipe.generate(REFERENCE_SEED + index, duration_s=DURATION_S, sampling_rate=SAMPLING_RATE)
        for index in ProgressBar(range(num_reference), desc="real pairs", unit="song")
    ]
    real = [(analyse(song.vocals), analyse(song.instrumental)) for song in reference]
    partners = derange(num_reference)
    x = np.concatenate([embedder.join(*pair) for pair in real])
    deranged = np.concatenate([embedder.join(real[i][0], real[partners[i]][1]) for i in range(num_reference)])
    partners, draws = derange(num_songs), draw_songs(num_songs, 300, 0)
    results = {}
    for name, sides in {"ours": outputs, "truth": bands}.items():
        for swap, order in {"own": range(num_songs), "swapped": partners}.items():
            pairs = [embedder.join(vocals[index], side) for index, side in zip(order, sides, strict=True)]
            apa = estimate_statistic(pairs, lambda y: accompaniment_prompt_adherence(x, deranged, y).apa, draws, 0.0)
            results[f"{name}, {swap}"] = apa.to_dict()
    return results


def follow_recording(system: OursSystem, path: str | os.PathLike, output_dir: Path, num_seeds: int) -> dict[str, Any]:
    """Let a model accompany a real recording in every version, several times.

    Returns:
        `key` of the voice, `seeds` and per version a list of results: `key` heard, `agrees` (the voice's key, moved
        with it, or the relative one), `rotation` from `as-is` to the version with the same seed, `tempo_bpm`.
    """
    audio, rate = load_audio(path)
    voice = resample(fold_to_mono(audio), rate, SAMPLING_RATE)
    folder = _claim_folder(system, Path(output_dir) / "recording")
    for name, (semitones, speed) in ProgressBar(VERSIONS.items(), desc="versions of the recording"):
        vocals = voice if name == "as-is" else shift_recording(voice, SAMPLING_RATE, semitones, speed)
        _generate(system, [(vocals, seed, folder / f"{name}-{seed:02d}.wav") for seed in range(num_seeds)])
    voice_key = detect_key(voice, SAMPLING_RATE)
    results: dict[str, Any] = {"recording": Path(path).name, "key": voice_key, "seeds": num_seeds, "versions": {}}
    for name, (semitones, _) in VERSIONS.items():
        expected = None if voice_key is None else Key((voice_key.tonic + semitones) % PITCH_CLASSES, voice_key.mode)
        rows = []
        for seed in range(num_seeds):
            heard = load_audio(folder / f"{name}-{seed:02d}.wav")[0][0]
            key = detect_key(heard, SAMPLING_RATE)
            rotation = None
            if name in ("up-3", "down-4"):
                rotation = chroma_rotation(load_audio(folder / f"as-is-{seed:02d}.wav")[0][0], heard, SAMPLING_RATE)
            agrees = expected is not None and bool(score_key(key, expected)["relative"])
            tempo_bpm = track_beats(heard, SAMPLING_RATE).tempo_bpm
            rows.append({"key": key, "agrees": agrees, "rotation": rotation, "tempo_bpm": tempo_bpm})
        results["versions"][name] = rows
    return results


def describe_songs(rows: Sequence[dict[str, Any]], swapped: dict[str, Any]) -> list[str]:
    """Markdown lines: how often the songs' versions were followed, and APA with exchanged singers."""
    draws = draw_songs(len(rows), NUM_RESAMPLES, 0)
    lines = [
        f"| {len(rows)} held-out songs, followed in | ours | true band | chance |",
        "|---|---|---|---|",
    ]
    chances = {"up-3": "0.08", "down-4": "0.08", "faster": ""}
    labels = {
        "up-3": "3 semitones up: pitch classes turned by exactly 3",
        "down-4": "4 semitones down: by exactly 8",
        "faster": f"a tenth faster: tempo within {TEMPO_TOLERANCE:.0%}, octaves folded",
    }
    for name, label in labels.items():
        cells = [_share([[float(row[side][name])] for row in rows], draws) for side in ("ours", "truth")]
        lines.append(f"| {label} | {cells[0]} | {cells[1]} | {chances[name]} |")
    for swap, label in {"own": "APA beside their own singers", "swapped": "APA beside other singers"}.items():
        cells = [_format(swapped[f"{side}, {swap}"]) for side in ("ours", "truth")]
        lines.append(f"| {label} | {cells[0]} | {cells[1]} | |")
    return [*lines, ""]


def _share(values: Sequence[Sequence[float]], draws: np.ndarray) -> str:
    return _format(estimate_mean(values, draws).to_dict())


def _format(estimate: dict[str, Any]) -> str:
    return f"{estimate['value']:.2f} [{estimate['low']:.2f}, {estimate['high']:.2f}]"


def describe_recording(results: dict[str, Any]) -> list[str]:
    """Markdown lines: every single result of the recording, and the shares."""
    names = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")

    def text(key: Sequence[Any] | None) -> str:
        return "none" if key is None else f"{names[key[0]]}{'m' if key[1] == 'minor' else ''}"

    lines = [
        f"| `{results['recording']}`, heard in {text(results['key'])}; {results['seeds']} seeds | key agrees | "
        "transposition followed | keys heard, seed by seed | rotations, seed by seed |",
        "|---|---|---|---|---|",
    ]
    for name, rows in results["versions"].items():
        rotations = [row["rotation"] for row in rows if row["rotation"] is not None]
        expected = VERSIONS[name][0] % PITCH_CLASSES
        followed = f"{np.mean([value == expected for value in rotations]):.2f}" if rotations else ""
        keys = " ".join(text(row["key"]) for row in rows)
        agrees = np.mean([row["agrees"] for row in rows])
        lines.append(f"| {name} | {agrees:.2f} | {followed} | {keys} | {' '.join(map(str, rotations))} |")
    return [*lines, ""]
