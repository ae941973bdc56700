"""Measure what it helps to tell the band of a song: its key, its tempo, its chords.

    OMP_NUM_THREADS=1 python examples/measure_told_songs.py --output_dir runs/told --composition lead_sheets \
        --singers mixed --renderer mixed [--num_songs 32] [--preview]

The same held-out songs are accompanied with the same seeds, told nothing, and told what their annotations say. Bands
are files below `--output_dir`, so an interrupted run goes on. `told_songs.json` holds every score, `told_songs.md` is
the table.
"""

import argparse
from typing import Any

import numpy as np

from accompgen_hf.app.open_pipeline import load_pipeline
from accompgen_hf.data.source_options import add_held_out_song_options, add_song_recipe_options, read_song_recipe
from accompgen_hf.evaluation.metrics.musical_scores import score_accompaniment
from accompgen_hf.evaluation.protocol.bootstrap import difference, draw_songs, estimate_mean
from accompgen_hf.files import write_arrays, write_json, write_text
from accompgen_hf.scripts import run_script, script_parser
from accompgen_hf.songs.annotation import SongAnnotation
from accompgen_hf.songs.song import HELD_OUT_SEED

FIRST_SEED = HELD_OUT_SEED + 300_000
NUM_RESAMPLES = 2000

TOLD = {
    "nothing": (),
    "key": ("key",),
    "tempo": ("tempo_bpm",),
    "key and tempo": ("key", "tempo_bpm"),
    "key, tempo and chords": ("key", "tempo_bpm", "chords"),
}
SCORES = {
    "key_exact": "key",
    "chord_majmin": "chords",
    "chord_tone_energy": "energy on the chords' tones",
    "beat_f1": "beats (F1)",
    "tempo_correct": "tempo",
}


def parse_arguments() -> argparse.Namespace:
    parser = script_parser(__doc__)
    add_held_out_song_options(parser, num_songs=32, duration_s=10.0)
    parser.add_argument("--preview", action="store_true", help="leave the fine stage out, which is half of the work")
    parser.add_argument("--first_seed", type=int, default=FIRST_SEED, help="seed of the first song")
    add_song_recipe_options(parser)
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    recipe = read_song_recipe(options)
    recipe.require()
    options.output_dir.mkdir(parents=True, exist_ok=True)
    pipe = None
    songs = []
    for seed in range(options.first_seed, options.first_seed + options.num_songs):
        song, path = recipe.generate(seed, duration_s=options.duration_s), options.output_dir / f"{seed}.npz"
        if not path.exists():
            pipe = pipe or load_pipeline(options.model, options.device)
            vocals = {"array": song.vocals, "sampling_rate": song.sampling_rate}
            facts = describe_song(song.annotation)
            bands = [
                pipe(
                    vocals,
                    seed=0,
                    preview=options.preview,
                    show_progress=False,
                    **{name: facts[name] for name in told},
                )
                for told in TOLD.values()
            ]
            write_arrays(path, audio=np.stack([band["audio"] for band in bands]).astype(np.float16))
        with np.load(path) as content:
            of_song = dict(zip(TOLD, content["audio"].astype(np.float32), strict=True))
        rate = song.sampling_rate
        of_song |= {"truth": song.instrumental[: len(of_song["nothing"])]}
        songs.append(
            {told: score_accompaniment(band, song.vocals, rate, song.annotation) for told, band in of_song.items()}
        )
        print(f"{len(songs)} of {options.num_songs} songs", flush=True)
    write_json(options.output_dir / "told_songs.json", songs)
    table = compare(songs)
    write_text(options.output_dir / "told_songs.md", table)
    print(table)


def describe_song(truth: SongAnnotation) -> dict[str, Any]:
    """What a singer who knows the song can tell."""
    chords = [(chord.start_s, chord.end_s, chord.name) for chord in truth.chords]
    return {"key": truth.key_name, "tempo_bpm": truth.tempo_bpm, "chords": chords}


def compare(songs: list[dict[str, dict[str, float | None]]]) -> str:
    """A table as Markdown: means with intervals, and the difference from being told nothing."""
    draws = draw_songs(len(songs), NUM_RESAMPLES, seed=0)
    lines = [f"| told | {' | '.join(SCORES.values())} |", "|---|" + "---|" * len(SCORES)]
    for told in (*TOLD, "truth"):
        cells = []
        for score in SCORES:
            own, base = (estimate_mean([[song[name][score]] for song in songs], draws) for name in (told, "nothing"))
            low, high = (own if told in ("nothing", "truth") else difference(own, base)).interval
            gained = "" if told in ("nothing", "truth") else f"{own.value - base.value:+.2f} "
            cells.append(f"{own.value:.2f} ({gained}[{low:.2f}, {high:.2f}])")
        lines.append(f"| {told} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run_script(main)
