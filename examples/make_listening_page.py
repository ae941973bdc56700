"""Make the sounds and pictures of docs/measured/listen.md: the first held-out songs and the real recording.

    python examples/make_listening_page.py --page docs/measured/listen.md [--model DIR] [--num_songs 5]

Every song is accompanied once, in its own style, with seed 0; none is picked. Mixes are Ogg Vorbis. Beside each stands
the same voice with its true band. The recording is heard in parts, too, and once in every style.
"""

import argparse
from pathlib import Path
from typing import Any

from PIL import Image
from transformers import pipeline

import accompgen_hf
from accompgen_hf.accompgen.audio_accompgen import load_audio, write_audio
from accompgen_hf.accompgen.mixing_accompgen import mix
from accompgen_hf.app.open_pipeline import SHIPPED_VOCALS
from accompgen_hf.app.picture import draw_picture
from accompgen_hf.data.source_options import add_song_recipe_options, read_song_recipe
from accompgen_hf.evaluation.protocol.report import insert_block
from accompgen_hf.scripts import run_script, script_parser
from accompgen_hf.songs.song import HELD_OUT_SEED

RATE = 24_000


def parse_arguments() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--page", type=Path, required=True, help="Markdown page with the marks of `listen`")
    parser.add_argument("--model", default=accompgen_hf.DEFAULT_MODEL, help="folder of the composite")
    parser.add_argument("--num_songs", type=int, default=5, help="songs on the page")
    add_song_recipe_options(parser)
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    recipe = read_song_recipe(options)
    recipe.require()
    folder = options.page.parent / options.page.stem
    folder.mkdir(exist_ok=True)
    pipe = pipeline(accompgen_hf.TASK, model=str(options.model), device="cpu")
    rows = ["| sung | ours | true band | picture |", "|---|---|---|---|"]
    for seed in range(HELD_OUT_SEED, HELD_OUT_SEED + options.num_songs):
        song = recipe.generate(seed, sampling_rate=RATE)
        key, tempo, style = song.annotation.key_name, round(song.annotation.tempo_bpm), song.annotation.style
        title = f"song {seed}: {style.replace('_', ' ')}, {key}, {tempo} BPM"
        known = style if style in pipe.model.config.style_names else None
        play(pipe, {"array": song.vocals, "sampling_rate": RATE}, f"song_{seed}", title, folder, known)
        truth = folder / f"song_{seed}_true.ogg"
        write_audio(truth, mix(song.vocals, song.instrumental, RATE), RATE, "VORBIS")
        rows.append(row(title, folder, f"song_{seed}", f"[listen]({folder.name}/{truth.name})"))
    voice, rate = load_audio(SHIPPED_VOCALS)
    recording = {"array": voice, "sampling_rate": rate}
    result = play(pipe, recording, "recording", SHIPPED_VOCALS.name, folder)
    rows.append(row(f"`{SHIPPED_VOCALS.name}`, a real voice", folder, "recording", ""))
    rows += write_stems(result, folder)
    rows += play_styles(pipe, recording, folder)
    insert_block(options.page, "listen", "\n".join(rows))
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{options.page}, {folder}: {size / 1e6:.2f} MB")


def play(pipe: Any, recording: dict, name: str, title: str, folder: Path, style: str | None = None) -> dict:
    """Accompany one voice, by seed 0, into a mix and a picture."""
    result = pipe(recording, seed=0, style=style, show_progress=False)
    write_audio(folder / f"{name}.ogg", result["mix"], result["sampling_rate"], "VORBIS")
    rates = (recording["sampling_rate"], result["sampling_rate"], result["sampling_rate"])
    path = folder / f"{name}.png"
    draw_picture(path, recording["array"], result["audio"], result["mix"], rates, title=title)
    with Image.open(path) as image:  # small enough for a repository: half as wide, 48 colours
        image.convert("RGB").reduce(2).quantize(48).save(path, optimize=True)
    return result


def write_stems(result: dict, folder: Path) -> list[str]:
    """The parts that the real voice got, each alone, if the model plays parts."""
    stems = result.get("stems", {})
    for name, stem in stems.items():
        write_audio(folder / f"recording_{name}.ogg", stem, result["sampling_rate"], "VORBIS")
    links = ", ".join(f"[{name}]({folder.name}/recording_{name}.ogg)" for name in stems)
    return [f"| the same band's parts | {links} | | |"] if stems else []


def play_styles(pipe: Any, recording: dict, folder: Path) -> list[str]:
    """The real voice once in every style that the model knows, without pictures."""
    links = []
    for style in pipe.model.config.style_names:
        result = pipe(recording, seed=0, style=style, show_progress=False)
        write_audio(folder / f"style_{style}.ogg", result["mix"], result["sampling_rate"], "VORBIS")
        links.append(f"[{style.replace('_', ' ')}]({folder.name}/style_{style}.ogg)")
    return [f"| the same voice in each style | {', '.join(links)} | | |"] if links else []


def row(title: str, folder: Path, name: str, truth: str) -> str:
    return f"| {title} | [listen]({folder.name}/{name}.ogg) | {truth} | [see]({folder.name}/{name}.png) |"


if __name__ == "__main__":
    run_script(main)
