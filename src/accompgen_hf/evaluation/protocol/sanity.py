"""Do the metrics measure? True accompaniments must score high, and every disturbance must move scores the right way.

`measure_truth` scores songs' own accompaniments, silence and clicks against the songs' truth, `measure_disturbances`
the same accompaniments with noise, out of tune and late, over rising levels.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import numpy as np

from accompgen_hf.accompgen.audio_accompgen import fit_length, resample
from accompgen_hf.evaluation.metrics.audio_embedders import Embedder
from accompgen_hf.evaluation.metrics.frechet import frechet_audio_distance
from accompgen_hf.evaluation.metrics.musical_scores import score_accompaniment
from accompgen_hf.evaluation.metrics.prompt_adherence import accompaniment_prompt_adherence, derange
from accompgen_hf.evaluation.protocol.fit_musical_tables import make_metronome
from accompgen_hf.songs.song import Song

SCORES = ("key_exact", "key_relative", "key_mirex", "chord_majmin", "beat_f1", "tempo_correct", "chroma_cosine")
CLICKS_BPM = 97.3  # a tempo like any other


def add_noise(audio: np.ndarray, sampling_rate: int, level_db: float) -> np.ndarray:
    """White noise whose power is `level_db` above (+) or below the audio's."""
    noise = np.random.default_rng(0).standard_normal(len(audio))
    power = np.mean(np.square(audio, dtype=np.float64)) * 10 ** (level_db / 10)
    return (audio + np.sqrt(power) * noise).astype(np.float32)


def detune(audio: np.ndarray, sampling_rate: int, cents: float) -> np.ndarray:
    """Played faster, and so higher by `cents`; the end is repeated, so that the length stays."""
    faster = resample(audio, round(sampling_rate * 2 ** (cents / 1200)), sampling_rate)
    return np.concatenate([faster, audio])[: len(audio)].astype(np.float32)


def delay(audio: np.ndarray, sampling_rate: int, milliseconds: float) -> np.ndarray:
    """Later by so much."""
    silence = np.zeros(round(sampling_rate * milliseconds / 1000), dtype=np.float32)
    return fit_length(np.concatenate([silence, audio]), len(audio))


# What is changed, in which unit, and levels from weak to strong.
DISTURBANCES: dict[str, tuple[Callable, str, tuple[float, ...]]] = {
    "noise": (add_noise, "dB over the band", (-20.0, -10.0, 0.0, 10.0)),
    "detuning": (detune, "cents", (20.0, 35.0, 50.0, 100.0)),
    "delay": (delay, "ms", (40.0, 70.0, 100.0)),
}


def mean_scores(songs: Iterable[Song], change: Callable[[Song], np.ndarray]) -> dict[str, float]:
    """Means of `SCORES` over songs, of what `change` makes of each, against its truth."""
    rows = [
        score_accompaniment(change(song), song.vocals, song.sampling_rate, song.annotation, song.instrumental)
        for song in songs
    ]
    return {name: float(np.mean([row[name] or 0.0 for row in rows])) for name in SCORES}


def measure_truth(songs: Sequence[Song]) -> dict[str, dict[str, float]]:
    """Mean scores of the songs' `truth`, of `silence` and of `clicks`."""

    def clicks(song: Song) -> np.ndarray:
        return make_metronome(CLICKS_BPM, song.annotation.duration_s, song.sampling_rate, 0.0)

    return {
        "truth": mean_scores(songs, lambda song: song.instrumental),
        "silence": mean_scores(songs, lambda song: np.zeros_like(song.instrumental)),
        "clicks": mean_scores(songs, clicks),
    }


def measure_disturbances(songs: Sequence[Song], kinds: Sequence[str] = tuple(DISTURBANCES)) -> dict[str, dict]:
    """By kind and level, level 0 first: mean scores of disturbed accompaniments."""
    undisturbed = mean_scores(songs, lambda song: song.instrumental)
    found: dict[str, dict] = {}
    for kind in kinds:
        disturb, _, levels = DISTURBANCES[kind]
        found[kind] = {"none": undisturbed}
        for level in levels:
            found[kind][f"{level:g}"] = mean_scores(songs, partial(_disturbed, disturb, level))
    return found


def _disturbed(disturb: Callable, level: float, song: Song) -> np.ndarray:
    return disturb(song.instrumental, song.sampling_rate, level)


def measure_distances(
    songs: Sequence[Song], reference: Sequence[Song], logmel: Embedder, pairs: Embedder
) -> dict[str, dict[str, Mapping[str, float]]]:
    """FAD of the accompaniments (`logmel`) and APA (`pairs`) of disturbed songs, and APA of exchanged ones.

    Args:
        songs, reference: No song in both; 20 windows of every embedder on each side at least.
        logmel, pairs (`Embedder`): FAD's and APA's.
    """

    def embed(chosen: Sequence[Song], bands: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        timbres, both = [], []
        for song, band in zip(chosen, bands, strict=True):
            length = min(len(song.vocals), len(band))
            timbres.append(logmel.embed(band, song.sampling_rate))
            both.append(pairs.embed_pair(song.vocals[:length], band[:length], song.sampling_rate))
        return np.concatenate(timbres), np.concatenate(both)

    def bands_of(chosen: Sequence[Song], order: Sequence[int]) -> list[np.ndarray]:
        return [chosen[index].instrumental for index in order]

    timbre, real = embed(reference, bands_of(reference, range(len(reference))))
    _, deranged = embed(reference, bands_of(reference, derange(len(reference), 0)))

    def measure(bands: Sequence[np.ndarray]) -> dict[str, float]:
        own, both = embed(songs, bands)
        adherence = accompaniment_prompt_adherence(real, deranged, both).apa
        return {"fad": frechet_audio_distance(timbre, own)["fad"], "apa": adherence}

    undisturbed = measure(bands_of(songs, range(len(songs))))
    found = {"other song": {"none": undisturbed, "exchanged": measure(bands_of(songs, derange(len(songs), 1)))}}
    for kind, (disturb, _, levels) in DISTURBANCES.items():
        found[kind] = {"none": undisturbed}
        for level in levels:
            found[kind][f"{level:g}"] = measure([_disturbed(disturb, level, song) for song in songs])
    return found
