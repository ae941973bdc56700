"""The work behind the web page: one job at a time, with progress, caps and stop; nothing is left on the disk.

This module knows nothing about pages; `web` shows what `Studio.accompany` yields.
"""

import os
import queue
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accompgen_hf.accompgen.audio_accompgen import load_audio
from accompgen_hf.accompgen.options_accompgen import limit_options
from accompgen_hf.accompgen.seeds_accompgen import resolve_seeds
from accompgen_hf.app.open_pipeline import describe_model
from accompgen_hf.app.result_folders import result_name, write_result

MAX_BYTES = 20 * 2**20
MAX_DURATION_S = 60.0
MAX_VARIATIONS = 4
MAX_GUIDANCE_SCALE = 10.0
MAX_SEED = 2**31 - 1 - MAX_VARIATIONS
PAGE_OPTIONS = limit_options(
    seed=(0, MAX_SEED), num_variations=(1, MAX_VARIATIONS), guidance_scale=(0, MAX_GUIDANCE_SCALE)
)
_WORDS = {"seed": "The seed", "num_variations": "The number of takes", "guidance_scale": "The guidance"}
# Positions that a stage decodes for one second of audio; the work is proportional to them.
_STAGE_POSITIONS = {"semantic": 50, "coarse": 300, "fine": 300}
_POLL_S = 0.3
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

    def check(self) -> None:
        """Raise `Refused` for values that the page's own controls cannot send, but another client can."""
        for name, option in PAGE_OPTIONS.items():
            value = getattr(self, name)
            if value is not None and not option.accepts(value):
                raise Refused(f"{_WORDS[name]} must be from {option.low} to {option.high}, got {value!r}.")


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
    """One finished accompaniment: a folder as `accompgen generate` writes it, and all of it as a zip file."""

    number: int
    seed: int
    folder: Path
    archive: Path


@dataclass
class _VisitorJob:
    folder: Path
    num_takes: int
    duration_s: float = 0.0
    take: int = 1
    stage: str = "listening"
    positions: float = 0.0
    is_preview: bool = False
    started: float = field(default_factory=time.monotonic)
    takes: queue.SimpleQueue = field(default_factory=queue.SimpleQueue)
    stopped: threading.Event = field(default_factory=threading.Event)
    closed: threading.Event = field(default_factory=threading.Event)

    def report(self, stage: str, seconds_just_finished: float) -> None:
        """Receive the pipeline's progress; an exception raised here ends the generation."""
        if self.stopped.is_set():
            raise Stopped
        self.stage = stage
        self.positions += _STAGE_POSITIONS[stage] * seconds_just_finished

    def progress(self) -> Progress:
        stages = [name for name in _STAGE_POSITIONS if not (self.is_preview and name == "fine")]
        total = self.num_takes * self.duration_s * sum(_STAGE_POSITIONS[name] for name in stages)
        fraction = min(self.positions / total, 1.0) if total else 0.0
        elapsed_s = time.monotonic() - self.started
        seconds_left = elapsed_s / fraction - elapsed_s if fraction > 0.05 and elapsed_s > 2 else None
        return Progress(fraction, self.stage, self.take, self.num_takes, seconds_left)


class Studio:
    """Runs the jobs of all visitors, one after the other.

    Args:
        pipe: A `VocalAccompanimentPipeline`.
        folder (`str` or `os.PathLike`): Folder for the files of running jobs; nothing stays there.
        max_bytes, max_duration_s: Larger and longer recordings are refused before any work.
    """

    def __init__(
        self,
        pipe: Any,
        folder: str | os.PathLike,
        max_bytes: int = MAX_BYTES,
        max_duration_s: float = MAX_DURATION_S,
    ):
        self.pipe, self.folder = pipe, Path(folder)
        self.max_bytes, self.max_duration_s = max_bytes, max_duration_s
        self.is_placeholder = bool(getattr(pipe.model.config, "is_placeholder", False))
        generation_config = getattr(getattr(pipe.model, "semantic", None), "generation_config", None)
        self.default_guidance_scale = float(getattr(generation_config, "guidance_scale", None) or 1.0)
        self._jobs: dict[str, _VisitorJob] = {}
        self._jobs_lock = threading.Lock()
        self._pipe_lock = threading.Lock()  # a stopped job may need one more window before it lets go

    def accompany(self, visitor: str, path: str | None, settings: Settings) -> Iterator[Progress | FinishedTake]:
        """Make the accompaniments of one recording.

        Closing the iterator stops the work. The files of a take are there until the next step of the iterator.

        Args:
            visitor (`str`): Id of the visitor; an earlier job of the same visitor is stopped.
            path (`str`): The uploaded or recorded file.

        Raises:
            Refused: If the recording or a setting cannot be used, in words for the visitor.
            Stopped: If `stop` was called for this visitor.
        """
        settings.check()
        vocals, sampling_rate = self._read(path)
        job = self._open_job(visitor, settings, vocals.shape[-1] / sampling_rate)
        arguments = (job, os.path.basename(path), vocals, sampling_rate, settings)
        threading.Thread(target=self._work, args=arguments, name="accompgen-job", daemon=True).start()
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
            return load_audio(Path(path).read_bytes(), max_duration_s=self.max_duration_s)
        except (ValueError, TypeError) as error:
            raise Refused(for_visitors(str(error))) from error
        except OSError as error:
            raise Refused("The recording is not there any more. Upload it again.") from error

    def _open_job(self, visitor: str, settings: Settings, duration_s: float) -> _VisitorJob:
        self.folder.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="job-", dir=self.folder))
        job = _VisitorJob(folder, settings.num_variations, duration_s, is_preview=settings.preview)
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
                for number, seed in enumerate(resolve_seeds(settings.seed, settings.num_variations), start=1):
                    job.take, job.stage = number, "listening"
                    job.takes.put(self._make_take(job, name, vocals, sampling_rate, settings, seed))
            job.takes.put(None)
        except BaseException as error:
            job.takes.put(error)
        finally:
            job.closed.wait()
            shutil.rmtree(job.folder, ignore_errors=True)

    def _make_take(
        self, job: _VisitorJob, name: str, vocals: Any, sampling_rate: int, settings: Settings, seed: int
    ) -> FinishedTake:
        options = {} if settings.guidance_scale is None else {"guidance_scale": settings.guidance_scale}
        options |= {"preview": True} if settings.preview else {}
        if job.stopped.is_set():
            raise Stopped
        # One call per take, as on the command line: each can be made again by its own settings.json.
        result = self.pipe(
            {"array": vocals, "sampling_rate": sampling_rate},
            seed=seed,
            output_sampling_rate="input",
            callback=job.report,
            show_progress=False,
            return_codes=True,  # a result folder keeps them
            **options,
        )
        if job.stopped.is_set():
            raise Stopped
        job.stage = "mixing"
        settings_file = {"vocals": name, "seed": seed, **options}
        folder = write_result(job.folder, settings_file, vocals, sampling_rate, result, describe_model(self.pipe))
        archive = shutil.make_archive(str(job.folder / result_name(name, seed)), "zip", folder)
        return FinishedTake(job.take, seed, folder, Path(archive))


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
