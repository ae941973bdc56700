"""Measure whole songs: seams, drift, rests, cost, memory and the wait for the first audio.

    OMP_NUM_THREADS=1 python examples/measure_long_songs.py --output_dir long_songs [--parts songs first cost memory]

Each model has a folder of its own below `--output_dir`. `long_songs.json` in it holds every number measured so far,
`SEED.wav` the accompaniments: an interrupted run keeps what it has, in the middle of a song, too, and a further run
goes on. Times are CPU seconds of this process unless they say otherwise.
"""

import json
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import accompgen_hf
from accompgen_hf.accompgen.audio_accompgen import load_audio
from accompgen_hf.accompgen.configuration_accompgen import GRID_RATE
from accompgen_hf.accompgen.fingerprint_accompgen import hash_module_state
from accompgen_hf.accompgen.recordings_accompgen import Recording
from accompgen_hf.accompgen.rhythm_accompgen import track_beats
from accompgen_hf.accompgen.windows_accompgen import DEFAULT_WINDOW_BATCH_SIZE, WindowPlan
from accompgen_hf.app.open_pipeline import load_pipeline
from accompgen_hf.app.part_files import open_journal, render_fingerprint, render_to_part
from accompgen_hf.evaluation.metrics.beats import score_beats
from accompgen_hf.evaluation.metrics.continuity import (
    compare_beats_at_seams,
    compare_ends,
    compare_seams,
    longest_rest,
    score_rest,
)
from accompgen_hf.files import publish_file, read_json, write_json
from accompgen_hf.scripts import run_script, script_parser
from accompgen_hf.songs.song import HELD_OUT_SEED, generate_song

FIRST_SEED = HELD_OUT_SEED + 100_000
PARTS = ("first", "songs", "cost", "memory")
MIB = 1 << 20


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument("--model", default=accompgen_hf.DEFAULT_MODEL, help="folder or repository")
    parser.add_argument("--output_dir", type=Path, required=True, help="folder of the report")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what is measured")
    parser.add_argument("--num_songs", type=int, default=8, help="songs to measure on")
    parser.add_argument("--device", default="cpu", help="where the model runs")
    parser.add_argument("--short_s", type=float, default=60.0, help="seconds of the shorter cost run")
    parser.add_argument("--long_s", type=float, default=600.0, help="seconds of the longer one")
    parser.add_argument("--memory_s", type=float, default=3600.0, help="seconds of streamed vocals")
    arguments = parser.parse_args()
    pipe = load_pipeline(arguments.model, arguments.device)
    folder = arguments.output_dir / hash_module_state(pipe.model)[:8]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "long_songs.json"
    report = read_json(path) if path.exists() else {}
    report["num_threads"] = torch.get_num_threads()

    def save() -> None:
        write_json(path, report, indent=2, sort_keys=False)

    if "first" in arguments.parts:
        report["first_audio"] = measure_first_audio(pipe)
        save()
    if "songs" in arguments.parts:
        songs = report.setdefault("songs", {})
        for seed in range(FIRST_SEED, FIRST_SEED + arguments.num_songs):
            if str(seed) not in songs:
                songs[str(seed)] = measure_song(pipe, seed, folder)
                save()
                print(f"{len(songs)} of {arguments.num_songs} songs", flush=True)
        print(song_table(songs), aim_table(songs), sep="\n\n")
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
    windows = WindowPlan(config).plan_all(num_steps)
    return [end / GRID_RATE for _, end in windows[:-1]]


def render_song(pipe: Any, song: Any, seed: int, folder: Path) -> tuple[np.ndarray, float | None]:
    """The accompaniment, from its file if it is there, and the CPU seconds it took, if it was made in one go."""
    finished, part = folder / f"{seed}.wav", folder / f"{seed}.part.wav"
    cpu_s = None
    if not finished.exists():
        is_new, start = not part.exists(), time.process_time()
        vocals = Recording(song.vocals, song.sampling_rate)
        fingerprint = render_fingerprint(pipe, {"seed": seed}, {}, vocals)
        journal = open_journal(part, fingerprint)
        render_to_part(pipe, vocals, part, journal, seed=seed, window_batch_size=DEFAULT_WINDOW_BATCH_SIZE)
        cpu_s = time.process_time() - start if is_new else None
        publish_file(part, finished)
        journal.remove()
    return load_audio(finished)[0][0], cpu_s


