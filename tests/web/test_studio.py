"""Jobs behind the web page: takes, caps, stop, and nothing left on the disk."""

import json
import shutil
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from accompgen_hf import VocalAccompanimentPipeline
from accompgen_hf.accompgen.recordings_accompgen import Recording
from accompgen_hf.app.regenerate import regenerate_result
from accompgen_hf.app.result_folders import write_result
from accompgen_hf.web.choices import MAX_SEED, Refused, Settings
from accompgen_hf.web.earlier_takes import ChosenSpan
from accompgen_hf.web.jobs import VisitorJob
from accompgen_hf.web.pace import Pace
from accompgen_hf.web.studio import FinishedTake, Progress, Stopped, Studio, readable_formats
from tiny import listening_model, tiny_model, tiny_part_model


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


def test_a_model_of_parts_gives_a_file_of_each_and_takes_a_style(tmp_path):
    pipe = VocalAccompanimentPipeline(model=tiny_part_model(), device="cpu")
    studio = Studio(pipe, tmp_path / "jobs")
    path = write_vocals(tmp_path)
    with pytest.raises(Refused, match="The style must be one of bossa_nova, rock, got 'polka'"):
        list(studio.accompany("anna", path, Settings(style="polka")))
    for step in studio.accompany("anna", path, Settings(seed=7, style="rock")):
        if isinstance(step, FinishedTake):
            assert step.parts == ("drums", "bass", "other")
            expected = pipe(path, seed=7, style="rock", output_sampling_rate="input")
            for part in step.parts:
                audio, _ = soundfile.read(step.folder / f"{part}.wav", dtype="float32")
                np.testing.assert_array_equal(audio, expected["stems"][part])
            assert json.loads((step.folder / "settings.json").read_text("utf-8"))["style"] == "rock"


def test_a_style_is_refused_where_the_model_knows_none(studio, tmp_path):
    with pytest.raises(Refused, match="The style cannot be chosen with this model, got 'rock'"):
        list(studio.accompany("anna", write_vocals(tmp_path), Settings(style="rock")))


def one_take(steps) -> FinishedTake:
    """The only take of a job, and its zip file somewhere else: the job deletes its own."""
    [take] = [step for step in steps if isinstance(step, FinishedTake)]
    return take


@pytest.mark.parametrize(("make", "part"), [(tiny_model, None), (tiny_part_model, "drums")])
def test_a_span_of_a_take_is_made_anew_as_the_pipeline_does_it(make, part, tmp_path):
    pipe = VocalAccompanimentPipeline(model=make(), device="cpu")
    studio = Studio(pipe, tmp_path / "jobs")
    path = write_vocals(tmp_path, 1.2, sampling_rate=16_000)
    first = pipe(path, seed=7, guidance_scale=2.0, output_sampling_rate="input", return_codes=True)
    only = {} if part is None else {"regenerate_parts": [part]}
    expected = pipe(
        path,
        seed=9,
        known_codes=first,
        regenerate=(0.4, 0.8),
        guidance_scale=2.0,
        output_sampling_rate="input",
        **only,
    )
    for step in studio.accompany("anna", path, Settings(seed=7, guidance_scale=2.0)):
        if isinstance(step, FinishedTake):
            shutil.copy(step.archive, tmp_path / "my song-seed7.zip")
    span = ChosenSpan(str(tmp_path / "my song-seed7.zip"), 0.4, 0.8, part)
    for step in studio.regenerate("anna", path, span, 9):
        if isinstance(step, FinishedTake):
            audio, _ = soundfile.read(step.folder / "accompaniment.wav", dtype="float32")
            assert np.abs(audio - expected["audio"]).max() < 2**-22
            assert step.made_anew_s == expected["regenerated"]
            assert step.lead_sheet == expected["lead_sheet"]
            settings = json.loads((step.folder / "settings.json").read_text("utf-8"))
            assert (settings["seed"], settings["regenerated"]["from"]) == (9, "my song-seed7")
            assert step.folder.name == step.archive.stem == "my song-seed7-take-9"
            again = Path(shutil.copy(step.archive, tmp_path))
    # The new take can be changed in turn.
    steps = studio.regenerate("anna", path, ChosenSpan(str(again), 0.0, 0.4), 11)
    assert one_take(steps).seed == 11


@pytest.fixture
def counted_in(pipe, tmp_path) -> tuple[str, Path]:
    """A recording of 1.2 s, and a result of the command with a bar of clicks before it, in flac."""
    path = write_vocals(tmp_path, 1.2, "take.wav", 16_000)
    result = pipe(path, seed=7, return_codes=True, output_sampling_rate="input")
    beats = [0.05, 0.3, 0.55, 0.8, 1.05]
    sheet = {"duration_s": 1.2, "key": None, "tempo_bpm": 240.0, "meter": 4, "beat_times": beats}
    sheet |= {"downbeat_times": beats[::4]}
    sheet |= {"chords": [{"start_s": 0.0, "end_s": 1.2, "name": "N", "root": None, "quality": None}]}
    settings = {"vocals": path, "seed": 7, "count_in": 1, "format": "flac"}
    return path, write_result(tmp_path, settings, Recording(path), 16_000, {**result, "lead_sheet": sheet}, {})


