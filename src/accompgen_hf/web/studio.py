"""The work behind the web page: one job at a time, with progress, caps and stop; nothing is left on the disk.

This module knows nothing about pages; `web` shows what `Studio.accompany` yields.
"""

import contextlib
import contextvars
import functools
import os
import queue
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from accompgen_hf.accompgen.audio_accompgen import load_audio, write_audio
from accompgen_hf.accompgen.options_accompgen import limit_options
from accompgen_hf.accompgen.seeds_accompgen import resolve_seeds
from accompgen_hf.app.open_pipeline import describe_model
from accompgen_hf.app.result_folders import result_name, write_result
from accompgen_hf.web.pace import Pace

MAX_BYTES = 20 * 2**20
MAX_DURATION_S = 60.0
MAX_VARIATIONS = 4
MAX_GUIDANCE_SCALE = 10.0
MAX_SEED = 2**31 - 1 - MAX_VARIATIONS
PAGE_OPTIONS = limit_options(
    seed=(0, MAX_SEED), num_variations=(1, MAX_VARIATIONS), guidance_scale=(0, MAX_GUIDANCE_SCALE)
)
_WORDS = {"seed": "The seed", "num_variations": "The number of takes", "guidance_scale": "The guidance"}
_POLL_S = 0.3
_SILENT_PEAK = 1e-3  # -60 dB of full scale
# The library's messages are written for people who call functions; visitors of a page have no parameters.
_FOR_VISITORS = (
    (r"`source`( \(bytes\))?", "The recording"),
    (r" \(`max_duration_s`\)", ""),
    (r", or raise the limit", ""),
    (r", or pass `allow_truncated=True` to use what is there", ""),
    (r", which needs PyAV: .*", ", which cannot be read here. Convert it to wav or mp3."),
)


class Refused(ValueError):
    """A recording or setting that cannot be used; the text is meant for the visitor."""


class Stopped(Exception):
    """The job was stopped, by the visitor or by the end of the visit."""


@dataclass(frozen=True)
class Settings:
    """What a visitor may choose; `None` leaves it to the model or to chance."""

    seed: int | None = None
    num_variations: int = 1
    guidance_scale: float | None = None
    preview: bool = False
    style: str | None = None

    def check(self, style_names: Sequence[str] = ()) -> None:
        """Raise `Refused` for values that the page's own controls cannot send, but another client can."""
        for name, option in PAGE_OPTIONS.items():
            value = getattr(self, name)
            if value is not None and not option.accepts(value):
                raise Refused(f"{_WORDS[name]} must be from {option.low} to {option.high}, got {value!r}.")
        if self.style is not None and self.style not in style_names:
            known = f"must be one of {', '.join(style_names)}" if style_names else "cannot be chosen with this model"
            raise Refused(f"The style {known}, got {self.style!r}.")

    def options(self) -> dict[str, Any]:
        """Options of a call of the pipeline, and keys of `settings.json`: what was chosen."""
        chosen = {"guidance_scale": self.guidance_scale, "preview": self.preview or None, "style": self.style}
        return {name: value for name, value in chosen.items() if value is not None}


@dataclass(frozen=True)
class Progress:
    """How far a job is: the `fraction` of all its work, the stage that runs now, and the take that it works on."""

    fraction: float
    stage: str
    take: int
    num_takes: int
    seconds_left: float | None


@dataclass(frozen=True)
class FinishedTake:
    """One finished accompaniment: a folder as `accompgen generate` writes it, and all of it as a zip file.

    `vocals`, `accompaniment` and `sampling_rate` are what the pipeline took and gave; `voice` is a file of the vocals,
    `parts` are the parts of the band that have files of their own in the folder, if the model plays several;
    `lead_sheet` says what they play.
    """

    number: int
    seed: int
    settings: Settings
    folder: Path
    archive: Path
    voice: Path
    vocals: np.ndarray
    accompaniment: np.ndarray
    sampling_rate: int
    parts: tuple[str, ...] = ()
    lead_sheet: Mapping[str, Any] | None = None


