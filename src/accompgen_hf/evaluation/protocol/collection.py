"""All embeddings and scores of a run, grouped by song: what the numbers of a table are computed from."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from accompgen_hf.accompgen.audio_accompgen import load_audio, resample
from accompgen_hf.accompgen.fingerprint_accompgen import hash_json
from accompgen_hf.accompgen.progress_accompgen import ProgressBar
from accompgen_hf.evaluation.metrics.prompt_adherence import derange
from accompgen_hf.evaluation.protocol.excerpts import INSTRUMENTAL, VOCALS, WindowFolder
from accompgen_hf.evaluation.protocol.scoring import Item, Scorer
from accompgen_hf.evaluation.systems.system import Window
from accompgen_hf.files import hash_file

Songs = list[np.ndarray]  # per song the embeddings (N, D) of its windows


@dataclass
class Collected:
    """What was measured of one system.

    Attributes:
        embeddings (`dict`): Condition, then name (`"target.logmel"`, ...), to one array per song.
        scores (`list` of `list` of `dict`): Scores of each window of each song, for isolated vocals.
    """

    embeddings: dict[str, dict[str, Songs]] = field(default_factory=dict)
    scores: list[list[dict[str, float | None]]] = field(default_factory=list)


def collect_system(
    name: str, outputs: dict[str, Path], test_set: WindowFolder, scorer: Scorer, folder: Path
) -> Collected:
    """Score every output of a system that has no score yet.

    Args:
        name (`str`): Name of the system.
        outputs (`dict`): Condition to the folder of its outputs.
        test_set (`WindowFolder`): The windows.
        scorer (`Scorer`): Measures.
        folder (`Path`): Folder of all scores.

    Raises:
        ValueError: If an output is missing, or cannot be read.
    """
    collected = Collected()
    inputs = hash_json(test_set.description)
    for condition, output_folder in outputs.items():
        by_song: dict[str, list[dict[str, np.ndarray]]] = {song: [] for song in test_set.song_ids}
        scores: dict[str, list[dict]] = {song: [] for song in test_set.song_ids}
        for window in ProgressBar(test_set.windows, desc=f"scores of {name}, {condition}", unit="window"):
            output = output_folder / f"{window.window_id}.wav"
            identity = [inputs, window.window_id, hash_file(output)]
            make = _item_maker(test_set, window, output)
            path = folder / name / condition / window.window_id
            by_song[window.song_id].append(scorer.load_embeddings(Path(f"{path}.npz"), identity, make))
            if condition == "isolated":
                scores[window.song_id].append(scorer.load_scores(Path(f"{path}.json"), identity, make))
        collected.embeddings[condition] = _join(by_song.values())
        if condition == "isolated":
            collected.scores = list(scores.values())
    return collected


def collect_real_pairs(
    windows: WindowFolder, scorer: Scorer, folder: Path, label: str, deranged_seed: int | None = None
) -> dict[str, Songs]:
    """Embeddings of true pairs, or of pairs whose instrumentals were exchanged between songs.

    Args:
        windows (`WindowFolder`): Songs of the reference, or of the test set for the gate.
        scorer (`Scorer`): Measures.
        folder (`Path`): Folder of the files.
        label (`str`): Label of the files and the progress bar.
        deranged_seed (`int`, *optional*): Exchanges the instrumentals; then only `pair.` embeddings mean something.
    """
    partners = {window.window_id: window for window in windows.windows}
    if deranged_seed is not None:
        partners = exchange_instrumentals(windows, deranged_seed)
    inputs = hash_json(windows.description)
    by_song: dict[str, list[dict[str, np.ndarray]]] = {song: [] for song in windows.song_ids}
    for window in ProgressBar(windows.windows, desc=label, unit="window"):
        partner = partners[window.window_id]

        def make(window: Window = window, partner: Window = partner) -> Item:
            vocals, band = windows.load(window, VOCALS), windows.load(partner, INSTRUMENTAL)
            return Item(vocals, band, windows.sampling_rate)

        path = folder / label.replace(" ", "_") / f"{window.window_id}.npz"
        by_song[window.song_id].append(
            scorer.load_embeddings(path, [inputs, window.window_id, partner.window_id], make)
        )
    return _join(by_song.values())


def exchange_instrumentals(windows: WindowFolder, seed: int) -> dict[str, Window]:
    """For every window, by its id, a window of another song whose instrumental it gets.

    Raises:
        ValueError: If there is only one song.
    """
    by_song = {song: [window for window in windows.windows if window.song_id == song] for song in windows.song_ids}
    songs = list(by_song.values())
    partners = {}
    for song, partner in zip(songs, derange(len(songs), seed), strict=True):
        for index, window in enumerate(song):
            partners[window.window_id] = songs[partner][index % len(songs[partner])]
    return partners


def _item_maker(test_set: WindowFolder, window: Window, output: Path) -> Any:
    loaded: list[Item] = []

    def make() -> Item:
        if not loaded:
            audio, rate = load_audio(output)
            loaded.append(
                Item(
                    vocals=test_set.load(window, VOCALS),
                    accompaniment=resample(audio[0], rate, test_set.sampling_rate),
                    sampling_rate=test_set.sampling_rate,
                    annotation=test_set.annotation(window),
                    reference=test_set.load(window, INSTRUMENTAL),
                )
            )
        return loaded[0]

    return make


def _join(songs: Sequence[list[dict[str, np.ndarray]]]) -> dict[str, Songs]:
    names = next(iter(songs))[0].keys()
    return {name: [np.concatenate([window[name] for window in song]) for song in songs] for name in names}