def test_seconds_of_a_take_with_a_count_in_are_those_of_its_files_as_for_the_command(
    pipe, studio, counted_in, tmp_path
):
    path, folder = counted_in
    archive = shutil.make_archive(str(tmp_path / "take-seed7"), "zip", folder)
    span = ChosenSpan(archive, 2.53, 2.71)  # 1.95 s of clicks; snapped to the beats at 0.55 and 0.8 s
    by_command = regenerate_result(pipe, folder, span.start_s, span.end_s, seed=9)
    for step in studio.regenerate("anna", path, span, 9):
        if isinstance(step, FinishedTake):
            records = [json.loads((each / "settings.json").read_text("utf-8")) for each in (by_command, step.folder)]
            assert records[0]["regenerated"] == records[1]["regenerated"]
            assert records[1]["regenerated"]["start_s"] == pytest.approx(1.95 + 0.56)
            assert records[0]["files"] == records[1]["files"]
            assert (step.folder / "lead_sheet.json").read_bytes() == (by_command / "lead_sheet.json").read_bytes()
            assert step.made_anew_s == (0.56, 0.8)
        else:
            assert 0 <= step.fraction <= 1
    for start_s, end_s, words in (
        (0.0, 1.9, "Start and end count from the start of the files: there the music is from 1.95 s"),
        (3.0, 4.0, r"The part must end after it begins, between 0 and 3.1 s, got 3.0 to 4.0 s"),
    ):
        with pytest.raises(Refused, match=words):
            list(studio.regenerate("anna", path, ChosenSpan(archive, start_s, end_s)))


@pytest.mark.parametrize(
    ("span", "words"),
    [
        (ChosenSpan("take.zip", 0.5, 0.5), "The part must end after it begins, between 0 and 1.0 s, got 0.5 to 0.5 s"),
        (ChosenSpan("take.zip", -1.0, 0.5), "The part must end after it begins"),
        (ChosenSpan("take.zip", 0.0, 9.0), "The part must end after it begins"),
        (ChosenSpan("take.zip", float("nan"), 0.5), "The part must end after it begins"),
        (ChosenSpan("take.zip", 0.0, 0.5, "drums"), "The player must be left out with this model, got 'drums'"),
        (ChosenSpan("none.zip", 0.0, 0.5), "The take is no zip file from this page"),
    ],
)
def test_a_span_that_cannot_be_made_anew_is_refused_in_words(studio, tmp_path, span, words):
    path = write_vocals(tmp_path, 1.0, sampling_rate=16_000)
    for step in studio.accompany("anna", path, Settings(seed=7, preview=True)):
        if isinstance(step, FinishedTake):
            shutil.copy(step.archive, tmp_path / "take.zip")
    with pytest.raises(Refused, match=words):
        list(studio.regenerate("anna", path, replace(span, archive=str(tmp_path / span.archive))))
    assert wait_until_empty(studio.folder)


def test_what_is_told_of_the_song_is_played_and_holds_for_a_span_that_is_made_anew(tmp_path):
    pipe = VocalAccompanimentPipeline(model=listening_model(), device="cpu")
    studio = Studio(pipe, tmp_path / "jobs")
    path = write_vocals(tmp_path, 1.2, sampling_rate=16_000)
    told = {"key": "A minor", "tempo_bpm": 90.0, "chords": [[0.0, 0.6, "F"], [0.6, 1.2, "G7"]]}
    asked = {"output_sampling_rate": "input", "return_codes": True}
    first = pipe(path, seed=7, **told, **asked)
    assert not np.array_equal(first["audio"], pipe(path, seed=7, **asked)["audio"])
    anew = pipe(path, seed=9, known_codes=first, regenerate=(0.4, 0.8), **told, **asked)

    def keep(steps, expected):
        for step in steps:
            if isinstance(step, FinishedTake):
                audio, _ = soundfile.read(step.folder / "accompaniment.wav", dtype="float32")
                assert np.abs(audio - expected["audio"]).max() < 2**-22
                settings = json.loads((step.folder / "settings.json").read_text("utf-8"))
                assert {name: settings[name] for name in told} == told
                archive = Path(shutil.copy(step.archive, tmp_path))
        return archive

    archive = keep(studio.accompany("anna", path, Settings(seed=7, **told)), first)
    keep(studio.regenerate("anna", path, ChosenSpan(str(archive), 0.4, 0.8), 9), anew)
    # A model of the same sizes that does not listen refuses the take.
    deaf = Studio(VocalAccompanimentPipeline(model=tiny_model(), device="cpu"), tmp_path / "jobs")
    with pytest.raises(Refused, match="This model does not listen for key, tempo and chords: leave them out"):
        list(deaf.regenerate("anna", path, ChosenSpan(str(archive), 0.4, 0.8), 9))
    with pytest.raises(Refused, match="This model does not listen"):
        list(deaf.accompany("anna", path, Settings(key="A minor")))


