"""Separate whole songs once, into ready pairs for examples/fit_kmeans.py and examples/prepare_dataset.py.

    python examples/separate_songs.py --source folder --data SONGS --separate vocals.onnx --output_dir PAIRS

PAIRS gets vocals/, instrumental/ (24-bit FLAC) and tracks.csv (licence, artist, album, split). With `--parts` it gets
drums/, bass/ and other/ in place of instrumental/, for `prepare_dataset.py --parts`. What is there already stays: kill
it and start it again, share the work by `--shard i/n`, or add another source to the same folder. MUSDB18's own stems
and procedural songs (`--source songs --num_songs 20`) are written without `--separate`. separator.json says what a
separator made; a second one is refused.
"""

import argparse
import os
from pathlib import Path

import numpy as np

from accompgen_hf.accompgen.audio_accompgen import write_audio
from accompgen_hf.accompgen.progress_accompgen import ProgressBar
from accompgen_hf.data.separation import Separator
from accompgen_hf.data.source_options import (
    SOURCES,
    add_separator_options,
    add_source_options,
    find_share,
    list_recordings,
    open_separator,
)
from accompgen_hf.data.sources import (
    SourceRecording,
    pair_paths,
    require_parts,
    separate_parts,
    separate_recording,
    write_track_table,
)
from accompgen_hf.files import read_json, write_json
from accompgen_hf.scripts import run_script, script_parser
from accompgen_hf.songs.band import PARTS


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--output_dir", required=True, help="folder of the pairs")
    parser.add_argument("--source", required=True, choices=tuple(SOURCES), help="what the songs are")
    add_source_options(parser)
    add_separator_options(parser)
    parser.add_argument("--parts", action="store_true", help="write drums, bass and other instead of the instrumental")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="where the network runs")
    return parser.parse_args(argv)


def claim_folder(path: Path, description: dict) -> None:
    """Write down what separates into this folder, or refuse to mix two separators in it."""
    if path.is_file() and read_json(path) != description:
        raise SystemExit(
            f"error: {path.parent} holds pairs of another separator, see {path.name}. Choose another folder."
        )
    write_json(path, description)


def separate(
    recording: SourceRecording, separator: Separator | None, with_parts: bool
) -> tuple[list[np.ndarray], int]:
    """Vocals and instrumental, or vocals and parts, and their rate."""
    if not with_parts:
        *stems, sampling_rate = separate_recording(recording, separator)
        return stems, sampling_rate
    vocals, parts, sampling_rate = separate_parts(recording, separator)
    return [vocals, *(parts[name] for name in PARTS)], sampling_rate


def main(argv: list[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    index, count = find_share(arguments)
    separator = open_separator(arguments, device=arguments.device)
    recordings = list_recordings(arguments)
    if arguments.parts:
        require_parts(recordings, separator)
    elif separator is None and any(recording.load_stems is None for recording in recordings):
        raise ValueError("`separate` is needed: these are whole songs. Give an .onnx file or a demucs model.")
    output_dir = Path(arguments.output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    if separator is not None:
        claim_folder(output_dir / "separator.json", separator.describe())
    write_track_table(output_dir, recordings)
    kinds = ("vocals", *PARTS) if arguments.parts else ("vocals", "instrumental")
    failures = []
    for recording in ProgressBar(recordings[index::count], desc="Separating", unit="song"):
        # The instrumental, or the last part, is written last: where it is, the pair is whole.
        paths = pair_paths(output_dir, recording.track_id, kinds)
        if paths[-1].is_file():
            continue
        try:
            stems, sampling_rate = separate(recording, separator, arguments.parts)
            for path, audio in zip(paths, stems, strict=True):
                os.makedirs(path.parent, exist_ok=True)
                write_audio(path, audio, sampling_rate)
        except (ValueError, OSError, RuntimeError) as error:  # a damaged file does not stop the others
            for path in paths[:-1]:
                path.unlink(missing_ok=True)
            failures.append(f"{recording.track_id}: {error}")
            ProgressBar.write(f"Skipped {failures[-1]}")
    print(f"{output_dir}: {len(recordings[index::count]) - len(failures)} pairs, {len(failures)} skipped")


if __name__ == "__main__":
    run_script(main)
