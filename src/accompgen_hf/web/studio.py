"""The work behind the web page: one job at a time, with progress, caps and stop; nothing is left on the disk.

This module knows nothing about pages; `web` shows what `Studio.accompany` yields.
"""

import contextlib
import contextvars
import functools
import os
import queue
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from accompgen_hf.accompgen.audio_accompgen import load_audio, write_audio
from accompgen_hf.accompgen.audio_checks_accompgen import SILENT_PEAK
from accompgen_hf.accompgen.seeds_accompgen import resolve_seeds
from accompgen_hf.accompgen.working_time_accompgen import working_time
from accompgen_hf.app.open_pipeline import describe_model
from accompgen_hf.app.result_folders import result_name, take_name, write_result
from accompgen_hf.web.choices import Refused, Settings, for_visitors
from accompgen_hf.web.earlier_takes import ChosenSpan, EarlierTake, read_take
from accompgen_hf.web.jobs import Progress, Stopped, VisitorJob
from accompgen_hf.web.pace import Pace

MAX_BYTES = 20 * 2**20
MAX_DURATION_S = 60.0
_POLL_S = 0.3


@dataclass(frozen=True)
class FinishedTake:
    """One finished accompaniment: a folder as `accompgen generate` writes it, and all of it as a zip file.

    `vocals`, `accompaniment` and `sampling_rate` are what the pipeline took and gave; `voice` is a file of the vocals,
    `parts` are the parts of the band that have files of their own in the folder, if the model plays several;
    `lead_sheet` says what they play, `made_anew_s` which seconds are new in another take of an earlier one.
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
    made_anew_s: tuple[float, float] | None = None


@dataclass(frozen=True)
class _Order:
    name: str
    vocals: np.ndarray
    sampling_rate: int
    settings: Settings
    span: ChosenSpan | None = None  # in seconds of the music
    earlier: EarlierTake | None = None


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
        names = tuple(getattr(pipe.model.config, "part_names", ()))
        self.part_names = names if len(names) > 1 else ()
        self.style_names = tuple(getattr(pipe.model.config, "style_names", ()))
        has_listener = getattr(getattr(pipe.model, "semantic", None), "listener", None) is not None
        self.is_listening = has_listener and bool(getattr(generation_config, "listening_scale", None))
        self._pace = Pace()
        self._jobs: dict[str, VisitorJob] = {}
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
        settings.check(self.style_names, self.is_listening)
        vocals, sampling_rate = self._read(path)
        yield from self._run(visitor, _Order(os.path.basename(path), vocals, sampling_rate, settings))

    def regenerate(
        self, visitor: str, path: str | None, span: ChosenSpan, seed: int | None = None
    ) -> Iterator[Progress | FinishedTake]:
        """Make a span of an earlier take anew; the rest of it stays. Start and end move to the nearest beats.

        Args:
            visitor, path: As for `accompany`: the recording that the take accompanies.
            span (`ChosenSpan`): The take's zip file, and what of it.
            seed (`int`, *optional*): Seed of the span; `None` draws one.

        Raises:
            Refused, Stopped: As for `accompany`.
        """
        settings = Settings(seed)
        settings.check()
        vocals, sampling_rate = self._read(path)
        duration_s = vocals.shape[-1] / sampling_rate
        earlier = self._read_take(span.archive)
        start_s, end_s, last_s = span.start_s, span.end_s, earlier.count_in_s + duration_s
        if not 0 <= start_s < end_s <= last_s + _POLL_S:
            raise Refused(
                f"The part must end after it begins, between 0 and {last_s:.1f} s, got {start_s} to {end_s} s."
            )
        try:
            span = earlier.find_music(span, duration_s)
        except ValueError as error:
            raise Refused(for_visitors(str(error))) from error
        if span.part is not None and span.part not in self.part_names:
            known = f"one of {', '.join(self.part_names)}" if self.part_names else "left out with this model"
            raise Refused(f"The player must be {known}, got {span.part!r}.")
        order = _Order(os.path.basename(path), vocals, sampling_rate, settings, span, earlier)
        yield from self._run(visitor, order)

    def _run(self, visitor: str, order: _Order) -> Iterator[Progress | FinishedTake]:
        job = self._open_job(visitor, order)
        run = contextvars.copy_context().run  # tells a Space whose request this is
        threading.Thread(target=run, args=(self._work, job, order), name="accompgen-job", daemon=True).start()
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
        job = VisitorJob(self.folder, 1, self._pace)

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
        if np.abs(vocals).max() < SILENT_PEAK:
            raise Refused("The recording is silent. Was the right microphone chosen, and was it not muted?")
        return vocals, sampling_rate

    def _read_take(self, archive: str) -> EarlierTake:
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="take-", dir=self.folder) as folder:
            try:
                return read_take(archive, Path(folder) / "earlier")
            except ValueError as error:
                raise Refused(str(error)) from error

    def _open_job(self, visitor: str, order: _Order) -> VisitorJob:
        settings, span = order.settings, order.span
        duration_s = order.vocals.shape[-1] / order.sampling_rate
        if span is not None:
            duration_s = min(span.end_s, duration_s) - span.start_s
        self.folder.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="job-", dir=self.folder))
        job = VisitorJob(folder, settings.num_variations, self._pace, duration_s, settings.preview, span is not None)
        with self._jobs_lock:
            earlier = self._jobs.get(visitor)
            self._jobs[visitor] = job
        if earlier is not None:
            earlier.stopped.set()
        return job

    def _work(self, job: VisitorJob, order: _Order) -> None:
        """Run the job in a thread of its own: takes and errors go into `job.takes`, and `None` at the end."""
        settings = order.settings
        try:
            with self._pipe_lock:
                job.started = working_time()
                write_audio(job.folder / "voice.wav", order.vocals, order.sampling_rate)
                for number, seed in enumerate(resolve_seeds(settings.seed, settings.num_variations), start=1):
                    job.begin_take(number)
                    job.takes.put(self._make_take(job, order, seed))
                    job.end_take()
            job.takes.put(None)
        except BaseException as error:
            job.takes.put(error)
        finally:
            job.closed.wait()
            shutil.rmtree(job.folder, ignore_errors=True)

    def _make_take(self, job: VisitorJob, order: _Order, seed: int) -> FinishedTake:
        earlier, span, vocals, sampling_rate = order.earlier, order.span, order.vocals, order.sampling_rate
        options = order.settings.options()
        # One call per take, as on the command line: each can be made again by its own settings.json.
        play = self.play or functools.partial(self.pipe, callback=job.report)
        always = {"output_sampling_rate": "input", "return_codes": True, "show_progress": False}
        recording = {"array": vocals, "sampling_rate": sampling_rate}
        if earlier is None:
            result = play(recording, seed=seed, **options, **always)
            known_sheet = None
            record, name = {"vocals": order.name, "seed": seed, **options}, result_name(order.name, seed)
        else:
            try:
                result = play(recording, seed=seed, **{**always, **earlier.options(span)})
            except ValueError as error:  # another model's codes, or another recording's
                raise Refused(for_visitors(str(error))) from error
            known_sheet, record = earlier.known_codes.get("lead_sheet"), earlier.new_settings(span, result)
            name = take_name(earlier.name) + f"-{seed}"
        job.enter("mixing")
        made_with = describe_model(self.pipe)
        folder = write_result(job.folder, record, vocals, sampling_rate, result, made_with, name, known_sheet)
        archive = shutil.make_archive(str(job.folder / name), "zip", folder)
        return FinishedTake(
            number=job.take,
            seed=seed,
            settings=order.settings,
            folder=folder,
            archive=Path(archive),
            voice=job.folder / "voice.wav",
            vocals=vocals,
            accompaniment=result["audio"],
            sampling_rate=sampling_rate,
            parts=tuple(result.get("stems", ())),
            lead_sheet=result.get("lead_sheet"),
            made_anew_s=result.get("regenerated"),
        )


def readable_formats() -> list[str]:
    """Names of the kinds of files that this installation reads, the common ones."""
    import soundfile

    names = [name.lower() for name in ("WAV", "FLAC", "MP3", "OGG") if name in soundfile.available_formats()]
    names += ["opus"] if "OPUS" in soundfile.available_subtypes("OGG") else []
    return names + (["m4a", "webm"] if find_spec("av") else [])
