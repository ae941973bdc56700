"""Measure whole songs: seams, drift, rests, cost, memory and the wait for the first audio.

    OMP_NUM_THREADS=1 python examples/measure_long_songs.py --output_dir long_songs [--parts songs first cost memory]

`long_songs.json` holds every number measured so far, part by part: an interrupted run keeps what it has, and a further
run adds what is missing. Times are CPU seconds of this process unless they say otherwise.
"""

import argparse
import json
import os
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import accompgen_hf
from accompgen_hf.codebooks_accompgen import list_windows
from accompgen_hf.configuration_accompgen import GRID_RATE
from accompgen_hf.data.songs import HELD_OUT_SEED, generate_song
from accompgen_hf.evaluation.beats import track_beats
from accompgen_hf.evaluation.continuity import (
    compare_beats_at_seams,
    compare_ends,
    compare_seams,
    longest_rest,
    score_rest,
)
from accompgen_hf.loading import load_pipeline

FIRST_SEED = HELD_OUT_SEED + 100_000
PARTS = ("first", "songs", "cost", "memory")
MIB = 1 << 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=accompgen_hf.DEFAULT_MODEL, help="folder or repository")
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--num_songs", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--short_s", type=float, default=60.0, help="of the comparison of costs")
    parser.add_argument("--long_s", type=float, default=600.0)
    parser.add_argument("--memory_s", type=float, default=3600.0, help="of vocals, streamed")
    arguments = parser.parse_args()
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    path = arguments.output_dir / "long_songs.json"
    report = json.loads(path.read_text("utf-8")) if path.exists() else {}
    pipe = load_pipeline(arguments.model, arguments.device)
    report["num_threads"] = torch.get_num_threads()

    def save() -> None:
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(report, indent=2) + "\n", "utf-8")
        os.replace(temporary, path)

    if "first" in arguments.parts:
        report["first_audio"] = measure_first_audio(pipe)
        save()
    if "songs" in arguments.parts:
        songs = report.setdefault("songs", {})
        for seed in range(FIRST_SEED, FIRST_SEED + arguments.num_songs):
            if str(seed) not in songs:
                songs[str(seed)] = measure_song(pipe, seed)
                save()
        print(song_table(songs))
    if "cost" in arguments.parts:
        report["cost"] = {f"{s:g}": measure_cost(pipe, s) for s in (arguments.short_s, arguments.long_s)}
        save()
    if "memory" in arguments.parts:
        report["memory"] = measure_memory(pipe, arguments.memory_s)
        save()
    print(json.dumps({name: part for name, part in report.items() if name != "songs"}, indent=2))


def seams_of(config: Any, duration_s: float) -> list[float]:
    """Where a stage's windows hand over, in seconds: the ends of all but the last."""
    num_steps = -(-round(duration_s * 1000) * GRID_RATE // 1000)
    overlap = round(config.window_overlap_s * GRID_RATE)
    windows = list_windows(num_steps, round(config.clip_duration_s * GRID_RATE), overlap, overlap > 0)
    return [end / GRID_RATE for _, end in windows[:-1]]


def measure_song(pipe: Any, seed: int) -> dict[str, Any]:
    """All musical numbers of one whole song, of ours and of the song's own band for comparison."""
    song = generate_song(seed, whole_song=True)
    start = time.process_time()
    result = pipe({"array": song.vocals, "sampling_rate": song.sampling_rate}, seed=seed)
    cpu_s, duration_s = time.process_time() - start, len(song.vocals) / song.sampling_rate
    seams = {name: seams_of(getattr(pipe.model, name).config, duration_s) for name in ("semantic", "coarse", "fine")}
    rest = longest_rest(song.annotation.melody, duration_s)
    scores: dict[str, Any] = {"duration_s": duration_s, "cpu_s": cpu_s}
    for name, audio in {"ours": result["audio"], "own_band": song.instrumental}.items():
        truth = song.annotation.beat_times
        heard = track_beats(audio, song.sampling_rate).times
        scores[name] = {
            "ends": compare_ends(audio, song.sampling_rate, song.annotation),
            "flux": {stage: compare_seams(audio, song.sampling_rate, places) for stage, places in seams.items()},
            "beats": compare_beats_at_seams(heard, truth, seams["semantic"]),
            "rest": score_rest(audio, song.sampling_rate, *rest, heard, truth),
        }
    return scores


def song_table(songs: dict[str, Any]) -> str:
    """Means over songs as Markdown: one row per measure, ours beside the songs' own band."""

    def mean(system: str, *names: str) -> str:
        values = []
        for song in songs.values():
            value = song[system]
            for name in names:
                value = value[name]
            values.append(np.nan if value is None else value)
        return f"{np.nanmean(values):.2f}"

    rows = [("measure", "ours", "the song's own band"), ("---", "---", "---")]
    for measure in ("key_exact", "key_mirex", "beat_f1", "loudness_lufs"):
        for end in ("first", "last"):
            rows.append((f"{measure}, {end} 30 s", *(mean(system, "ends", end, measure) for system in SYSTEMS)))
    for stage in ("semantic", "coarse", "fine"):
        for measure in ("at_seams", "elsewhere_p95", "share_above"):
            rows.append((f"flux {measure}, {stage}", *(mean(system, "flux", stage, measure) for system in SYSTEMS)))
    for measure in ("across_seams", "inside_windows"):
        rows.append((f"beat F1 {measure}", *(mean(system, "beats", measure) for system in SYSTEMS)))
    for measure in ("duration_s", "beat_f1", "silent_share"):
        rows.append((f"longest rest, {measure}", *(mean(system, "rest", measure) for system in SYSTEMS)))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


SYSTEMS = ("ours", "own_band")


def long_vocals(duration_s: float, sampling_rate: int = 24_000) -> Any:
    """Chunks of one second: an excerpt of singing, over and over."""
    excerpt = generate_song(FIRST_SEED, duration_s=10.0, sampling_rate=sampling_rate).vocals
    for second in range(int(duration_s)):
        start = second % 10 * sampling_rate
        yield excerpt[start : start + sampling_rate]


def measure_first_audio(pipe: Any) -> dict[str, float]:
    """From the call to the first audio of a stream, in seconds of CPU and of the clock."""
    vocals = np.concatenate(list(long_vocals(30)))
    clock, cpu = time.monotonic(), time.process_time()
    start_s, audio = next(pipe.stream({"array": vocals, "sampling_rate": 24_000}, seed=1))
    return {
        "cpu_s": time.process_time() - cpu,
        "clock_s": time.monotonic() - clock,
        "audio_s": len(audio) / pipe.processor.output_sampling_rate,
        "start_s": start_s,
    }


def measure_cost(pipe: Any, duration_s: float) -> float:
    """CPU seconds of one stream."""
    start = time.process_time()
    for _ in pipe.stream(long_vocals(duration_s), seed=1, sampling_rate=24_000):
        pass
    return time.process_time() - start


def measure_memory(pipe: Any, duration_s: float) -> dict[str, float]:
    """Growth of the highest memory in use from the first audio to the end of a long stream, in MiB."""
    stream = pipe.stream(long_vocals(duration_s), seed=1, sampling_rate=24_000)
    next(stream)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in stream:
        pass
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / MIB
    return {"duration_s": duration_s, "growth_mib": growth, "num_samples": stream.num_samples}


if __name__ == "__main__":
    main()