@dataclass
class _VisitorJob:
    folder: Path
    num_takes: int
    pace: Pace
    duration_s: float = 0.0
    is_preview: bool = False
    take: int = 1
    step: str = "waiting"
    audio_s: dict[str, float] = field(default_factory=dict)  # of this take that each step has worked off
    entered: dict[str, float] = field(default_factory=dict)  # when this take came to a step
    started: float = field(default_factory=time.monotonic)
    takes: queue.SimpleQueue = field(default_factory=queue.SimpleQueue)
    stopped: threading.Event = field(default_factory=threading.Event)
    closed: threading.Event = field(default_factory=threading.Event)

    def begin_take(self, number: int) -> None:
        self.take, self.audio_s, self.entered = number, {}, {}
        self.enter("listening")

    def enter(self, step: str) -> None:
        if self.stopped.is_set():
            raise Stopped
        self.step = step
        self.entered.setdefault(step, time.monotonic())

    def report(self, stage: str, seconds_just_finished: float) -> None:
        """Receive the pipeline's progress; an exception raised here ends the generation."""
        self.enter(stage)
        self.audio_s[stage] = self.audio_s.get(stage, 0.0) + seconds_just_finished
        *_, last, _ = self.pace.costs(self.is_preview)
        if stage == last and self.audio_s[stage] > 0.99 * self.duration_s:
            self.enter("mixing")

    def end_take(self) -> None:
        """Let the next estimates know what the steps of this take have cost."""
        ends = [*list(self.entered.values())[1:], time.monotonic()]
        seconds = {step: end - begin for (step, begin), end in zip(self.entered.items(), ends, strict=True)}
        if "coarse" in seconds:
            self.pace.learn(seconds, self.duration_s)

    def progress(self) -> Progress:
        now = time.monotonic()
        costs = {step: cost * self.duration_s for step, cost in self.pace.costs(self.is_preview).items()}
        of_take = sum(costs.values())
        work, total = (self.take - 1) * of_take, self.num_takes * of_take
        for step in costs:
            if step != self.step:
                work += costs[step] if step in self.entered else 0.0
                continue
            share = self.audio_s.get(step, 0.0) / self.duration_s
            speed = self.pace.speed(work + share * costs[step], total, now - self.started)
            if step not in self.audio_s and speed is not None:  # it reports nothing: time alone says how far it is
                share = (now - self.entered.get(step, now)) / (speed * costs[step])
            work += min(share, 1.0) * costs[step]
        speed = self.pace.speed(work, total, now - self.started)
        is_known = speed is not None and self.step != "waiting"
        fraction = work / total if total else 0.0
        return Progress(fraction, self.step, self.take, self.num_takes, (total - work) * speed if is_known else None)