def test_a_listener_that_weighs_nothing_does_not_listen(tmp_path):
    pipe = VocalAccompanimentPipeline(model=listening_model(), device="cpu")
    assert Studio(pipe, tmp_path).is_listening
    pipe.model.semantic.generation_config.listening_scale = 0.0
    assert not Studio(pipe, tmp_path).is_listening


def test_without_a_seed_every_job_draws_its_own(studio, tmp_path):
    path = write_vocals(tmp_path)
    seeds = [
        step.seed
        for _ in range(2)
        for step in studio.accompany("anna", path, Settings(preview=True))
        if isinstance(step, FinishedTake)
    ]
    assert len(set(seeds)) == 2


def test_the_progress_goes_through_all_takes_and_steps():
    job = VisitorJob(folder=None, num_takes=2, pace=Pace(), duration_s=4.0)
    assert job.progress() == Progress(0.0, "waiting", 1, 2, None)
    fractions = []
    for number in (1, 2):
        job.begin_take(number)
        for stage in ("semantic", "coarse", "fine"):
            for _ in range(2):
                job.report(stage, 2.0)
                fractions.append(job.progress().fraction)
        assert job.progress().stage == "mixing"
        job.end_take()
    assert fractions == sorted(fractions)
    assert fractions[5] < 0.5 < fractions[6]
    job = VisitorJob(folder=None, num_takes=1, pace=Pace(), duration_s=1.0, is_preview=True)
    job.begin_take(1)
    job.report("coarse", 1.0)
    assert job.progress().stage == "mixing"


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
        ("silent", "The recording is silent. Was the right microphone chosen"),
        ("large", "The file has 0.5 MB, the limit here is 0.19.* MB. Give a shorter part"),
    ],
)
def test_a_recording_is_refused_in_words_for_a_visitor(studio, tmp_path, content, message):
    path = tmp_path / "vocals.wav"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "silent":
        soundfile.write(path, np.full(8000, 5e-4), 16_000)
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


def test_voice_memos_of_phones_are_taken_where_the_page_says_so(studio, tmp_path, monkeypatch):
    av = pytest.importorskip("av", reason="the extra web brings PyAV")
    assert readable_formats() == ["wav", "flac", "mp3", "ogg", "opus", "m4a", "webm"]
    tone = (9000 * np.sin(np.arange(44_100) * 0.05)).astype(np.int16)
    with av.open(str(tmp_path / "memo"), "w", format="ipod") as container:
        stream = container.add_stream("aac", rate=44_100, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
        frame.sample_rate = 44_100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    [take] = [
        step
        for step in studio.accompany("anna", str(tmp_path / "memo"), Settings(preview=True))
        if isinstance(step, FinishedTake)
    ]
    assert take.sampling_rate == 44_100
    assert take.vocals.shape[-1] == pytest.approx(44_100, abs=2048)
    monkeypatch.setattr("accompgen_hf.web.studio.find_spec", lambda name: None)
    assert readable_formats() == ["wav", "flac", "mp3", "ogg", "opus"]


def test_another_machine_may_play_in_place_of_the_pipeline(pipe, tmp_path):
    asked = []

    def play(recording, **options):
        asked.append(sorted(options))
        return pipe(recording, **options)

    studio = Studio(pipe, tmp_path / "jobs", play=play)
    studio.warm_up()  # nothing to do here: the machine is lent for takes alone
    steps = list(studio.accompany("anna", write_vocals(tmp_path), Settings(seed=7)))
    assert sum(isinstance(step, FinishedTake) for step in steps) == 1
    assert asked == [["output_sampling_rate", "return_codes", "seed", "show_progress"]]


def test_the_warm_up_ends_with_the_page(studio, pipe):
    studio.pipe = waiting = WaitingPipeline(pipe)
    studio.warm_up()
    studio.stop_all()
    waiting.steps.release(3)
    with studio._pipe_lock:
        assert waiting.num_reported == 0


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


class WaitingPipeline:
    """Reports one token after the other, as many as the test lets it; counts how it ends."""

    def __init__(self, pipe):
        self.model, self.device, self.processor = pipe.model, pipe.device, pipe.processor
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
