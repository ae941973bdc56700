"""The work of `accompgen generate`: jobs in, result folders out, and what is said meanwhile on stderr."""

import argparse
import os
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from accompgen_hf.accompgen.audio_accompgen import write_audio
from accompgen_hf.accompgen.audio_checks_accompgen import SILENT_PEAK
from accompgen_hf.accompgen.optional_accompgen import import_optional
from accompgen_hf.accompgen.options_accompgen import FORWARD, GENERATION_OPTIONS, POSTPROCESS
from accompgen_hf.accompgen.ranking_accompgen import WEIGHTS
from accompgen_hf.accompgen.recordings_accompgen import Recording
from accompgen_hf.accompgen.working_time_accompgen import working_time
from accompgen_hf.app.console import report_failure, say
from accompgen_hf.app.delivery import check_format, hash_audio
from accompgen_hf.app.delivery_choices import DEFAULT_FORMAT
from accompgen_hf.app.open_pipeline import SHIPPED_VOCALS, describe_model
from accompgen_hf.app.part_files import CodeJournal, Rendered, open_journal, render_fingerprint, render_to_part
from accompgen_hf.app.recording_queue import Job, Outcome, find_result, process_place
from accompgen_hf.app.result_folders import (
    library_versions,
    list_audio,
    result_name,
    write_part_result,
    write_result,
)

ESTIMATE_ABOVE_S = 30.0  # longer work is announced
# Below both no trial is worth its own time: the shipped default needs less than 30 s for this much.
_FREE_OF_TRIAL_S = 12.0
_FREE_OF_TRIAL_PARAMETERS = 60_000_000
_TRIAL_DURATIONS_S = (0.1, 0.5)
PREVIEW_HINT = "a first impression with `--preview` takes about half of it"
STREAM_HINT = "with `--stream` you can listen meanwhile, and a stopped one goes on"
# Settings that the pipeline takes under their own names.
_PIPELINE_SETTINGS = [
    option.name
    for option in GENERATION_OPTIONS.values()
    if option.is_setting and option.key == option.name and option.step in (FORWARD, POSTPROCESS)
]


class LoadedJob(NamedTuple):
    """A job with its settings and its vocals."""

    job: Job
    item: dict[str, Any]
    vocals: Recording