class Studio:
    """Runs the jobs of all visitors, one after the other.

    Args:
        pipe: A `VocalAccompanimentPipeline`.
        folder (`str` or `os.PathLike`): Folder for the files of running jobs; nothing stays there.
        max_bytes, max_duration_s: Larger and longer recordings are refused before any work.
        play (`Callable`, *optional*): Called in place of `pipe`, without its `callback`: for a Space that lends its
            GPU to one call at a time. Such a job stops between two takes alone.
    """

    def __init__(
        self,
        pipe: Any,
        folder: str | os.PathLike,
        max_bytes: int = MAX_BYTES,
        max_duration_s: float = MAX_DURATION_S,
        play: Callable[..., dict[str, Any]] | None = None,
    ):
        self.pipe, self.folder, self.play = pipe, Path(folder), play
        self.max_bytes, self.max_duration_s = max_bytes, max_duration_s
        self.is_placeholder = bool(getattr(pipe.model.config, "is_placeholder", False))
        generation_config = getattr(getattr(pipe.model, "semantic", None), "generation_config", None)
        self.default_guidance_scale = float(getattr(generation_config, "guidance_scale", None) or 1.0)
        self.style_names = tuple(getattr(pipe.model.config, "style_names", ()))
        self._pace = Pace()
        self._jobs: dict[str, _VisitorJob] = {}
        self._jobs_lock = threading.Lock()
        self._pipe_lock = threading.Lock()  # a stopped job may need one more window before it lets go

    def accompany(self, visitor: str, path: str | None, settings: Settings) -> Iterator[Progress | FinishedTake]:
        """Make the accompaniments of one recording.

        Closing the iterator stops the work. The files of a take are there until then.

        Args:
            visitor (`str`): Id of the visitor; an earlier job of the same visitor is stopped.
            path (`str`): The uploaded or recorded file.

        Raises:
            Refused: If the recording or a setting cannot be used, in words for the visitor.
            Stopped: If `stop` was called for this visitor.
        """
        settings.check(self.style_names)
        vocals, sampling_rate = self._read(path)
        job = self._open_job(visitor, settings, vocals.shape[-1] / sampling_rate)
        arguments = (self._work, job, os.path.basename(path), vocals, sampling_rate, settings)
        run = contextvars.copy_context().run  # tells a Space whose request this is
        threading.Thread(target=run, args=arguments, name="accompgen-job", daemon=True).start()
        try:
            yield job.progress()
            while True:
                try:
                    outcome = job.takes.get(timeout=_POLL_S)
                except queue.Empty:
                    yield job.progress()
                    continue
                if outcome is None:
                    return
                if isinstance(outcome, BaseException):
                    raise outcome
                yield outcome
        finally:
            job.stopped.set()
            job.closed.set()
            with self._jobs_lock:
                if self._jobs.get(visitor) is job:
                    del self._jobs[visitor]

    def stop(self, visitor: str) -> bool:
        """Stop the visitor's job within one window, and return whether there was one."""
        with self._jobs_lock:
            job = self._jobs.get(visitor)
        if job is not None:
            job.stopped.set()
        return job is not None

    def warm_up(self) -> None:
        """Play a moment of noise in the background, so that no visitor waits for what the first call prepares."""
        if self.play is not None:
            return
        rate = self.pipe.processor.sampling_rate
        noise = 0.1 * np.random.default_rng(0).standard_normal(rate // 2, dtype=np.float32)
        job = _VisitorJob(self.folder, 1, self._pace)

        def play() -> None:
            with self._pipe_lock, contextlib.suppress(Stopped):
                self.pipe(noise, sampling_rate=rate, seed=0, show_progress=False, callback=job.report)

        with self._jobs_lock:
            self._jobs[""] = job
        threading.Thread(target=play, name="accompgen-warm-up", daemon=True).start()

    def stop_all(self) -> None:
        """Stop all jobs, and delete their files."""
        with self._jobs_lock:
            jobs = list(self._jobs.values())
        for job in jobs:
            job.stopped.set()
            job.closed.set()

    def _read(self, path: str | None) -> tuple[Any, int]:
        if not path:
            raise Refused("There is no recording yet. Record or upload one first.")
        try:
            num_bytes = os.path.getsize(path)
            if num_bytes > self.max_bytes:
                raise Refused(
                    f"The file has {num_bytes / 2**20:.1f} MB, the limit here is {self.max_bytes / 2**20:g} MB. "
                    "Give a shorter part, or an mp3 or flac of it."
                )
            # The bytes, not the path: messages then say "the recording", not where this machine keeps it.
            vocals, sampling_rate = load_audio(Path(path).read_bytes(), max_duration_s=self.max_duration_s)
        except (ValueError, TypeError) as error:
            raise Refused(for_visitors(str(error))) from error
        except OSError as error:
            raise Refused("The recording is not there any more. Upload it again.") from error
        if np.abs(vocals).max() < _SILENT_PEAK:
            raise Refused("The recording is silent. Was the right microphone chosen, and was it not muted?")
        return vocals, sampling_rate

    def _open_job(self, visitor: str, settings: Settings, duration_s: float) -> _VisitorJob:
        self.folder.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="job-", dir=self.folder))
        job = _VisitorJob(folder, settings.num_variations, self._pace, duration_s, settings.preview)
        with self._jobs_lock:
            earlier = self._jobs.get(visitor)
            self._jobs[visitor] = job
        if earlier is not None:
            earlier.stopped.set()
        return job

    def _work(self, job: _VisitorJob, name: str, vocals: Any, sampling_rate: int, settings: Settings) -> None:
        """Run the job in a thread of its own: takes and errors go into `job.takes`, and `None` at the end."""
        try:
            with self._pipe_lock:
                job.started = time.monotonic()
                voice = job.folder / "voice.wav"
                write_audio(voice, vocals, sampling_rate)
                for number, seed in enumerate(resolve_seeds(settings.seed, settings.num_variations), start=1):
                    job.begin_take(number)
                    job.takes.put(self._make_take(job, name, voice, vocals, sampling_rate, settings, seed))
                    job.end_take()
            job.takes.put(None)
        except BaseException as error:
            job.takes.put(error)
        finally:
            job.closed.wait()
            shutil.rmtree(job.folder, ignore_errors=True)

    def _make_take(
        self,
        job: _VisitorJob,
        name: str,
        voice: Path,
        vocals: np.ndarray,
        sampling_rate: int,
        settings: Settings,
        seed: int,
    ) -> FinishedTake:
        options = settings.options()
        # One call per take, as on the command line: each can be made again by its own settings.json.
        play = self.play or functools.partial(self.pipe, callback=job.report)
        recording = {"array": vocals, "sampling_rate": sampling_rate}
        always = {"output_sampling_rate": "input", "return_codes": True, "show_progress": False}
        result = play(recording, seed=seed, **options, **always)
        job.enter("mixing")
        settings_file = {"vocals": name, "seed": seed, **options}
        folder = write_result(job.folder, settings_file, vocals, sampling_rate, result, describe_model(self.pipe))
        archive = shutil.make_archive(str(job.folder / result_name(name, seed)), "zip", folder)
        audio, parts = result["audio"], tuple(result.get("stems", ()))
        made = (job.take, seed, settings, folder, Path(archive), voice, vocals, audio, sampling_rate, parts)
        return FinishedTake(*made, result.get("lead_sheet"))


def readable_formats() -> list[str]:
    """Names of the kinds of files that this installation reads, the common ones."""
    import soundfile

    names = [name.lower() for name in ("WAV", "FLAC", "MP3", "OGG") if name in soundfile.available_formats()]
    names += ["opus"] if "OPUS" in soundfile.available_subtypes("OGG") else []
    return names + (["m4a", "webm"] if find_spec("av") else [])


def read_seed(text: str) -> int | None:
    """Read the seed's field; an empty one means a random seed.

    Raises:
        Refused: If it is not a whole number.
    """
    text = (text or "").strip()
    if text and not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise Refused(f"The seed must be a whole number from 0 to {MAX_SEED}, or nothing, got {text[:20]!r}.")
    return int(text) if text else None


def for_visitors(message: str) -> str:
    """Turn a message of the library into words without parameters."""
    for pattern, words in _FOR_VISITORS:
        message = re.sub(pattern, words, message, flags=re.DOTALL)
    return message
