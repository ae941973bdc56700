"""Outputs as files: resumed after a kill, made again after a change, refused where they cannot be scored."""

import dataclasses

import numpy as np
import pytest

from accompgen_hf.accompgen.audio_accompgen import load_audio, write_audio
from accompgen_hf.data.sources import Track
from accompgen_hf.evaluation.protocol import outputs
from accompgen_hf.evaluation.protocol.excerpts import write_windows
from accompgen_hf.evaluation.protocol.outputs import check_names, generate_outputs, window_seed
from accompgen_hf.evaluation.systems.system import FolderSystem

RATE = 24_000


class Echo:
    """Plays the vocals back, louder with the seed, and counts its calls."""

    name = "echo"

    def __init__(self, version: int = 1, fail_at: int | None = None):
        self.version, self.fail_at, self.seeds = version, fail_at, []

    def describe(self):
        return {"system": "echo", "version": self.version}

    def generate(self, vocals, sampling_rate, seed, window):
        if len(self.seeds) == self.fail_at:
            raise KeyboardInterrupt
        self.seeds.append(seed)
        return vocals * np.float32(0.5)


@pytest.fixture
def test_set(tmp_path):
    def load():
        vocals = (0.3 * np.sin(np.arange(RATE) * 0.1)).astype(np.float32)
        return vocals, vocals, RATE

    tracks = [Track(f"song {index}", "CC0-1.0", load) for index in range(4)]
    return write_windows(tracks, tmp_path / "inputs", window_s=1.0)


def test_a_killed_run_goes_on_and_seeds_belong_to_windows(test_set, tmp_path):
    whole = Echo()
    generate_outputs(whole, test_set, tmp_path / "whole", "isolated", seed=7)
    killed, resumed = Echo(fail_at=2), Echo()
    with pytest.raises(KeyboardInterrupt):
        generate_outputs(killed, test_set, tmp_path / "systems", "isolated", seed=7)
    folder = generate_outputs(resumed, test_set, tmp_path / "systems", "isolated", seed=7)
    assert killed.seeds + resumed.seeds == whole.seeds == [window_seed(7, w.window_id) for w in test_set.windows]
    assert len(resumed.seeds) == 2
    assert len(set(whole.seeds)) == 4
    for window in test_set.windows:
        output = load_audio(folder / f"{window.window_id}.wav")[0][0]
        assert np.abs(output - 0.5 * test_set.load(window, "vocals")).max() < 1e-6


def test_a_changed_system_plays_again(test_set, tmp_path):
    generate_outputs(Echo(), test_set, tmp_path, "isolated", seed=7)
    changed = Echo(version=2)
    generate_outputs(changed, test_set, tmp_path, "isolated", seed=7)
    assert len(changed.seeds) == 4
    reseeded = Echo(version=2)
    generate_outputs(reseeded, test_set, tmp_path, "isolated", seed=8)
    assert len(reseeded.seeds) == 4


class Choir(Echo):
    """Hears several voices at once."""

    def generate_batch(self, vocals, sampling_rate, seeds, windows):
        self.batches = [*getattr(self, "batches", []), [window.window_id for window in windows]]
        return [
            self.generate(*each[:1], sampling_rate, *each[1:]) for each in zip(vocals, seeds, windows, strict=True)
        ]


def test_windows_of_a_batch_are_equally_long_and_keep_their_seeds(test_set, tmp_path, monkeypatch):
    monkeypatch.setattr(outputs, "BATCH_SIZE", 3)
    choir, alone = Choir(), Echo()
    folder = generate_outputs(choir, test_set, tmp_path / "together", "isolated", seed=7)
    other = generate_outputs(alone, test_set, tmp_path / "one by one", "isolated", seed=7)
    ids = [window.window_id for window in test_set.windows]
    assert choir.batches == [ids[:3]]  # the fourth is alone
    assert choir.seeds == alone.seeds
    assert all((folder / f"{name}.wav").read_bytes() == (other / f"{name}.wav").read_bytes() for name in ids)
    windows = [
        dataclasses.replace(test_set.windows[0], duration_s=length) for length in (1.0, 1.0, 0.5, 0.5, 0.5, 0.5)
    ]
    assert [len(batch) for batch in outputs._batches(windows, 3)] == [2, 3, 1]


def test_nan_and_another_length_are_refused_with_system_and_window(test_set, tmp_path):
    system = Echo()
    system.generate = lambda vocals, *args, **kwargs: vocals * np.nan
    with pytest.raises(ValueError, match=r"`system` echo gave NaN or infinity for window song_0-0000000ms"):
        generate_outputs(system, test_set, tmp_path, "isolated", seed=0)
    system.generate = lambda vocals, *args, **kwargs: vocals[:-1]
    with pytest.raises(ValueError, match=r"`system` echo gave \(23999,\) for window .*, a mismatched pair"):
        generate_outputs(system, test_set, tmp_path, "isolated", seed=0)


def test_files_without_a_separated_folder_have_one_condition(test_set, tmp_path):
    for window in test_set.windows:
        (tmp_path / "theirs").mkdir(exist_ok=True)
        write_audio(tmp_path / "theirs" / f"{window.window_id}.wav", np.zeros(RATE, np.float32) + 0.1, RATE)
    system = FolderSystem("theirs", tmp_path / "theirs")
    assert generate_outputs(system, test_set, tmp_path / "run", "isolated", seed=0).is_dir()
    assert generate_outputs(system, test_set, tmp_path / "run", "separated", seed=0) is None
    with pytest.raises(ValueError, match="lies where this run keeps its own copies"):
        generate_outputs(system, test_set, tmp_path, "isolated", seed=0)
    assert len(list((tmp_path / "theirs").iterdir())) == 4


def test_files_that_no_run_has_written_stay(test_set, tmp_path):
    (tmp_path / "echo").mkdir()
    (tmp_path / "echo" / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds files that no run has written"):
        generate_outputs(Echo(), test_set, tmp_path, "isolated", seed=0)
    assert (tmp_path / "echo" / "mine.txt").is_file()


def test_names_are_folders_and_differ():
    twin = Echo()
    for systems, message in (
        ([], "at least one system"),
        ([Echo(), twin], "names must differ, got 'echo' 2 times"),
    ):
        with pytest.raises(ValueError, match=message):
            check_names(systems)
    twin.name = "../up"
    with pytest.raises(ValueError, match="`system` names are letters"):
        check_names([twin])
