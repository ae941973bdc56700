"""Jobs behind the web page: takes, caps, stop, and nothing left on the disk."""

import json
import threading
import time
import zipfile

import numpy as np
import pytest
import soundfile

from accompgen_hf import VocalAccompanimentPipeline
from accompgen_hf.web.studio import MAX_SEED, FinishedTake, Progress, Refused, Settings, Stopped, Studio, read_seed
from tiny import tiny_model


@pytest.fixture(scope="module")
def pipe():
    return VocalAccompanimentPipeline(model=tiny_model(), device="cpu")


@pytest.fixture
def studio(pipe, tmp_path, monkeypatch):
    monkeypatch.setattr("accompgen_hf.app.result_folders.draw_picture", lambda path, *_args, **_kwargs: path.touch())
    return Studio(pipe, tmp_path / "jobs", max_bytes=200_000, max_duration_s=2.0)


def write_vocals(folder, duration_s=0.3, name="my song.wav", sampling_rate=22_050, **options):
    tone = 0.3 * np.sin(2 * np.pi * 220 * np.arange(round(duration_s * sampling_rate)) / sampling_rate)
    soundfile.write(folder / name, tone, sampling_rate, **options)
    return str(folder / name)


def wait_until_empty(folder) -> bool:
    """The job's own thread deletes its files, a moment after it is closed."""
    end = time.monotonic() + 10
    while list(folder.iterdir()) and time.monotonic() < end:
        time.sleep(0.02)
    return not list(folder.iterdir())


def test_takes_are_result_folders_and_zip_files_with_seeds_in_a_row(studio, pipe, tmp_path):
    path = write_vocals(tmp_path)
    steps = []
    for step in studio.accompany("anna", path, Settings(seed=7, num_variations=2, guidance_scale=2.0)):
        steps.append(step)
        if isinstance(step, FinishedTake):
            settings = json.loads((step.folder / "settings.json").read_text("utf-8"))
            assert (settings["seed"], settings["vocals"], settings["guidance_scale"]) == (
                step.seed,
                "my song.wav",
                2.0,
            )
            expected = pipe(path, seed=step.seed, guidance_scale=2.0, output_sampling_rate="input")
            audio, sampling_rate = soundfile.read(step.folder / "accompaniment.wav", dtype="float32")
            assert sampling_rate == 22_050
            assert np.abs(audio - expected["audio"]).max() < 2**-22
            with zipfile.ZipFile(step.archive) as archive:
                assert set(archive.namelist()) == {path.name for path in step.folder.iterdir()}
    takes = [step for step in steps if isinstance(step, FinishedTake)]
    assert [(take.number, take.seed) for take in takes] == [(1, 7), (2, 8)]
    fractions = [step.fraction for step in steps if isinstance(step, Progress)]
    assert fractions == sorted(fractions)
    assert wait_until_empty(studio.folder)


def test_without_a_seed_every_job_draws_its_own(studio, tmp_path):
    path = write_vocals(tmp_path)
    seeds = [
        step.seed
        for _ in range(2)
        for step in studio.accompany("anna", path, Settings(preview=True))
        if isinstance(step, FinishedTake)
    ]
    assert len(set(seeds)) == 2


def test_the_progress_counts_positions_of_all_takes_and_says_what_is_left():
    from accompgen_hf.web.studio import _VisitorJob

    job = _VisitorJob(folder=None, num_takes=2, duration_s=4.0)
    assert job.progress() == Progress(0.0, "listening", 1, 2, None)
    job.report("semantic", 4.0)
    job.report("coarse", 2.0)
    job.started -= 10.0
    progress = job.progress()
    assert progress.fraction == pytest.approx((4 * 50 + 2 * 300) / (2 * 4 * 650))
    assert progress.seconds_left == pytest.approx(10 / progress.fraction - 10, rel=0.01)
    assert (
        _VisitorJob(folder=None, num_takes=1, duration_s=1.0, is_preview=True, positions=350).progress().fraction
        == 1.0
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "The recording is empty"),
        (b"la la la", "The recording is text, not audio"),
        (bytes(range(256)), "The recording is not audio"),
        (b"\0\0\0\x20ftypM4A " + bytes(100), "The recording"),
        (None, "not there any more. Upload it again"),
        ("short", "at least 0.1 s is needed"),
        ("long", "lasts more than 2 s, which is the limit here. Give a shorter part"),
        ("cut", "is cut off: it holds 0.3. s of the 0.4. s"),
        ("nan", "The recording holds NaN or infinity"),
        ("large", "The file has 0.5 MB, the limit here is 0.19.* MB. Give a shorter part"),
    ],
)
def test_a_recording_is_refused_in_words_for_a_visitor(studio, tmp_path, content, message):
    path = tmp_path / "vocals.wav"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "nan":
        soundfile.write(path, np.full(8000, np.nan), 16_000, subtype="FLOAT")
    elif content is not None:
        write_vocals(tmp_path, {"short": 0.05, "long": 2.1, "cut": 0.4, "large": 12.0}[content], "vocals.wav")
    if content == "cut":
        path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(Refused, match=message) as caught:
        list(studio.accompany("anna", str(path), Settings()))
    assert "`" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_no_recording_is_refused(studio):
    with pytest.raises(Refused, match="There is no recording yet"):
        list(studio.accompany("anna", None, Settings()))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(seed=-1), "The seed must be from 0 to"),
        (Settings(seed=MAX_SEED + 1), "The seed must be from 0 to"),
        (Settings(seed=1.5), "The seed must be"),
        (Settings(num_variations=0), "The number of takes must be from 1 to 4, got 0"),
        (Settings(num_variations=1000), "The number of takes must be from 1 to 4, got 1000"),
        (Settings(num_variations=True), "The number of takes must be"),
        (Settings(guidance_scale=float("nan")), "The guidance must be from 0 to 10.0, got nan"),
        (Settings(guidance_scale="3"), "The guidance must be"),
    ],
)
def test_what_the_page_cannot_send_is_refused(studio, tmp_path, settings, message):
    with pytest.raises(Refused, match=message):
        list(studio.accompany("anna", write_vocals(tmp_path), settings))


