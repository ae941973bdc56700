"""Many recordings: stable seeds and order, what is done is found, and processes share the work."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from accompgen_hf.app.recording_queue import (
    Job,
    Outcome,
    find_result,
    gather_outcomes,
    list_jobs,
    process_place,
    summary_table,
    unfinished_seed,
)


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_items_of_a_list_have_seeds_of_their_own_and_files_of_a_folder_share_one(tmp_path):
    touch(tmp_path / "songs" / "b.WAV", tmp_path / "songs" / "deep" / "a.flac", tmp_path / "songs" / "notes.txt")
    touch(tmp_path / "songs" / ".hidden" / "c.wav", tmp_path / "songs" / "out" / "b-seed9" / "mix.wav")
    songs = str(tmp_path / "songs")
    jobs = list_jobs(["x.wav", songs, "y.wav"], 7, 2, excluded=tmp_path / "songs" / "out")
    b, a = str(tmp_path / "songs" / "b.WAV"), str(tmp_path / "songs" / "deep" / "a.flac")
    assert jobs == [
        Job("x.wav", 7, False),
        Job("x.wav", 8, False),
        Job(b, 9, True),
        Job(b, 10, True),
        Job(a, 9, True),
        Job(a, 10, True),
        Job("y.wav", 11, False),
        Job("y.wav", 12, False),
    ]


def test_a_folder_without_audio_is_refused(tmp_path):
    touch(tmp_path / "notes.txt")
    with pytest.raises(ValueError, match=r"holds no audio: give a folder with \.wav"):
        list_jobs([str(tmp_path)], 0)


def test_results_in_a_folder_are_no_recordings(tmp_path):
    touch(tmp_path / "a.wav", tmp_path / "settings.json", tmp_path / "mixes" / "accompaniment.wav")
    write_record(tmp_path / "other_output" / "a-seed7")
    found = [Path(job.source) for job in list_jobs([str(tmp_path)], 0)]
    assert found == [tmp_path / "a.wav", tmp_path / "mixes" / "accompaniment.wav"]
    with pytest.raises(ValueError, match=r"holds no audio but that of results: give a folder with \.wav"):
        list_jobs([str(tmp_path / "other_output")], 0)


def test_a_process_knows_its_place():
    assert process_place({}) == (0, 1)
    assert process_place({"RANK": "2", "WORLD_SIZE": "4"}) == (2, 4)


def write_record(folder: Path, **settings) -> None:
    touch(folder / "accompaniment.wav", folder / "mix.wav")
    (folder / "settings.json").write_text(json.dumps({**settings, "made_with": {}}))


def test_a_result_is_found_by_vocals_and_settings(tmp_path):
    settings = {"vocals": "/a/take.wav", "seed": 7, "top_k": 5}
    assert find_result(tmp_path, settings) is None
    write_record(tmp_path / "take-seed7", **{**settings, "vocals": "/b/take.wav"})
    (tmp_path / "take-seed7-2").mkdir()  # cut off while it was written
    write_record(tmp_path / "take-seed7-3", **settings)
    assert find_result(tmp_path, settings) == tmp_path / "take-seed7-3"
    assert find_result(tmp_path, {**settings, "top_k": 6}) is None
    assert find_result(tmp_path, {**settings, "preview": True}) is None
    (tmp_path / "take-seed7-3" / "mix.wav").unlink()
    assert find_result(tmp_path, settings) is None


def test_the_newest_stream_that_was_stopped_is_found(tmp_path):
    assert unfinished_seed(tmp_path / "nowhere", "take.wav") is None
    touch(tmp_path / "take-seed7" / "mix.wav", tmp_path / "take 2-seed9.part.codes", tmp_path / "take-seed8.part.wav")
    assert unfinished_seed(tmp_path, "a/take.wav") is None
    touch(tmp_path / "take-seed12.part.codes", tmp_path / "take-seed3.part.codes")
    os.utime(tmp_path / "take-seed3.part.codes", (1, 1))
    assert unfinished_seed(tmp_path, "a/take.wav") == 12


def test_the_table_has_a_line_per_job_and_sums():
    outcomes = [
        Outcome("a/one.wav", 7, "made", 12.34, "out/one-seed7"),
        Outcome("a/three.wav", 7, "failed", 0.0, "not audio"),
    ]
    assert summary_table(outcomes).splitlines() == [
        "vocals     seed  status  work    result or reason",
        "one.wav    7     made    12.3 s  out/one-seed7",
        "three.wav  7     failed          not audio",
        "1 made, 0 there already, 1 failed",
    ]
    assert gather_outcomes(outcomes) == outcomes


LAUNCHERS = {
    "torchrun": ("torch.distributed.run", "--standalone", "--nproc_per_node", "2"),
    "accelerate": ("accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", "0"),
}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_two_processes_share_a_folder(tmp_path, launcher):
    """OMP_NUM_THREADS=1 pytest -m slow tests/test_jobs.py"""
    rng = np.random.default_rng(0)
    (tmp_path / "songs").mkdir()
    for name in ("a", "b", "c"):
        soundfile.write(tmp_path / "songs" / f"{name}.wav", 0.1 * rng.standard_normal(3200), 16_000)
    (tmp_path / "songs" / "broken.wav").write_bytes(b"not audio at all")
    call = [sys.executable, "-m", *LAUNCHERS[launcher], "-m", "accompgen_hf.app.cli", "generate", "songs", "-o", "out"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}

    def run(*options: str) -> str:
        done = subprocess.run([*call, *options], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 1, done.stderr  # one recording is broken
        return done.stderr

    first = run("--device", "cpu")
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == ["a-seed0", "b-seed0", "c-seed0"]
    assert first.count("3 made, 0 there already, 1 failed") == 1  # one table of both
    assert first.count("result or reason") == 1
    made = [(tmp_path / "out" / f"{name}-seed0" / "mix.wav").stat().st_mtime_ns for name in "abc"]
    soundfile.write(tmp_path / "songs" / "d.wav", 0.1 * rng.standard_normal(3200), 16_000)
    second = run("--device", "cpu")
    assert second.count("1 made, 3 there already, 1 failed") == 1
    assert made == [(tmp_path / "out" / f"{name}-seed0" / "mix.wav").stat().st_mtime_ns for name in "abc"]