class Work:
    """The jobs of one process."""

    def __init__(
        self,
        arguments: argparse.Namespace,
        pipe: Any,
        separator: Any,
        settings: dict[str, Any],
        recorded: Mapping[str, Any],
    ):
        self.arguments, self.pipe, self.separator = arguments, pipe, separator
        self.settings, self.recorded = settings, recorded
        self.options = {name: settings[name] for name in _PIPELINE_SETTINGS if name in settings}
        self.best_of = settings.get("best_of", 1)
        self.made_with = describe_model(pipe)
        self.is_announced = False
        self.newest: tuple[str, Recording] | None = None  # source, vocals: variations follow each other

    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Do all jobs, `--batch-size` at a time. A job that fails does not stop the others."""
        outcomes, pending = [], []
        for job in jobs:
            done = find_result(self.arguments.output, self.item_of(job)) if job.is_of_folder else None
            if done is None:
                pending.append(job)
            else:
                outcomes.append(Outcome(job.source, job.seed, "there already", 0.0, str(done)))
        # One call per job unless asked otherwise: batch shape changes float sums, and then `--settings` with a
        # result's own seed would not give the same file.
        for first in range(0, len(pending), self.arguments.batch_size):
            takes = []
            for index, job in enumerate(pending[first : first + self.arguments.batch_size], first + 1):
                count = f"[{index} of {len(pending)}] " if len(pending) > 1 else ""
                try:
                    takes.append(LoadedJob(job, self.item_of(job), self.load(job.source, count)))
                except Exception as error:
                    outcomes.append(self.fail(job, error))
            if takes:
                self.announce(takes[0], pending[first:])
                outcomes += self.make(takes)
        return outcomes

    def item_of(self, job: Job) -> dict[str, Any]:
        """Give the settings of this job's result."""
        return {**self.settings, "vocals": os.path.abspath(job.source), "seed": job.seed}

    def fail(self, job: Job, error: Exception) -> Outcome:
        """Note that a job failed, and say why."""
        words = report_failure(error, self.arguments.debug, f"{job.source}: ")
        return Outcome(job.source, job.seed, "failed", 0.0, words.removeprefix(f"`source` {job.source!r} "))

    def load(self, source: str, count: str = "") -> Recording:
        """Load the vocals of a job."""
        if self.newest is None or self.newest[0] != source:
            vocals = Recording(source, allow_truncated=bool(self.settings.get("allow_truncated")))
            channels = f"{vocals.num_channels} channel" + ("s" if vocals.num_channels > 1 else "")
            shown = (
                source if source != str(SHIPPED_VOCALS) else f"{SHIPPED_VOCALS.name} (vocadito data set, CC BY 4.0)"
            )
            say(f"{count}{shown}: {vocals.duration_s:.1f} s, {vocals.sampling_rate} Hz, {channels}")
            if self.separator is not None:
                separated, _, sampling_rate = self.separator.separate(vocals.read(), vocals.sampling_rate)
                vocals = Recording(separated, sampling_rate)
            rate = self.settings.get("sampling_rate", vocals.sampling_rate)
            check_format(self.settings.get("format", DEFAULT_FORMAT), rate, vocals.num_channels)
            self.newest = source, vocals
        return self.newest[1]

    def announce(self, take: LoadedJob, left: Sequence[Job]) -> None:
        """Say how long the work will take, if it is long."""
        if not self.is_announced:
            others_s = [stated_duration(job.source) for job in left if job != take.job]
            others_s = others_s * self.best_of + [None] * (self.best_of - 1)
            hints = [PREVIEW_HINT] if _is_preview_short(self.pipe.model) and not self.options.get("preview") else []
            if self.arguments.command == "generate" and not self.arguments.stream:
                hints.append(STREAM_HINT)
            announce_work(self.pipe, take.vocals, others_s, self.options, hints)
            self.is_announced = True

    def make(self, takes: list[LoadedJob]) -> list[Outcome]:
        """Generate these takes together and write each."""
        start = time.monotonic()
        try:
            # With `--stream` the accompaniments are in files already, and these are their names.
            results = [self.stream(take) for take in takes] if self.arguments.stream else self.generate(takes)
        except Exception as error:
            if len(takes) > 1:  # one of them may be the cause, so each is tried alone
                return [outcome for take in takes for outcome in self.make([take])]
            return [self.fail(takes[0].job, error)]
        elapsed_s = (time.monotonic() - start) / len(takes)
        outcomes = []
        for take, result in zip(takes, results, strict=True):
            try:
                folder = self.write(take, result)
            except Exception as error:
                outcomes.append(self.fail(take.job, error))
                continue
            say(f"{elapsed_s:.1f} s of work, {elapsed_s / take.vocals.duration_s:.2f} s per second of music")
            if self.best_of > 1:
                terms = _in_words(result["ranking"])
                say(f"kept the take of seed {result['seed']}, the best of {self.best_of}: {terms}")
            print(folder, flush=True)
            _compare_with_record(folder, self.recorded)
            outcomes.append(Outcome(take.job.source, take.job.seed, "made", elapsed_s, str(folder)))
        return outcomes

    def write(self, take: LoadedJob, result: Any) -> Path:
        """Write a result into its folder."""
        parent, vocals = self.arguments.output, take.vocals
        if not self.arguments.stream:
            return write_result(parent, take.item, vocals, vocals.sampling_rate, result, self.made_with)
        path, rendered, journal = result
        offset = self.options.get("accompaniment_lufs_offset", -3.0)
        origin = {"seed": take.item["seed"], "token_fingerprint": self.made_with.get("token_fingerprint")}
        codes = {**journal.all_codes(), **origin}
        folder = write_part_result(parent, take.item, vocals, path, self.made_with, offset, *rendered, codes)
        journal.remove()
        return folder

    def generate(self, takes: list[LoadedJob]) -> list[dict[str, Any]]:
        """Run the pipeline and give its results."""
        sources = [{"array": take.vocals.read(), "sampling_rate": take.vocals.sampling_rate} for take in takes]
        for take, source in zip(takes, sources, strict=True):
            if abs(source["array"]).max() < SILENT_PEAK:
                say(f"accompgen: note: {take.job.source} is silent. Was the right microphone chosen?")
        seeds = [take.item["seed"] for take in takes]
        settings = {
            "output_sampling_rate": self.settings.get("sampling_rate", "input"),
            # Bars of several processes would overwrite each other.
            "show_progress": not self.arguments.quiet and process_place()[1] == 1,
            "return_codes": True,
            **self.options,
        }
        if self.best_of > 1:
            settings |= {"num_variations": self.best_of, "keep": 1, "batch_size": self.best_of * len(takes)}
        elif len(takes) > 1:
            settings["batch_size"] = len(takes)
        if len(takes) == 1:
            [sources], [seeds] = sources, seeds
        if self.arguments.preview_first:
            previews = self.pipe(sources, seed=seeds, **{**settings, "preview": True, "lead_sheet": False})
            for take, preview in zip(takes, previews if len(takes) > 1 else [previews], strict=True):
                self.write_preview(take, preview)
            settings["known_codes"] = previews
        results = self.pipe(sources, seed=seeds, **settings)
        return results if len(takes) > 1 else [results]

    def write_preview(self, take: LoadedJob, preview: Mapping[str, Any]) -> None:
        """Write the preview of a job."""
        os.makedirs(self.arguments.output, exist_ok=True)
        path = Path(self.arguments.output) / f"{result_name(take.item['vocals'], take.item['seed'])}.preview.wav"
        write_audio(path, preview["mix"], preview["sampling_rate"])
        say(f"{path}: the preview; the full render goes on from its codes")

    def stream(self, take: LoadedJob) -> tuple[Path, Rendered, CodeJournal]:
        """Let a part file grow, one for each part of the band too, and go on with what a killed run has left."""
        name = result_name(take.item["vocals"], take.item["seed"])
        if take.job.is_of_folder:  # files of one name in several folders
            name += f"-{zlib.crc32(os.fsencode(take.item['vocals'])):08x}"
        os.makedirs(self.arguments.output, exist_ok=True)
        path = Path(self.arguments.output) / f"{name}.part.wav"
        options = {key: value for key, value in self.options.items() if key != "accompaniment_lufs_offset"}
        fingerprint = render_fingerprint(self.pipe, take.item, {**self.made_with, **library_versions()}, take.vocals)
        journal = open_journal(path, fingerprint)
        if journal.is_worth_keeping and not self.arguments.quiet:
            say(f"{path}: goes on; what was there is written again first, in no time")
        rendered = render_to_part(
            self.pipe,
            take.vocals,
            path,
            journal,
            None if self.arguments.quiet else _show_progress(path, take.vocals.duration_s),
            seed=take.item["seed"],
            output_sampling_rate=self.settings.get("sampling_rate", "input"),
            **options,
        )
        return path, rendered, journal