def test_the_seed_field_takes_a_whole_number_or_nothing():
    assert [read_seed(text) for text in ("", "  ", None, " 42 ", "0")] == [None, None, None, 42, 0]
    for text in ("-1", "1.5", "seven", "٣", "1" * 5000):
        with pytest.raises(Refused, match="The seed must be a whole number from 0 to"):
            read_seed(text)


class WaitingPipeline:
    """Reports one token after the other, as many as the test lets it; counts how it ends."""

    def __init__(self, pipe):
        self.model, self.device = pipe.model, pipe.device
        self.num_reported = 0
        self.steps = threading.Semaphore(0)
        self.failure = None

    def __call__(self, vocals, *, callback, **_options):
        if self.failure is not None:
            raise self.failure
        while True:
            self.steps.acquire()
            callback("semantic", 0.02)
            self.num_reported += 1


def run_until(job, condition) -> None:
    for step in job:
        if condition(step):
            return


def test_stop_ends_the_generation_at_the_next_token(studio, pipe, tmp_path):
    studio.pipe = waiting = WaitingPipeline(pipe)
    waiting.steps.release(3)
    job = studio.accompany("anna", write_vocals(tmp_path), Settings())
    run_until(job, lambda step: step.fraction > 0)
    assert not studio.stop("somebody else")
    assert studio.stop("anna")
    waiting.steps.release()
    with pytest.raises(Stopped):
        list(job)
    assert waiting.num_reported == 3
    assert wait_until_empty(studio.folder)
    assert not studio.stop("anna")


def test_stop_reaches_the_real_pipeline_within_one_window(studio, pipe, tmp_path):
    heard = []

    def stopping(vocals, *, callback, **options):
        def report(stage, seconds):
            heard.append(stage)
            studio.stop("anna")
            callback(stage, seconds)

        return pipe(vocals, callback=report, **options)

    stopping.model, stopping.device = pipe.model, pipe.device
    studio.pipe = stopping
    with pytest.raises(Stopped):
        list(studio.accompany("anna", write_vocals(tmp_path, duration_s=2.0), Settings()))
    assert heard == ["semantic"]
    assert wait_until_empty(studio.folder)


def test_closing_the_iterator_stops_the_work_and_deletes_the_files(studio, pipe, tmp_path):
    studio.pipe = waiting = WaitingPipeline(pipe)
    job = studio.accompany("anna", write_vocals(tmp_path), Settings())
    next(job)
    assert list(studio.folder.iterdir())
    job.close()
    waiting.steps.release()
    assert wait_until_empty(studio.folder)
    assert waiting.num_reported == 0


def test_a_new_job_of_a_visitor_stops_the_old_one(studio, pipe, tmp_path):
    studio.pipe = waiting = WaitingPipeline(pipe)
    path = write_vocals(tmp_path)
    first = studio.accompany("anna", path, Settings())
    next(first)
    second = studio.accompany("anna", path, Settings())
    next(second)
    waiting.steps.release(2)
    with pytest.raises(Stopped):
        list(first)
    run_until(second, lambda step: step.fraction > 0)
    second.close()
    waiting.steps.release()
    assert wait_until_empty(studio.folder)


def test_an_error_of_the_pipeline_comes_out_and_the_studio_goes_on(studio, pipe, tmp_path):
    path = write_vocals(tmp_path)
    studio.pipe = waiting = WaitingPipeline(pipe)
    waiting.failure = RuntimeError("out of memory")
    with pytest.raises(RuntimeError, match="out of memory"):
        list(studio.accompany("anna", path, Settings()))
    studio.pipe = pipe
    assert any(isinstance(step, FinishedTake) for step in studio.accompany("anna", path, Settings(preview=True)))
    assert wait_until_empty(studio.folder)


def test_at_the_end_all_jobs_are_stopped(studio, pipe, tmp_path):
    studio.pipe = waiting = WaitingPipeline(pipe)
    jobs = [studio.accompany(visitor, write_vocals(tmp_path), Settings()) for visitor in ("anna", "ben")]
    for job in jobs:
        next(job)
    studio.stop_all()
    waiting.steps.release(2)
    for job in jobs:
        with pytest.raises(Stopped):
            list(job)
    assert wait_until_empty(studio.folder)