def measure_song(pipe: Any, seed: int, folder: Path) -> dict[str, Any]:
    """All musical numbers of one whole song, of ours and of the song's own band for comparison."""
    song = generate_song(seed, whole_song=True)
    duration_s = len(song.vocals) / song.sampling_rate
    ours, cpu_s = render_song(pipe, song, seed, folder)
    seams = {name: seams_of(getattr(pipe.model, name).config, duration_s) for name in ("semantic", "coarse", "fine")}
    rest = longest_rest(song.annotation.melody, duration_s)
    scores: dict[str, Any] = {"duration_s": duration_s, "cpu_s": cpu_s}
    for name, audio in {"ours": ours, "own_band": song.instrumental}.items():
        truth = song.annotation.beat_times
        heard = track_beats(audio, song.sampling_rate).times
        scores[name] = {
            "ends": compare_ends(audio, song.sampling_rate, song.annotation),
            "beat_f1": score_beats(heard, truth),
            "flux": {stage: compare_seams(audio, song.sampling_rate, places) for stage, places in seams.items()},
            "beats": compare_beats_at_seams(heard, truth, seams["semantic"]),
            "rest": score_rest(audio, song.sampling_rate, *rest, heard, truth),
        }
    return scores


def values_of(songs: dict[str, Any], system: str, *names: str) -> np.ndarray:
    """One number of every song; NaN where it could not be measured."""
    values = []
    for song in songs.values():
        value = song[system]
        for name in names:
            value = value[name]
        values.append(np.nan if value is None else value)
    return np.array(values, dtype=np.float64)


def song_table(songs: dict[str, Any]) -> str:
    """Means over songs as Markdown: one row per measure, ours beside the songs' own band."""
    measures = [
        (f"{measure}, {end} 30 s", ("ends", end, measure))
        for measure in ("key_exact", "key_mirex", "beat_f1", "loudness_lufs")
        for end in ("first", "last")
    ]
    measures += [("beat F1, whole song", ("beat_f1",))]
    measures += [
        (f"flux {measure}, {stage}", ("flux", stage, measure))
        for stage in ("semantic", "coarse", "fine")
        for measure in ("at_seams", "elsewhere_p95", "share_above")
    ]
    measures += [(f"beat F1 {place}", ("beats", place)) for place in ("across_seams", "inside_windows")]
    measures += [(f"longest rest, {name}", ("rest", name)) for name in ("duration_s", "beat_f1", "silent_share")]
    rows = [
        (label, *(f"{np.nanmean(values_of(songs, system, *names)):.2f}" for system in SYSTEMS))
        for label, names in measures
    ]
    return to_markdown([("measure", "ours", "the song's own band"), *rows])


def aim_table(songs: dict[str, Any]) -> str:
    """What a long accompaniment has to hold, and whether it does."""
    ours, own_band = (judge(songs, system) for system in SYSTEMS)
    rows = [(*aim, text, other) for (aim, text), (_, other) in zip(ours, own_band, strict=True)]
    return to_markdown([("what", "aim", "ours", "the song's own band"), *rows])


def judge(songs: dict[str, Any], system: str) -> list[tuple[tuple[str, str], str]]:
    """((what, aim), number and verdict) for every aim."""

    def of(*names: str) -> np.ndarray:
        return values_of(songs, system, *names)

    def change(measure: str) -> np.ndarray:
        return of("ends", "last", measure) - of("ends", "first", measure)

    def hardly_lower(values: np.ndarray) -> tuple[str, bool]:
        return f"{np.nanmean(values):+.2f}", np.nanmean(values) >= -0.05

    loudest = np.nanmax(np.abs(change("loudness_lufs")))
    silent = np.nanmax(of("rest", "silent_share"))
    verdicts = {
        ("key, last 30 s minus first, mean", ">= -0.05"): hardly_lower(change("key_exact")),
        ("beat F1, last 30 s minus first, mean", ">= -0.05"): hardly_lower(change("beat_f1")),
        ("loudness of the ends apart, worst song", "<= 2 LU"): (f"{loudest:.2f}", loudest <= 2),
        ("beat F1 across seams minus inside windows, mean", ">= -0.05"): hardly_lower(
            of("beats", "across_seams") - of("beats", "inside_windows")
        ),
        ("beat F1 in the longest rest minus whole song, mean", ">= -0.05"): hardly_lower(
            of("rest", "beat_f1") - of("beat_f1")
        ),
        ("silent share of the longest rest, worst song", "0"): (f"{silent:.2f}", silent == 0),
    }
    for stage in ("semantic", "coarse", "fine"):
        is_quiet = of("flux", stage, "at_seams") <= of("flux", stage, "elsewhere_p95")
        text = f"{is_quiet.sum()} of {len(songs)} songs"
        verdicts[f"flux at {stage} seams, median", "<= 95th percentile elsewhere"] = text, is_quiet.all()
    return [(aim, f"{text}, {'met' if is_met else 'NOT MET'}") for aim, (text, is_met) in verdicts.items()]


def to_markdown(rows: list[tuple[str, ...]]) -> str:
    rows = [rows[0], ("---",) * len(rows[0]), *rows[1:]]
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
    run_script(main)
