"""Draw a sheet of procedural songs: mel spectrograms of voice and band with the annotated chords, beats and melody.

python examples/plot_songs.py --seeds 800000 800005 800006 --output docs/guide/images/songs.png
python examples/plot_songs.py --seeds 800000 800002 --duration_s 24 --composition arranged --renderer soundfont
"""

import numpy as np

from accompgen_hf.data.source_options import add_song_recipe_options, read_song_recipe
from accompgen_hf.files import written_whole
from accompgen_hf.scripts import run_script, script_parser
from accompgen_hf.songs.song import HELD_OUT_SEED, Song, compose_song

_NUM_MELS, _FRAME, _HOP, _LOWEST_HZ, _HIGHEST_HZ = 128, 2048, 240, 60.0, 10000.0


def hz_to_mel(frequency: np.ndarray | float) -> np.ndarray:
    return 2595.0 * np.log10(1.0 + np.asarray(frequency) / 700.0)


def mel_spectrogram(wave: np.ndarray, sampling_rate: int) -> np.ndarray:
    """Mel spectrogram in dB, (128, num_frames), a frame every 10 ms at 24 kHz."""
    padded = np.pad(wave, _FRAME // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(_FRAME), axis=1)) ** 2 / (_FRAME / 4) ** 2
    edges = np.linspace(hz_to_mel(_LOWEST_HZ), hz_to_mel(_HIGHEST_HZ), _NUM_MELS + 2)
    mels = hz_to_mel(np.fft.rfftfreq(_FRAME, 1.0 / sampling_rate))
    width = edges[1] - edges[0]
    # A triangle narrower than a bin would catch nothing: below 1 kHz it is widened to one bin.
    spread = np.maximum(width, np.gradient(mels))
    bank = np.clip(1.0 - np.abs(mels[None, :] - edges[1:-1, None]) / spread[None, :], 0.0, None)
    return 10.0 * np.log10(bank @ power.T + 1e-9)


def draw_song(voice_axes, band_axes, song: Song) -> None:
    """Voice above, band below: melody in cyan on the voice, chord names and bar lines on both."""
    annotation = song.annotation
    first, last = float(hz_to_mel(_LOWEST_HZ)), float(hz_to_mel(_HIGHEST_HZ))
    for axes, wave in ((voice_axes, song.vocals), (band_axes, song.instrumental)):
        extent = (0.0, annotation.duration_s, first, last)
        axes.imshow(
            mel_spectrogram(wave, song.sampling_rate),
            origin="lower",
            aspect="auto",
            extent=extent,
            cmap="magma",
            vmin=-85,
            vmax=-12,
        )
        for beat in annotation.beat_times:
            axes.axvline(beat, color="white", linewidth=0.3, alpha=0.6)
        for downbeat in annotation.downbeat_times:
            axes.axvline(downbeat, color="white", linewidth=1.0)
        ticks = (100, 500, 1000, 2000, 5000)
        axes.set_yticks(
            [float(hz_to_mel(tick)) for tick in ticks], [f"{tick / 1000:g}k" for tick in ticks], fontsize=7
        )
    for note in annotation.melody:
        mel = float(hz_to_mel(440.0 * 2.0 ** ((note.midi_pitch - 69) / 12.0)))
        voice_axes.plot([note.start_s, note.end_s], [mel, mel], color="cyan", linewidth=1.0)
    for chord in annotation.chords:
        if chord.end_s - chord.start_s > 0.6:
            band_axes.text(
                chord.start_s + 0.05, last - 60.0, chord.name, color="white", fontsize=8, va="top", weight="bold"
            )
    title = (
        f"seed {annotation.seed}   {annotation.style}   {annotation.key_name}   {annotation.tempo_bpm:g} BPM   "
        f"{annotation.meter}/4   {annotation.singer.voice}"
    )
    voice_axes.set_title(title, fontsize=9, loc="left")
    voice_axes.set_ylabel("voice", fontsize=8)
    band_axes.set_ylabel("band", fontsize=8)
    voice_axes.tick_params(labelbottom=False)
    band_axes.tick_params(axis="x", labelsize=7)


def draw_sheet(songs: list[Song], path: str) -> None:
    """Write the sheet, two songs to a row; the file appears only when it is complete."""
    from matplotlib.figure import Figure
    from PIL import Image

    rows = -(-len(songs) // 2)
    figure = Figure(figsize=(15.0, 4.1 * rows), layout="constrained")
    for cell, song in zip(figure.subfigures(rows, 2, squeeze=False).ravel(), songs, strict=False):
        voice_axes, band_axes = cell.subplots(2, 1, sharex=True)
        draw_song(voice_axes, band_axes, song)
    with written_whole(path) as temporary:
        figure.savefig(temporary, format="png", dpi=75)
        with Image.open(temporary) as image:
            # A third of the bytes; this method keeps rare colours, such as the melody's.
            palette = image.convert("RGB").quantize(160, method=Image.Quantize.MAXCOVERAGE)
        palette.save(temporary, "PNG", optimize=True)


def first_seeds_of_styles(count: int) -> list[int]:
    """The lowest held-out seeds that give different styles: chosen by number, not by ear."""
    seeds, styles, seed = [], set(), HELD_OUT_SEED
    while len(seeds) < count:
        style = compose_song(seed).style
        if style not in styles:
            styles.add(style)
            seeds.append(seed)
        seed += 1
    return seeds


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument(
        "--seeds", type=int, nargs="+", help="seeds to draw (the first held-out one of each of eight styles)"
    )
    parser.add_argument("--duration_s", type=float, default=10.0, help="seconds of each song")
    parser.add_argument("--output", default="songs.png", help="file of the picture")
    add_song_recipe_options(parser)
    arguments = parser.parse_args()
    seeds = first_seeds_of_styles(8) if arguments.seeds is None else arguments.seeds
    recipe = read_song_recipe(arguments)
    songs = [recipe.generate(seed, duration_s=arguments.duration_s) for seed in seeds]
    draw_sheet(songs, arguments.output)
    print(f"{len(songs)} songs drawn to {arguments.output}")


if __name__ == "__main__":
    run_script(main)