def _in_words(ranking: Mapping[str, Any]) -> str:
    """The terms of a ranking, and their sum."""
    return ", ".join(f"{name.replace('_', ' ')} {ranking[name]:.2f}" for name in (*WEIGHTS, "score"))


def _show_progress(path: Path, duration_s: float) -> Callable[[float], None]:
    """Name the part file with its first audio, then tell every tenth of the song."""
    said = -1

    def progress(seconds: float) -> None:
        nonlocal said
        tenths = min(10, int(10 * seconds / duration_s))
        if said < 0 or tenths > said:
            say(f"{path}: {seconds:.1f} of {duration_s:.1f} s")
            said = tenths

    return progress


def stated_duration(path: str) -> float | None:
    """Read the duration in seconds from the header of a file, if it is there."""
    try:
        return import_optional("soundfile", "Reading audio files").info(path).duration
    except (RuntimeError, TypeError, ImportError):  # m4a, or no audio
        return None


def _is_preview_short(model: Any) -> bool:
    """Whether leaving the fine stage out saves much: it makes as many codes as the coarse one."""
    coarse, fine = (sum(weight.numel() for weight in part.parameters()) for part in (model.coarse, model.fine))
    return fine >= 0.7 * coarse


def announce_work(
    pipe: Any,
    vocals: Recording,
    others_s: Sequence[float | None],
    options: Mapping[str, Any],
    hints: Sequence[str] = (),
) -> None:
    """Before more than 30 s of work: say how long it will take, as measured here, and what helps.

    Args:
        vocals (`Recording`): The first recording, on which the trials are made.
        others_s: Durations of the others in seconds. `None` counts as long as the first.
        hints: Further lines to print.
    """
    total_s = vocals.duration_s + sum(vocals.duration_s if other is None else other for other in others_s)
    num_parameters = sum(parameter.numel() for parameter in pipe.model.parameters())
    is_short = total_s <= _FREE_OF_TRIAL_S and num_parameters <= _FREE_OF_TRIAL_PARAMETERS
    if is_short or vocals.duration_s < 2 * _TRIAL_DURATIONS_S[1]:
        return
    seconds = estimate_seconds(pipe, vocals, total_s, options)
    if seconds > ESTIMATE_ABOVE_S:
        about = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
        music = f" for {total_s / 60:.0f} min of music" if others_s else ""
        say("; ".join([f"this will take about {about}{music}", *hints]) + " (Ctrl-C stops)")


def estimate_seconds(pipe: Any, vocals: Recording, total_s: float, options: Mapping[str, Any]) -> float:
    """Estimate the time for so much music from two short trials; the shorter one also warms up."""
    times_s = []
    for duration_s in _TRIAL_DURATIONS_S:
        excerpt = {"array": vocals.read(duration_s), "sampling_rate": vocals.sampling_rate}
        start = working_time()
        pipe(excerpt, seed=0, show_progress=False, **options)
        times_s.append(working_time() - start)
    per_second = max(0.0, times_s[1] - times_s[0]) / (_TRIAL_DURATIONS_S[1] - _TRIAL_DURATIONS_S[0])
    return times_s[0] + per_second * total_s


def _compare_with_record(folder: Path, recorded: Mapping[str, Any]) -> None:
    """Say whether the same audio came out, if `--settings` is that of a written result."""
    hashes = recorded.get("files", {})
    if hashes:
        is_same = hashes == {name: hash_audio(folder / name) for name in list_audio(folder)}
        say("the audio is the recorded one, bit for bit" if is_same else "the audio differs from the recorded one")
