"""Measure procedural songs: speed, loudness, and how well key, chords, bass and beat can be read from the audio.

    python examples/measure_songs.py --num_songs 200
    python examples/measure_songs.py --composition lead_sheets --singers mixed --renderer soundfont --with_parts

The analysis shares nothing with the synthesis: chroma from FFTs, key by profile correlation, chords by templates.
"""

import time

import numpy as np

from accompgen_hf.data.source_options import add_song_recipe_options, read_song_recipe
from accompgen_hf.scripts import run_script, script_parser
from accompgen_hf.songs.mastering import loudness_lufs
from accompgen_hf.songs.song import Song

_KEY_PROFILES = {  # a key's share of each pitch class, from its tonic: Krumhansl and Kessler; Temperley (Kostka-Payne)
    "krumhansl": {
        "major": (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
        "minor": (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
    },
    "temperley": {
        "major": (0.748, 0.060, 0.488, 0.082, 0.670, 0.460, 0.096, 0.715, 0.104, 0.366, 0.057, 0.400),
        "minor": (0.712, 0.084, 0.474, 0.618, 0.049, 0.460, 0.105, 0.747, 0.404, 0.067, 0.133, 0.330),
    },
}


def chroma_frames(wave: np.ndarray, sampling_rate: int, low_hz: float = 90.0, high_hz: float = 1000.0) -> np.ndarray:
    """Magnitude per pitch class, (num_frames, 12), frames of a third of a second every 85 ms (at 24 kHz)."""
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(wave, 4096), 8192)[::2048]
    magnitude = np.abs(np.fft.rfft(frames * np.hanning(8192), axis=1))
    frequencies = np.fft.rfftfreq(8192, 1.0 / sampling_rate)
    kept = (frequencies > low_hz) & (frequencies < high_hz)
    classes = np.rint(69.0 + 12.0 * np.log2(frequencies[kept] / 440.0)).astype(int) % 12
    return magnitude[:, kept] @ np.eye(12)[classes]


def estimate_key(weights: np.ndarray, profiles: dict[str, tuple[float, ...]]) -> tuple[int, str]:
    """The key whose profile correlates best with the pitch classes' weights."""
    scores = {
        (tonic, mode): np.corrcoef(np.roll(profile, tonic), weights)[0, 1]
        for mode, profile in profiles.items()
        for tonic in range(12)
    }
    return max(scores, key=scores.get)


def chord_accuracy(chroma: np.ndarray, song: Song) -> float:
    """Share of chords of half a second or more whose root and third win among 24 triads."""
    hits = []
    for chord in song.annotation.chords:
        if chord.end_s - chord.start_s >= 0.5:
            first, last = (int(time_s * song.sampling_rate / 2048) for time_s in (chord.start_s, chord.end_s))
            weights = chroma[first:last].sum(axis=0)
            triads = {(r, t): weights[[r, (r + t) % 12, (r + 7) % 12]].sum() for r in range(12) for t in (3, 4)}
            third = 3 if chord.quality in ("min", "min7", "dim", "m7b5") else 4
            hits.append(max(triads, key=triads.get) == (chord.root, third))
    return float(np.mean(hits)) if hits else float("nan")


def beat_contrast(song: Song) -> float:
    """Spectral flux on the annotated beats over flux between them."""
    frames = np.lib.stride_tricks.sliding_window_view(song.instrumental, 1024)[::240]
    spectra = np.log1p(100.0 * np.abs(np.fft.rfft(frames * np.hanning(1024), axis=1)))
    flux = np.maximum(np.diff(spectra, axis=0), 0.0).sum(axis=1)
    times = (np.arange(len(flux)) * 240 + 752) / song.sampling_rate
    beats = song.annotation.beat_times[1:-1]
    on, between = (
        np.mean([flux[np.abs(times - beat) < 0.04].max() for beat in grid])
        for grid in (beats, beats + 0.37 * song.annotation.beat_s)
    )
    return float(on / between)


def measure(song: Song) -> dict[str, float]:
    """One row of the table."""
    annotation, rate = song.annotation, song.sampling_rate
    key = (annotation.tonic, annotation.mode)
    band, voice = chroma_frames(song.instrumental, rate), chroma_frames(song.vocals, rate)
    score = np.zeros(12)
    for note in annotation.melody:
        score[note.midi_pitch % 12] += note.end_s - note.start_s
    row = {
        "band LUFS": loudness_lufs(song.instrumental, rate),
        "band RMS dBFS": 20 * np.log10(np.sqrt(np.mean(song.instrumental**2))),
        "vocals LUFS": loudness_lufs(song.vocals, rate),
        "peak": max(np.abs(song.instrumental).max(), np.abs(song.vocals).max()),
        "share of time sung": sum(n.end_s - n.start_s for n in annotation.melody) / annotation.duration_s,
        "chords right, band": chord_accuracy(band, song),
        "chords right, vocals": chord_accuracy(voice, song),
        "beat contrast, band": beat_contrast(song),
    }
    if song.parts is not None:
        for name, part in song.parts.items():
            row[f"{name} LUFS"] = loudness_lufs(part, rate)
        row["sum of parts against band, largest"] = float(np.abs(sum(song.parts.values()) - song.instrumental).max())
    for name, profiles in _KEY_PROFILES.items():
        for part, weights in (("band", band.mean(axis=0)), ("vocals", voice.mean(axis=0)), ("sung notes", score)):
            row[f"key right, {part}, {name}"] = float(estimate_key(weights, profiles) == key)
    return row


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument("--num_songs", type=int, default=100, help="songs to measure")
    parser.add_argument("--first_seed", type=int, default=0, help="seed of the first song")
    parser.add_argument("--with_parts", action="store_true", help="measure drums, bass and other, too")
    add_song_recipe_options(parser)
    arguments = parser.parse_args()
    recipe = read_song_recipe(arguments)
    rows, cpu_s = [], 0.0
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.num_songs):
        start_s = time.process_time()
        song = recipe.generate(seed, with_parts=arguments.with_parts)
        cpu_s += time.process_time() - start_s
        rows.append(measure(song))
    print(f"{10.0 * len(rows) / cpu_s:.0f} x real time (CPU seconds), {len(rows)} songs of 10 s\n")
    print(f"{'':36}{'mean':>9}{'min':>9}{'max':>9}")
    for name in rows[0]:
        values = np.array([row[name] for row in rows])
        print(f"{name:36}{np.nanmean(values):9.2f}{np.nanmin(values):9.2f}{np.nanmax(values):9.2f}")


if __name__ == "__main__":
    run_script(main)
