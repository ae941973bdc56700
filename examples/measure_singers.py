"""Measure whether procedural singers sing their melody: pitch found by swift-f0 against the annotated notes.

    pip install swift-f0
    python examples/measure_singers.py --singers words --num_songs 16

A frame counts if the tracker calls it voiced (confidence of at least 0.5) and a note sounds in it.
"""

import time

import numpy as np

from accompgen_hf.accompgen.optional_accompgen import import_optional
from accompgen_hf.scripts import run_script, script_parser
from accompgen_hf.songs.annotation import SongAnnotation
from accompgen_hf.songs.composition import COMPOSITIONS, SINGERS, compose_song
from accompgen_hf.songs.singer import render_vocals
from accompgen_hf.songs.song import HELD_OUT_SEED

SAMPLING_RATE = 16000


def melody_at(annotation: SongAnnotation, times: np.ndarray) -> np.ndarray:
    """MIDI pitch of the sung note at each time, tuning included; NaN where none is sung."""
    pitch = np.full(len(times), np.nan)
    for note in annotation.melody:
        pitch[(times >= note.start_s) & (times < note.end_s)] = note.midi_pitch + annotation.tuning_cents / 100.0
    return pitch


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument("--num_songs", type=int, default=16, help="songs to measure")
    parser.add_argument("--first_seed", type=int, default=HELD_OUT_SEED, help="seed of the first song")
    parser.add_argument(
        "--composition", default="lead_sheets", choices=COMPOSITIONS, help="how the songs are composed"
    )
    parser.add_argument("--singers", default="words", choices=SINGERS, help="who sings")
    arguments = parser.parse_args()
    detector = import_optional("swift_f0", "Measuring singers", "swift-f0").SwiftF0(threads=1)
    shares, cpu_s = [], 0.0
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.num_songs):
        annotation = compose_song(seed, composition=arguments.composition, singers=arguments.singers)
        start_s = time.process_time()
        vocals = render_vocals(annotation, SAMPLING_RATE)
        cpu_s += time.process_time() - start_s
        found = detector.detect(vocals, SAMPLING_RATE)
        melody = melody_at(annotation, found.timestamps)
        is_voiced = (found.confidence >= 0.5) & ~np.isnan(melody)
        away = np.abs(12.0 * np.log2(found.pitch_hz[is_voiced] / 440.0) + 69.0 - melody[is_voiced])
        shares.append(float(np.mean(away < 0.5)))
        voice = annotation.singer.words_voice or "vowels"
        name = f"seed {seed}, {annotation.singer.voice} ({voice})"
        print(f"{name}: {shares[-1]:.3f}, median {np.median(away):.2f} semitones")
    print(f"\nvoiced frames within 50 cents of the melody: mean {np.mean(shares):.3f}, least {min(shares):.3f}")
    print(f"core-seconds per second: {cpu_s / (10.0 * len(shares)):.3f} (without those of the program flite)")


if __name__ == "__main__":
    run_script(main)
