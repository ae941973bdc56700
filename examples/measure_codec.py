"""Measure a codec on held-out songs, alone or beside another one, and draw both as spectrograms.

    python examples/measure_codec.py --codec runs/codec/final --output_dir report

Writes `codec.json` and `codec-<source>.png` (truth, baseline, codec; first four seeds). `sum` is the band as one
track, `other` one part alone, `parts` the sum of drums, bass and other that were coded one by one. Perplexities are of
the sums of each source, and of all sources together: few songs do not use what many use.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from accompgen_hf import AccompGenCodec
from accompgen_hf.accompgen.configuration_accompgen_codec import AccompGenCodecConfig
from accompgen_hf.accompgen.progress_accompgen import ProgressBar
from accompgen_hf.model_parts import load_part
from accompgen_hf.scripts import run_script, script_parser
from accompgen_hf.songs.song import HELD_OUT_SEED, generate_song
from accompgen_hf.training.codec.evaluation import (
    comb_excess_db,
    log_mel_distance,
    perplexity,
    spectral_flatness_db,
)
from accompgen_hf.training.codec.material import read_songs
from accompgen_hf.training.codec.samples import draw_spectrogram

RATE = 24_000
FRAME_RATE = 75.0
BANDS_HZ = {"flatness_low_db": (100, 1000), "flatness_high_db": (1000, 4000)}
NUM_DRAWN = 4
PARTS = ("drums", "bass", "other")


def parse_arguments() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--codec", required=True, help="folder or Hub id of a codec, or of a whole model")
    parser.add_argument("--baseline", help="another one to compare with")
    parser.add_argument("--output_dir", required=True, type=Path, help="folder of the report")
    parser.add_argument("--num_songs", type=int, default=16, help="of each renderer")
    parser.add_argument("--first_seed", type=int, default=HELD_OUT_SEED, help="seed of the first song")
    parser.add_argument("--renderers", nargs="*", default=["soundfont", "numpy"], help="how the songs are played")
    parser.add_argument("--songs_dir", type=Path, help="songs in parts on disk, measured as well; see training.codec")
    parser.add_argument("--soundfont", help="General MIDI SoundFont; default: the one that the package finds")
    return parser.parse_args()


def iterate_songs(source: str, options: argparse.Namespace) -> Iterator[dict[str, np.ndarray]]:
    """The parts of each held-out song by name, at 24 kHz; `source` is a renderer, or `"disk"` for `songs_dir`."""
    if source == "disk":
        for song in read_songs(options.songs_dir)[: options.num_songs]:
            yield {name: song.samples[song.names.index(name)].astype(np.float32) / 32767 for name in PARTS}
        return
    soundfont = options.soundfont if source == "soundfont" else None
    for seed in range(options.first_seed, options.first_seed + options.num_songs):
        song = generate_song(seed, sampling_rate=RATE, renderer=source, soundfont=soundfont, with_parts=True)
        yield {name: song.parts[name].astype(np.float32) for name in PARTS}


@torch.no_grad()
def code(codec: AccompGenCodec, waveform: np.ndarray) -> tuple[np.ndarray, torch.Tensor]:
    """What comes back from the codec, and its codes `(K, T)`."""
    codes = codec.encode(torch.from_numpy(waveform)[None, None], bandwidth=6.0).audio_codes
    decoded = codec.decode(codes, [None]).audio_values[0, 0, : len(waveform)]
    return decoded.numpy(), codes[0, 0]


def describe(decoded: np.ndarray, target: np.ndarray) -> dict[str, float]:
    numbers = {name: spectral_flatness_db(decoded, *band, RATE) for name, band in BANDS_HZ.items()}
    numbers["flatness_between_db"] = spectral_flatness_db(decoded, *BANDS_HZ["flatness_high_db"], RATE, FRAME_RATE)
    numbers["comb_db"] = comb_excess_db(decoded, FRAME_RATE, RATE)
    numbers["log_mel_error"] = log_mel_distance(torch.from_numpy(decoded)[None], torch.from_numpy(target)[None], RATE)
    return numbers


def measure(
    codecs: dict[str, AccompGenCodec], source: str, options: argparse.Namespace
) -> tuple[dict, dict[str, torch.Tensor]]:
    """Mean numbers over the songs of a source, by kind of material and codec; draws the first songs.

    Beside them, how often each codec has used every code of each codebook, `(8, 1024)`.
    """
    collected: dict[str, dict[str, list]] = {}
    counts = {name: torch.zeros(8, 1024, dtype=torch.float64) for name in codecs}
    figure = Figure(figsize=(5 * NUM_DRAWN, 9), layout="constrained")
    axes = figure.subplots(1 + len(codecs), NUM_DRAWN)
    songs = ProgressBar(iterate_songs(source, options), total=options.num_songs, desc=source)
    for number, parts in enumerate(songs):
        whole = sum(parts.values())
        shown = {"truth": whole}
        for kind, target in (("sum", whole), ("other", parts["other"])):
            collected.setdefault(kind, {}).setdefault("truth", []).append(describe(target, target))
        for name, codec in codecs.items():
            decoded, codes = code(codec, whole)
            shown[name] = decoded
            for level, row in enumerate(codes):
                counts[name][level] += torch.bincount(row, minlength=1024)
            coded = {part: code(codec, waveform)[0] for part, waveform in parts.items()}
            for kind, (ours, target) in {
                "sum": (decoded, whole),
                "parts": (sum(coded.values()), whole),
                "other": (coded["other"], parts["other"]),
            }.items():
                collected.setdefault(kind, {}).setdefault(name, []).append(describe(ours, target))
        if number < NUM_DRAWN:
            for row, (name, waveform) in zip(axes[:, number], shown.items(), strict=True):
                title = f"{name}, {source}, song {number + 1}"
                draw_spectrogram(row, torch.from_numpy(waveform[: 5 * RATE]), RATE, title)
    figure.savefig(options.output_dir / f"codec-{source}.png", dpi=60)
    results = {
        kind: {
            name: {key: round(float(np.mean([entry[key] for entry in entries])), 3) for key in entries[0]}
            for name, entries in of_kind.items()
        }
        for kind, of_kind in collected.items()
    }
    results["perplexity"] = list_perplexities(counts)
    return results, counts


def list_perplexities(counts: dict[str, torch.Tensor]) -> dict[str, list[int]]:
    """Of each codebook of every codec."""
    return {name: [round(perplexity(row)) for row in of_codec] for name, of_codec in counts.items()}


@torch.no_grad()
def time_decoders(codecs: dict[str, AccompGenCodec], num_rounds: int = 9) -> dict[str, float]:
    """Median CPU seconds for decoding 10 s, the codecs by turns; beside them EnCodec's own decoder of 16 filters."""
    settings = {"num_filters": 16, "hidden_size": 64, "num_lstm_layers": 1, "upsampling_ratios": [2, 4, 5, 8]}
    config = AccompGenCodecConfig(**settings, target_bandwidths=[6.0], use_conv_shortcut=False)
    timed = {**codecs, "encodec decoder, 16 filters": AccompGenCodec(config).eval()}
    codes = torch.randint(0, 1024, (1, 1, 8, 750), generator=torch.Generator().manual_seed(0))
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(num_rounds):
        for name, codec in timed.items():
            start = time.process_time()
            codec.decode(codes, [None])
            seconds[name].append(time.process_time() - start)
    return {name: round(float(np.median(values)), 4) for name, values in seconds.items()}


def main() -> None:
    options = parse_arguments()
    options.output_dir.mkdir(parents=True, exist_ok=True)
    sources = {"baseline": options.baseline, "codec": options.codec}
    codecs = {name: load_part(source, "codec").eval() for name, source in sources.items() if source is not None}
    results = {"num_songs": options.num_songs, "first_seed": options.first_seed}
    kinds = [*options.renderers, *(["disk"] if options.songs_dir is not None else [])]
    measured = {source: measure(codecs, source, options) for source in kinds}
    results |= {source: of_source for source, (of_source, _) in measured.items()}
    counts = {name: sum(of_source[name] for _, of_source in measured.values()) for name in codecs}
    results["perplexity"] = list_perplexities(counts)
    results["seconds_to_decode_10_s"] = time_decoders(codecs)
    text = json.dumps(results, indent=2)
    (options.output_dir / "codec.json").write_text(text + "\n", "utf-8")
    print(text)


if __name__ == "__main__":
    run_script(main)
